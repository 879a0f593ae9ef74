//! What only the registry's own gRPC offers: the signed lists, a renewed membership, a new device
//! list. Rare calls, at the registries the descriptor names, with the bearer token of REST.

use super::Token;
use crate::error::RestError;
use crate::limits::{CONNECT_TIMEOUT, REST_BODY_MAX, REST_TIMEOUT};
use beeline_proto::code::ErrorCode;
use beeline_proto::pb::registry::v1 as registry;
use beeline_proto::pb::registry::v1::registry_service_client::RegistryServiceClient;
use client_core::input::RegistryAnswer;
use client_core::output::RegistryCall;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use std::sync::Arc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

/// Ways to the registries.
pub(super) struct Grpc {
    connector: HttpsConnector<HttpConnector>,
}

impl Grpc {
    pub(super) fn new(tls: &Arc<rustls::ClientConfig>) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(rustls::ClientConfig::clone(tls))
            .https_or_http()
            .enable_http2()
            .wrap_connector(tcp);
        Self { connector }
    }

    /// Asks each registry in turn until one can be reached.
    pub(super) async fn ask(
        &self,
        origins: &[String],
        network: &str,
        call: &RegistryCall,
        token: &Token,
    ) -> Result<RegistryAnswer, RestError> {
        let why = "the network names no registry".to_owned();
        let mut last = RestError::Unreachable(why);
        for origin in origins {
            match self.ask_one(origin, network, call, token).await {
                Err(error) if error.is_elsewhere_better() => last = error,
                other => return other,
            }
        }
        Err(last)
    }

    async fn ask_one(
        &self,
        origin: &str,
        network: &str,
        call: &RegistryCall,
        token: &Token,
    ) -> Result<RegistryAnswer, RestError> {
        let unreachable = |why: String| RestError::Unreachable(format!("{origin}: {why}"));
        let mut bearer: MetadataValue<Ascii> = format!("Bearer {}", token.text())
            .parse()
            .map_err(|_| unreachable("the token is no plain text".to_owned()))?;
        bearer.set_sensitive(true);
        let endpoint = Endpoint::from_shared(origin.to_owned())
            .map_err(|e| unreachable(e.to_string()))?
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REST_TIMEOUT);
        let channel = endpoint
            .connect_with_connector(self.connector.clone())
            .await;
        let channel = channel.map_err(|e| unreachable(e.to_string()))?;
        let answer = exchange(channel, network, call, &bearer).await;
        answer.map_err(|status| refusal(origin, &status))
    }
}

async fn exchange(
    channel: Channel,
    network: &str,
    call: &RegistryCall,
    bearer: &MetadataValue<Ascii>,
) -> Result<RegistryAnswer, Status> {
    let mut service = RegistryServiceClient::new(channel).max_decoding_message_size(REST_BODY_MAX);
    let network_id = network.to_owned();
    match call {
        RegistryCall::RenewMembership => {
            let request = registry::RenewMembershipRequest { network_id };
            let answer = service.renew_membership(with(bearer, request)).await?;
            Ok(RegistryAnswer::Membership(answer.into_inner().membership))
        }
        RegistryCall::PutDeviceList { device_list } => {
            let device_list = device_list.clone();
            let request = registry::PutDeviceListRequest {
                network_id,
                device_list,
            };
            let answer = service.put_device_list(with(bearer, request)).await?;
            Ok(RegistryAnswer::DeviceList(answer.into_inner().version))
        }
        RegistryCall::GetNetwork => {
            let request = registry::GetNetworkRequest { network_id };
            let answer = service
                .get_network(with(bearer, request))
                .await?
                .into_inner();
            Ok(RegistryAnswer::Network {
                descriptor: answer.descriptor,
                revocations: answer.revocations,
            })
        }
        RegistryCall::GetPeer { .. }
        | RegistryCall::Announce { .. }
        | RegistryCall::Heartbeat { .. }
        | RegistryCall::ListCoordinators => Err(Status::unimplemented("REST has this")),
    }
}

fn with<T>(bearer: &MetadataValue<Ascii>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("authorization", bearer.clone());
    request
}

/// A status in the shared vocabulary: the name the registry gives, or what its code comes nearest.
fn refusal(origin: &str, status: &Status) -> RestError {
    let named = status.metadata().get("beeline-code");
    let named = named.and_then(|name| ErrorCode::from_name(name.to_str().ok()?));
    let code = match (named, status.code()) {
        (Some(code), _) => code,
        (None, Code::Unavailable | Code::DeadlineExceeded | Code::Unknown) => {
            return RestError::Unreachable(format!("{origin}: {}", status.message()));
        }
        (None, Code::Unauthenticated) => ErrorCode::Unauthenticated,
        (None, Code::PermissionDenied) => ErrorCode::PermissionDenied,
        (None, Code::Unimplemented) => ErrorCode::Unimplemented,
        (None, _) => ErrorCode::Internal,
    };
    RestError::Refused {
        code,
        detail: status.message().to_owned(),
        retry_after_s: None,
    }
}
