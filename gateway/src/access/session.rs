//! A browser's session: the cookie `fettle_session`, whose value is `EXPIRES.NAME.MAC`.
//!
//! EXPIRES in Unix seconds, NAME in hexadecimal, MAC = HMAC-SHA-256 (RFC 2104) under the session key over both and the
//! token's hash: who has no token cannot make one, and another token of that name ends it (A3).

use fettle_wire::Micros;
use fettle_wire::record::{Hex, unhex};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Person;
use super::tokens::Token;

/// How long a session lasts, in seconds.
pub const LASTS: i64 = 12 * 3600;
/// The cookie's name.
const NAME: &str = "fettle_session";
/// The block of SHA-256, in bytes.
const BLOCK: usize = 64;

/// HMAC-SHA-256 (RFC 2104) under a key of at most one block.
fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let pad = |with: u8| {
        let mut block = [with; BLOCK];
        block.iter_mut().zip(key).for_each(|(to, from)| *to ^= from);
        block
    };
    let mut inner = Sha256::new_with_prefix(pad(0x36));
    parts.iter().for_each(|part| inner.update(part));
    Sha256::new_with_prefix(pad(0x5c)).chain_update(inner.finalize()).finalize().into()
}

/// The session key that goes with a secret.
pub fn derive(secret: &[u8]) -> [u8; 32] {
    Sha256::new_with_prefix(b"fettle-gateway sessions, version 1\n").chain_update(secret).finalize().into()
}

fn mac(key: &[u8; 32], token: &Token, expires: i64) -> [u8; 32] {
    hmac(key, &[&expires.to_be_bytes(), &token.hash, token.person.name.as_bytes()])
}

/// The value for a session of `name` that begins now.
pub fn make(name: &str, all: &[Token], key: &[u8; 32], now: Micros) -> Option<String> {
    let token = all.iter().find(|token| token.person.name == name)?;
    let expires = now / 1_000_000 + LASTS;
    Some(format!("{expires}.{}.{}", Hex(name.as_bytes()), Hex(&mac(key, token, expires))))
}

/// Whose session this value is.
pub fn read(value: &str, all: &[Token], key: &[u8; 32], now: Micros) -> Option<Person> {
    let mut parts = value.splitn(3, '.');
    let (expires, name, told) = (parts.next()?.parse::<i64>().ok()?, parts.next()?, parts.next()?);
    let mut bytes = [0; 32];
    unhex(told, &mut bytes)?;
    if expires <= now / 1_000_000 {
        return None;
    }
    let token = all.iter().find(|token| Hex(token.person.name.as_bytes()).to_string() == name)?;
    bool::from(mac(key, token, expires).ct_eq(&bytes)).then(|| token.person.clone())
}

/// The session's value in a `Cookie` header.
pub fn find(cookies: &str) -> Option<&str> {
    cookies.split(';').find_map(|cookie| cookie.trim().strip_prefix(NAME)?.strip_prefix('='))
}

/// A `Set-Cookie` header: no script reads it, no other site's request carries it.
pub fn cookie(value: &str, seconds: i64, is_secure: bool) -> String {
    let secure = if is_secure { "; Secure" } else { "" };
    format!("{NAME}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::tokens::{parse, tests::line};

    #[test]
    fn the_mac_is_hmac_sha_256() {
        // RFC 4231, test case 1: a key of 20 bytes 0x0b, padded with zeros as RFC 2104 says.
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let expected = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7";
        assert_eq!(Hex(&hmac(&key, &[b"Hi ", b"There"])).to_string(), expected);
    }

    #[test]
    fn a_session_holds_until_it_expires_or_its_token_changes() {
        let (key, other, now) = (derive(b"key"), derive(b"other"), 5_000_000);
        let all = parse(&line("Ada L", "viewer", "one")).unwrap();
        let value = make("Ada L", &all, &key, now).unwrap();
        let who = |value: &str, all: &[Token], key, now| read(value, all, key, now).map(|p| p.name);
        assert_eq!(who(&value, &all, &key, now).as_deref(), Some("Ada L"));
        assert_eq!(who(&value, &all, &key, now + LASTS * 1_000_000), None, "expired");
        assert_eq!(who(&value, &all, &other, now), None, "another key");
        let another = parse(&line("Ada L", "viewer", "two")).unwrap();
        assert_eq!(who(&value, &another, &key, now), None, "another token");
        let later = value.replacen(value.split('.').next().unwrap(), "99999999", 1);
        assert_eq!(who(&later, &all, &key, now), None, "changed");
        assert_eq!(who("", &all, &key, now), None);
    }

    #[test]
    fn the_cookie_is_found_among_others_and_closed_to_scripts_and_other_sites() {
        assert_eq!(find("a=b; fettle_session=1.2.3; c=d"), Some("1.2.3"));
        assert_eq!(find("xfettle_session=1"), None);
        let set = cookie("v", 60, true);
        assert!(set.contains("; HttpOnly; SameSite=Strict; Secure"), "{set}");
    }
}
