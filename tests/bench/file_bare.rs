//! The ceiling of files: the crate `webrtc`, tuned as ours is (socket buffers and SCTP window of
//! 4 MiB, one thread, the suite whose nonces cannot repeat), moving messages of 64 KiB that mean
//! nothing between two processes. Also with the suite that the crate would choose, AES-128-GCM with
//! nonces drawn at random: no choice of ours, but told.

use crate::measure::text;
use crate::role::Desk;
use bytes::BytesMut;
use rtc::ice::mdns::MulticastDnsMode;
use serde_json::{Value, json};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use webrtc::data_channel::{DataChannel, DataChannelEvent, RTCDataChannelInit};
use webrtc::peer_connection::{
    CipherSuiteId, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler,
    RTCIceGatheringState, RTCSessionDescription, SettingEngineBuilder,
};
use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, Runtime,
    default_runtime,
};

const MESSAGE: usize = 64 * 1024;
const BUFFER: usize = 4 * 1024 * 1024;

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The crate's runtime with larger socket buffers.
#[derive(Debug)]
struct Tuned(Arc<dyn Runtime>);

impl Runtime for Tuned {
    fn spawn(&self, future: Boxed<'static, ()>) -> Box<dyn JoinHandle> {
        self.0.spawn(future)
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let options = socket2::SockRef::from(&socket);
        options.set_recv_buffer_size(BUFFER)?;
        options.set_send_buffer_size(BUFFER)?;
        self.0.wrap_udp_socket(socket)
    }

    fn wrap_tcp_listener(
        &self,
        listener: std::net::TcpListener,
    ) -> io::Result<Arc<dyn AsyncTcpListener>> {
        self.0.wrap_tcp_listener(listener)
    }

    fn connect_tcp<'a>(&'a self, to: SocketAddr) -> Boxed<'a, io::Result<Arc<dyn AsyncTcpStream>>> {
        self.0.connect_tcp(to)
    }

    fn resolve_host<'a>(&'a self, host: &'a str) -> Boxed<'a, io::Result<Vec<SocketAddr>>> {
        self.0.resolve_host(host)
    }

    fn now(&self) -> Instant {
        self.0.now()
    }

    fn sleep(&self, duration: Duration) -> Boxed<'static, ()> {
        self.0.sleep(duration)
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        self.0.interval(period)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        self.0.block_on(future);
    }

    fn yield_now(&self) -> Boxed<'static, ()> {
        self.0.yield_now()
    }

    fn name(&self) -> &'static str {
        "tuned"
    }
}

struct Handler(Arc<Notify>);

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.0.notify_one();
        }
    }
}

/// One side.
struct Side {
    connection: Box<dyn PeerConnection>,
    channel: Arc<dyn DataChannel>,
    gathered: Arc<Notify>,
}

/// The role `bare-file`: `send|receive BYTES IP UNDER-WAY SUITE`; the fourth in bytes, the last
/// `ours` or `its`. It is told the peer's description, and then each time to go.
pub(crate) fn play(args: &[String], desk: &mut Desk) -> Result<(), String> {
    let [side, bytes, ip, under_way, suite] = args else {
        return Err("bare-file send|receive BYTES IP UNDER-WAY SUITE".into());
    };
    let bytes: usize = bytes.parse().map_err(text)?;
    let under_way = under_way.parse().map_err(text)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(text)?;
    let calls = side == "send";
    let link = runtime.block_on(Side::new(ip, under_way, suite == "ours"))?;
    let ready = match calls {
        true => runtime.block_on(link.offer())?,
        false => json!({}),
    };
    desk.say(&ready);
    desk.serve(
        |work| runtime.block_on(work),
        async |request| {
            match (request["sdp"].as_str(), calls) {
                (Some(sdp), true) => link.answered(sdp).await?,
                (Some(sdp), false) => return link.answer(sdp).await,
                (None, true) => link.send(bytes).await?,
                (None, false) => link.receive(bytes).await?,
            }
            Ok(json!({}))
        },
    );
    Ok(())
}

impl Side {
    async fn new(ip: &str, under_way: usize, our_suite: bool) -> Result<Self, String> {
        let gathered = Arc::new(Notify::new());
        let mut settings = SettingEngineBuilder::new();
        if our_suite {
            let suite = CipherSuiteId::Tls_Ecdhe_Ecdsa_With_ChaCha20_Poly1305_Sha256;
            settings = settings.with_dtls_cipher_suites(vec![suite]);
        }
        let settings = settings
            .with_include_loopback_candidate(true)
            .with_multicast_dns_mode(MulticastDnsMode::Disabled)
            .with_sctp_max_receive_buffer_size(BUFFER as u32)
            .build();
        let runtime = default_runtime().ok_or("the crate has no runtime")?;
        let connection = PeerConnectionBuilder::new()
            .with_setting_engine(settings)
            .with_handler(Arc::new(Handler(Arc::clone(&gathered))))
            .with_runtime(Arc::new(Tuned(runtime)))
            .with_udp_addrs(vec![format!("{ip}:0")])
            .with_data_channel_send_buffer_limit(under_way)
            .build()
            .await
            .map_err(text)?;
        let init = RTCDataChannelInit {
            negotiated: Some(0),
            ..RTCDataChannelInit::default()
        };
        let channel = connection.create_data_channel("bulk", Some(init)).await;
        Ok(Self {
            connection: Box::new(connection),
            channel: channel.map_err(text)?,
            gathered,
        })
    }

    async fn described(&self) -> Result<Value, String> {
        self.gathered.notified().await;
        let ours = self.connection.local_description().await;
        Ok(json!({ "sdp": ours.ok_or("no description")?.sdp }))
    }

    async fn offer(&self) -> Result<Value, String> {
        let offer = self.connection.create_offer(None).await.map_err(text)?;
        let set = self.connection.set_local_description(offer).await;
        set.map_err(text)?;
        self.described().await
    }

    async fn answered(&self, sdp: &str) -> Result<(), String> {
        let answer = RTCSessionDescription::answer(sdp.to_owned()).map_err(text)?;
        let set = self.connection.set_remote_description(answer).await;
        set.map_err(text)?;
        self.opened().await
    }

    async fn answer(&self, sdp: &str) -> Result<Value, String> {
        let offer = RTCSessionDescription::offer(sdp.to_owned()).map_err(text)?;
        let set = self.connection.set_remote_description(offer).await;
        set.map_err(text)?;
        let answer = self.connection.create_answer(None).await.map_err(text)?;
        let set = self.connection.set_local_description(answer).await;
        set.map_err(text)?;
        self.described().await
    }

    async fn opened(&self) -> Result<(), String> {
        while !matches!(
            self.channel.poll().await.ok_or("the channel closed")?,
            DataChannelEvent::OnOpen
        ) {}
        Ok(())
    }

    async fn send(&self, bytes: usize) -> Result<(), String> {
        for _ in 0..bytes.div_ceil(MESSAGE) {
            let message = BytesMut::zeroed(MESSAGE);
            self.channel.send(message).await.map_err(text)?;
        }
        while self.channel.outstanding_bytes().await.map_err(text)? > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    async fn receive(&self, bytes: usize) -> Result<(), String> {
        let mut left = bytes;
        while left > 0 {
            let event = self.channel.poll().await.ok_or("the channel closed")?;
            if let DataChannelEvent::OnMessage(message) = event {
                left = left.saturating_sub(message.data.len());
            }
        }
        Ok(())
    }
}
