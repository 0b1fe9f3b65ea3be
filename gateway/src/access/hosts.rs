//! Under which host names this gateway answers. A page of another site that points its own name at our address (DNS
//! rebinding) shows that name in `Host`, and is turned away. An address cannot be pointed anywhere, so where we listen on
//! every address any address will do.

use std::net::IpAddr;

/// The names and addresses.
#[derive(Debug, Clone)]
pub struct Hosts {
    listen: IpAddr,
    names: Vec<String>,
}

/// Without port, brackets and final dot, in lower case.
fn bare(host: &str) -> String {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.trim_end_matches('.').to_ascii_lowercase()
}

impl Hosts {
    /// `listen` and `names` beside the loopback names.
    pub fn new(listen: IpAddr, names: &[String]) -> Self {
        Self { listen, names: names.iter().map(|name| bare(name)).collect() }
    }

    /// Whether a `Host` header is ours.
    pub fn accept(&self, host: &str) -> bool {
        let name = bare(host);
        if name == "localhost" || self.names.contains(&name) {
            return true;
        }
        let address = name.parse::<IpAddr>();
        address.is_ok_and(|ip| ip.is_loopback() || ip == self.listen || self.listen.is_unspecified())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_names_and_addresses_are_accepted() {
        let hosts = Hosts::new("192.0.2.7".parse().unwrap(), &["fleet.example.org".into()]);
        for ours in
            ["localhost:8080", "127.0.0.1", "[::1]:8080", "192.0.2.7:8443", "Fleet.Example.ORG", "fleet.example.org.:1"]
        {
            assert!(hosts.accept(ours), "{ours}");
        }
        for foreign in ["evil.example", "192.0.2.8", "fleet.example.org.evil.example", "", "localhost.evil.example"] {
            assert!(!hosts.accept(foreign), "{foreign}");
        }
        let every = Hosts::new("0.0.0.0".parse().unwrap(), &[]);
        assert!(every.accept("192.0.2.8:1") && !every.accept("evil.example"));
    }
}
