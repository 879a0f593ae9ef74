//! The tonic server with all its limits, on connections of our own accepting.

use crate::grpc::auth::AuthApi;
use crate::grpc::coordinator::CoordinatorApi;
use crate::grpc::gate::Gate;
use crate::grpc::registry::RegistryApi;
use crate::limits::{
    CONNECTION_AGE_GRACE, CONNECTION_AGE_MAX, DECODE_LEN_MAX, HEADER_LIST_LEN_MAX,
    KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, STREAMS_PER_CONNECTION_MAX,
};
use crate::listener::Incoming;
use crate::ops::Ops;
use crate::secrets::Secrets;
use beeline_proto::FILE_DESCRIPTOR_SET;
use beeline_proto::pb::auth::v1::auth_service_server::{self, AuthServiceServer};
use beeline_proto::pb::coordinator::v1::coordinator_service_server::{
    self, CoordinatorServiceServer,
};
use beeline_proto::pb::registry::v1::registry_service_server::{self, RegistryServiceServer};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// What a running server is told by.
#[derive(Debug, Clone)]
pub(crate) struct Serving {
    pub(crate) health: HealthReporter,
}

const SERVICES: [&str; 4] = [
    "",
    "beeline.auth.v1.AuthService",
    "beeline.coordinator.v1.CoordinatorService",
    "beeline.registry.v1.RegistryService",
];

impl Serving {
    /// Says by health whether calls are welcome.
    pub(crate) async fn set(&self, serving: bool) {
        let status = if serving {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        for service in SERVICES {
            self.health.set_service_status(service, status).await;
        }
    }
}

/// Builds the server; the future serves until `stop` and then until its calls are done.
pub(crate) fn serve(
    ops: Arc<Ops>,
    secrets: Arc<Secrets>,
    incoming: Incoming,
    reflection: bool,
    stop: CancellationToken,
) -> Result<
    (
        Serving,
        impl Future<Output = Result<(), tonic::transport::Error>>,
    ),
    ReflectionError,
> {
    let (health, health_service) = tonic_health::server::health_reporter();
    let reflection = match reflection {
        true => Some((reflect().build_v1()?, reflect().build_v1alpha()?)),
        false => None,
    };
    let (v1, v1alpha) = reflection.unzip();
    let registry = RegistryServiceServer::new(RegistryApi::new(Arc::clone(&ops)));
    let coordinator = CoordinatorServiceServer::new(CoordinatorApi::new(Arc::clone(&ops)));
    let auth = AuthServiceServer::new(AuthApi::new(Arc::clone(&ops)));
    let router = Server::builder()
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .http2_max_header_list_size(HEADER_LIST_LEN_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_connection_age(CONNECTION_AGE_MAX)
        .max_connection_age_grace(CONNECTION_AGE_GRACE)
        .layer(Gate::new(ops, secrets))
        .add_service(health_service)
        .add_service(registry.max_decoding_message_size(DECODE_LEN_MAX))
        .add_service(coordinator.max_decoding_message_size(DECODE_LEN_MAX))
        .add_service(auth.max_decoding_message_size(DECODE_LEN_MAX))
        .add_optional_service(v1)
        .add_optional_service(v1alpha);
    let future = router.serve_with_incoming_shutdown(incoming, stop.cancelled_owned());
    Ok((Serving { health }, future))
}

/// Why the schema cannot be reflected.
pub(crate) type ReflectionError = tonic_reflection::server::Error;

/// Lists what is served here; the schema holds other services too.
fn reflect() -> tonic_reflection::server::Builder<'static> {
    let served = [
        registry_service_server::SERVICE_NAME,
        coordinator_service_server::SERVICE_NAME,
        auth_service_server::SERVICE_NAME,
        tonic_health::pb::health_server::SERVICE_NAME,
    ];
    let builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    served
        .into_iter()
        .fold(builder, |builder, name| builder.with_service_name(name))
}
