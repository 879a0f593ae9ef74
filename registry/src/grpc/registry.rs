//! `RegistryService`: who calls, what about, and then the operation.

use crate::grpc::caller::Caller;
use crate::ops::Ops;
use beeline_proto::pb::registry::v1 as pb;
use beeline_proto::pb::registry::v1::registry_service_server::RegistryService;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Debug)]
pub(super) struct RegistryApi {
    ops: Arc<Ops>,
}

impl RegistryApi {
    /// Serves these operations.
    pub(super) fn new(ops: Arc<Ops>) -> Self {
        Self { ops }
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl RegistryService for RegistryApi {
    async fn join(&self, request: Request<pb::JoinRequest>) -> Answer<pb::JoinResponse> {
        Ok(Response::new(self.ops.join(request.get_ref()).await?))
    }

    async fn get_network(
        &self,
        request: Request<pb::GetNetworkRequest>,
    ) -> Answer<pb::GetNetworkResponse> {
        let caller = Caller::of(&request)?;
        let network = caller.network(&self.ops, &request.get_ref().network_id)?;
        Ok(Response::new(self.ops.network_lists(&network)))
    }

    async fn announce(
        &self,
        request: Request<pb::AnnounceRequest>,
    ) -> Answer<pb::AnnounceResponse> {
        let member = Caller::of(&request)?.member(&request.get_ref().network_id)?;
        Ok(Response::new(
            self.ops.announce(member, request.get_ref()).await?,
        ))
    }

    async fn get_peer(&self, request: Request<pb::GetPeerRequest>) -> Answer<pb::GetPeerResponse> {
        let asked = request.get_ref();
        let member = Caller::of(&request)?.member(&asked.network_id)?;
        let peer = self.ops.get_peer(&member.network, &asked.user_id).await?;
        Ok(Response::new(pb::GetPeerResponse { peer: Some(peer) }))
    }

    async fn list_active_peers(
        &self,
        request: Request<pb::ListActivePeersRequest>,
    ) -> Answer<pb::ListActivePeersResponse> {
        let asked = request.get_ref();
        let member = Caller::of(&request)?.member(&asked.network_id)?;
        Ok(Response::new(
            self.ops.list_active_peers(&member.network, asked).await?,
        ))
    }

    async fn put_device_list(
        &self,
        request: Request<pb::PutDeviceListRequest>,
    ) -> Answer<pb::PutDeviceListResponse> {
        let asked = request.get_ref();
        let member = Caller::of(&request)?.member(&asked.network_id)?;
        let version = self.ops.put_device_list(member, &asked.device_list).await?;
        Ok(Response::new(pb::PutDeviceListResponse { version }))
    }

    async fn renew_membership(
        &self,
        request: Request<pb::RenewMembershipRequest>,
    ) -> Answer<pb::RenewMembershipResponse> {
        let member = Caller::of(&request)?.member(&request.get_ref().network_id)?;
        let membership = self.ops.renew_membership(member).await?;
        Ok(Response::new(pb::RenewMembershipResponse { membership }))
    }

    async fn create_network(
        &self,
        request: Request<pb::CreateNetworkRequest>,
    ) -> Answer<pb::CreateNetworkResponse> {
        Ok(Response::new(
            self.ops.create_network(request.get_ref()).await?,
        ))
    }

    async fn put_descriptor(
        &self,
        request: Request<pb::PutDescriptorRequest>,
    ) -> Answer<pb::PutDescriptorResponse> {
        let asked = request.get_ref();
        let network = Caller::of(&request)?.network(&self.ops, &asked.network_id)?;
        let version = self.ops.put_descriptor(&network, &asked.descriptor).await?;
        Ok(Response::new(pb::PutDescriptorResponse { version }))
    }

    async fn create_invite(
        &self,
        request: Request<pb::CreateInviteRequest>,
    ) -> Answer<pb::CreateInviteResponse> {
        let asked = request.get_ref();
        let network = Caller::of(&request)?.network(&self.ops, &asked.network_id)?;
        Ok(Response::new(
            self.ops.create_invite(&network, asked).await?,
        ))
    }

    async fn list_members(
        &self,
        request: Request<pb::ListMembersRequest>,
    ) -> Answer<pb::ListMembersResponse> {
        let asked = request.get_ref();
        let network = Caller::of(&request)?.network(&self.ops, &asked.network_id)?;
        Ok(Response::new(self.ops.list_members(&network, asked).await?))
    }

    async fn revoke_member(
        &self,
        request: Request<pb::RevokeMemberRequest>,
    ) -> Answer<pb::RevokeMemberResponse> {
        let asked = request.get_ref();
        let network = Caller::of(&request)?.network(&self.ops, &asked.network_id)?;
        let revocations = self.ops.revoke_member(&network, &asked.user_id).await?;
        Ok(Response::new(pb::RevokeMemberResponse { revocations }))
    }

    async fn report_sockets(
        &self,
        request: Request<pb::ReportSocketsRequest>,
    ) -> Answer<pb::ReportSocketsResponse> {
        Ok(Response::new(
            self.ops.report_sockets(request.into_inner())?,
        ))
    }

    async fn get_device(
        &self,
        request: Request<pb::GetDeviceRequest>,
    ) -> Answer<pb::GetDeviceResponse> {
        let asked = request.get_ref();
        Ok(Response::new(
            self.ops
                .get_device(&asked.network_id, &asked.device_id)
                .await?,
        ))
    }
}
