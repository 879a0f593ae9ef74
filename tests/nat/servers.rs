//! The public servers: registry, gateway and coordinator by one `beeline serve`, and coturn.

use super::program::{Program, Wrong, binary};
use super::strict::{self, Strict};
use super::world::{TURN, TURN_OTHER, World};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// What coturn and the gateway share.
pub(crate) const SECRET: &str = "of-the-lab-only";

/// Seconds that credentials last where they are to end soon.
const BRIEF_S: &str = "60";

/// coturn says this once it listens.
const LISTENS: &str = "Total General servers";

/// The clients' STUN and TURN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Ice {
    /// STUN alone.
    Stun,
    /// STUN and TURN.
    Turn,
    /// The same, with credentials that last a minute; coturn goes on serving who had good ones.
    Brief,
    /// The same through a server that serves nobody whose credentials have ended.
    Strict,
}

impl Ice {
    /// Whether there is a TURN server.
    pub(crate) fn has_turn(self) -> bool {
        self != Self::Stun
    }

    /// Port of the TURN server, and how long its credentials last, seconds.
    fn turn(self) -> Option<(u16, &'static str)> {
        match self {
            Self::Stun => None,
            Self::Turn => Some((3_478, "600")),
            Self::Brief => Some((3_478, BRIEF_S)),
            Self::Strict => Some((strict::PORT, BRIEF_S)),
        }
    }
}

/// The servers of a scenario, running.
pub(crate) struct Servers {
    pub(crate) beeline: Program,
    pub(crate) coturn: Program,
    /// What stands before it.
    pub(crate) _strict: Option<Strict>,
    /// A link to join with, for a hundred.
    pub(crate) invite: String,
}

impl Servers {
    /// Starts all of them.
    pub(crate) async fn start(world: &World, ice: Ice, dir: &Path) -> Result<Self, Wrong> {
        let coturn = coturn(world, dir).await?;
        let strict = (ice == Ice::Strict).then(|| Strict::start(&world.turn));
        let mut beeline = beeline(world, ice, dir)?;
        let ready = beeline.event("ready").await?;
        let invite = ready["invite"].as_str().ok_or("no invite")?.to_owned();
        Ok(Self {
            beeline,
            coturn,
            _strict: strict.transpose()?,
            invite,
        })
    }
}

/// The configuration that is shipped.
fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/coturn/turnserver.conf")
}

/// coturn as it is shipped, at two addresses of each family, so that it can tell kinds of NAT
/// apart. The lab's public addresses are those of documentation, which it would not relay to.
pub(crate) async fn coturn(world: &World, dir: &Path) -> Result<Program, Wrong> {
    let text = |path: &Path| path.display().to_string();
    let (pid, db) = (text(&dir.join("turn.pid")), text(&dir.join("turn.db")));
    let (v4, v6) = (TURN.v4.to_string(), TURN.v6.to_string());
    let (other4, other6) = (TURN_OTHER.v4.to_string(), TURN_OTHER.v6.to_string());
    let shipped = text(&shipped());
    let mut args = vec!["-c", &shipped, "--realm", "example"];
    for listening in [&v4, &other4, &v6, &other6] {
        args.extend(["--listening-ip", listening]);
    }
    args.extend(["--relay-ip", &v4, "--relay-ip", &v6]);
    for public in ["198.51.100.0-198.51.100.255", "2001:db8::-2001:db8::ffff"] {
        args.extend(["--allowed-peer-ip", public]);
    }
    args.extend([
        "--static-auth-secret",
        SECRET,
        "--pidfile",
        &pid,
        "--userdb",
        &db,
    ]);
    args.extend(["--log-file", "stdout", "--simple-log"]);
    let turnserver = "turnserver";
    let mut coturn = Program::start(&world.turn, "coturn", dir, turnserver, &args)
        .map_err(|wrong| format!("{wrong}; apt-get install coturn"))?;
    while !coturn.line().await?.contains(LISTENS) {}
    coturn.drain();
    Ok(coturn)
}

/// Registry, gateway and coordinator; where they were before, if they were.
pub(crate) fn beeline(world: &World, ice: Ice, dir: &Path) -> Result<Program, Wrong> {
    let data = dir.join("server").display().to_string();
    let secret = dir.join("secret");
    std::fs::write(&secret, SECRET).map_err(|error| format!("{}: {error}", secret.display()))?;
    let secret = secret.display().to_string();
    let mut args = vec![
        "--json",
        "serve",
        "--listen",
        "[::]:8080",
        "--grpc",
        "127.0.0.1:8081",
    ];
    args.extend([
        "--data",
        &data,
        "--public-url",
        "http://beeline.example:8080",
    ]);
    args.extend(["--coordinator-listen", "[::]:8082"]);
    args.extend(["--coordinator-url", "http://beeline.example:8082"]);
    let (v4, v6) = (format!("{}:3478", TURN.v4), format!("[{}]:3478", TURN.v6));
    let stun = [format!("stun:{v4}"), format!("stun:{v6}")];
    for stun in &stun {
        args.extend(["--stun", stun]);
    }
    let turn = ice.turn();
    let turn = turn.map(|(port, ttl)| (format!("turn:{}:{port}", TURN.v4), ttl));
    if let Some((url, ttl)) = &turn {
        args.extend(["--turn-url", url, "--turn-secret-file", &secret]);
        args.extend(["--turn-ttl", ttl]);
    }
    Program::start(
        &world.servers,
        "serve",
        dir,
        binary("BEELINE_BIN", "beeline")?,
        &args,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::net::IpAddr;

    /// The lines of the shipped configuration, by name.
    fn lines() -> BTreeMap<String, Vec<String>> {
        let text = std::fs::read_to_string(shipped()).expect("it is shipped");
        let mut lines: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
        {
            let (name, value) = line.split_once('=').unwrap_or((line, ""));
            lines
                .entry(name.to_owned())
                .or_default()
                .push(value.to_owned());
        }
        lines
    }

    #[test]
    fn what_is_shipped_serves_members_only_and_within_bounds() {
        let lines = lines();
        for flag in [
            "use-auth-secret",
            "no-tcp-relay",
            "no-multicast-peers",
            "no-cli",
            "no-software-attribute",
        ] {
            assert_eq!(lines.get(flag), Some(&vec![String::new()]), "{flag}");
        }
        for bounded in ["user-quota", "total-quota", "max-bps", "stale-nonce"] {
            let value = lines.get(bounded).and_then(|values| values.first());
            let number = value.and_then(|value| value.parse::<u64>().ok());
            assert!(number.is_some_and(|number| number > 0), "{bounded}");
        }
        for never in [
            "fingerprint",
            "static-auth-secret",
            "no-auth",
            "allow-loopback-peers",
        ] {
            assert!(!lines.contains_key(never), "{never}");
        }
    }

    #[test]
    fn what_is_shipped_relays_to_no_private_network() {
        let lines = lines();
        let denied: Vec<(IpAddr, IpAddr)> = lines["denied-peer-ip"]
            .iter()
            .map(|range| {
                let (low, high) = range.split_once('-').expect("a range");
                (
                    low.parse().expect("an address"),
                    high.parse().expect("an address"),
                )
            })
            .collect();
        let is_denied = |text: &str| {
            let ip: IpAddr = text.parse().expect("an address");
            let within = |(low, high): &(IpAddr, IpAddr)| {
                low.is_ipv4() == ip.is_ipv4() && *low <= ip && ip <= *high
            };
            denied.iter().any(within)
        };
        for private in [
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.31.255.255",
            "192.168.1.1",
            "198.18.0.1",
            "255.255.255.255",
            "::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::1",
            "fd00:ec2::254",
            "fe80::1",
        ] {
            assert!(is_denied(private), "{private}");
        }
        for public in [
            "9.9.9.9",
            "172.32.0.1",
            "192.1.1.1",
            "2606:4700::1111",
            "2a00::1",
        ] {
            assert!(!is_denied(public), "{public}");
        }
    }
}
