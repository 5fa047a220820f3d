//! Looks for secrets where none may be: every file of a folder, in clear and in disguise.

use std::path::{Path, PathBuf};

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};

/// A secret as it may be found: as it is, in hex, and within base64 at any of the three places
/// that its bytes can have there.
fn disguises(secret: &[u8]) -> Vec<Vec<u8>> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut all = vec![secret.to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes()];
    for shift in 0..3 {
        let shifted = [&vec![0; shift], secret].concat();
        let text = STANDARD_NO_PAD.encode(&shifted);
        // The first and last digits have bits of the neighbours in them.
        let start = shift + usize::from(shift > 0);
        let end = text.len() - usize::from(shifted.len() % 3 > 0);
        all.push(text.as_bytes()[start..end].to_vec());
    }
    all
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder can be read");
    entries
        .flat_map(|entry| {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() { files(&path) } else { vec![path] }
        })
        .collect()
}

/// Every file below `folder`, key files aside, that has one of the secrets in it, with which.
pub fn leaks(folder: &Path, secrets: &[(&str, Vec<u8>)]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files(folder).into_iter().filter(|file| file.extension() != Some("key".as_ref())) {
        let bytes = std::fs::read(&file).expect("the file can be read");
        for (name, secret) in secrets {
            assert!(secret.len() >= 8, "{name} is too short to be told from chance");
            let has = |wanted: &Vec<u8>| bytes.windows(wanted.len()).any(|part| part == wanted);
            if disguises(secret).iter().any(has) {
                found.push(format!("{name} in {}", file.display()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn a_secret_is_found_in_every_disguise() {
        let secret = b"correct horse".to_vec();
        let wanted = [("horse", secret.clone())];
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        let hex: String = secret.iter().map(|byte| format!("{byte:02X}")).collect();
        for before in 0..4 {
            for after in 0..4 {
                let all = [vec![b'x'; before], secret.clone(), vec![b'y'; after]].concat();
                for text in [all.clone(), STANDARD.encode(&all).into_bytes()] {
                    std::fs::write(&file, text).unwrap();
                    assert_eq!(leaks(folder.path(), &wanted).len(), 1, "{before} {after}");
                }
            }
        }
        std::fs::write(&file, hex).unwrap();
        assert_eq!(leaks(folder.path(), &wanted).len(), 1);
        std::fs::write(&file, "correct zebra").unwrap();
        assert_eq!(leaks(folder.path(), &wanted), [""; 0]);
    }
}
