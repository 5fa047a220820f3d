//! Signatures of JSON Web Tokens, checked by `ring`: what the crate for tokens is told to use.
//!
//! Only checks, never signs, and knows no algorithm with a shared secret: a public key can
//! never be taken for one.

use jsonwebtoken::signature::{Error as Mismatch, Verifier};
use jsonwebtoken::{
    Algorithm, DecodingKey, DecodingKeyKind, EncodingKey,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::{Error, ErrorKind},
};
use ring::signature::{self as rs, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: no_signer,
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes it the one that is used. A second call changes nothing.
pub(super) fn install() {
    let _installed = PROVIDER.install_default();
}

fn no_signer(_: &Algorithm, _: &EncodingKey) -> Result<Box<dyn JwtSigner>, Error> {
    Err(ErrorKind::InvalidAlgorithm.into())
}

enum Check {
    Rsa(&'static RsaParameters),
    Curve(&'static dyn rs::VerificationAlgorithm),
}

/// How an algorithm is checked; none for those that are never accepted.
fn check(algorithm: Algorithm) -> Option<Check> {
    Some(match algorithm {
        Algorithm::RS256 => Check::Rsa(&rs::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Check::Rsa(&rs::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Check::Rsa(&rs::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Check::Rsa(&rs::RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Check::Rsa(&rs::RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Check::Rsa(&rs::RSA_PSS_2048_8192_SHA512),
        Algorithm::ES256 => Check::Curve(&rs::ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => Check::Curve(&rs::ECDSA_P384_SHA384_FIXED),
        Algorithm::EdDSA => Check::Curve(&rs::ED25519),
        _ => return None,
    })
}

struct RingVerifier {
    algorithm: Algorithm,
    check: Check,
    key: DecodingKey,
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    let check = check(*algorithm).ok_or(ErrorKind::InvalidAlgorithm)?;
    if key.family() != algorithm.family() {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    Ok(Box::new(RingVerifier { algorithm: *algorithm, check, key: key.clone() }))
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], given: &Vec<u8>) -> Result<(), Mismatch> {
        let held = match (&self.check, self.key.kind()) {
            (Check::Rsa(parameters), DecodingKeyKind::RsaModulusExponent { n, e }) => {
                RsaPublicKeyComponents { n, e }.verify(parameters, message, given)
            }
            (Check::Curve(algorithm), DecodingKeyKind::SecretOrDer(key)) => {
                UnparsedPublicKey::new(*algorithm, key).verify(message, given)
            }
            _ => Err(ring::error::Unspecified),
        };
        held.map_err(|_| Mismatch::new())
    }
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
