//! The listener for scrapers: metrics and nothing else, on an address of its own.

use crate::authority::registry::RegistryAuthority;
use crate::metrics::Metrics;
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use std::sync::Arc;

/// Media type of the OpenMetrics text format.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `GET /metrics`.
pub fn router(metrics: Arc<Metrics>, authority: Arc<RegistryAuthority>) -> Router {
    let scrape = move || {
        let up = !authority.client().grace().is_down();
        metrics.registry_up.set(i64::from(up));
        let text = metrics.encode();
        async move { ([(CONTENT_TYPE, OPENMETRICS)], text).into_response() }
    };
    Router::new().route("/metrics", get(scrape))
}
