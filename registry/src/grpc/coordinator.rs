//! `CoordinatorService`.

use crate::grpc::caller::Caller;
use crate::ops::Ops;
use beeline_proto::pb::coordinator::v1 as pb;
use beeline_proto::pb::coordinator::v1::coordinator_service_server::CoordinatorService;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Debug)]
pub(super) struct CoordinatorApi {
    ops: Arc<Ops>,
}

impl CoordinatorApi {
    /// Serves these operations.
    pub(super) fn new(ops: Arc<Ops>) -> Self {
        Self { ops }
    }
}

#[tonic::async_trait]
impl CoordinatorService for CoordinatorApi {
    async fn heartbeat(
        &self,
        request: Request<pb::HeartbeatRequest>,
    ) -> Result<Response<pb::HeartbeatResponse>, Status> {
        let member = Caller::of(&request)?
            .member(&request.get_ref().network_id)?
            .clone();
        Ok(Response::new(
            self.ops.heartbeat(&member, request.into_inner())?,
        ))
    }

    async fn list_coordinators(
        &self,
        request: Request<pb::ListCoordinatorsRequest>,
    ) -> Result<Response<pb::ListCoordinatorsResponse>, Status> {
        let asked = request.get_ref();
        let member = Caller::of(&request)?.member(&asked.network_id)?;
        Ok(Response::new(
            self.ops.list_coordinators(&member.network, asked).await?,
        ))
    }
}
