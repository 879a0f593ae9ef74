//! Who calls, as the gate found out, and what that allows.

use crate::directory::Network;
use crate::error::Error;
use crate::grpc::policy::Who;
use crate::ops::{Member, Ops};
use beeline_proto::pb::identity::v1::Role;
use std::sync::Arc;
use tonic::Request;

/// The caller of one method.
#[derive(Debug, Clone)]
pub(super) enum Caller {
    /// No credential was asked for.
    Nobody,
    /// A member's device.
    Member(Box<Member>),
    /// A gateway.
    Gateway,
    /// The operator of the machine.
    Operator,
}

impl Caller {
    /// The caller of this request. Without a gate in front, nobody may do anything.
    pub(super) fn of<T>(request: &Request<T>) -> Result<&Self, Error> {
        request
            .extensions()
            .get::<Self>()
            .ok_or(Error::NoCredential)
    }

    /// Whether the caller is one of those.
    pub(super) fn is(&self, who: Who) -> bool {
        match (who, self) {
            (Who::Anyone, _) | (Who::Member | Who::MemberOrGateway, Self::Member(_)) => true,
            (Who::Gateway | Who::MemberOrGateway, Self::Gateway) => true,
            (Who::Operator | Who::Admin, Self::Operator) => true,
            (Who::Coordinator, Self::Member(m)) => {
                matches!(m.role(), Role::Coordinator | Role::Admin)
            }
            (Who::Admin, Self::Member(m)) => m.role() == Role::Admin,
            _ => false,
        }
    }

    /// The calling device, if it belongs to the network the request names. Another network and one
    /// that does not exist read the same.
    pub(super) fn member(&self, network_id: &str) -> Result<&Member, Error> {
        match self {
            Self::Member(member) if member.network.label.as_str() == network_id => Ok(member),
            _ => Err(Error::Denied),
        }
    }

    /// The network the request names, if the caller may do there what the policy let through.
    pub(super) fn network(&self, ops: &Ops, network_id: &str) -> Result<Arc<Network>, Error> {
        match self {
            Self::Nobody => Err(Error::Denied),
            Self::Member(_) => Ok(Arc::clone(&self.member(network_id)?.network)),
            Self::Gateway | Self::Operator => ops
                .directory()
                .network(network_id)
                .ok_or(Error::NotFound("network")),
        }
    }
}
