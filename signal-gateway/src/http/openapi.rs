//! The OpenAPI document of the REST edge.

/// The document.
pub fn document() -> serde_json::Value {
    serde_json::json!({})
}
