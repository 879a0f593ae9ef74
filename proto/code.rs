//! One vocabulary of errors for gRPC, REST, WebSocket and command line. The name (such as
//! `PEER_OFFLINE`) is the contract; the texts may change.

/// What went wrong, as every edge says it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ErrorCode {
    /// The request breaks the schema, a pattern or a limit.
    InvalidArgument,
    /// No credential, or one that does not verify.
    Unauthenticated,
    /// A valid credential that does not allow this, or no such thing in the caller's network.
    PermissionDenied,
    /// No such thing.
    NotFound,
    /// The handle, label or version is taken.
    AlreadyExists,
    /// Too large for one request, frame or parcel.
    TooLarge,
    /// Too many requests; wait as told.
    RateLimited,
    /// The server is full or going away; try another or later.
    Unavailable,
    /// It took too long.
    Timeout,
    /// A fault of the server; nothing the caller can change.
    Internal,
    /// The method is not known or not enabled.
    Unimplemented,
    /// The addressed device has no socket here or on any other gateway.
    PeerOffline,
    /// The user's membership or the device is revoked.
    Revoked,
    /// The invite is used up, expired or not of this network.
    InviteInvalid,
    /// The user key is not the pinned one; sending is blocked until it is verified.
    UserKeyChanged,
    /// A known id with another content, or two bindings of one handle.
    Conflict,
    /// No open link to whom a parcel should be handed on.
    NoRoute,
    /// No room to keep it.
    Full,
    /// The membership has expired.
    Expired,
}

/// How an error shows on each edge.
struct Row {
    code: ErrorCode,
    name: &'static str,
    /// gRPC status code (google.rpc.Code).
    grpc: i32,
    /// HTTP status (RFC 9110).
    http: u16,
    /// WebSocket close code (RFC 6455 §7.4, private range 4000–4999), where it closes the socket.
    close: u16,
    /// A short text for people.
    title: &'static str,
}

const fn row(
    code: ErrorCode,
    name: &'static str,
    grpc: i32,
    http: u16,
    close: u16,
    title: &'static str,
) -> Row {
    Row {
        code,
        name,
        grpc,
        http,
        close,
        title,
    }
}

const ROWS: &[Row] = &[
    row(
        ErrorCode::InvalidArgument,
        "INVALID_ARGUMENT",
        3,
        400,
        4000,
        "The request is not valid",
    ),
    row(
        ErrorCode::Unauthenticated,
        "UNAUTHENTICATED",
        16,
        401,
        4001,
        "Sign in first",
    ),
    row(
        ErrorCode::PermissionDenied,
        "PERMISSION_DENIED",
        7,
        403,
        4003,
        "This is not allowed",
    ),
    row(
        ErrorCode::NotFound,
        "NOT_FOUND",
        5,
        404,
        4004,
        "There is no such thing",
    ),
    row(
        ErrorCode::AlreadyExists,
        "ALREADY_EXISTS",
        6,
        409,
        4009,
        "The name is taken",
    ),
    row(
        ErrorCode::TooLarge,
        "TOO_LARGE",
        11,
        413,
        1009,
        "It is too large",
    ),
    row(
        ErrorCode::RateLimited,
        "RATE_LIMITED",
        8,
        429,
        4029,
        "Too many requests",
    ),
    row(
        ErrorCode::Unavailable,
        "UNAVAILABLE",
        14,
        503,
        1013,
        "Try again later",
    ),
    row(
        ErrorCode::Timeout,
        "TIMEOUT",
        4,
        504,
        4008,
        "It took too long",
    ),
    row(
        ErrorCode::Internal,
        "INTERNAL",
        13,
        500,
        1011,
        "A fault of the server",
    ),
    row(
        ErrorCode::Unimplemented,
        "UNIMPLEMENTED",
        12,
        501,
        4005,
        "This is not available here",
    ),
    row(
        ErrorCode::PeerOffline,
        "PEER_OFFLINE",
        9,
        404,
        4040,
        "The device is not connected",
    ),
    row(
        ErrorCode::Revoked,
        "REVOKED",
        7,
        403,
        4010,
        "The membership is revoked",
    ),
    row(
        ErrorCode::InviteInvalid,
        "INVITE_INVALID",
        9,
        403,
        4011,
        "The invite cannot be used",
    ),
    row(
        ErrorCode::UserKeyChanged,
        "USER_KEY_CHANGED",
        9,
        409,
        4012,
        "The user's key has changed",
    ),
    row(
        ErrorCode::Conflict,
        "CONFLICT",
        10,
        409,
        4013,
        "It contradicts what is known",
    ),
    row(
        ErrorCode::NoRoute,
        "NO_ROUTE",
        9,
        404,
        4014,
        "There is no open link to hand it on",
    ),
    row(ErrorCode::Full, "FULL", 8, 507, 4015, "There is no room"),
    row(
        ErrorCode::Expired,
        "EXPIRED",
        9,
        403,
        4016,
        "It has expired",
    ),
];

impl ErrorCode {
    fn row(self) -> &'static Row {
        // Every code has a row: tested below.
        ROWS.iter().find(|r| r.code == self).unwrap_or(&ROWS[9])
    }

    /// All codes.
    pub fn all() -> impl Iterator<Item = Self> {
        ROWS.iter().map(|r| r.code)
    }

    /// Its name on every wire.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The code with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        ROWS.iter().find(|r| r.name == name).map(|r| r.code)
    }

    /// gRPC status code number.
    pub fn grpc(self) -> i32 {
        self.row().grpc
    }

    /// HTTP status.
    pub fn http(self) -> u16 {
        self.row().http
    }

    /// WebSocket close code.
    pub fn close(self) -> u16 {
        self.row().close
    }

    /// A short text for people.
    pub fn title(self) -> &'static str {
        self.row().title
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_code_has_one_row_and_a_name_of_its_own() {
        let names: BTreeSet<_> = ErrorCode::all().map(ErrorCode::name).collect();
        assert_eq!(names.len(), ROWS.len());
        for code in ErrorCode::all() {
            assert_eq!(ErrorCode::from_name(code.name()), Some(code));
            assert_eq!(code.row().code, code);
        }
        // The last variant has a row, so the table covers the enum's whole range.
        assert_eq!(
            ErrorCode::all().map(|c| c as usize).max(),
            Some(ErrorCode::Expired as usize)
        );
        assert_eq!(ROWS.len(), ErrorCode::Expired as usize + 1);
    }
}
