//! Who may call what. A method that is not listed here is served to nobody: the gate refuses it,
//! and a test holds the list against the schema.

/// Who may call a method. The handler still checks whose network it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Anyone, without a credential: the request proves itself, or tells nothing.
    Anyone,
    /// Any member's device.
    Member,
    /// A device of a user with the coordinator or admin role.
    Coordinator,
    /// Any member's device, or a gateway.
    MemberOrGateway,
    /// A gateway.
    Gateway,
    /// A device of an admin, or the operator.
    Admin,
    /// The operator.
    Operator,
}

/// One method.
#[derive(Debug, Clone, Copy)]
pub struct Method {
    /// The path of its requests.
    pub path: &'static str,
    /// Who may call it.
    pub who: Who,
}

const fn method(path: &'static str, who: Who) -> Method {
    Method { path, who }
}

/// Every method the registry serves.
pub const METHODS: &[Method] = &[
    method("/beeline.auth.v1.AuthService/GetChallenge", Who::Anyone),
    method("/beeline.auth.v1.AuthService/CreateToken", Who::Anyone),
    method(
        "/beeline.auth.v1.AuthService/ListTokenKeys",
        Who::MemberOrGateway,
    ),
    method(
        "/beeline.coordinator.v1.CoordinatorService/Heartbeat",
        Who::Coordinator,
    ),
    method(
        "/beeline.coordinator.v1.CoordinatorService/ListCoordinators",
        Who::Member,
    ),
    method("/beeline.registry.v1.RegistryService/Join", Who::Anyone),
    method(
        "/beeline.registry.v1.RegistryService/GetNetwork",
        Who::MemberOrGateway,
    ),
    method("/beeline.registry.v1.RegistryService/Announce", Who::Member),
    method("/beeline.registry.v1.RegistryService/GetPeer", Who::Member),
    method(
        "/beeline.registry.v1.RegistryService/ListActivePeers",
        Who::Member,
    ),
    method(
        "/beeline.registry.v1.RegistryService/PutDeviceList",
        Who::Member,
    ),
    method(
        "/beeline.registry.v1.RegistryService/RenewMembership",
        Who::Member,
    ),
    method(
        "/beeline.registry.v1.RegistryService/CreateNetwork",
        Who::Operator,
    ),
    method(
        "/beeline.registry.v1.RegistryService/PutDescriptor",
        Who::Admin,
    ),
    method(
        "/beeline.registry.v1.RegistryService/CreateInvite",
        Who::Admin,
    ),
    method(
        "/beeline.registry.v1.RegistryService/ListMembers",
        Who::Admin,
    ),
    method(
        "/beeline.registry.v1.RegistryService/RevokeMember",
        Who::Admin,
    ),
    method(
        "/beeline.registry.v1.RegistryService/ReportSockets",
        Who::Gateway,
    ),
    method(
        "/beeline.registry.v1.RegistryService/GetDevice",
        Who::Gateway,
    ),
    // Health tells that a process runs; reflection, where it is enabled, the public schema.
    method("/grpc.health.v1.Health/Check", Who::Anyone),
    method("/grpc.health.v1.Health/Watch", Who::Anyone),
    method(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        Who::Anyone,
    ),
    method(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        Who::Anyone,
    ),
];

/// The row of a path.
pub fn find(path: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.path == path)
}
