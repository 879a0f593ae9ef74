//! Load on a relay: many WebSockets in pairs that send each other frames at a fixed rate.

use crate::measure::{Samples, now, text};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// A frame, bytes: an ICE candidate in JSON.
const FRAME: usize = 300;
/// Digits of a frame's number.
const DIGITS: usize = 10;
/// What stands before the number.
const MARK: &str = "\"candidate\":\"";
/// How often the load looks how many frames are due.
const TICK: Duration = Duration::from_millis(1);
/// How long frames still on their way are waited for.
const LATE: Duration = Duration::from_secs(5);

/// A client's socket.
pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Opens one socket with small buffers, as the server's are.
pub(crate) async fn dial(url: &str) -> Result<Socket, String> {
    let config = WebSocketConfig::default()
        .read_buffer_size(4096)
        .write_buffer_size(4096);
    let dialled = tokio_tungstenite::connect_async_with_config(url, Some(config), true).await;
    Ok(dialled.map_err(|e| format!("{url}: {e}"))?.0)
}

/// When frames were sent, and how long those that arrived took.
#[derive(Default)]
struct Ledger {
    sent: Vec<Instant>,
    micros: Vec<f64>,
    refused: Option<String>,
}

/// How a server wants its frames.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Dialect {
    /// The specification's.
    Beeline,
    /// That of peerjs-server.
    PeerJs,
}

impl Dialect {
    /// A frame but for its filling and its end; and the end.
    fn frame(self, me: &str, partner: &str, number: usize) -> (String, &'static str) {
        match self {
            Self::Beeline => {
                let head = format!(r#"{{"type":"ICE_CANDIDATE","from":"{me}","to":"{partner}""#);
                (format!("{head},{MARK}{number:0DIGITS$} "), "\"}")
            }
            Self::PeerJs => {
                let head = format!(r#"{{"type":"CANDIDATE","dst":"{partner}","payload":{{"#);
                (format!("{head}{MARK}{number:0DIGITS$} "), "\"}}")
            }
        }
    }
}

/// Sockets in pairs: 0 with 1, 2 with 3, and so on, each sending to its partner.
pub(crate) struct Pairs {
    sinks: Vec<SplitSink<Socket, Message>>,
    labels: Vec<String>,
    dialect: Dialect,
    ledger: Arc<Mutex<Ledger>>,
    arrived: Arc<Notify>,
    _readers: JoinSet<()>,
}

impl Pairs {
    /// Takes over sockets that are ready, an even number, with the labels they signed in under.
    pub(crate) fn new(sockets: Vec<(String, Socket)>, dialect: Dialect) -> Self {
        let ledger: Arc<Mutex<Ledger>> = Arc::default();
        let arrived: Arc<Notify> = Arc::default();
        let mut readers = JoinSet::new();
        let (mut sinks, mut labels) = (Vec::new(), Vec::new());
        for (label, socket) in sockets {
            let (sink, stream) = socket.split();
            readers.spawn(read(stream, Arc::clone(&ledger), Arc::clone(&arrived)));
            sinks.push(sink);
            labels.push(label);
        }
        Self {
            sinks,
            labels,
            dialect,
            ledger,
            arrived,
            _readers: readers,
        }
    }

    /// Sends `rate` frames a second for `duration` and waits until all have arrived. Returns their
    /// times on the way, microseconds.
    pub(crate) async fn run(&mut self, rate: u32, duration: Duration) -> Result<Samples, String> {
        *self.ledger() = Ledger::default();
        let start = now();
        let total = (f64::from(rate) * duration.as_secs_f64()) as usize;
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut next = 0;
        while next < total {
            ticks.tick().await;
            let due = (start.elapsed().as_secs_f64() * f64::from(rate)) as usize;
            while next < due.min(total) {
                self.send(next).await?;
                next += 1;
            }
        }
        let all = async {
            loop {
                let notified = self.arrived.notified();
                if self.ledger().micros.len() >= total {
                    return;
                }
                notified.await;
            }
        };
        let waited = tokio::time::timeout(LATE, all).await;
        let ledger = std::mem::take(&mut *self.ledger());
        if let Some(refused) = ledger.refused {
            return Err(format!("the server sent {refused}"));
        }
        waited.map_err(|_| format!("{} of {total} frames arrived", ledger.micros.len()))?;
        Ok(Samples(ledger.micros))
    }

    async fn send(&mut self, number: usize) -> Result<(), String> {
        let from = number % self.sinks.len();
        let (me, partner) = (&self.labels[from], &self.labels[from ^ 1]);
        let (mut frame, end) = self.dialect.frame(me, partner, number);
        let fill = FRAME.saturating_sub(frame.len() + end.len());
        frame.extend(std::iter::repeat_n('x', fill));
        frame.push_str(end);
        self.ledger().sent.push(now());
        self.sinks[from]
            .send(Message::text(frame))
            .await
            .map_err(text)
    }

    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read(mut stream: SplitStream<Socket>, ledger: Arc<Mutex<Ledger>>, arrived: Arc<Notify>) {
    while let Some(Ok(message)) = stream.next().await {
        let Message::Text(body) = message else {
            continue;
        };
        let at = now();
        let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let number = body
            .find(MARK)
            .and_then(|i| body.get(i + MARK.len()..)?.get(..DIGITS));
        let sent = number
            .and_then(|n| n.parse::<usize>().ok())
            .and_then(|n| ledger.sent.get(n));
        match sent.map(|sent| (at - *sent).as_secs_f64() * 1e6) {
            Some(micros) => ledger.micros.push(micros),
            None => ledger.refused = Some(body.to_string()),
        }
        arrived.notify_waiters();
    }
}
