//! Where requests may go: public addresses, and the networks the operator allows.
//!
//! Owns the list of what is not public, and the check of an endpoint's URL when it is saved.
//! Never resolves, never connects.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use arc_swap::ArcSwap;
use ipnet::IpNet;
use url::{Host, Url};

/// Longest endpoint URL, in bytes.
const MAX_URL: usize = 2048;

/// IPv4 networks that are not public.
/// Source: the IANA IPv4 Special-Purpose Address Registry, and clouds' metadata services.
const NOT_PUBLIC_V4: [([u8; 4], u8); 17] = [
    ([0, 0, 0, 0], 8),          // this network, unspecified
    ([10, 0, 0, 0], 8),         // private
    ([100, 64, 0, 0], 10),      // carrier-grade NAT; 100.100.100.200 is a metadata service
    ([127, 0, 0, 0], 8),        // loopback
    ([168, 63, 129, 16], 32),   // Azure's platform service, on a public address
    ([169, 254, 0, 0], 16),     // link-local; 169.254.169.254 is a metadata service
    ([172, 16, 0, 0], 12),      // private
    ([192, 0, 0, 0], 24),       // protocol assignments; 192.0.0.192 is a metadata service
    ([192, 0, 2, 0], 24),       // documentation
    ([192, 88, 99, 0], 24),     // 6to4 relays
    ([192, 168, 0, 0], 16),     // private
    ([198, 18, 0, 0], 15),      // benchmarks
    ([198, 51, 100, 0], 24),    // documentation
    ([203, 0, 113, 0], 24),     // documentation
    ([224, 0, 0, 0], 4),        // multicast
    ([240, 0, 0, 0], 4),        // reserved
    ([255, 255, 255, 255], 32), // broadcast
];

/// Networks within 2000::/3, the only public part of IPv6, that are not public either.
/// Source: the IANA IPv6 Special-Purpose Address Registry.
const NOT_PUBLIC_V6: [([u16; 3], u8); 4] = [
    ([0x2001, 0, 0], 23),     // protocol assignments: Teredo, ORCHID, benchmarks
    ([0x2001, 0xdb8, 0], 32), // documentation
    ([0x2002, 0, 0], 16),     // 6to4, an IPv4 address in disguise
    ([0x3fff, 0, 0], 20),     // documentation
];

/// Knows where requests may go. Its clones know the same, also after a change.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    allowed: Arc<ArcSwap<Vec<IpNet>>>,
}

impl Guard {
    /// Public addresses and `allowed` networks.
    pub fn new(allowed: Vec<IpNet>) -> Self {
        Self { allowed: Arc::new(ArcSwap::from_pointee(allowed)) }
    }

    /// These networks are allowed from now on.
    pub fn set(&self, allowed: Vec<IpNet>) {
        if **self.allowed.load() != allowed {
            self.allowed.store(Arc::new(allowed));
        }
    }

    /// What is allowed at the moment: the same list until it is set anew.
    pub(super) fn allowed(&self) -> Arc<Vec<IpNet>> {
        self.allowed.load_full()
    }

    /// Whether a request may go to `address`.
    pub fn permits(&self, address: IpAddr) -> bool {
        // ::ffff:10.0.0.1 reaches 10.0.0.1, so it is judged, and allowed, as that.
        let canonical = address.to_canonical();
        self.allowed.load().iter().any(|net| net.contains(&canonical) || net.contains(&address))
            || match canonical {
                IpAddr::V4(v4) => is_public_v4(v4),
                IpAddr::V6(v6) => is_public_v6(v6),
            }
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let bits = address.to_bits();
    !NOT_PUBLIC_V4
        .iter()
        .any(|&(net, length)| (bits ^ u32::from_be_bytes(net)) >> (32 - u32::from(length)) == 0)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    // All but 2000::/3 is special or unassigned: loopback, IPv4-compatible, NAT64 (an IPv4
    // address in disguise), unique local (fd00:ec2::254 is a metadata service), multicast.
    let bits = address.to_bits();
    bits >> 125 == 1
        && !NOT_PUBLIC_V6.iter().any(|&([a, b, c], length)| {
            let net = Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).to_bits();
            (bits ^ net) >> (128 - u32::from(length)) == 0
        })
}

/// The address, or all of those a name resolved to, are ones that requests may not go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a public address, and no allowed network contains it")]
pub(super) struct Blocked(pub IpAddr);

/// Why a URL cannot be an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointProblem {
    /// It is too long.
    #[error("has {0} bytes; {MAX_URL} are allowed")]
    TooLong(usize),
    /// It is neither https nor, where that is allowed, http.
    #[error("starts with {found}:; {} is needed", if *.http { "https: or http:" } else { "https:" })]
    Scheme {
        /// The URL's.
        found: String,
        /// Whether http is allowed.
        http: bool,
    },
    /// It names no host.
    #[error("names no host")]
    NoHost,
    /// It carries a user name or password, which would be shown wherever it is shown.
    #[error("carries a user name or password; send them in a header instead")]
    Credentials,
    /// It has a fragment, which is never sent.
    #[error("has a fragment (#…), which is never sent")]
    Fragment,
    /// Its host is one that requests may not go to.
    #[error("{0} is not a public address, and no allowed network contains it")]
    Blocked(String),
}

/// Whether `url` may be an endpoint, as far as can be known without resolving its name.
pub fn check_endpoint(url: &Url, guard: &Guard, allow_http: bool) -> Result<(), EndpointProblem> {
    if url.as_str().len() > MAX_URL {
        return Err(EndpointProblem::TooLong(url.as_str().len()));
    }
    if url.scheme() != "https" && !(allow_http && url.scheme() == "http") {
        return Err(EndpointProblem::Scheme { found: url.scheme().into(), http: allow_http });
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(EndpointProblem::Credentials);
    }
    if url.fragment().is_some() {
        return Err(EndpointProblem::Fragment);
    }
    let blocked = match url.host().ok_or(EndpointProblem::NoHost)? {
        Host::Ipv4(address) => !guard.permits(address.into()),
        Host::Ipv6(address) => !guard.permits(address.into()),
        Host::Domain(name) => {
            let name = name.trim_end_matches('.');
            (name == "localhost" || name.ends_with(".localhost"))
                && !guard.permits(Ipv4Addr::LOCALHOST.into())
                && !guard.permits(Ipv6Addr::LOCALHOST.into())
        }
    };
    match url.host_str() {
        Some(host) if blocked => Err(EndpointProblem::Blocked(host.into())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(guard: &Guard, address: &str) -> bool {
        guard.permits(address.parse().unwrap())
    }

    #[test]
    fn what_is_not_public_is_refused() {
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.9.9.9",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!permits(&Guard::default(), address), "{address}");
        }
    }

    #[test]
    fn what_is_public_is_permitted() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "2001:200::1",
            "2606:4700::1111",
            "2a00:1450::1",
        ] {
            assert!(permits(&Guard::default(), address), "{address}");
        }
    }

    #[test]
    fn an_allowed_network_is_allowed_in_every_disguise_and_no_more_than_it() {
        let guard = Guard::new(vec!["10.1.0.0/16".parse().unwrap(), "fd00::/64".parse().unwrap()]);
        for address in ["10.1.2.3", "::ffff:10.1.2.3", "fd00::7", "8.8.8.8"] {
            assert!(permits(&guard, address), "{address}");
        }
        for address in ["10.2.0.1", "fd01::1", "127.0.0.1"] {
            assert!(!permits(&guard, address), "{address}");
        }
    }

    fn check(url: &str, guard: &Guard) -> Result<(), EndpointProblem> {
        check_endpoint(&url.parse().unwrap(), guard, true)
    }

    #[test]
    fn endpoints_are_checked_when_saved() {
        let guard = Guard::default();
        for good in ["https://example.com/hook?a=b", "http://example.com", "https://8.8.8.8:8443/"]
        {
            assert_eq!(check(good, &guard), Ok(()), "{good}");
        }
        let blocked = |host: &str| Err(EndpointProblem::Blocked(host.into()));
        assert_eq!(check("http://0x7f.1/", &guard), blocked("127.0.0.1"));
        assert_eq!(check("http://[::ffff:10.0.0.1]/", &guard), blocked("[::ffff:a00:1]"));
        assert_eq!(check("http://2130706433/", &guard), blocked("127.0.0.1"));
        assert_eq!(check("http://localhost:1/", &guard), blocked("localhost"));
        assert_eq!(check("http://a.localhost./", &guard), blocked("a.localhost."));
        assert_eq!(check("https://u:p@example.com", &guard), Err(EndpointProblem::Credentials));
        assert_eq!(check("https://example.com/#x", &guard), Err(EndpointProblem::Fragment));
        let long = format!("https://example.com/{}", "x".repeat(2048));
        assert_eq!(check(&long, &guard), Err(EndpointProblem::TooLong(2068)));
        assert!(matches!(check("ftp://example.com", &guard), Err(EndpointProblem::Scheme { .. })));
        let plain = check_endpoint(&"http://example.com".parse().unwrap(), &guard, false);
        assert_eq!(plain.unwrap_err().to_string(), "starts with http:; https: is needed");
    }

    #[test]
    fn localhost_is_an_endpoint_where_loopback_is_allowed() {
        let guard = Guard::new(vec!["127.0.0.0/8".parse().unwrap()]);
        assert_eq!(check("http://localhost:8080/", &guard), Ok(()));
    }
}
