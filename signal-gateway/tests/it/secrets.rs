//! T-ID-3: no token reaches a log, whatever is logged and whatever becomes of the token.

use crate::client::{Socket, get};
use crate::stack::Stack;
use beeline_proto::pb::signal::v1::SignalFrame;
use beeline_proto::pb::signal::v1::signal_frame::Type;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;

/// Looks for the canaries in everything that is logged, and keeps nothing else.
#[derive(Clone, Default)]
struct Scanner {
    canaries: Arc<Mutex<Vec<String>>>,
    lines: Arc<AtomicUsize>,
    found: Arc<Mutex<Vec<String>>>,
}

impl io::Write for Scanner {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(bytes).into_owned();
        self.lines.fetch_add(1, Ordering::Relaxed);
        let canaries = self.canaries.lock().expect("canaries");
        if canaries.iter().any(|canary| line.contains(canary)) {
            self.found.lock().expect("found").push(line);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Scanner {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn tokens_are_in_no_log_line() {
    let scanner = Scanner::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(Level::TRACE)
        .with_writer(scanner.clone())
        .with_ansi(false)
        .finish();
    tracing::subscriber::set_global_default(subscriber).expect("nobody else logs in these tests");
    let stack = Stack::start().await;
    let token = stack.token(&stack.alice);
    let secret = token.rsplit('.').next().expect("signature").to_owned();
    scanner
        .canaries
        .lock()
        .expect("canaries")
        .push(secret.clone());

    let forged = token.replacen(&secret, &format!("{secret}AA"), 1);
    for token in [&token, &forged] {
        get(stack.addr, "/network/home/peer/carol", Some(token)).await;
        get(stack.addr, "/network/other/peer/carol", Some(token)).await;
        let protocols = format!("beeline, bearer.{token}");
        let headers = [("sec-websocket-protocol", protocols.as_str())];
        drop(Socket::try_connect(stack.addr, "alice_1", &headers).await);
        let mut socket = Socket::connect(stack.addr, "alice_1", &[]).await;
        let hello = SignalFrame {
            r#type: Type::Hello as i32,
            token: token.clone(),
            ..SignalFrame::default()
        };
        socket.send(&hello).await;
        socket.frame().await;
    }
    assert_eq!(*scanner.found.lock().expect("found"), Vec::<String>::new());
    assert!(
        scanner.lines.load(Ordering::Relaxed) > 100,
        "the scanner is attached"
    );
    // It can find: a line with the secret is noticed.
    tracing::info!(%secret, "a planted leak");
    assert_eq!(scanner.found.lock().expect("found").len(), 1);
}
