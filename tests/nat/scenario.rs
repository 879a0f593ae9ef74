//! Scenarios as data: what `scenarios.toml` says.

use super::hide::Hide;
use super::kind::{Kind, pairs};
use super::program::Wrong;
use super::servers::Ice;
use super::trouble::Trouble;
use super::world::Conditions;
use serde::Deserialize;
use std::time::Duration;

const TEXT: &str = include_str!("scenarios.toml");

/// A scenario.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) about: String,
    pub(crate) pairs: Vec<[Kind; 2]>,
    pub(crate) ice: Ice,
    /// What the clients let others learn of their hosts.
    pub(crate) hide: Hide,
    pub(crate) conditions: Conditions,
    pub(crate) trouble: Option<Trouble>,
    /// Size of a file that follows the first message, and is on its way when the trouble comes,
    /// MiB.
    pub(crate) file_mib: Option<u64>,
    /// Fresh processes per pair.
    pub(crate) tries: usize,
}

#[cfg(test)]
impl Scenario {
    /// The same with one try.
    pub(crate) fn once(&self) -> Self {
        Self {
            tries: 1,
            ..self.clone()
        }
    }
}

#[derive(Debug, Deserialize)]
struct File {
    scenario: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    about: String,
    pairs: Vec<String>,
    #[serde(default = "stun")]
    ice: Ice,
    #[serde(default)]
    hide: Hide,
    #[serde(default)]
    rtt_ms: u64,
    #[serde(default)]
    loss: f64,
    #[serde(default = "cable_mtu")]
    mtu: u16,
    trouble: Option<Trouble>,
    file_mib: Option<u64>,
    #[serde(default = "once")]
    tries: usize,
}

fn cable_mtu() -> u16 {
    Conditions::CABLE.mtu
}

fn stun() -> Ice {
    Ice::Stun
}

fn once() -> usize {
    1
}

/// Every scenario there is.
pub(crate) fn all() -> Result<Vec<Scenario>, Wrong> {
    let file: File = toml::from_str(TEXT).map_err(|error| error.to_string())?;
    file.scenario.into_iter().map(read).collect()
}

/// The scenario of a name.
pub(crate) fn named(name: &str) -> Result<Scenario, Wrong> {
    let mut all = all()?.into_iter();
    let found = all.find(|scenario| scenario.name == name);
    found.ok_or_else(|| format!("there is no scenario {name:?}: `list` names them"))
}

/// Two kinds joined by +, in either order.
pub(crate) fn pair(text: &str) -> Result<[Kind; 2], Wrong> {
    let kinds = text
        .split_once('+')
        .map(|(one, other)| (Kind::of(one), Kind::of(other)));
    let Some((Some(one), Some(other))) = kinds else {
        let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        return Err(format!(
            "{text:?} is no pair; two of these, joined by +: {}",
            names.join(", ")
        ));
    };
    Ok([one, other])
}

fn read(entry: Entry) -> Result<Scenario, Wrong> {
    let mut kinds = Vec::new();
    for text in &entry.pairs {
        match text.as_str() {
            "all" => kinds.extend(pairs().into_iter().map(|(one, other)| [one, other])),
            text => kinds.push(pair(text)?),
        }
    }
    Ok(Scenario {
        name: entry.name,
        about: entry.about,
        pairs: kinds,
        ice: entry.ice,
        hide: entry.hide,
        conditions: Conditions {
            rtt: Duration::from_millis(entry.rtt_ms),
            loss: entry.loss,
            mtu: entry.mtu,
            ..Conditions::CABLE
        },
        trouble: entry.trouble,
        file_mib: entry.file_mib,
        tries: entry.tries,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_reads_and_says_what_it_means() {
        let all = all().expect("it reads");
        for scenario in &all {
            assert!(
                !scenario.pairs.is_empty() && scenario.tries > 0,
                "{scenario:?}"
            );
        }
        assert_eq!(named("matrix").expect("there").pairs.len(), 45);
        assert_eq!(named("matrix-turn").expect("there").ice, Ice::Turn);
        assert!(named("short").expect("there").pairs.len() <= 6);
        assert!(named("nowhere").is_err() && pair("none").is_err() && pair("none+cone").is_err());
    }
}
