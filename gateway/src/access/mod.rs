//! Who may do what: tokens, sessions of browsers, host names, and how often somebody may be wrong.
//!
//! A1: without a token file nobody is asked, and the configuration then allows loopback addresses only.
//! A2: a token is known by its SHA-256 alone; what is compared is compared in constant time.
//! A3: a token that is taken out of the file is refused at once, and so are the sessions that it began.
//! A4: a request under a host name that is not ours is refused (DNS rebinding), whoever sends it.
//!
//! A session is a cookie that holds name, expiry and a MAC over both and the token's hash. Nothing is kept of it, so
//! instances behind one name know each other's sessions if they have the same TLS key.
//! Must never: log or keep a token.

pub mod failures;
pub mod hosts;
pub mod session;
pub mod tokens;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use fettle_wire::Micros;
use serde::Serialize;
use utoipa::ToSchema;

use crate::clock;
use crate::config::{Access as Rules, Config};
use failures::Failures;
use hosts::Hosts;
use tokens::{Token, TokenError, Tokens};

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Read.
    Viewer,
    /// Read and ask agents for something.
    Operator,
}

/// Somebody with a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The token's name.
    pub name: String,
    /// Its role.
    pub role: Role,
}

/// What is known of who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Nobody is asked who they are.
    Anyone,
    /// A token says who.
    Known(Person),
    /// No token, or none that is known.
    Stranger,
    /// Too many wrong tokens came from this address: it has to wait.
    Limited,
}

impl Caller {
    /// What the caller may do.
    pub const fn role(&self) -> Option<Role> {
        match self {
            Self::Anyone => Some(Role::Operator),
            Self::Known(person) => Some(person.role),
            Self::Stranger | Self::Limited => None,
        }
    }
}

/// Why access cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The token file.
    #[error(transparent)]
    Tokens(#[from] TokenError),
    /// The TLS key.
    #[error("cannot read tls.key_file {path}: {source}; correct the path or the file's permissions")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No randomness.
    #[error("the system gives no random bytes: {0}")]
    Random(String),
}

/// Judges requests.
pub struct Access {
    tokens: Option<Mutex<Tokens>>,
    hosts: Hosts,
    key: [u8; 32],
    is_secure: bool,
    failures: Mutex<Failures>,
}

impl Access {
    /// As configured; reads the token file.
    pub fn new(config: &Config) -> Result<Self, AccessError> {
        let Rules { token_file, hosts } = &config.access;
        let tokens = token_file.as_deref().map(Tokens::open).transpose()?.map(Mutex::new);
        let key = session_key(config.tls.as_ref().map(|tls| tls.key_file.as_path()))?;
        let hosts = Hosts::new(config.listen.ip(), hosts);
        Ok(Self { tokens, hosts, key, is_secure: config.tls.is_some(), failures: Mutex::default() })
    }

    /// Whether people have to say who they are.
    pub const fn is_required(&self) -> bool {
        self.tokens.is_some()
    }

    /// Whether a request may come under this host name (A4).
    pub fn is_ours(&self, host: &str) -> bool {
        self.hosts.accept(host)
    }

    fn find<T>(&self, find: impl FnOnce(&[Token]) -> Option<T>) -> Option<T> {
        let tokens = self.tokens.as_ref()?;
        // Reading the file again either replaced the list whole or left it.
        find(tokens.lock().unwrap_or_else(PoisonError::into_inner).current())
    }

    /// Who asks, by the `Authorization` header and the cookies of a request.
    pub fn judge(&self, bearer: Option<&str>, cookies: Option<&str>, from: IpAddr) -> Caller {
        if !self.is_required() {
            return Caller::Anyone;
        }
        if let Some(token) = bearer {
            return self.judge_token(token, from);
        }
        let now = clock::wall();
        let cookie = cookies.and_then(session::find);
        let person = cookie.and_then(|cookie| self.find(|all| session::read(cookie, all, &self.key, now)));
        person.map_or(Caller::Stranger, Caller::Known)
    }

    /// Who holds this token. Wrong ones are counted per address, and too many make it wait.
    pub fn judge_token(&self, token: &str, from: IpAddr) -> Caller {
        // Counts are whole whoever died holding them.
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::monotonic();
        if failures.is_too_many(from, now) {
            return Caller::Limited;
        }
        match self.find(|all| tokens::holder(token, all)) {
            Some(person) => Caller::Known(person),
            None => {
                failures.add(from, now);
                Caller::Stranger
            }
        }
    }

    /// The cookie that begins a session of `name`.
    pub fn begin(&self, name: &str, now: Micros) -> Option<String> {
        let value = self.find(|all| session::make(name, all, &self.key, now))?;
        Some(session::cookie(&value, session::LASTS, self.is_secure))
    }

    /// The cookie that ends it.
    pub fn end(&self) -> String {
        session::cookie("", 0, self.is_secure)
    }
}

/// Of the TLS key, so that instances that share it share sessions; else of this process.
fn session_key(path: Option<&Path>) -> Result<[u8; 32], AccessError> {
    if let Some(path) = path {
        let key = std::fs::read(path).map_err(|source| AccessError::Key { path: path.into(), source })?;
        return Ok(session::derive(&key));
    }
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|e| AccessError::Random(e.to_string()))?;
    Ok(key)
}
