//! The ceilings of the registry's front: tonic services that do one thing, under the names of the
//! real one, so that the same load drives both.

use crate::measure::text;
use crate::role::Desk;
use beeline_proto::envelope::split;
use beeline_proto::keys::VerifyKey;
use beeline_proto::pb::registry::v1::{
    AnnounceRequest, AnnounceResponse, GetPeerRequest, GetPeerResponse, Peer,
};
use beeline_proto::sign::pre_image;
use rusqlite::{Connection, OptionalExtension as _};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// A unary method and nothing around it.
#[derive(Clone)]
struct Bare<M>(M);

impl<M> NamedService for Bare<M> {
    const NAME: &'static str = "beeline.registry.v1.RegistryService";
}

/// A method of the bare service.
trait Method: Clone + Send + Sync + 'static {
    type Ask: prost::Message + Default + 'static;
    type Answer: prost::Message + 'static;

    fn call(&self, ask: Self::Ask) -> Result<Self::Answer, Status>;
}

impl<M: Method> UnaryService<M::Ask> for Bare<M> {
    type Response = M::Answer;
    type Future = std::future::Ready<Result<Response<M::Answer>, Status>>;

    fn call(&mut self, request: Request<M::Ask>) -> Self::Future {
        std::future::ready(self.0.call(request.into_inner()).map(Response::new))
    }
}

/// What tonic's router takes.
#[derive(Clone)]
struct Route<M>(Bare<M>);

impl<M> NamedService for Route<M> {
    const NAME: &'static str = <Bare<M> as NamedService>::NAME;
}

impl<M: Method> Service<http::Request<Body>> for Route<M> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let method = self.0.clone();
        Box::pin(async move {
            let codec = ProstCodec::<M::Answer, M::Ask>::default();
            Ok(Grpc::new(codec).unary(method, request).await)
        })
    }
}

fn serve<M: Method>(method: M, desk: &mut Desk) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(text)?;
    let mut server = tokio::task::JoinSet::new();
    {
        let _inside = runtime.enter();
        let address = "127.0.0.1:0".parse().map_err(text)?;
        let incoming = TcpIncoming::bind(address)
            .map_err(text)?
            .with_nodelay(Some(true));
        let address = incoming.local_addr().map_err(text)?;
        let route = Server::builder().add_service(Route(Bare(method)));
        server.spawn(route.serve_with_incoming(incoming));
        desk.say(&serde_json::json!({ "url": format!("http://{address}") }));
    }
    desk.until_the_end();
    server.abort_all();
    Ok(())
}

/// Verifies the record's signature, strictly, and nothing else.
#[derive(Clone)]
struct Verify;

impl Method for Verify {
    type Ask = AnnounceRequest;
    type Answer = AnnounceResponse;

    fn call(&self, ask: AnnounceRequest) -> Result<AnnounceResponse, Status> {
        let refuse = |_| Status::invalid_argument("not an envelope");
        let raw = split(&ask.record).map_err(refuse)?;
        let key = VerifyKey::from_bytes(raw.signer_key);
        let key = key.map_err(|e| Status::invalid_argument(e.to_string()))?;
        let signed = pre_image(raw.payload_type, &key.fp(), raw.payload);
        if !key.verify(&signed, raw.signature) {
            return Err(Status::unauthenticated("the signature is wrong"));
        }
        Ok(AnnounceResponse::default())
    }
}

/// The role `bare-announce`.
pub(crate) fn announce(_: &[String], desk: &mut Desk) -> Result<(), String> {
    serve(Verify, desk)
}

/// Selects one row of SQLite by its key.
#[derive(Clone)]
struct Select(Arc<Mutex<Connection>>);

impl Method for Select {
    type Ask = GetPeerRequest;
    type Answer = GetPeerResponse;

    fn call(&self, ask: GetPeerRequest) -> Result<GetPeerResponse, Status> {
        let connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let select = connection.prepare_cached("SELECT chain FROM peers WHERE user_id = ?1");
        let found = select.and_then(|mut select| {
            select
                .query_row([&ask.user_id], |row| row.get::<_, Vec<u8>>(0))
                .optional()
        });
        match found.map_err(|e| Status::internal(e.to_string()))? {
            Some(chain) => {
                let peer = Peer {
                    user_id: ask.user_id,
                    chain,
                    ..Peer::default()
                };
                Ok(GetPeerResponse { peer: Some(peer) })
            }
            None => Err(Status::not_found("no such user")),
        }
    }
}

/// The role `bare-select USERS BYTES`: so many rows of so many bytes.
pub(crate) fn select(args: &[String], desk: &mut Desk) -> Result<(), String> {
    let [users, bytes] = args else {
        return Err("bare-select USERS BYTES".into());
    };
    let (users, bytes): (u64, usize) = (users.parse().map_err(text)?, bytes.parse().map_err(text)?);
    let dir = tempfile::tempdir().map_err(text)?;
    let mut connection = Connection::open(dir.path().join("bare.db")).map_err(text)?;
    fill(&mut connection, users, bytes).map_err(text)?;
    serve(Select(Arc::new(Mutex::new(connection))), desk)
}

fn fill(connection: &mut Connection, users: u64, bytes: usize) -> rusqlite::Result<()> {
    connection.execute_batch(
        "PRAGMA journal_mode = WAL;
        CREATE TABLE peers (user_id TEXT PRIMARY KEY, chain BLOB NOT NULL) STRICT;",
    )?;
    let transaction = connection.transaction()?;
    for number in 0..users {
        let values = rusqlite::params![format!("bench{number:05}"), vec![7u8; bytes]];
        transaction.execute("INSERT INTO peers VALUES (?1, ?2)", values)?;
    }
    transaction.commit()
}
