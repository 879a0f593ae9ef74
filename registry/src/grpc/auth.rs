//! `AuthService`.

use crate::ops::Ops;
use beeline_proto::pb::auth::v1 as pb;
use beeline_proto::pb::auth::v1::auth_service_server::AuthService;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Debug)]
pub(super) struct AuthApi {
    ops: Arc<Ops>,
}

impl AuthApi {
    /// Serves these operations.
    pub(super) fn new(ops: Arc<Ops>) -> Self {
        Self { ops }
    }
}

#[tonic::async_trait]
impl AuthService for AuthApi {
    async fn get_challenge(
        &self,
        request: Request<pb::GetChallengeRequest>,
    ) -> Result<Response<pb::GetChallengeResponse>, Status> {
        Ok(Response::new(self.ops.challenge(request.get_ref())?))
    }

    async fn create_token(
        &self,
        request: Request<pb::CreateTokenRequest>,
    ) -> Result<Response<pb::CreateTokenResponse>, Status> {
        Ok(Response::new(
            self.ops.create_token(request.get_ref()).await?,
        ))
    }

    async fn list_token_keys(
        &self,
        _request: Request<pb::ListTokenKeysRequest>,
    ) -> Result<Response<pb::ListTokenKeysResponse>, Status> {
        let keys = self.ops.tokens().public();
        Ok(Response::new(pb::ListTokenKeysResponse { keys }))
    }
}
