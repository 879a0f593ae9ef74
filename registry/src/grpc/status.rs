//! The only place that turns an error into a gRPC status, and the one that logs it.

use crate::error::Error;
use crate::store::StoreError;
use beeline_proto::code::ErrorCode;
use http::HeaderMap;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

/// Metadata that carries the name of the shared error vocabulary.
pub const CODE_KEY: &str = "beeline-code";

/// Metadata that carries the device list in force when another is refused: its envelope.
pub const DEVICE_LIST_KEY: &str = "beeline-device-list-bin";

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let code = error.code();
        if matches!(code, ErrorCode::Internal) || matches!(error, Error::Store(_)) {
            tracing::error!(%error, "call failed");
        }
        let mut metadata = MetadataMap::new();
        metadata.insert(CODE_KEY, MetadataValue::from_static(code.name()));
        if let Error::DeviceList { known, .. } = &error {
            metadata.insert_bin(DEVICE_LIST_KEY, MetadataValue::from_bytes(known));
        }
        Self::with_metadata(Code::from_i32(code.grpc()), text(&error), metadata)
    }
}

/// What the caller reads. What the database said stays in the log.
fn text(error: &Error) -> String {
    match error {
        Error::Store(StoreError::Unavailable(_)) => {
            "the registry's database is not available; nothing was changed, try again".to_owned()
        }
        Error::Store(StoreError::Failed(_)) => {
            "the registry's database failed; nothing was changed; its log says why".to_owned()
        }
        error => error.to_string(),
    }
}

/// The code to add to a response that tonic made by itself, before or instead of a handler.
pub(super) fn foreign_code(headers: &HeaderMap) -> Option<ErrorCode> {
    if headers.contains_key(CODE_KEY) {
        return None;
    }
    let status = headers.get("grpc-status")?;
    match Code::from_bytes(status.as_bytes()) {
        Code::Ok => None,
        // A message that cannot be decoded is the caller's fault; every fault of ours has a code.
        Code::Internal | Code::InvalidArgument | Code::Unknown => Some(ErrorCode::InvalidArgument),
        Code::OutOfRange | Code::ResourceExhausted => Some(ErrorCode::TooLarge),
        Code::Unimplemented => Some(ErrorCode::Unimplemented),
        Code::Cancelled | Code::DeadlineExceeded => Some(ErrorCode::Timeout),
        _ => Some(ErrorCode::Unavailable),
    }
}

/// The code a response carries: `OK` or a name of the vocabulary.
pub(super) fn code_of(headers: &HeaderMap) -> &'static str {
    let name = headers.get(CODE_KEY).and_then(|value| value.to_str().ok());
    name.and_then(ErrorCode::from_name)
        .map_or("OK", ErrorCode::name)
}
