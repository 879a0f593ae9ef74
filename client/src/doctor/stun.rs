//! One question to a STUN server (RFC 8489) over UDP, and its answer, with the extensions that tell
//! kinds of NAT apart (RFC 5780). What a server says is data: only its transaction id is believed.

use crate::clock;
use crate::limits::{STUN_ANSWER_MAX, STUN_TRIES, STUN_WAIT};
use rtc::stun::addr::MappedAddress;
use rtc::stun::attributes::{ATTR_CHANGE_REQUEST, ATTR_OTHER_ADDRESS};
use rtc::stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Getter as _, Message, TransactionId};
use rtc::stun::xoraddr::XorMappedAddress;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::net::UdpSocket;

/// From where a server is asked to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// Where it was asked.
    Here,
    /// The same address, another port.
    OtherPort,
    /// Another address and port.
    Elsewhere,
}

impl From {
    /// The value of CHANGE-REQUEST (RFC 5780 §7.2).
    fn change(self) -> Option<[u8; 4]> {
        match self {
            Self::Here => None,
            Self::OtherPort => Some([0, 0, 0, 2]),
            Self::Elsewhere => Some([0, 0, 0, 6]),
        }
    }
}

/// How a server sees us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// Our address from outside.
    pub(super) mapped: SocketAddr,
    /// Its other address and port, where it has one.
    pub(super) other: Option<SocketAddr>,
    /// From question to answer.
    pub(super) took: Duration,
}

/// A socket of the family of `server`.
pub(super) async fn socket_towards(server: SocketAddr) -> io::Result<UdpSocket> {
    UdpSocket::bind(any_towards(server)).await
}

/// Any address and port of the family of `server`.
pub(super) fn any_towards(server: SocketAddr) -> (IpAddr, u16) {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    (any, 0)
}

/// Asks until there is an answer; `None` where there is none in time.
pub(super) async fn ask(socket: &UdpSocket, server: SocketAddr, from: From) -> Option<Seen> {
    let question = question(from)?;
    let since = clock::instant();
    for number in 0..STUN_TRIES {
        // A network that refuses to send now may take the next one.
        let _ = socket.send_to(&question.raw, server).await;
        let wait = STUN_WAIT * 2u32.pow(number);
        let heard = tokio::time::timeout(wait, answer(socket, &question.transaction_id)).await;
        if let Ok(Some((mapped, other))) = heard {
            let took = clock::instant().duration_since(since);
            return Some(Seen {
                mapped,
                other,
                took,
            });
        }
    }
    None
}

fn question(from: From) -> Option<Message> {
    let mut message = Message::new();
    let built = message.build(&[Box::new(TransactionId::new()), Box::new(BINDING_REQUEST)]);
    built.ok()?;
    if let Some(change) = from.change() {
        message.add(ATTR_CHANGE_REQUEST, &change);
    }
    Some(message)
}

/// The next answer to this question; others are passed over.
async fn answer(
    socket: &UdpSocket,
    to: &TransactionId,
) -> Option<(SocketAddr, Option<SocketAddr>)> {
    let mut buffer = [0u8; STUN_ANSWER_MAX];
    loop {
        // An ICMP error is no answer either; the wait has its bound.
        let Ok((len, _)) = socket.recv_from(&mut buffer).await else {
            tokio::time::sleep(STUN_WAIT / 8).await;
            continue;
        };
        if let Some(read) = read(&buffer[..len], to) {
            return Some(read);
        }
    }
}

/// Reads an answer: our address, and the server's other one.
fn read(bytes: &[u8], to: &TransactionId) -> Option<(SocketAddr, Option<SocketAddr>)> {
    let mut message = Message::new();
    message.raw = bytes.to_vec();
    message.decode().ok()?;
    if message.typ != BINDING_SUCCESS || message.transaction_id != *to {
        return None;
    }
    let mut mapped = XorMappedAddress::default();
    let mapped = match mapped.get_from(&message) {
        Ok(()) => SocketAddr::new(mapped.ip, mapped.port),
        Err(_) => {
            // An old server: its address in the clear.
            let mut plain = MappedAddress::default();
            plain.get_from(&message).ok()?;
            SocketAddr::new(plain.ip, plain.port)
        }
    };
    let mut other = MappedAddress::default();
    let has_other = other.get_from_as(&message, ATTR_OTHER_ADDRESS).is_ok();
    let other = has_other.then(|| SocketAddr::new(other.ip, other.port));
    Some((mapped, other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtc::stun::message::BINDING_ERROR;

    fn answer_to(question: &Message, other: Option<&str>) -> Vec<u8> {
        let mut answer = Message::new();
        let mapped = XorMappedAddress {
            ip: IpAddr::from([203, 0, 113, 7]),
            port: 40_000,
        };
        let id = Box::new(question.transaction_id);
        answer
            .build(&[id, Box::new(BINDING_SUCCESS), Box::new(mapped)])
            .expect("built");
        if let Some(other) = other {
            let other: SocketAddr = other.parse().expect("an address");
            let other = MappedAddress {
                ip: other.ip(),
                port: other.port(),
            };
            other
                .add_to_as(&mut answer, ATTR_OTHER_ADDRESS)
                .expect("added");
        }
        answer.raw
    }

    #[test]
    fn an_answer_says_how_we_look_and_nonsense_says_nothing() {
        let asked = question(From::Elsewhere).expect("made");
        assert_eq!(asked.get(ATTR_CHANGE_REQUEST).ok(), Some(vec![0, 0, 0, 6]));
        let id = asked.transaction_id;
        let whole = answer_to(&asked, Some("198.51.100.21:3479"));
        let mapped = "203.0.113.7:40000".parse().expect("an address");
        let other = "198.51.100.21:3479".parse().ok();
        assert_eq!(read(&whole, &id), Some((mapped, other)));
        assert_eq!(read(&answer_to(&asked, None), &id), Some((mapped, None)));
        let another = question(From::Here).expect("made");
        assert_eq!(read(&whole, &another.transaction_id), None, "not ours");
        for len in 0..whole.len() {
            let _ = read(&whole[..len], &id);
        }
        let mut refusal = Message::new();
        refusal
            .build(&[Box::new(id), Box::new(BINDING_ERROR)])
            .expect("built");
        assert_eq!(read(&refusal.raw, &id), None);
    }

    #[tokio::test]
    async fn a_server_is_asked_until_it_answers() {
        let server = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
        let at = server.local_addr().expect("bound");
        let socket = socket_towards(at).await.expect("bound");
        let serve = async {
            let mut buffer = [0u8; 512];
            // The first question is lost.
            server.recv_from(&mut buffer).await.expect("asked");
            let (len, whom) = server.recv_from(&mut buffer).await.expect("asked again");
            let mut asked = Message::new();
            asked.raw = buffer[..len].to_vec();
            asked.decode().expect("a question");
            server.send_to(b"noise", whom).await.expect("sent");
            let answer = answer_to(&asked, None);
            server.send_to(&answer, whom).await.expect("sent");
        };
        let (seen, ()) = tokio::join!(ask(&socket, at, From::Here), serve);
        assert_eq!(seen.map(|seen| seen.mapped.port()), Some(40_000));
    }
}
