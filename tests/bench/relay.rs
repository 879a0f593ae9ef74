//! The ceiling of the gateway: the barest relay axum can be. It looks up `to` and hands the frame
//! on; no sign-in, no checks of sender or network, no pings, no limits, no reports.

use crate::measure::text;
use crate::role::Desk;
use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use axum::serve::ListenerExt as _;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::mpsc;

/// Read and write buffer, bytes each: the same as the gateway's.
const BUFFER: usize = 4 * 1024;
/// Frames that wait for one socket.
const QUEUE: usize = 64;

type Sockets = Arc<RwLock<HashMap<String, mpsc::Sender<Message>>>>;

#[derive(serde::Deserialize)]
struct Head<'a> {
    to: &'a str,
}

/// Serves until told to end; says its port when ready.
pub(crate) fn play(_: &[String], desk: &mut Desk) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(text)?;
    let address = runtime.block_on(start())?;
    desk.say(&serde_json::json!({ "url": format!("ws://{address}") }));
    desk.until_the_end();
    runtime.shutdown_background();
    Ok(())
}

async fn start() -> Result<std::net::SocketAddr, String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .map_err(text)?;
    let address = listener.local_addr().map_err(text)?;
    let router = Router::new()
        .route("/{id}", get(upgrade))
        .with_state(Sockets::default());
    let listener = listener.tap_io(|socket| {
        // Without it a frame may wait for the one before to be acknowledged.
        let _ = socket.set_nodelay(true);
    });
    let mut server = tokio::task::JoinSet::new();
    server.spawn(async move { axum::serve(listener, router).await });
    server.detach_all();
    Ok(address)
}

async fn upgrade(
    Path(id): Path<String>,
    State(sockets): State<Sockets>,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .on_upgrade(move |socket| relay(socket, id, sockets))
}

async fn relay(mut socket: WebSocket, id: String, sockets: Sockets) {
    let (sender, mut inbox) = mpsc::channel(QUEUE);
    sockets
        .write()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(id.clone(), sender);
    loop {
        tokio::select! {
            frame = socket.recv() => {
                let Some(Ok(frame)) = frame else { break };
                pass(frame, &sockets).await;
            }
            Some(frame) = inbox.recv() => {
                if socket.send(frame).await.is_err() {
                    break;
                }
            }
        }
    }
    sockets
        .write()
        .unwrap_or_else(PoisonError::into_inner)
        .remove(&id);
}

async fn pass(frame: Message, sockets: &Sockets) {
    let Message::Text(body) = &frame else { return };
    let Ok(head) = serde_json::from_str::<Head<'_>>(body.as_str()) else {
        return;
    };
    let found = sockets
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .get(head.to)
        .cloned();
    if let Some(receiver) = found {
        // A receiver that has gone is what a gateway would answer; this one does nothing.
        let _ = receiver.send(frame).await;
    }
}
