//! Load on a gRPC registry: calls in lanes, each lane waiting for its answer, or at a fixed rate.

use crate::measure::{Samples, now, text};
use crate::members::connect;
use beeline_proto::pb::registry::v1::registry_service_client::RegistryServiceClient;
use beeline_proto::pb::registry::v1::{AnnounceRequest, GetPeerRequest, GetPeerResponse};
use std::time::Duration;
use tokio::task::JoinSet;
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;

/// HTTP/2 connections: one is half as fast as four, sixty-four no faster.
const CONNECTIONS: usize = 4;
/// How often the paced load looks how many calls are due.
const TICK: Duration = Duration::from_millis(1);

/// One call, ready to be sent.
#[derive(Clone)]
pub(crate) enum Call {
    Announce(AnnounceRequest),
    GetPeer(GetPeerRequest),
}

/// A caller: its credential, and its calls in the order they must be made.
#[derive(Clone)]
pub(crate) struct Lane {
    pub(crate) credential: MetadataValue<Ascii>,
    pub(crate) calls: Vec<Call>,
}

/// Connections to one server.
pub(crate) struct Load {
    clients: Vec<RegistryServiceClient<Channel>>,
}

impl Load {
    /// Connects.
    pub(crate) async fn connect(url: &str) -> Result<Self, String> {
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            clients.push(RegistryServiceClient::new(connect(url).await?));
        }
        Ok(Self { clients })
    }

    /// Asks for one user.
    pub(crate) async fn peer(
        &self,
        lane: &Lane,
        ask: GetPeerRequest,
    ) -> Result<GetPeerResponse, String> {
        let mut client = self.clients[0].clone();
        Ok(client
            .get_peer(with(&lane.credential, ask))
            .await
            .map_err(text)?
            .into_inner())
    }

    /// Runs all lanes at once; returns calls per second.
    pub(crate) async fn saturate(&self, lanes: Vec<Lane>) -> Result<f64, String> {
        let total: usize = lanes.iter().map(|lane| lane.calls.len()).sum();
        let start = now();
        let mut running = JoinSet::new();
        for (lane, client) in lanes.into_iter().zip(self.clients.iter().cycle()) {
            let mut client = client.clone();
            running.spawn(async move {
                for call in lane.calls {
                    send(&mut client, &lane.credential, call).await?;
                }
                Ok::<_, String>(())
            });
        }
        while let Some(lane) = running.join_next().await {
            lane.map_err(text)??;
        }
        Ok(total as f64 / start.elapsed().as_secs_f64())
    }

    /// Makes `rate` calls a second, taking from the lanes in turn, until they are used up. Returns
    /// the time from when each call was due to its answer, milliseconds.
    pub(crate) async fn pace(&self, lanes: Vec<Lane>, rate: f64) -> Result<Samples, String> {
        let rounds = lanes.iter().map(|lane| lane.calls.len()).min().unwrap_or(0);
        let calls = rounds * lanes.len();
        let start = now();
        let mut ticks = tokio::time::interval(TICK);
        let mut running = JoinSet::new();
        let mut next = 0;
        while next < calls {
            ticks.tick().await;
            let due = (start.elapsed().as_secs_f64() * rate) as usize;
            while next < due.min(calls) {
                let lane = &lanes[next % lanes.len()];
                let (call, credential) = (lane.calls[next / lanes.len()].clone(), &lane.credential);
                let mut client = self.clients[next % self.clients.len()].clone();
                let credential = credential.clone();
                let at = start + Duration::from_secs_f64(next as f64 / rate);
                running.spawn(async move {
                    send(&mut client, &credential, call).await?;
                    Ok::<_, String>((now() - at).as_secs_f64() * 1e3)
                });
                next += 1;
            }
        }
        let mut times = Samples::default();
        while let Some(time) = running.join_next().await {
            times.0.push(time.map_err(text)??);
        }
        Ok(times)
    }
}

fn with<T>(credential: &MetadataValue<Ascii>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("authorization", credential.clone());
    request
}

async fn send(
    client: &mut RegistryServiceClient<Channel>,
    credential: &MetadataValue<Ascii>,
    call: Call,
) -> Result<(), String> {
    match call {
        Call::Announce(ask) => client.announce(with(credential, ask)).await.map(drop),
        Call::GetPeer(ask) => client.get_peer(with(credential, ask)).await.map(drop),
    }
    .map_err(|status| format!("{}: {}", status.code(), status.message()))
}
