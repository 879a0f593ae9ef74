//! A TURN server that goes by the book: who asks for anything with credentials that have ended gets
//! nothing. coturn looks at them once, so this stands before it and hands on everything else.

use super::program::Wrong;
use super::world::{TURN, TURN_OTHER};
use beeline_tests::netns::Netns;
use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::task::JoinSet;

/// Its port; coturn's own is the usual one.
pub(crate) const PORT: u16 = 3_480;

/// Addresses of clients that are served; more than any scenario has.
const CLIENTS_MAX: usize = 64;
const DATAGRAM_MAX: usize = 2_048;

const REFRESH: u16 = 0x0004;
const CREATE_PERMISSION: u16 = 0x0008;
const CHANNEL_BIND: u16 = 0x0009;
/// What makes a request the answer that refuses it.
const ERROR_RESPONSE: u16 = 0x0110;
const MAGIC: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const HEADER: usize = 20;
const USERNAME: u16 = 0x0006;

/// The server, until it is dropped.
pub(crate) struct Strict {
    _tasks: JoinSet<()>,
}

impl Strict {
    /// Starts it in the TURN server's namespace.
    pub(crate) fn start(turn: &Netns) -> Result<Self, Wrong> {
        let (front, behind) = turn.inside(|| {
            let bound = |at: SocketAddr| {
                let socket = UdpSocket::bind(at)?;
                socket.set_nonblocking(true).map(|()| socket)
            };
            let front = bound((TURN.v4, PORT).into());
            let behind = (0..CLIENTS_MAX).map(|_| bound((TURN_OTHER.v4, 0).into()));
            (front, behind.collect::<Result<Vec<_>, _>>())
        });
        let wrong = |error: std::io::Error| format!("the strict TURN server: {error}");
        let front = tokio::net::UdpSocket::from_std(front.map_err(wrong)?).map_err(wrong)?;
        let behind = behind.map_err(wrong)?.into_iter();
        let behind: Result<Vec<_>, _> = behind.map(tokio::net::UdpSocket::from_std).collect();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(Arc::new(front), behind.map_err(wrong)?));
        Ok(Self { _tasks: tasks })
    }
}

/// Hands on what clients say, each through a socket of its own, and what coturn answers.
async fn serve(front: Arc<tokio::net::UdpSocket>, mut free: Vec<tokio::net::UdpSocket>) {
    let mut clients: BTreeMap<SocketAddr, Arc<tokio::net::UdpSocket>> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    let mut buffer = [0; DATAGRAM_MAX];
    loop {
        // What cannot be received or sent is lost, as on any network.
        let Ok((length, from)) = front.recv_from(&mut buffer).await else {
            continue;
        };
        let datagram = &buffer[..length];
        if let Some(refusal) = refusal(datagram, now_s()) {
            let _ = front.send_to(&refusal, from).await;
            continue;
        }
        let behind = match clients.get(&from) {
            Some(behind) => Arc::clone(behind),
            None => {
                let Some(behind) = free.pop().map(Arc::new) else {
                    continue;
                };
                tasks.spawn(answer(Arc::clone(&front), from, Arc::clone(&behind)));
                clients.insert(from, Arc::clone(&behind));
                behind
            }
        };
        let _ = behind.send_to(datagram, (TURN.v4, 3_478)).await;
    }
}

async fn answer(
    front: Arc<tokio::net::UdpSocket>,
    client: SocketAddr,
    behind: Arc<tokio::net::UdpSocket>,
) {
    let mut buffer = [0; DATAGRAM_MAX];
    loop {
        if let Ok((length, _)) = behind.recv_from(&mut buffer).await {
            let _ = front.send_to(&buffer[..length], client).await;
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the gateway names the end of credentials by this clock"
)]
fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// The answer to a request about an address whose user name says that it has ended.
fn refusal(datagram: &[u8], now_s: u64) -> Option<Vec<u8>> {
    let header = datagram.get(..HEADER)?;
    let kind = u16::from_be_bytes([header[0], header[1]]);
    let about = [REFRESH, CREATE_PERMISSION, CHANNEL_BIND].contains(&kind);
    if !about || header[4..8] != MAGIC {
        return None;
    }
    let name = username(&datagram[HEADER..])?;
    let (until, _) = name.split_once(':')?;
    if until.parse::<u64>().ok()? > now_s {
        return None;
    }
    let mut answer = (kind | ERROR_RESPONSE).to_be_bytes().to_vec();
    answer.extend([0, 8]);
    answer.extend(&header[4..]);
    // ERROR-CODE 401.
    answer.extend([0, 9, 0, 4, 0, 0, 4, 1]);
    Some(answer)
}

fn username(mut rest: &[u8]) -> Option<&str> {
    loop {
        let (header, body) = rest.split_at_checked(4)?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if u16::from_be_bytes([header[0], header[1]]) == USERNAME {
            return std::str::from_utf8(body.get(..length)?).ok();
        }
        rest = body.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(kind: u16, name: &str) -> Vec<u8> {
        let mut request = kind.to_be_bytes().to_vec();
        request.extend([0, 0]);
        request.extend(MAGIC);
        request.extend([7; 12]);
        request.extend([0, 0x0d, 0, 4, 0, 0, 2, 88]);
        request.extend([0, 6, 0, u8::try_from(name.len()).expect("short")]);
        request.extend(name.as_bytes());
        request.resize(request.len().next_multiple_of(4), 0);
        request
    }

    #[test]
    fn only_what_has_ended_is_refused() {
        let refresh = request(REFRESH, "100:alice_1");
        assert_eq!(refusal(&refresh, 99), None);
        let refused = refusal(&refresh, 100).expect("it has ended");
        assert_eq!(
            (&refused[..2], &refused[26..]),
            (&[1, 0x14][..], &[4, 1][..])
        );
        assert_eq!(refused[8..20], [7; 12]);
        assert_eq!(refusal(&request(3, "100:alice_1"), 100), None);
        assert_eq!(refusal(&request(REFRESH, "alice"), 100), None);
        assert_eq!(refusal(&refresh[..30], 100), None);
    }
}
