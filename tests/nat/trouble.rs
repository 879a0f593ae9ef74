//! What goes wrong between two that have a link or make one, and how long until they talk again.

use super::client::Client;
use super::file::carry;
use super::kind::Kind;
use super::play::{DIRECT, Held, Try, now};
use super::program::Wrong;
use super::rules::{JOINED, parted};
use super::servers::{beeline, coturn};
use super::world::{PARTIES, Party};
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// How long a side may take to see that its link is gone: ICE's patience, and some more.
const NOTICED: Duration = Duration::from_secs(60);

/// How long a link through TURN may take to find that there is a direct path: two tries.
const MOVED: Duration = Duration::from_secs(40);

/// How long two talk while the credentials of TURN end: an address is asked for again every two
/// minutes, so that a server that refuses does so twice.
const ROTATIONS: Duration = Duration::from_secs(290);

/// How often one says something meanwhile.
const SPOKEN: Duration = Duration::from_millis(500);

/// The states of somebody there is no link to.
const AWAY: [&str; 4] = [
    "DISCONNECTED",
    "DISCOVERING",
    "SIGNALING",
    "STORE_AND_FORWARD",
];

/// How often the links of two are looked at until each shows one.
const PICTURES: u32 = 3;

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
    /// Nothing passes between the two until they are linked through TURN.
    Parted,
    /// Once linked through TURN, its credentials end again and again.
    Rotated,
    /// Registry, gateway and coordinator are killed while a link is being made, and started again.
    ServersKilled,
}

/// The pair of clients of a try.
pub(crate) struct Pair<'a> {
    pub(crate) alice: &'a Client,
    pub(crate) carol: &'a str,
    /// Carol's own client.
    pub(crate) other: &'a Client,
}

impl Trouble {
    /// Whether it comes while the first message is on its way.
    pub(crate) fn comes_early(self) -> bool {
        self == Self::ServersKilled
    }

    /// What is so before the two say anything.
    pub(crate) fn before(self, held: &Held) {
        if self == Self::Parted {
            held.world
                .router
                .nft(&parted(PARTIES.map(|party| party.v4)));
        }
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
        match self {
            Self::Parted => return joined(held, pair, done).await,
            Self::Rotated => return rotated(pair, done).await,
            // The link must have come without another word, which is seen from the first on.
            Self::ServersKilled => return Ok(()),
            _ => self.strike(held, pair).await?,
        }
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
                pair.alice.reaches(pair.carol, &AWAY, NOTICED).await?;
                up(party, None)?;
            }
            Self::Readdress => {
                down(party)?;
                let number = 20 + u8::try_from(held.played % 200).unwrap_or_default();
                up(party, Some(number))?;
            }
            Self::TurnKilled => held.servers.coturn.kill_now().await?,
            // These strike in their own time.
            Self::Parted | Self::Rotated | Self::ServersKilled => {}
        }
        Ok(())
    }
}

/// Lets UDP pass between the two, who must find that out by themselves.
async fn joined(held: &Held, pair: &Pair<'_>, done: &mut Try) -> Result<(), Wrong> {
    let relayed = through_turn(pair).await?;
    held.world.router.nft(JOINED);
    if !relayed {
        return Err("a direct link where nothing passes: the lab is wrong".to_owned());
    }
    let joined = now();
    for number in 0.. {
        let said = pair.alice.say(pair.carol, &format!("again {number}")).await;
        let path = said?.ok_or("not delivered while the link moved")?;
        let took = now().duration_since(joined);
        done.again.get_or_insert((took, path));
        if !through_turn(pair).await? {
            break;
        }
        if took > MOVED {
            return Err(format!("still through TURN after {MOVED:?}"));
        }
    }
    done.back = Some(now().duration_since(joined));
    Ok(())
}

/// Talks on while credentials end; the longest that one message took, and how old the link is then.
async fn rotated(pair: &Pair<'_>, done: &mut Try) -> Result<(), Wrong> {
    let talk = async {
        let (start, mut longest) = (now(), Duration::ZERO);
        let mut pace = tokio::time::interval(SPOKEN);
        for number in 0.. {
            pace.tick().await;
            let since = now();
            if since.duration_since(start) > ROTATIONS {
                break;
            }
            let said = pair.alice.say(pair.carol, &format!("on {number}")).await?;
            said.ok_or("not delivered while credentials ended")?;
            longest = longest.max(now().duration_since(since));
        }
        Ok::<_, Wrong>(longest)
    };
    let dropped = pair.alice.reaches(pair.carol, &AWAY, ROTATIONS);
    let (longest, dropped) = futures::future::try_join(talk, dropped).await?;
    if dropped {
        return Err("the call dropped".to_owned());
    }
    if !through_turn(pair).await? {
        return Err("a direct link that theory excludes: the lab is wrong".to_owned());
    }
    let age = pair.alice.link_age(pair.carol).await?.as_secs();
    done.again = Some((longest, format!("by a link of {age} s")));
    done.back = Some(longest);
    Ok(())
}

/// Whether the one link between the two goes through TURN, as either of them says.
async fn through_turn(pair: &Pair<'_>) -> Result<bool, Wrong> {
    // A picture taken while one link follows on another may show neither.
    for _ in 0..PICTURES {
        let doctors = futures::future::try_join(pair.alice.doctor(), pair.other.doctor());
        let (here, there) = doctors.await?;
        let ends = [ways(&here, Some(pair.carol)), ways(&there, None)];
        if ends.iter().all(|ways| ways.len() == 1) {
            return Ok(ends.concat().iter().any(|way| way.contains("relay")));
        }
        if ends.iter().any(|ways| ways.len() > 1) {
            return Err(format!("more than one link between the two: {ends:?}"));
        }
    }
    Err("no link between the two".to_owned())
}

/// Which way each link to a user goes, or to everybody but the coordinator.
fn ways(checks: &[Value], user: Option<&str>) -> Vec<String> {
    let names = |line: &&Value| {
        let detail = line["detail"].as_str().unwrap_or_default();
        let coordinator = detail.starts_with("coordinator");
        line["check"] == "link" && user.map_or(!coordinator, |user| detail.starts_with(user))
    };
    let links = checks.iter().filter(names);
    let way = |line: &Value| line["value"].as_str().unwrap_or_default().to_owned();
    links.map(way).collect()
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
