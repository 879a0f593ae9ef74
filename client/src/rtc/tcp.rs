//! ICE over TCP (RFC 6544), for who has no UDP: a coordinator takes streams, everybody else dials.
//!
//! The crate speaks it, and trusts it: it hands on what any stream brings, waits where one does not
//! read, and listens for as long as the link lives. Here the gate looks at each datagram, what
//! finds no room is lost as it would be by UDP, streams are few, and nobody listens once a link is
//! open.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use webrtc::runtime::{AsyncTcpListener, AsyncTcpStream};

use super::frames::{Frames, LENGTH};
use super::limits::{
    MAX_TCP_STREAMS, TCP_CONNECT, TCP_HEAD_START, TCP_LAST_START, TCP_LISTEN_LOOK,
    TCP_LISTEN_LOOKS, TCP_QUEUE, TCP_READ,
};
use super::shared::LinkShared;
use super::socket::fatal_alert;

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where a link listens, for a while.
pub(super) struct Listener {
    /// Nothing where the link only dials: the crate dials from the addresses it listens at.
    inner: Mutex<Option<Arc<TcpListener>>>,
    local: SocketAddr,
    shared: Arc<LinkShared>,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listener").field(&self.local).finish()
    }
}

impl Listener {
    /// Takes streams if the link serves them; lets the port go at once if not.
    pub(super) fn new(socket: std::net::TcpListener, shared: Arc<LinkShared>) -> io::Result<Self> {
        let local = socket.local_addr()?;
        let inner = if shared.reach.serves_tcp() {
            socket.set_nonblocking(true)?;
            Some(Arc::new(TcpListener::from_std(socket)?))
        } else {
            None
        };
        let inner = Mutex::new(inner);
        Ok(Self {
            inner,
            local,
            shared,
        })
    }

    fn inner(&self) -> Option<Arc<TcpListener>> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.clone()
    }

    /// The next stream that there is room for.
    async fn next(&self) -> io::Result<(Stream, SocketAddr)> {
        let Some(inner) = self.inner() else {
            return std::future::pending().await;
        };
        loop {
            let (stream, peer) = inner.accept().await?;
            if let Some(stream) = Stream::new(stream, &self.shared)? {
                return Ok((stream, peer));
            }
        }
    }
}

impl AsyncTcpListener for Listener {
    fn accept<'a>(&'a self) -> Boxed<'a, io::Result<(Arc<dyn AsyncTcpStream>, SocketAddr)>> {
        Box::pin(async move {
            let mut looks = TCP_LISTEN_LOOKS;
            while looks > 0 && !self.shared.msg.open.load(Ordering::Acquire) {
                looks -= 1;
                match tokio::time::timeout(TCP_LISTEN_LOOK, self.next()).await {
                    Ok(Ok((stream, peer))) => return Ok((Arc::new(stream) as _, peer)),
                    // A stream that was gone before it was taken.
                    Ok(Err(error)) => {
                        tracing::debug!(%error, "a stream was not taken");
                        tokio::time::sleep(TCP_LISTEN_LOOK).await;
                    }
                    Err(_) => {}
                }
            }
            // An error would have the crate ask again at once.
            *self.inner.lock().unwrap_or_else(PoisonError::into_inner) = None;
            std::future::pending().await
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}

/// Dials where a peer takes streams, unless UDP gets through first.
pub(super) async fn dial(
    to: SocketAddr,
    shared: &Arc<LinkShared>,
) -> io::Result<Arc<dyn AsyncTcpStream>> {
    let mut waited = Duration::ZERO;
    // Somebody answers by UDP: it gets its time.
    while waited == Duration::ZERO || (shared.gate().knows_any() && waited < TCP_LAST_START) {
        tokio::time::sleep(TCP_HEAD_START).await;
        waited += TCP_HEAD_START;
        if shared.msg.open.load(Ordering::Acquire) {
            return Err(io::Error::other("not needed: there is a link by UDP"));
        }
    }
    let connected = tokio::time::timeout(TCP_CONNECT, TcpStream::connect(to)).await;
    let stream = connected.map_err(|_| io::ErrorKind::TimedOut)??;
    let stream = Stream::new(stream, shared)?;
    let stream = stream.ok_or_else(|| io::Error::other("too many streams"))?;
    Ok(Arc::new(stream))
}

/// One stream of a link.
struct Stream {
    reading: OwnedReadHalf,
    frames: Mutex<Frames>,
    outbox: mpsc::Sender<Vec<u8>>,
    /// Ends with the stream.
    _writer: JoinSet<()>,
    local: SocketAddr,
    peer: SocketAddr,
    shared: Arc<LinkShared>,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stream").field(&self.peer).finish()
    }
}

impl Stream {
    /// `None` where the link has enough of them.
    fn new(stream: TcpStream, shared: &Arc<LinkShared>) -> io::Result<Option<Self>> {
        if shared.tcp_streams.fetch_add(1, Ordering::AcqRel) >= MAX_TCP_STREAMS {
            shared.tcp_streams.fetch_sub(1, Ordering::AcqRel);
            return Ok(None);
        }
        let made = Self::counted(stream, shared);
        if made.is_err() {
            shared.tcp_streams.fetch_sub(1, Ordering::AcqRel);
        }
        made.map(Some)
    }

    fn counted(stream: TcpStream, shared: &Arc<LinkShared>) -> io::Result<Self> {
        // What is said waits for nothing that may still be said.
        stream.set_nodelay(true)?;
        let (local, peer) = (stream.local_addr()?, stream.peer_addr()?);
        let (reading, writing) = stream.into_split();
        let (outbox, frames) = mpsc::channel(TCP_QUEUE);
        let mut writer = JoinSet::new();
        writer.spawn(write(writing, frames));
        Ok(Self {
            reading,
            frames: Mutex::default(),
            outbox,
            _writer: writer,
            local,
            peer,
            shared: Arc::clone(shared),
        })
    }

    /// Reads until there is something to hand on; 0 at the end.
    async fn read_on(&self, room: &mut [u8]) -> io::Result<usize> {
        let mut bytes = [0; TCP_READ];
        loop {
            let waiting = self.frames().hand_on(room);
            if waiting > 0 {
                return Ok(waiting);
            }
            self.reading.readable().await?;
            match self.reading.try_read(&mut bytes) {
                Ok(0) => return Ok(0),
                Ok(read) => {
                    let took = self
                        .frames()
                        .take(&bytes[..read], |datagram| self.admits(datagram));
                    if took.is_err() {
                        return Ok(0);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The crate asks again after an error that passes, and reports others as its own.
                Err(_) => return Ok(0),
            }
        }
    }

    fn frames(&self) -> std::sync::MutexGuard<'_, Frames> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admits(&self, datagram: &[u8]) -> bool {
        let admitted = self.shared.gate().admits(self.peer, datagram);
        let shaking_hands = !self.shared.repeater().is_done();
        if admitted
            && shaking_hands
            && let Some(alert) = fatal_alert(datagram)
        {
            self.shared.alert_received(alert);
        }
        admitted
    }

    /// Sends one frame, or loses it.
    fn put(&self, frame: &[u8]) {
        let datagram = frame.get(LENGTH..).unwrap_or_default();
        if !self.shared.gate().lets_out(self.peer, datagram) {
            return;
        }
        self.shared.went_out(self.peer, datagram);
        self.shared.gate().sent(self.peer, datagram);
        let shaking_hands = !self.shared.repeater().is_done();
        if shaking_hands && let Some(alert) = fatal_alert(datagram) {
            self.shared.alert_sent(alert);
        }
        // A peer that does not read loses what it does not read, as it would by UDP.
        let _ = self.outbox.try_send(frame.to_vec());
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.tcp_streams.fetch_sub(1, Ordering::AcqRel);
    }
}

async fn write(mut to: OwnedWriteHalf, mut frames: mpsc::Receiver<Vec<u8>>) {
    use tokio::io::AsyncWriteExt as _;
    while let Some(frame) = frames.recv().await {
        if to.write_all(&frame).await.is_err() {
            // The reading side says that it is over.
            return;
        }
    }
}

impl AsyncTcpStream for Stream {
    fn read<'a, 'b>(&'a self, room: &'b mut [u8]) -> Boxed<'b, io::Result<usize>>
    where
        'a: 'b,
    {
        Box::pin(self.read_on(room))
    }

    fn write_all<'a, 'b>(&'a self, frame: &'b [u8]) -> Boxed<'b, io::Result<()>>
    where
        'a: 'b,
    {
        self.put(frame);
        Box::pin(std::future::ready(Ok(())))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}
