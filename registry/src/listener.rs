//! Accepting connections: bounded in number, in total and by address; each must finish its TLS
//! handshake and begin HTTP/2 in time. An error of one connection never ends the accepting.

use crate::limits::{ACCEPT_PAUSE, CONNECTIONS_MAX, CONNECTIONS_PER_IP_MAX, HANDSHAKE_TIMEOUT};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Connections that are ready to be served.
pub(crate) type Incoming = ReceiverStream<io::Result<Conn>>;

/// Connections ready but not yet taken by the server, which takes them at once.
const READY_MAX: usize = 64;

/// Bytes of the HTTP/2 preface (RFC 9113 §3.4); what arrives before the deadline must be as much.
const PREFACE_LEN: usize = 24;

/// Accepts until `stop`; the returned work must be run.
pub(crate) fn listen(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    stop: CancellationToken,
    tasks: TaskTracker,
) -> (Incoming, impl Future<Output = ()> + Send) {
    let (ready, incoming) = mpsc::channel(READY_MAX);
    let work = async move {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let by_ip = Arc::new(ByIp::default());
        while let Some((stream, from)) = accept(&listener, &stop).await {
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                continue;
            };
            let Some(ip) = ByIp::enter(&by_ip, from.ip()) else {
                continue;
            };
            let guard = Guard {
                _place: place,
                _ip: ip,
            };
            let (ready, tls, stop) = (ready.clone(), tls.clone(), stop.clone());
            tasks.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    // The server has ended if nobody takes connections any more.
                    conn = prepare(stream, tls, guard) => if let Some(conn) = conn {
                        let _ = ready.send(Ok(conn)).await;
                    }
                }
            });
        }
    };
    (ReceiverStream::new(incoming), work)
}

async fn accept(
    listener: &TcpListener,
    stop: &CancellationToken,
) -> Option<(TcpStream, SocketAddr)> {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return None,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(accepted) => return Some(accepted),
            Err(error) => {
                tracing::warn!(%error, "accept failed, going on");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn prepare(stream: TcpStream, tls: Option<TlsAcceptor>, guard: Guard) -> Option<Conn> {
    // Without it every small answer waits for the other side's delayed ACK.
    let _ = stream.set_nodelay(true);
    let info = stream.connect_info();
    let io = match tls {
        None => Io::Plain(stream),
        Some(tls) => match timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
            Ok(Ok(stream)) => Io::Tls(Box::new(stream)),
            Ok(Err(error)) => {
                tracing::debug!(%error, "TLS handshake failed");
                return None;
            }
            Err(_elapsed) => return None,
        },
    };
    Some(Conn {
        io,
        info,
        received: 0,
        begin: Some(Box::pin(sleep(HANDSHAKE_TIMEOUT))),
        _guard: guard,
    })
}

/// How many connections each address has; loopback is not counted.
#[derive(Debug, Default)]
struct ByIp(Mutex<HashMap<IpAddr, usize>>);

/// One place of an address; given back on drop.
#[derive(Debug)]
struct IpPlace(Option<(Arc<ByIp>, IpAddr)>);

impl ByIp {
    fn enter(this: &Arc<Self>, ip: IpAddr) -> Option<IpPlace> {
        if ip.is_loopback() {
            return Some(IpPlace(None));
        }
        let mut counts = this.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(ip).or_insert(0);
        if *count >= CONNECTIONS_PER_IP_MAX {
            return None;
        }
        *count += 1;
        Some(IpPlace(Some((Arc::clone(this), ip))))
    }
}

impl Drop for IpPlace {
    fn drop(&mut self) {
        let Some((by_ip, ip)) = &self.0 else {
            return;
        };
        let mut counts = by_ip.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(ip) {
            *count -= 1;
            if *count == 0 {
                counts.remove(ip);
            }
        }
    }
}

#[derive(Debug)]
struct Guard {
    _place: OwnedSemaphorePermit,
    _ip: IpPlace,
}

#[derive(Debug)]
enum Io {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::server::TlsStream<TcpStream>>),
}

/// One accepted connection.
#[derive(Debug)]
pub(crate) struct Conn {
    io: Io,
    info: TcpConnectInfo,
    received: usize,
    /// Runs until the preface has arrived.
    begin: Option<Pin<Box<Sleep>>>,
    _guard: Guard,
}

impl Connected for Conn {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.info.clone()
    }
}

impl AsyncRead for Conn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(begin) = &mut self.begin
            && begin.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buf.filled().len();
        let result = match &mut self.io {
            Io::Plain(io) => ready!(Pin::new(io).poll_read(cx, buf)),
            Io::Tls(io) => ready!(Pin::new(io).poll_read(cx, buf)),
        };
        self.received += buf.filled().len() - before;
        if self.received >= PREFACE_LEN {
            self.begin = None;
        }
        Poll::Ready(result)
    }
}

impl AsyncWrite for Conn {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_write(cx, buf),
            Io::Tls(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_flush(cx),
            Io::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Io::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Io::Tls(io) => Pin::new(io).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(io) => io.is_write_vectored(),
            Io::Tls(io) => io.is_write_vectored(),
        }
    }
}

#[cfg(test)]
#[path = "listener_tests.rs"]
mod tests;
