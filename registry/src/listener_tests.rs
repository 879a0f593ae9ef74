//! Connections that never begin, and too many of them. Time is tokio's and paused: it moves when
//! nothing else can.

use super::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_stream::StreamExt as _;

struct Listening {
    addr: SocketAddr,
    incoming: Incoming,
    stop: CancellationToken,
    work: tokio::task::JoinHandle<()>,
}

async fn listening() -> Listening {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("its address");
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let (incoming, work) = listen(listener, None, stop.clone(), tasks.clone());
    Listening {
        addr,
        incoming,
        stop,
        work: tasks.spawn(work),
    }
}

impl Listening {
    async fn accept(&mut self) -> Conn {
        self.incoming
            .next()
            .await
            .expect("still accepting")
            .expect("a connection")
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_does_not_begin_is_cut() {
    let mut listening = listening().await;
    for sent in [0, 1, PREFACE_LEN - 1] {
        let mut client = TcpStream::connect(listening.addr).await.expect("connects");
        let mut conn = listening.accept().await;
        client.write_all(&vec![b'P'; sent]).await.expect("sent");
        let mut read = vec![0; 100];
        let mut got = 0;
        let error = loop {
            match conn.read(&mut read).await {
                Ok(n) => got += n,
                Err(error) => break error,
            }
        };
        assert_eq!((got, error.kind()), (sent, io::ErrorKind::TimedOut));
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_has_begun_may_be_silent() {
    let mut listening = listening().await;
    let mut client = TcpStream::connect(listening.addr).await.expect("connects");
    let mut conn = listening.accept().await;
    client.write_all(&[b'P'; PREFACE_LEN]).await.expect("sent");
    let mut preface = [0; PREFACE_LEN];
    conn.read_exact(&mut preface).await.expect("the preface");
    let silent = timeout(HANDSHAKE_TIMEOUT * 10, conn.read(&mut preface)).await;
    assert!(silent.is_err(), "nothing came and nothing was cut");
}

#[tokio::test]
async fn accepting_ends_when_told() {
    let mut listening = listening().await;
    let _client = TcpStream::connect(listening.addr).await.expect("connects");
    listening.accept().await;
    listening.stop.cancel();
    listening.work.await.expect("the work ended");
    assert!(listening.incoming.next().await.is_none());
}

#[test]
fn an_address_has_so_many_places_and_loopback_has_its_own_rule() {
    let by_ip = Arc::new(ByIp::default());
    let far: IpAddr = "192.0.2.7".parse().expect("an address");
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS_PER_IP_MAX {
        held.push(ByIp::enter(&by_ip, far).expect("a place"));
    }
    assert!(ByIp::enter(&by_ip, far).is_none());
    let other: IpAddr = "192.0.2.8".parse().expect("an address");
    assert!(ByIp::enter(&by_ip, other).is_some());
    held.pop();
    held.push(ByIp::enter(&by_ip, far).expect("a place came free"));
    for _ in 0..2 * CONNECTIONS_PER_IP_MAX {
        held.push(ByIp::enter(&by_ip, IpAddr::from([127, 0, 0, 1])).expect("loopback"));
    }
    drop(held);
    assert!(
        by_ip.0.lock().expect("not poisoned").is_empty(),
        "nothing is kept"
    );
}
