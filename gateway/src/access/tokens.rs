//! The token file: one line for each token, `NAME ROLE sha256:HEX`; `#` begins a comment. The name may have spaces.
//!
//! The file holds no token, so reading it gives nobody access. It is read again when it changes; a change that does not
//! read leaves the list as it was, and is said.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use fettle_wire::record::{Hex, unhex};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Person, Role};
use crate::commands::check_person;

/// The longest file, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// The longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 256;

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error("cannot read the token file {path}: {source}; correct its path or permissions")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It cannot be understood.
    #[error(
        "token file {path}: {fault}; a line is `NAME viewer|operator sha256:HEX`, as `fettle-gateway token` prints it"
    )]
    Line {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line's number.
        fault: String,
    },
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Who.
    pub person: Person,
    /// SHA-256 of the token.
    pub hash: [u8; 32],
}

/// The list, with what it was read from.
pub struct Tokens {
    path: PathBuf,
    read_as: Option<(SystemTime, u64)>,
    tokens: Vec<Token>,
}

fn stamp(path: &Path) -> std::io::Result<(SystemTime, u64)> {
    let found = std::fs::metadata(path)?;
    Ok((found.modified()?, found.len()))
}

fn read(path: &Path) -> Result<Vec<Token>, TokenError> {
    let failed = |source| TokenError::Read { path: path.into(), source };
    if stamp(path).map_err(failed)?.1 > MAX_FILE {
        return Err(TokenError::Line { path: path.into(), fault: format!("it is longer than {MAX_FILE} bytes") });
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    parse(&text).map_err(|fault| TokenError::Line { path: path.into(), fault })
}

/// The tokens of a file's text, or what is wrong with its first wrong line.
pub fn parse(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens: Vec<Token> = Vec::new();
    for (at, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut parts = line.rsplitn(3, char::is_whitespace);
        let (hash, role, name) = (parts.next(), parts.next(), parts.next());
        let (Some(hash), Some(role), Some(name)) = (hash, role, name) else {
            return Err(format!("line {at} has not three parts"));
        };
        let role = match role {
            "viewer" => Role::Viewer,
            "operator" => Role::Operator,
            other => return Err(format!("line {at}: the role is viewer or operator, not {other:?}")),
        };
        let mut bytes = [0; 32];
        let hex = hash.strip_prefix("sha256:").and_then(|hex| unhex(hex, &mut bytes));
        if hex.is_none() {
            return Err(format!("line {at}: the hash is not sha256: and 64 hexadecimal digits"));
        }
        let name = check_person(name).map_err(|rule| format!("line {at}: {rule}"))?.to_owned();
        if tokens.iter().any(|token| token.person.name == name) {
            return Err(format!("line {at}: {name:?} has a token already"));
        }
        tokens.push(Token { person: Person { name, role }, hash: bytes });
    }
    if tokens.is_empty() {
        return Err("it has no token, so nobody could get in".into());
    }
    Ok(tokens)
}

impl Tokens {
    /// Reads the file.
    pub fn open(path: &Path) -> Result<Self, TokenError> {
        Ok(Self { path: path.into(), read_as: stamp(path).ok(), tokens: read(path)? })
    }

    /// The list as the file has it now.
    pub fn current(&mut self) -> &[Token] {
        let found = stamp(&self.path).ok();
        if found != self.read_as {
            self.read_as = found;
            match read(&self.path) {
                Ok(tokens) => self.tokens = tokens,
                Err(error) => tracing::error!("the tokens known before stay good: {error}"),
            }
        }
        &self.tokens
    }
}

/// SHA-256 of a token.
pub fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Whose token this is. Every line is compared, in constant time.
pub fn holder(token: &str, all: &[Token]) -> Option<Person> {
    if token.is_empty() || token.len() > MAX_TOKEN {
        return None;
    }
    let hash = hash(token);
    all.iter()
        .fold(None, |found, token| if token.hash.ct_eq(&hash).into() { Some(&token.person) } else { found })
        .cloned()
}

/// A new token of 256 random bits, and its line for the file.
pub fn make(name: &str, role: Role) -> Result<(String, String), String> {
    let name = check_person(name)?;
    if name.starts_with('#') {
        return Err("a name does not begin with #, which begins a comment".into());
    }
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|e| format!("the system gives no random bytes: {e}"))?;
    let mut token = String::from("fettle_");
    // Writing into a String cannot fail.
    let _ = write!(token, "{}", Hex(&random));
    let role = match role {
        Role::Viewer => "viewer",
        Role::Operator => "operator",
    };
    let line = format!("{name} {role} sha256:{}", Hex(&hash(&token)));
    Ok((token, line))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn line(name: &str, role: &str, token: &str) -> String {
        format!("{name} {role} sha256:{}\n", Hex(&hash(token)))
    }

    #[test]
    fn a_token_that_was_made_is_known_by_its_line_and_another_is_not() {
        let (token, line) = make("Ada Lovelace", Role::Operator).unwrap();
        let all = parse(&format!("# people\n\n{line}\n")).unwrap();
        let found = holder(&token, &all).unwrap();
        assert_eq!((found.name.as_str(), found.role), ("Ada Lovelace", Role::Operator));
        assert!(!line.contains(&token), "the file holds no token");
        for wrong in ["", &token[1..], &format!("{token}0"), &"x".repeat(1000)] {
            assert_eq!(holder(wrong, &all), None);
        }
    }

    #[test]
    fn the_hash_is_sha_256() {
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"; // FIPS 180-4, "abc"
        assert_eq!(Hex(&hash("abc")).to_string(), known);
    }

    #[test]
    fn a_line_that_is_wrong_is_named() {
        let good = line("ada", "viewer", "t");
        for (text, says) in [
            ("ada viewer\n".to_owned(), "line 1 has not three parts"),
            (line("ada", "root", "t"), "role"),
            ("ada viewer sha256:00\n".to_owned(), "hash"),
            (format!("{good}{good}"), "line 2: \"ada\" has a token already"),
            ("# nothing\n".to_owned(), "no token"),
        ] {
            let fault = parse(&text).unwrap_err();
            assert!(fault.contains(says), "{fault}");
        }
    }

    #[test]
    fn a_token_taken_out_of_the_file_is_gone_at_once_and_a_broken_file_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        let (ada, bob) = (line("ada", "viewer", "one"), line("bob", "operator", "two"));
        std::fs::write(&path, format!("{ada}{bob}")).unwrap();
        let mut tokens = Tokens::open(&path).unwrap();
        assert_eq!(tokens.current().len(), 2);
        std::fs::write(&path, &bob).unwrap();
        assert_eq!(tokens.current().len(), 1);
        std::fs::write(&path, "what").unwrap();
        assert_eq!(tokens.current().len(), 1, "said in the log, and known tokens stay");
    }
}
