//! A network inside one thread: UDP with delay, jitter, loss and reordering, on tokio's paused
//! clock, and the `Runtime` that lets the real WebRTC stack run on it.
//!
//! A test builds a [`VirtualNet`] from a seed inside a current-thread runtime whose clock is
//! paused. Nothing waits: when every task is idle, tokio moves the clock to the next timer, so
//! seconds of protocol take milliseconds. The crate binds real sockets to learn an address; they
//! are kept to hold the port, and carry nothing.

use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::time::{Instant, Sleep};
use tokio_util::task::TaskTracker;
use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, RecvMeta, Runtime,
    Transmit,
};

/// Datagrams one socket may have waiting; more are lost, as in a kernel.
const MAX_WAITING: usize = 8_192;
/// Lines the trace keeps; a longer run keeps only its hash.
const MAX_TRACE: usize = 100_000;

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Address of a host of a virtual network. Test processes run side by side on one loopback, so
/// each takes a part of it.
pub fn host(last: u8) -> Ipv4Addr {
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, high, low, last)
}

/// How every path of the network behaves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Path {
    /// One way.
    pub delay: Duration,
    /// Added to the delay, evenly from zero to this.
    pub jitter: Duration,
    /// Datagrams lost, of 1,000.
    pub loss: u32,
    /// Datagrams held back by another `delay` plus 10 ms, so that later ones overtake, of 1,000.
    pub reorder: u32,
    /// Bytes a second towards each socket, others wait behind them; 0 for no limit.
    pub rate: u32,
}

/// One datagram, as the trace sees it: nothing that randomness of the crate could change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Since the network was made.
    pub at: Duration,
    /// Source and destination.
    pub way: (SocketAddr, SocketAddr),
    /// `stun`, `dtls` or `other`.
    pub kind: &'static str,
    /// Whether the path lost it.
    pub lost: bool,
}

struct Waiting {
    due: Instant,
    order: u64,
    from: SocketAddr,
    bytes: Vec<u8>,
}

/// Earliest first, then in the order sent.
impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.due, other.order).cmp(&(self.due, self.order))
    }
}
impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Waiting {}

#[derive(Default)]
struct Mailbox {
    waiting: BinaryHeap<Waiting>,
    reader: Option<Waker>,
    timer: Option<Pin<Box<Sleep>>>,
    /// When the last datagram towards it had passed the narrow place.
    passed: Option<Instant>,
}

struct State {
    path: Path,
    rng: ChaCha8Rng,
    start: Instant,
    order: u64,
    mailboxes: BTreeMap<SocketAddr, Arc<Mutex<Mailbox>>>,
    trace: Vec<Line>,
}

/// The network. Clones are the same network.
#[derive(Clone)]
pub struct VirtualNet {
    state: Arc<Mutex<State>>,
    tasks: TaskTracker,
}

impl fmt::Debug for VirtualNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VirtualNet")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl VirtualNet {
    /// A network whose every decision follows from `seed`. Must be made with the clock paused.
    pub fn new(seed: u64, path: Path) -> Self {
        let state = State {
            path,
            rng: ChaCha8Rng::seed_from_u64(seed),
            start: Instant::now(),
            order: 0,
            mailboxes: BTreeMap::new(),
            trace: Vec::new(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            tasks: TaskTracker::new(),
        }
    }

    /// From now on, paths behave so.
    pub fn set_path(&self, path: Path) {
        lock(&self.state).path = path;
    }

    /// The runtime to give to a connection.
    pub fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(VirtualRuntime { net: self.clone() })
    }

    /// Sends a datagram from any address, bound or not: what an attacker may do.
    pub fn inject(&self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.send(from, to, bytes);
    }

    /// The datagrams so far.
    pub fn trace(&self) -> Vec<Line> {
        lock(&self.state).trace.clone()
    }

    /// Virtual time since the network was made.
    pub fn now(&self) -> Duration {
        Instant::now() - lock(&self.state).start
    }

    fn attach(&self, address: SocketAddr) -> Arc<Mutex<Mailbox>> {
        let mailbox = Arc::new(Mutex::new(Mailbox::default()));
        lock(&self.state)
            .mailboxes
            .insert(address, Arc::clone(&mailbox));
        mailbox
    }

    fn send(&self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let mut state = lock(&self.state);
        let state = &mut *state;
        let path = state.path;
        let lost = state.rng.random_range(0..1_000) < path.loss;
        let mut delay = path.delay + path.jitter.mul_f64(state.rng.random_range(0.0..=1.0));
        if state.rng.random_range(0..1_000) < path.reorder {
            delay += path.delay + Duration::from_millis(10);
        }
        if state.trace.len() < MAX_TRACE {
            let (at, kind) = (Instant::now() - state.start, kind(bytes));
            state.trace.push(Line {
                at,
                way: (from, to),
                kind,
                lost,
            });
        }
        state.order += 1;
        let Some(mailbox) = state.mailboxes.get(&to).filter(|_| !lost) else {
            return;
        };
        let mut mailbox = lock(mailbox);
        let mut passed = Instant::now();
        if path.rate > 0 {
            let takes = Duration::from_secs(1).mul_f64(bytes.len() as f64 / f64::from(path.rate));
            passed = mailbox.passed.map_or(passed, |last| passed.max(last)) + takes;
            mailbox.passed = Some(passed);
        }
        let due = passed + delay;
        if mailbox.waiting.len() < MAX_WAITING {
            let bytes = bytes.to_vec();
            mailbox.waiting.push(Waiting {
                due,
                order: state.order,
                from,
                bytes,
            });
        }
        if let Some(reader) = mailbox.reader.take() {
            reader.wake();
        }
    }
}

fn kind(bytes: &[u8]) -> &'static str {
    match bytes.first() {
        Some(0..=3) => "stun",
        Some(20..=63) => "dtls",
        _ => "other",
    }
}

struct VirtualSocket {
    net: VirtualNet,
    /// Holds the port, so that no other test can be given it.
    held: std::net::UdpSocket,
    mailbox: Arc<Mutex<Mailbox>>,
}

impl fmt::Debug for VirtualSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VirtualSocket({:?})", self.held.local_addr())
    }
}

impl AsyncUdpSocket for VirtualSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.held.local_addr()
    }

    fn poll_send(&self, _: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        let from = self.held.local_addr()?;
        self.net.send(from, transmit.destination, transmit.contents);
        Poll::Ready(Ok(transmit.contents.len()))
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut mailbox = lock(&self.mailbox);
        loop {
            let Some(next) = mailbox.waiting.peek() else {
                mailbox.reader = Some(cx.waker().clone());
                return Poll::Pending;
            };
            let due = next.due;
            if due <= Instant::now() {
                break;
            }
            mailbox.reader = Some(cx.waker().clone());
            let mut timer = Box::pin(tokio::time::sleep_until(due));
            let passed = timer.as_mut().poll(cx).is_ready();
            mailbox.timer = Some(timer);
            if !passed {
                return Poll::Pending;
            }
        }
        let Some(next) = mailbox.waiting.pop() else {
            return Poll::Pending;
        };
        let length = next.bytes.len().min(bufs[0].len());
        bufs[0][..length].copy_from_slice(&next.bytes[..length]);
        meta[0] = RecvMeta::default();
        meta[0].addr = next.from;
        meta[0].len = length;
        meta[0].stride = length.max(1);
        Poll::Ready(Ok(1))
    }
}

#[derive(Debug)]
struct VirtualRuntime {
    net: VirtualNet,
}

struct Task(tokio::task::JoinHandle<()>);

impl JoinHandle for Task {
    fn detach(&self) {}

    fn abort(&self) {
        self.0.abort();
    }

    fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

struct Ticks(tokio::time::Interval);

impl AsyncInterval for Ticks {
    fn tick(&mut self) -> Boxed<'_, ()> {
        Box::pin(async {
            self.0.tick().await;
        })
    }
}

fn no_tcp<T>() -> io::Result<T> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "the virtual network has no TCP",
    ))
}

impl Runtime for VirtualRuntime {
    fn spawn(&self, future: Boxed<'static, ()>) -> Box<dyn JoinHandle> {
        Box::new(Task(self.net.tasks.spawn(future)))
    }

    fn wrap_udp_socket(&self, held: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let mailbox = self.net.attach(held.local_addr()?);
        Ok(Arc::new(VirtualSocket {
            net: self.net.clone(),
            held,
            mailbox,
        }))
    }

    fn wrap_tcp_listener(&self, _: std::net::TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        no_tcp()
    }

    fn connect_tcp<'a>(&'a self, _: SocketAddr) -> Boxed<'a, io::Result<Arc<dyn AsyncTcpStream>>> {
        Box::pin(async { no_tcp() })
    }

    fn resolve_host<'a>(&'a self, host: &'a str) -> Boxed<'a, io::Result<Vec<SocketAddr>>> {
        let parsed = host
            .parse()
            .map_err(|_| io::Error::from(io::ErrorKind::NotFound));
        Box::pin(async move { Ok(vec![parsed?]) })
    }

    /// The same clock as [`Runtime::sleep`]; the crate's own tokio runtime mixes this with the
    /// wall clock when tokio's is paused.
    fn now(&self) -> std::time::Instant {
        Instant::now().into_std()
    }

    fn sleep(&self, duration: Duration) -> Boxed<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        Box::new(Ticks(tokio::time::interval(period)))
    }

    fn block_on(&self, _: Pin<Box<dyn Future<Output = ()> + '_>>) {
        unreachable!("a virtual network lives inside a runtime already");
    }

    fn name(&self) -> &'static str {
        "virtual"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket of `net`, and its address.
    fn socket(net: &VirtualNet) -> (Arc<dyn AsyncUdpSocket>, SocketAddr) {
        let held = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback has a port");
        let socket = net
            .runtime()
            .wrap_udp_socket(held)
            .expect("the network takes it");
        let address = socket.local_addr().expect("it is bound");
        (socket, address)
    }

    async fn received(socket: &dyn AsyncUdpSocket) -> u8 {
        let mut buffer = [0; 8];
        socket
            .recv_from(&mut buffer)
            .await
            .expect("a virtual socket does not fail");
        buffer[0]
    }

    #[tokio::test(start_paused = true)]
    async fn a_datagram_takes_as_long_as_its_path() {
        let delay = Duration::from_millis(50);
        let net = VirtualNet::new(
            1,
            Path {
                delay,
                ..Path::default()
            },
        );
        let ((a, from), (b, to)) = (socket(&net), socket(&net));
        a.send_to(&[7], to)
            .await
            .expect("a virtual socket does not fail");
        assert_eq!(received(&*b).await, 7);
        assert_eq!(net.now(), delay);
        assert_eq!(net.trace()[0].way, (from, to));
    }

    /// The first bytes that arrive of 200 datagrams, in the order they do.
    async fn arrivals(seed: u64, path: Path) -> Vec<u8> {
        let net = VirtualNet::new(seed, path);
        let ((a, _), (b, to)) = (socket(&net), socket(&net));
        for n in 0..200 {
            a.send_to(&[n], to)
                .await
                .expect("a virtual socket does not fail");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        net.set_path(Path::default());
        tokio::time::sleep(Duration::from_secs(1)).await;
        a.send_to(&[255], to)
            .await
            .expect("a virtual socket does not fail");
        let mut all = Vec::new();
        while all.last() != Some(&255) {
            all.push(received(&*b).await);
        }
        all.pop();
        all
    }

    #[tokio::test(start_paused = true)]
    async fn a_seed_decides_what_is_lost_and_overtaken() {
        let delay = Duration::from_millis(5);
        let path = Path {
            delay,
            loss: 100,
            reorder: 100,
            ..Path::default()
        };
        let got = arrivals(1, path).await;
        assert_eq!(got, arrivals(1, path).await);
        assert_ne!(got, arrivals(2, path).await);
        assert!(
            (160..198).contains(&got.len()),
            "a tenth is lost: {}",
            got.len()
        );
        assert!(!got.is_sorted(), "a tenth is overtaken");
        let all: Vec<u8> = (0..200).collect();
        assert_eq!(
            arrivals(
                1,
                Path {
                    delay,
                    ..Path::default()
                }
            )
            .await,
            all
        );
    }
}
