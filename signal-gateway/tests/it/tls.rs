//! TLS on the listener, metrics on theirs, and secrets nowhere.

use crate::client::{Socket, get, opening, within};
use crate::raw::Raw;
use crate::stack::Stack;
use beeline_gateway::{Gateway, StartError};
use beeline_proto::pb::signal::v1::SignalFrame;
use futures::StreamExt as _;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::client_async;

/// A certificate for localhost, written where the gateway finds it.
fn certificate(dir: &Path) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".into()]).expect("certificate");
    std::fs::write(dir.join("cert.pem"), cert.pem()).expect("write");
    std::fs::write(dir.join("key.pem"), signing_key.serialize_pem()).expect("write");
    cert.der().clone()
}

async fn connect(stack: &Stack, trusted: CertificateDer<'static>) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted).expect("root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(stack.addr).await.expect("connect");
    let name = ServerName::try_from("localhost").expect("name");
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
        .expect("TLS")
}

async fn tls_stack() -> (Stack, CertificateDer<'static>) {
    let mut der = None;
    let stack = Stack::with(|config| {
        let dir = config
            .gateway_token_file
            .parent()
            .expect("directory")
            .to_owned();
        der = Some(certificate(&dir));
        config.tls_cert = Some(dir.join("cert.pem"));
        config.tls_key = Some(dir.join("key.pem"));
        config.limits.connections.tls_ms = 300;
        config.limits.connections.header_ms = 300;
    })
    .await;
    (stack, der.expect("made"))
}

#[tokio::test]
async fn https_and_wss_are_served_and_stalled_handshakes_are_ended() {
    let (stack, der) = tls_stack().await;
    assert!(
        stack.gateway.public_url.starts_with("https://"),
        "{}",
        stack.gateway.public_url
    );
    let mut stalled = Vec::new();
    for start in [
        &b""[..],
        b"\x16",
        b"\x16\x03\x01\x02\x00\x01",
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let mut raw = Raw::connect(stack.addr).await;
        raw.write(start).await;
        stalled.push(raw);
    }
    let mut https = connect(&stack, der.clone()).await;
    let get = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    https.write_all(get).await.expect("write");
    let mut answer = String::new();
    within(https.read_to_string(&mut answer))
        .await
        .expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(
        answer.contains("strict-transport-security: max-age="),
        "{answer}"
    );

    let tls = connect(&stack, der.clone()).await;
    let (mut ws, _) = client_async(opening(stack.addr, "alice_1", &[]), tls)
        .await
        .expect("wss");
    let hello = within(ws.next()).await.expect("open").expect("a message");
    let hello: SignalFrame = serde_json::from_str(hello.to_text().expect("text")).expect("a frame");
    assert_eq!(hello.nonce.len(), 32);
    // After TLS, the deadline for the head holds as before it.
    let mut silent = connect(&stack, der).await;
    let mut rest = Vec::new();
    let _ = within(silent.read_to_end(&mut rest)).await;
    for raw in stalled {
        raw.until_end().await;
    }
}

#[tokio::test]
async fn a_start_that_cannot_work_says_why() {
    let stack = Stack::start().await;
    let config = || crate::stack::config(&stack.registry, &stack.dir);
    let mut taken = config();
    taken.listen = stack.addr;
    assert!(matches!(
        Gateway::start(taken).await.err(),
        Some(StartError::Listen { .. })
    ));
    let mut no_secret = config();
    no_secret.gateway_token_file = stack.dir.path().join("missing");
    assert!(matches!(
        Gateway::start(no_secret).await.err(),
        Some(StartError::File { .. })
    ));
    let mut short = config();
    std::fs::write(&short.gateway_token_file, "abc").expect("write");
    assert!(matches!(
        Gateway::start(short.clone()).await.err(),
        Some(StartError::Registry(_))
    ));
    short.registry = "not a url".into();
    assert!(matches!(
        Gateway::start(short).await.err(),
        Some(StartError::Registry(_))
    ));
    let mut url = config();
    url.edge.public_urls = vec!["signal.example".into()];
    assert!(matches!(
        Gateway::start(url).await.err(),
        Some(StartError::PublicUrl(_))
    ));
    let mut turn = config();
    turn.edge.turn_urls = vec!["turn:127.0.0.1:3478".into()];
    assert!(matches!(
        Gateway::start(turn).await.err(),
        Some(StartError::Flag(_))
    ));
    let mut tls = config();
    tls.tls_cert = Some(stack.dir.path().join("cert.pem"));
    tls.tls_key = Some(stack.dir.path().join("key.pem"));
    assert!(matches!(
        Gateway::start(tls).await.err(),
        Some(StartError::Tls(_))
    ));
}

#[tokio::test]
async fn metrics_have_a_listener_of_their_own() {
    let stack = Stack::with(|config| {
        config.metrics = Some("127.0.0.1:0".parse().expect("address"));
    })
    .await;
    let _alice = Socket::proven(stack.addr, &stack.home, &stack.alice).await;
    let metrics_addr = stack.gateway.metrics_addr.expect("metrics are on");
    let text = get(metrics_addr, "/metrics", None).await;
    let text = String::from_utf8_lossy(&text.body).into_owned();
    assert!(text.contains("beeline_gateway_sockets 1\n"), "{text}");
    assert!(
        text.contains("beeline_gateway_sign_ins_total 1\n"),
        "{text}"
    );
    assert!(text.contains("beeline_gateway_registry_up 1\n"), "{text}");
    // On the public side the word is an unknown device's, not a page.
    let outside = get(stack.addr, "/metrics", None).await;
    assert_eq!(outside.problem().0, 400, "a reserved label");
    assert_eq!(get(metrics_addr, "/healthz", None).await.status, 404);
}
