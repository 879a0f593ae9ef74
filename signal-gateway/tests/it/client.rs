//! Clients for tests: one REST request at a time, and a signalling socket that knows the handshake.

use crate::world::{Member, Network};
use beeline_proto::envelope::sign;
use beeline_proto::pb::signal::v1::SignalFrame;
use beeline_proto::pb::signal::v1::signal_frame::Type;
use futures::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use prost::Message as _;
use serde_json::Value;
use std::net::SocketAddr;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// Nothing a test waits for takes this long, however busy the machine: a hang is a failure.
pub(crate) async fn within<T>(wait: impl Future<Output = T>) -> T {
    let limit = std::time::Duration::from_secs(60);
    tokio::time::timeout(limit, wait)
        .await
        .expect("what is waited for happens")
}

/// An answer to a REST request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    /// Status and code of a problem document.
    pub(crate) fn problem(&self) -> (u16, String) {
        assert_eq!(
            self.headers["content-type"], "application/problem+json",
            "{self:?}"
        );
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        (
            self.status,
            problem["code"].as_str().expect("code").to_owned(),
        )
    }
}

/// Sends one request with these headers; an empty body is none.
pub(crate) async fn request(
    addr: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Answer {
    let stream = TcpStream::connect(addr).await.expect("connect");
    let io = TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
        .await
        .expect("handshake");
    let mut builder = http::Request::builder()
        .method(method)
        .uri(target)
        .header("host", "gw");
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let request = builder.body(Full::new(body.into())).expect("request");
    let answer = async {
        let answer = sender.send_request(request).await.expect("answer");
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.expect("body").to_bytes();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        }
    };
    let mut answer = std::pin::pin!(answer);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        answer = &mut answer => answer,
        _ = &mut connection => answer.await,
    }
}

pub(crate) async fn get(addr: SocketAddr, target: &str, token: Option<&str>) -> Answer {
    send(addr, "GET", target, token, "").await
}

pub(crate) async fn post(
    addr: SocketAddr,
    target: &str,
    token: Option<&str>,
    body: &Value,
) -> Answer {
    send(addr, "POST", target, token, body.to_string()).await
}

async fn send(
    addr: SocketAddr,
    method: &str,
    target: &str,
    token: Option<&str>,
    body: impl Into<Bytes>,
) -> Answer {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let mut headers = vec![("content-type", "application/json")];
    if let Some(bearer) = &bearer {
        headers.push(("authorization", bearer));
    }
    request(addr, method, target, &headers, body).await
}

/// A signalling socket as a client has it.
pub(crate) struct Socket {
    pub(crate) ws: WebSocketStream<TcpStream>,
    pub(crate) nonce: Vec<u8>,
    pub(crate) protocol: Option<String>,
}

/// The opening request of a socket.
pub(crate) fn opening(addr: SocketAddr, device: &str, headers: &[(&str, &str)]) -> Request {
    let mut request = format!("ws://{addr}/{device}")
        .into_client_request()
        .expect("url");
    for (name, value) in headers {
        let name = http::HeaderName::from_bytes(name.as_bytes()).expect("name");
        request
            .headers_mut()
            .append(name, value.parse().expect("value"));
    }
    request
}

impl Socket {
    /// Connects and reads the gateway's HELLO.
    pub(crate) async fn connect(addr: SocketAddr, device: &str, headers: &[(&str, &str)]) -> Self {
        Self::try_connect(addr, device, headers)
            .await
            .expect("the upgrade is taken")
    }

    /// The same; `Err` is the status of a refused upgrade.
    pub(crate) async fn try_connect(
        addr: SocketAddr,
        device: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self, u16> {
        let stream = TcpStream::connect(addr).await.expect("connect");
        let connected = client_async(opening(addr, device, headers), stream).await;
        let (ws, response) = match connected {
            Ok(connected) => connected,
            Err(Error::Http(response)) => return Err(response.status().as_u16()),
            Err(other) => panic!("the upgrade failed otherwise: {other}"),
        };
        let protocol = response.headers().get("sec-websocket-protocol");
        let protocol = protocol.map(|v| v.to_str().expect("ascii").to_owned());
        let mut socket = Self {
            ws,
            nonce: Vec::new(),
            protocol,
        };
        let hello = socket.frame().await;
        assert_eq!(hello.r#type(), Type::Hello);
        socket.nonce = hello.nonce.clone();
        Ok(socket)
    }

    /// A proven socket of `member`.
    pub(crate) async fn proven(addr: SocketAddr, network: &Network, member: &Member) -> Self {
        let mut socket = Self::connect(addr, &member.device, &[]).await;
        let hello = socket.hello(addr, network, member);
        socket.send(&hello).await;
        let ready = socket.frame().await;
        assert!(ready.ready, "{ready:?}");
        socket
    }

    /// The HELLO that proves this socket.
    pub(crate) fn hello(
        &self,
        addr: SocketAddr,
        network: &Network,
        member: &Member,
    ) -> SignalFrame {
        let proof = network.proof(
            member,
            &format!("ws://{addr}/{}", member.device),
            &self.nonce,
        );
        SignalFrame {
            r#type: Type::Hello as i32,
            proof: sign(&member.device_key, &proof),
            chain: network.chain(member),
            ..SignalFrame::default()
        }
    }

    /// A bearer socket.
    pub(crate) async fn bearer(addr: SocketAddr, device: &str, token: &str) -> Self {
        let value = format!("Bearer {token}");
        Self::connect(addr, device, &[("authorization", &value)]).await
    }

    /// Sends a frame as JSON.
    pub(crate) async fn send(&mut self, frame: &SignalFrame) {
        self.text(&serde_json::to_string(frame).expect("json"))
            .await;
    }

    pub(crate) async fn text(&mut self, text: &str) {
        self.ws.send(Message::text(text)).await.expect("send");
    }

    pub(crate) async fn binary(&mut self, bytes: Vec<u8>) {
        self.ws.send(Message::binary(bytes)).await.expect("send");
    }

    /// The next text or binary message.
    pub(crate) async fn message(&mut self) -> Message {
        loop {
            let next = within(self.ws.next()).await;
            match next.expect("the socket is open").expect("a message") {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return message,
            }
        }
    }

    /// The next message as a frame.
    pub(crate) async fn frame(&mut self) -> SignalFrame {
        match self.message().await {
            Message::Text(text) => serde_json::from_str(&text).expect("a frame in JSON"),
            Message::Binary(bytes) => SignalFrame::decode(bytes).expect("a frame in protobuf"),
            other => panic!("expected a frame, got {other:?}"),
        }
    }

    /// The code of the next frame, which must be an ERROR.
    pub(crate) async fn error(&mut self) -> String {
        let frame = self.frame().await;
        assert_eq!(frame.r#type(), Type::Error, "{frame:?}");
        frame.code
    }

    /// Reads to the end; the close code, and every frame before it.
    pub(crate) async fn until_closed(&mut self) -> (Option<u16>, Vec<Message>) {
        let mut before = Vec::new();
        let mut code = None;
        while let Some(Ok(message)) = within(self.ws.next()).await {
            match message {
                Message::Close(Some(CloseFrame { code: c, .. })) => code = Some(c.into()),
                Message::Close(None) | Message::Ping(_) | Message::Pong(_) => {}
                other => before.push(other),
            }
        }
        (code, before)
    }
}

/// A plain offer, as in the specification.
pub(crate) fn offer(from: &str, to: &str) -> String {
    format!(r#"{{"type":"OFFER","from":"{from}","to":"{to}","sdp":"v=0\r\n", "x" : [1]}}"#)
}
