//! The `Runtime` given to each connection: the base runtime, tuned and guarded.
//!
//! It raises the socket buffers, filters what sockets receive, shortens the driver's sleep while a
//! connection is being made, and notices when the driver ends, panics included.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use socket2::SockRef;
use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, Runtime,
};

use super::landing::Landing;
use super::limits::{CONNECTING_SLEEP, RELAY_ROUND, SOCKET_BUFFER};
use super::shared::LinkShared;
use super::socket::FilteredSocket;
use super::tcp::{Listener, dial};

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

#[derive(Debug)]
pub(super) struct LinkRuntime {
    base: Arc<dyn Runtime>,
    shared: Arc<LinkShared>,
    landing: Landing,
    has_driver: AtomicBool,
}

impl LinkRuntime {
    pub(super) fn new(base: Arc<dyn Runtime>, shared: Arc<LinkShared>, landing: Landing) -> Self {
        Self {
            base,
            shared,
            landing,
            has_driver: AtomicBool::new(false),
        }
    }
}

/// Reports the end of the driver however it comes.
struct EndOfDriver(Arc<LinkShared>);

impl Drop for EndOfDriver {
    fn drop(&mut self) {
        self.0.report_driver_end();
    }
}

impl Runtime for LinkRuntime {
    /// The first task the crate spawns for a connection is its driver; others dial.
    fn spawn(&self, future: Boxed<'static, ()>) -> Box<dyn JoinHandle> {
        if self.has_driver.swap(true, Ordering::AcqRel) {
            return self.base.spawn(future);
        }
        let end = EndOfDriver(Arc::clone(&self.shared));
        self.base.spawn(Box::pin(async move {
            let _end = end;
            future.await;
        }))
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let options = SockRef::from(&socket);
        // The kernel caps both silently at net.core.{r,w}mem_max; a refusal costs only speed.
        let raised = options
            .set_recv_buffer_size(SOCKET_BUFFER)
            .and_then(|()| options.set_send_buffer_size(SOCKET_BUFFER));
        if let Err(error) = raised {
            tracing::debug!(%error, "socket buffers stay at the system's default");
        }
        let inner = self.base.wrap_udp_socket(socket)?;
        Ok(Arc::new(FilteredSocket::new(
            inner,
            Arc::clone(&self.shared),
            Arc::clone(&self.base),
            self.landing.clone(),
        )))
    }

    fn wrap_tcp_listener(
        &self,
        listener: std::net::TcpListener,
    ) -> io::Result<Arc<dyn AsyncTcpListener>> {
        Ok(Arc::new(Listener::new(listener, Arc::clone(&self.shared))?))
    }

    fn connect_tcp<'a>(
        &'a self,
        remote: SocketAddr,
    ) -> Boxed<'a, io::Result<Arc<dyn AsyncTcpStream>>> {
        Box::pin(dial(remote, &self.shared))
    }

    fn resolve_host<'a>(&'a self, host: &'a str) -> Boxed<'a, io::Result<Vec<SocketAddr>>> {
        let resolved = self.base.resolve_host(host);
        Box::pin(async move {
            let addresses = resolved.await?;
            // The crate looks up STUN and TURN servers, and nobody else.
            self.shared.reach.servers.add(addresses.iter().copied());
            Ok(addresses)
        })
    }

    fn now(&self) -> Instant {
        self.base.now()
    }

    fn sleep(&self, duration: Duration) -> Boxed<'static, ()> {
        if self.shared.is_connecting(self.base.now()) {
            self.base.sleep(duration.min(CONNECTING_SLEEP))
        } else if self.shared.take_round() {
            self.base.sleep(duration.min(RELAY_ROUND))
        } else if self.shared.is_relayed() {
            let (slept, shared) = (self.base.sleep(duration), Arc::clone(&self.shared));
            Box::pin(async move {
                slept.await;
                // A timer that fires sends something.
                shared.stir();
            })
        } else {
            self.base.sleep(duration)
        }
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        self.base.interval(period)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        self.base.block_on(future);
    }

    fn yield_now(&self) -> Boxed<'static, ()> {
        self.base.yield_now()
    }

    fn name(&self) -> &'static str {
        "beeline"
    }
}
