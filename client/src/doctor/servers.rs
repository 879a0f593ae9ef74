//! What gateways and registry say: whether they are reached, how long that takes, what their clock
//! shows, and what they tell others of this device.

use super::{Check, Verdict};
use crate::clock;
use crate::error::RestError;
use crate::identity::Identity;
use crate::limits::{CLOCK_SKEW_BAD_MS, CLOCK_SKEW_NOTED_MS, CONNECT_TIMEOUT};
use crate::rest::{Rest, Token};
use beeline_proto::envelope::{Expect, Verified, open};
use beeline_proto::limits::TOKEN_TTL_S;
use beeline_proto::pb::identity::v1::DeviceRecord;
use client_core::input::{RegistryAnswer, RegistryError, RegistryPeer};
use client_core::output::RegistryCall;
use std::time::Duration;
use tokio::net::TcpStream;

/// Connects to a gateway and lets go again.
pub(super) async fn gateway(origin: String) -> Check {
    let since = clock::instant();
    let reached = tokio::time::timeout(CONNECT_TIMEOUT, connect(&origin)).await;
    let took = clock::instant().duration_since(since);
    let why = match reached {
        Ok(Ok(())) => {
            let detail = format!("{origin} takes connections");
            return Check::good("gateway", detail).took(took);
        }
        Ok(Err(why)) => why,
        Err(_) => format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()),
    };
    let advice = "see whether the gateway runs, and whether a firewall lets TCP through to it; \
                  messages to devices you are linked with go on meanwhile";
    Check::bad("gateway", format!("{origin} is not reached: {why}"), advice)
}

async fn connect(origin: &str) -> Result<(), String> {
    let uri: http::Uri = origin.parse().map_err(|_| "it is no address".to_owned())?;
    let host = uri.host().ok_or("it names no host")?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let secure = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let connected = TcpStream::connect((host, port)).await;
    connected.map(|_| ()).map_err(|error| error.to_string())
}

/// Signs in; what the token says of the registry's clock.
pub(super) async fn sign_in(rest: &Rest) -> Vec<Check> {
    let (since, before_ms) = (clock::instant(), clock::wall_ms());
    match rest.token().await {
        Ok(token) => {
            let took = clock::instant().duration_since(since);
            let detail = format!("{} lets this device in", token.origin);
            let signed_in = Check::good("sign-in", detail).took(took);
            vec![signed_in, clock_check(&token, before_ms, took)]
        }
        Err(error) => vec![Check::bad("sign-in", error.to_string(), advice_on(&error))],
    }
}

fn advice_on(error: &RestError) -> &'static str {
    match error {
        RestError::Unreachable(_) => "this needs the gateway and the registry behind it",
        RestError::Refused { .. } => {
            "the network does not take this device: ask an administrator whether it is a member"
        }
        RestError::Protocol { .. } => "something between here and the gateway answers in its place",
    }
}

/// Our clock beside the registry's: a token lives for a known time from when it was made.
fn clock_check(token: &Token, before_ms: u64, took: Duration) -> Check {
    let theirs = i128::from(token.expires_ms) - i128::from(TOKEN_TTL_S * 1_000);
    let ours = i128::from(before_ms) + (took.as_millis() / 2).cast_signed();
    skew(i64::try_from(ours - theirs).unwrap_or(i64::MAX))
}

/// What to think of a clock that is `ahead_ms` milliseconds before the registry's.
fn skew(ahead_ms: i64) -> Check {
    let off = ahead_ms.unsigned_abs();
    let seconds = off / 1_000;
    let way = if ahead_ms < 0 { "behind" } else { "ahead of" };
    let advice = "set the clock of this host (timedatectl set-ntp true), or of the registry's";
    let check = if off < CLOCK_SKEW_NOTED_MS {
        Check::good(
            "clock",
            "this host and the registry agree on the time".to_owned(),
        )
    } else {
        let detail = format!("this host's clock is {seconds} s {way} the registry's");
        let verdict = if off < CLOCK_SKEW_BAD_MS {
            Verdict::Note
        } else {
            Verdict::Bad
        };
        Check::new("clock", verdict, detail).advise(advice)
    };
    check.value(format!("{}", ahead_ms / 1_000))
}

/// Asks the registry for ourselves, as anybody would.
pub(super) async fn record(rest: &Rest, identity: &Identity) -> Vec<Check> {
    let since = clock::instant();
    let user = identity.user.clone();
    let call = RegistryCall::GetPeer { user };
    let answer = rest.call(&call).await;
    let took = clock::instant().duration_since(since);
    match answer {
        Ok(RegistryAnswer::Peer(peer)) => {
            let detail = "the registry answers".to_owned();
            let asked = Check::good("registry", detail).took(took);
            vec![asked, seen_as(&peer, identity)]
        }
        Ok(_) => vec![Check::bad(
            "registry",
            "an unfitting answer".to_owned(),
            "ask again",
        )],
        Err(error) => {
            let why = match error {
                RegistryError::Refused { code, detail } => format!("{code}: {detail}"),
                RegistryError::Unreachable { detail } => detail,
            };
            let advice = "people who know you reach you without it; new ones cannot find you";
            vec![Check::bad("registry", why, advice)]
        }
    }
}

/// What others are told of this device.
fn seen_as(peer: &RegistryPeer, identity: &Identity) -> Check {
    let device = identity.device_key.verify_key().fp();
    let audiences = [identity.network.0];
    let expect = Expect::new(identity.network, &audiences).signer(device);
    let mut records = peer.records.iter();
    let own = records.find_map(|bytes| open::<DeviceRecord>(bytes, &expect).ok());
    let Some(own) = own else {
        let detail = "the registry has no record of this device: it was never online".to_owned();
        let check = Check::new("record", Verdict::Note, detail);
        return check
            .value("none".to_owned())
            .advise("run `beeline listen` or `beeline run`");
    };
    told(peer.online, &own)
}

fn told(online: bool, own: &Verified<DeviceRecord>) -> Check {
    let record = own.payload();
    let state = if online { "online" } else { "offline" };
    let listed = if record.unlisted { ", unlisted" } else { "" };
    let detail = format!(
        "others see this user {state}, reached at {}{listed}",
        record.signal_addr
    );
    let check = if online {
        Check::good("record", detail)
    } else {
        let check = Check::new("record", Verdict::Note, detail);
        check
            .advise("nothing of yours is connected to a gateway now: `beeline listen` changes that")
    };
    check.value(state.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_may_be_a_little_off() {
        for (ahead_ms, verdict) in [
            (0, Verdict::Good),
            (-1_999, Verdict::Good),
            (5_000, Verdict::Note),
            (-59_999, Verdict::Note),
            (60_000, Verdict::Bad),
            (i64::MIN, Verdict::Bad),
        ] {
            assert_eq!(skew(ahead_ms).verdict, verdict, "{ahead_ms}");
        }
        let late = skew(-90_000);
        assert!(late.detail.contains("90 s behind"), "{}", late.detail);
        assert!(late.advice.is_some());
    }

    #[tokio::test]
    async fn a_gateway_that_is_not_there_is_named_with_advice() {
        let free = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("bound");
        let origin = format!("http://{}", free.local_addr().expect("bound"));
        assert_eq!(gateway(origin.clone()).await.verdict, Verdict::Good);
        drop(free);
        for nowhere in [origin.as_str(), "http://", "no address at all"] {
            let check = gateway(nowhere.to_owned()).await;
            assert_eq!(check.verdict, Verdict::Bad, "{nowhere}");
            assert!(check.detail.contains(nowhere) && check.advice.is_some());
        }
    }
}
