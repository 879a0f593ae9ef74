//! The lab's proof: coturn names every NAT right, and a foreign WebRTC stack connects in exactly
//! the pairs theory allows. Only then is what Beeline does in it worth looking at.

use super::client::Client;
use super::hide::Hide;
use super::kind::{By, Kind, direct};
use super::play::Held;
use super::program::{Program, Wrong};
use super::servers::{Ice, SECRET, coturn};
use super::world::{Conditions, HOSTS, TURN, World};
use beeline_tests::netns::Netns;
use serde_json::Value;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::process::Command;

/// Worlds looked at side by side: most of the time they wait for something that must not come.
pub(crate) const SIDE_BY_SIDE: usize = 4;

/// A world with coturn and nothing else.
struct Bare {
    world: World,
    dir: TempDir,
    _coturn: Program,
}

impl Bare {
    async fn build(kinds: [Kind; 2]) -> Result<Self, Wrong> {
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let hosts = dir.path().join("hosts");
        std::fs::write(&hosts, HOSTS).map_err(|error| error.to_string())?;
        let world = World::build(kinds, Conditions::CABLE, &hosts);
        let coturn = coturn(&world, dir.path()).await?;
        Ok(Self {
            world,
            dir,
            _coturn: coturn,
        })
    }
}

/// What `turnutils_natdiscovery` must say of a kind, and what it must not.
fn must_say(kind: Kind) -> (Vec<&'static str>, Vec<&'static str>) {
    const MAPPED: &str = "NAT with Endpoint Independent Mapping!";
    const SYMMETRIC: &str = "NAT with Address and Port Dependent Mapping!";
    const OPEN: &str = "NAT with Endpoint Independent Filtering!";
    const RESTRICTED: &str = "NAT with Address Dependent Filtering!";
    const STRICT: &str = "NAT with Address and Port Dependent Filtering!";
    const NONE: &str = "No NAT! (Endpoint Independent Mapping)";
    if !kind.has_udp() {
        return (
            vec!["STUN receive timeout"],
            vec![MAPPED, SYMMETRIC, OPEN, RESTRICTED, STRICT],
        );
    }
    let mapping = match kind.mapping() {
        By::Nothing => MAPPED,
        _ => SYMMETRIC,
    };
    let filtering = match kind.filtering() {
        By::Nothing => OPEN,
        By::Address => RESTRICTED,
        By::Port => STRICT,
    };
    let all = [MAPPED, SYMMETRIC, OPEN, RESTRICTED, STRICT];
    let mut must = vec![mapping, filtering];
    let mut not: Vec<_> = all
        .into_iter()
        .filter(|said| !must.contains(said))
        .collect();
    if kind.is_behind_nat() {
        not.push(NONE)
    } else {
        must.push(NONE)
    }
    (must, not)
}

/// The address a host has by itself.
fn own_address(host: &Netns, kind: Kind) -> Result<String, Wrong> {
    let family = if kind.has_ipv4() { "-4" } else { "-6" };
    let listed = host.run(
        "ip",
        &[family, "-oneline", "addr", "show", "scope", "global"],
    );
    let found = listed
        .split_whitespace()
        .skip_while(|word| !word.starts_with("inet"))
        .nth(1);
    let found = found.and_then(|address| address.split('/').next());
    found
        .map(str::to_owned)
        .ok_or_else(|| format!("no address in {listed:?}"))
}

/// Has coturn's tool name the NAT of a kind.
pub(crate) async fn named_by_coturn(kind: Kind) -> Result<(), Wrong> {
    let bare = Bare::build([kind, Kind::Open]).await?;
    let host = &bare.world.parties[0].host;
    let server = if kind.has_ipv4() {
        TURN.v4.to_string()
    } else {
        TURN.v6.to_string()
    };
    let local = own_address(host, kind)?;
    let mut command = Command::from(host.command("turnutils_natdiscovery"));
    command
        .args(["-m", "-f", "-L", &local, &server])
        .kill_on_drop(true);
    let output = command.output().await.map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = said + &String::from_utf8_lossy(&output.stderr);
    let (must, not) = must_say(kind);
    let missing: Vec<_> = must
        .into_iter()
        .filter(|text| !said.contains(text))
        .collect();
    let wrong: Vec<_> = not.into_iter().filter(|text| said.contains(text)).collect();
    if missing.is_empty() && wrong.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{}: not said {missing:?}, said {wrong:?} in\n{said}",
        kind.name()
    ))
}

/// What `beeline doctor` must say of a kind, and of which family.
fn must_find(kind: Kind) -> (&'static str, &'static str) {
    let value = match (kind.has_udp(), kind.is_behind_nat(), kind.mapping()) {
        (false, ..) => "udp-blocked",
        (_, false, _) => "none",
        (.., By::Port | By::Address) => "symmetric",
        (.., By::Nothing) => match kind.filtering() {
            By::Nothing => "full-cone",
            By::Address => "address-restricted",
            By::Port => "port-restricted",
        },
    };
    (if kind.has_ipv4() { "nat-v4" } else { "nat-v6" }, value)
}

/// Has `beeline doctor` examine a host of a kind, in a home that runs.
pub(crate) async fn named_by_doctor(kind: Kind) -> Result<String, Wrong> {
    let kinds = [kind, Kind::Open];
    let held = Held::build(kinds, Conditions::CABLE, Ice::Turn).await?;
    let (host, dir) = (&held.world.parties[0].host, held.dir.path());
    let alice = Client::join(host, &held.servers.invite, "alice", dir, Hide::All).await?;
    let checks = alice.doctor().await?;
    alice.program.end().await?;
    held.servers.beeline.end().await?;
    let text = |check: &Value, key: &str| check[key].as_str().unwrap_or_default().to_owned();
    let told: Vec<String> = checks
        .iter()
        .map(|check| ["verdict", "check", "value", "detail", "advice"].map(|key| text(check, key)))
        .map(|words| words.join(" | "))
        .collect();
    let told = told.join("\n");
    let wrong = |what: &str| Err(format!("{}: {what} in\n{told}", kind.name()));
    let (name, value) = must_find(kind);
    if !checks
        .iter()
        .any(|c| c["check"] == name && c["value"] == value)
    {
        return wrong(&format!("no {name} {value}"));
    }
    let bad = checks.iter().filter(|check| check["verdict"] == "bad");
    for check in bad {
        let excused = ["nat-v4", "turn"]
            .iter()
            .any(|name| check["check"] == *name);
        if !excused || kind.has_udp() {
            return wrong(&format!("a wrong alarm, {check}"));
        }
    }
    let silent = checks.iter().find(|check| {
        let advice = text(check, "advice");
        check["verdict"] == "bad" && advice.is_empty()
    });
    if let Some(check) = silent {
        return wrong(&format!("no advice, {check}"));
    }
    if told.contains(SECRET) || told.contains("credential") {
        return wrong("a secret");
    }
    Ok(told)
}

/// Whether aiortc links the two hosts of a pair.
async fn linked_by_aiortc(kinds: [Kind; 2]) -> Result<bool, Wrong> {
    let bare = Bare::build(kinds).await?;
    let start = |side: usize, role: &str| {
        let kind = kinds[side];
        // aiortc reads no STUN address of IPv6, and a public host needs none.
        let stun = kind.has_ipv4().then(|| format!("stun:{}:3478", TURN.v4));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("nat/foreign.py");
        let script = script.display().to_string();
        let args = [Some(script.as_str()), Some(role), stun.as_deref()];
        let args: Vec<&str> = args.into_iter().flatten().collect();
        let host = &bare.world.parties[side].host;
        Program::start(host, role, bare.dir.path(), python()?, &args)
    };
    let (mut one, mut other) = (start(0, "offer")?, start(1, "answer")?);
    let offer = one.event("described").await?;
    other.say(&offer.to_string()).await?;
    let answer = other.event("described").await?;
    one.say(&answer.to_string()).await?;
    let linked = one.either("linked", "failed").await?;
    // Which of the two knows first is chance, and one that failed may not hear of it.
    if linked {
        other.event("linked").await?;
    }
    Ok(linked)
}

fn python() -> Result<PathBuf, Wrong> {
    let named = std::env::var_os("BEELINE_TEST_PYTHON").map(PathBuf::from);
    let advice = "BEELINE_TEST_PYTHON names no Python with aiortc: tests/nat/run makes one";
    named
        .filter(|path| path.is_absolute() && path.is_file())
        .ok_or_else(|| advice.to_owned())
}

/// Has aiortc try a pair.
pub(crate) async fn tried_by_aiortc(kinds: [Kind; 2]) -> Result<(), Wrong> {
    let [one, other] = kinds;
    let names = format!("{} + {}", one.name(), other.name());
    let linked = linked_by_aiortc(kinds)
        .await
        .map_err(|wrong| format!("{names}: {wrong}"))?;
    match (linked, direct(one, other)) {
        (true, false) => Err(format!("{names}: aiortc links where theory says it cannot")),
        (false, true) => Err(format!(
            "{names}: aiortc does not link where theory says it can"
        )),
        _ => Ok(()),
    }
}
