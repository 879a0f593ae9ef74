//! Failures on their way over the socket: a gRPC status whose metadata names the shared error code.

use crate::cli::fail::Failure;
use beeline_proto::code::ErrorCode;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

/// Metadata key of the error code's name, as on every gRPC edge of Beeline.
const CODE_KEY: &str = "beeline-code";

/// A failure as a status.
pub(super) fn to_status(failure: &Failure) -> Status {
    let code = failure.code.unwrap_or(ErrorCode::Internal);
    let mut status = Status::new(Code::from_i32(code.grpc()), failure.message.clone());
    if let Some(code) = failure.code {
        let name = MetadataValue::from_static(code.name());
        status.metadata_mut().insert(CODE_KEY, name);
    }
    status
}

/// The failure a status stands for; `None` where the status says that the server went away.
pub(super) fn from_status(status: &Status) -> Option<Failure> {
    let name = status
        .metadata()
        .get(CODE_KEY)
        .and_then(|v| v.to_str().ok());
    let code = name.and_then(ErrorCode::from_name);
    if code == Some(ErrorCode::Unavailable) {
        return None;
    }
    // Without our own mark, these are what a broken connection looks like.
    let broken = [Code::Unavailable, Code::Cancelled, Code::Unknown];
    if code.is_none() && broken.contains(&status.code()) {
        return None;
    }
    Some(Failure {
        code,
        ..Failure::new(status.message())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_survive_and_going_away_is_no_failure() {
        let failure = Failure::coded(ErrorCode::UserKeyChanged, "compare, then accept");
        assert_eq!(from_status(&to_status(&failure)), Some(failure));
        let plain = Failure::new("the store failed");
        assert_eq!(from_status(&to_status(&plain)), Some(plain));
        let leaving = Failure::coded(ErrorCode::Unavailable, "shutting down");
        assert_eq!(from_status(&to_status(&leaving)), None);
        assert_eq!(from_status(&Status::unavailable("connection reset")), None);
    }
}
