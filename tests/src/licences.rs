//! Licences, bans and sources of every dependency, after the rules in `deny.toml`.
//!
//! The file is cargo-deny's, so that cargo-deny can be used where it is installed. Building it takes longer than all
//! else that is checked, and its three offline checks need no more than what `cargo metadata` tells, so they are done
//! here on every run. Advisories need a data base from the network; `cargo verify` says aloud when they are not checked.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;

#[derive(Deserialize)]
struct Rules {
    graph: Graph,
    licenses: Licences,
    bans: Bans,
    sources: Sources,
}
#[derive(Deserialize)]
struct Graph {
    targets: Vec<String>,
}
#[derive(Deserialize)]
struct Licences {
    allow: Vec<String>,
}
#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}
#[derive(Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}
#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}
#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}
#[derive(Deserialize)]
struct Node {
    id: String,
}

/// Checks the repository at `root`; how many packages were judged, or everything that breaks a rule.
pub fn check(root: &Path) -> Result<usize, Vec<String>> {
    let path = root.join("deny.toml");
    let text = std::fs::read_to_string(&path).map_err(|e| vec![format!("cannot read {}: {e}", path.display())])?;
    let rules: Rules = toml::from_str(&text).map_err(|e| vec![format!("{}: {e}", path.display())])?;
    let mut packages = BTreeMap::new();
    for target in &rules.graph.targets {
        let metadata = metadata(root, target).map_err(|e| vec![e])?;
        let used: std::collections::BTreeSet<_> = metadata.resolve.nodes.iter().map(|node| &node.id).collect();
        let used = metadata.packages.iter().filter(|package| used.contains(&package.id));
        packages.extend(used.map(|p| (p.id.clone(), judge(&rules, p))));
    }
    let broken: Vec<_> = packages.values().flatten().cloned().collect();
    if broken.is_empty() { Ok(packages.len()) } else { Err(broken) }
}

fn metadata(root: &Path, target: &str) -> Result<Metadata, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--all-features", "--locked", "--filter-platform", target])
        .current_dir(root)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("cannot start cargo: {e}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    serde_json::from_slice(&output.stdout).map_err(|e| format!("cargo metadata: {e}"))
}

fn judge(rules: &Rules, package: &Package) -> Vec<String> {
    let name = format!("{} {}", package.name, package.version);
    let mut broken = Vec::new();
    match &package.license {
        None => broken.push(format!("{name}: declares no licence")),
        Some(licence) => match allowed(licence, &rules.licenses.allow) {
            Ok(true) => {}
            Ok(false) => broken.push(format!("{name}: licence {licence} is not on deny.toml's list")),
            Err(e) => broken.push(format!("{name}: licence {licence}: {e}")),
        },
    }
    if let Some(ban) = rules.bans.deny.iter().find(|ban| ban.name == package.name) {
        broken.push(format!("{name}: banned, {}", ban.reason));
    }
    if let Some(source) = &package.source {
        let registry = source.strip_prefix("registry+").unwrap_or(source);
        if !rules.sources.allow_registry.iter().any(|allowed| allowed == registry) {
            broken.push(format!("{name}: comes from {source}, which deny.toml does not allow"));
        }
    }
    broken
}

/// Whether an SPDX expression (also in the older form `A/B`) can be satisfied from `allow`.
fn allowed(expression: &str, allow: &[String]) -> Result<bool, String> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut tokens = spaced.split_whitespace().peekable();
    let value = any_of(&mut tokens, allow)?;
    tokens.next().map_or(Ok(value), |rest| Err(format!("unexpected {rest}")))
}

type Tokens<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(tokens: &mut Tokens<'_>, allow: &[String]) -> Result<bool, String> {
    let mut value = all_of(tokens, allow)?;
    while tokens.next_if_eq(&"OR").is_some() {
        value |= all_of(tokens, allow)?;
    }
    Ok(value)
}

fn all_of(tokens: &mut Tokens<'_>, allow: &[String]) -> Result<bool, String> {
    let mut value = one(tokens, allow)?;
    while tokens.next_if_eq(&"AND").is_some() {
        value &= one(tokens, allow)?;
    }
    Ok(value)
}

fn one(tokens: &mut Tokens<'_>, allow: &[String]) -> Result<bool, String> {
    let licence = tokens.next().ok_or("ends too early")?;
    if licence == "(" {
        let value = any_of(tokens, allow)?;
        return tokens.next_if_eq(&")").map(|_| value).ok_or_else(|| "a bracket is not closed".to_owned());
    }
    if tokens.next_if_eq(&"WITH").is_some() {
        let exception = tokens.next().ok_or("WITH names no exception")?;
        return Ok(allow.contains(&format!("{licence} WITH {exception}")));
    }
    Ok(allow.iter().any(|known| known == licence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licence_expressions_are_judged_by_their_logic() {
        let allow = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
        for (expression, expected) in [
            ("MIT", true),
            ("GPL-3.0", false),
            ("GPL-3.0 OR MIT", true),
            ("GPL-3.0 AND MIT", false),
            ("MIT/Apache-2.0", true),
            ("(GPL-3.0 OR MIT) AND Apache-2.0", true),
            ("(GPL-3.0 OR MIT) AND ISC", false),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("Apache-2.0 WITH Other-exception", false),
        ] {
            assert_eq!(allowed(expression, &allow), Ok(expected), "{expression}");
        }
        assert!(allowed("(MIT", &allow).is_err());
        assert!(allowed("MIT MIT", &allow).is_err());
    }
}
