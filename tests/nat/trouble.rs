//! What goes wrong between two that have a link or make one, and how long until they talk again.

use super::client::Client;
use super::file::carry;
use super::kind::Kind;
use super::play::{DIRECT, Held, Try, now};
use super::program::Wrong;
use super::servers::{beeline, coturn};
use super::world::Party;
use serde::Deserialize;
use std::time::Duration;

/// How long a side may take to see that its link is gone: ICE's patience, and some more.
const NOTICED: Duration = Duration::from_secs(60);

/// What goes wrong in a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Trouble {
    /// Once linked, Alice's interface goes down and comes up at once.
    Flap,
    /// The same, and it comes up only when Alice has noticed.
    Outage,
    /// Once linked, Alice's host gets another address.
    Readdress,
    /// Once linked, TURN is killed, and is there again after the next message.
    TurnKilled,
    /// Registry, gateway and coordinator are killed while a link is being made, and started again.
    ServersKilled,
}

/// The pair of clients of a try.
pub(crate) struct Pair<'a> {
    pub(crate) alice: &'a Client,
    pub(crate) carol: &'a str,
}

impl Trouble {
    /// Whether it comes while the first message is on its way.
    pub(crate) fn comes_early(self) -> bool {
        self == Self::ServersKilled
    }

    /// Kills the servers as soon as a link is being made, and starts them again.
    pub(crate) async fn early(self, held: &mut Held, pair: &Pair<'_>) -> Result<(), Wrong> {
        let making = ["SIGNALING", "CONNECTING", "CONNECTED"];
        pair.alice.reaches(pair.carol, &making, DIRECT).await?;
        held.servers.beeline.kill_now().await?;
        held.servers.beeline = beeline(&held.world, held.ice, held.dir.path())?;
        held.servers.beeline.event("ready").await.map(|_| ())
    }

    /// Lets it happen and mends it, then talks again.
    pub(crate) async fn late(
        self,
        held: &mut Held,
        pair: &Pair<'_>,
        done: &mut Try,
    ) -> Result<(), Wrong> {
        if let Some(mib) = held.file_mib {
            return carry(Some(self), held, pair, mib, done).await;
        }
        self.strike(held, pair).await?;
        let mended = now();
        let mut path = String::new();
        for number in 0.. {
            let text = format!("again {number}");
            let said = pair.alice.say(pair.carol, &text).await?;
            path = said.ok_or("not delivered after the trouble")?;
            let took = now().duration_since(mended);
            if done.again.is_none() {
                done.again = Some((took, path.clone()));
            }
            let direct = path == "direct";
            if direct {
                done.back = Some(took);
            }
            if direct || took > DIRECT || self == Self::TurnKilled {
                break;
            }
        }
        if self == Self::TurnKilled {
            held.servers.coturn = coturn(&held.world, held.dir.path()).await?;
        } else if done.back.is_none() {
            return Err(format!(
                "no direct path within {DIRECT:?} after the trouble, still {path}"
            ));
        }
        Ok(())
    }

    /// Lets it happen, and mends what mends itself.
    pub(crate) async fn strike(self, held: &mut Held, pair: &Pair<'_>) -> Result<(), Wrong> {
        let party = &held.world.parties[0];
        match self {
            Self::Flap => {
                down(party)?;
                up(party, None)?;
            }
            Self::Outage => {
                down(party)?;
                let away = [
                    "DISCONNECTED",
                    "DISCOVERING",
                    "SIGNALING",
                    "STORE_AND_FORWARD",
                ];
                pair.alice.reaches(pair.carol, &away, NOTICED).await?;
                up(party, None)?;
            }
            Self::Readdress => {
                down(party)?;
                let number = 20 + u8::try_from(held.played % 200).unwrap_or_default();
                up(party, Some(number))?;
            }
            Self::TurnKilled => held.servers.coturn.kill_now().await?,
            Self::ServersKilled => {}
        }
        Ok(())
    }
}

/// Only a host behind a NAT has an address of its own choice.
fn down(party: &Party) -> Result<(), Wrong> {
    if !party.kind.is_behind_nat() || party.kind == Kind::FullCone {
        return Err(format!(
            "no such trouble for a host with {}",
            party.kind.name()
        ));
    }
    party.host.ip("link set eth0 down\n");
    Ok(())
}

/// Brings the interface up, with another last number of its address if asked.
fn up(party: &Party, number: Option<u8>) -> Result<(), Wrong> {
    let host = &party.host;
    let listed = host.run("ip", &["-4", "-oneline", "addr", "show", "dev", "eth0"]);
    let address = listed
        .split_whitespace()
        .find(|word| word.starts_with("192.168."));
    let (lan, _) = address
        .and_then(|a| a.rsplit_once('.'))
        .ok_or("the host has no address")?;
    if let Some(number) = number {
        host.ip(&format!(
            "addr flush dev eth0\naddr add {lan}.{number}/24 dev eth0\n"
        ));
    }
    host.ip(&format!(
        "link set eth0 up\nroute add default via {lan}.1\n"
    ));
    Ok(())
}
