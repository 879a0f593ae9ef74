//! `errors.json`: the shared vocabulary, as each edge says it.

use super::{cases, pin, text};
use crate::code::ErrorCode;
use crate::tests::json::{Json, object};

#[test]
fn every_error_on_every_edge() {
    let row = |code: ErrorCode| {
        object! { "name": code.name(), "grpc": i64::from(code.grpc()),
        "http": i64::from(code.http()), "close": i64::from(code.close()), "title": code.title() }
    };
    let file = pin(
        "errors.json",
        &object! {
            "about": "name is the contract (ERROR frames, problem+json `code`, gRPC metadata \
                      `beeline-code`); grpc, http and close are where each edge puts it.",
            "codes": ErrorCode::all().map(row).collect::<Vec<Json>>(),
        },
    );
    for case in cases(&file, "codes") {
        let code = ErrorCode::from_name(text(case, "name")).expect("a known code");
        assert_eq!(case["grpc"].as_i64(), Some(i64::from(code.grpc())));
        assert!((1..=16).contains(&code.grpc()), "{code} has a gRPC status");
        assert!(
            (400..600).contains(&code.http()),
            "{code} has an HTTP error status"
        );
        let close = code.close();
        assert!(
            (4000..5000).contains(&close) || [1009, 1011, 1013].contains(&close),
            "{code}"
        );
    }
}
