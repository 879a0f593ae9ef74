//! What the gateway counts, in the Prometheus text format on a listener of its own.

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What became of a frame.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct RefusalLabels {
    /// Name of the error code.
    pub code: String,
}

/// One kind of answer.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct RequestLabels {
    /// The route's template, never a caller's text.
    pub route: String,
    /// HTTP status.
    pub status: u16,
}

/// Why a connection was not taken, or ended early.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, EncodeLabelValue)]
pub enum Turned {
    /// Too many in all, or without a credential, or from there.
    Full,
    /// No TLS in time, or broken.
    Tls,
    /// No request head in time, or broken.
    Http,
    /// `accept` itself failed.
    Accept,
}

/// See [`Turned`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct TurnedLabels {
    /// Why.
    pub reason: Turned,
}

/// All counters.
#[derive(Default)]
pub struct Metrics {
    /// Open connections.
    pub connections: Gauge,
    /// Connections turned away or cut before a request.
    pub turned_away: Family<TurnedLabels, Counter>,
    /// Open sockets, signed in.
    pub sockets: Gauge,
    /// Sign-ins that held.
    pub sign_ins: Counter,
    /// Sign-ins refused, by code.
    pub sign_ins_refused: Family<RefusalLabels, Counter>,
    /// Frames handed to a socket of this node.
    pub frames_delivered: Counter,
    /// Frames handed to another node.
    pub frames_published: Counter,
    /// Frames whose target was not connected.
    pub frames_offline: Counter,
    /// Sockets cut because they read too slowly.
    pub slow_readers: Counter,
    /// Requests, by route and status.
    pub requests: Family<RequestLabels, Counter>,
    /// 1 while the registry answers.
    pub registry_up: Gauge,
}

impl Metrics {
    /// The text a scraper gets.
    pub fn encode(&self) -> String {
        let mut registry = Registry::with_prefix("beeline_gateway");
        let r = &mut registry;
        r.register("connections", "Open connections", self.connections.clone());
        r.register(
            "turned_away",
            "Connections not taken",
            self.turned_away.clone(),
        );
        r.register("sockets", "Open sockets, signed in", self.sockets.clone());
        r.register("sign_ins", "Sign-ins that held", self.sign_ins.clone());
        r.register(
            "sign_ins_refused",
            "Sign-ins refused",
            self.sign_ins_refused.clone(),
        );
        r.register(
            "frames_delivered",
            "Frames handed on here",
            self.frames_delivered.clone(),
        );
        r.register(
            "frames_published",
            "Frames for other nodes",
            self.frames_published.clone(),
        );
        r.register(
            "frames_offline",
            "Frames for nobody",
            self.frames_offline.clone(),
        );
        r.register(
            "slow_readers",
            "Sockets cut as too slow",
            self.slow_readers.clone(),
        );
        r.register("requests", "Requests", self.requests.clone());
        r.register(
            "registry_up",
            "1 while the registry answers",
            self.registry_up.clone(),
        );
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &registry);
        text
    }

    /// Counts a connection turned away.
    pub fn turn_away(&self, reason: Turned) {
        self.turned_away
            .get_or_create(&TurnedLabels { reason })
            .inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_in_the_text() {
        let metrics = Metrics::default();
        metrics.turn_away(Turned::Full);
        metrics.frames_delivered.inc_by(3);
        let text = metrics.encode();
        assert!(
            text.contains("beeline_gateway_turned_away_total{reason=\"Full\"} 1"),
            "{text}"
        );
        assert!(
            text.contains("beeline_gateway_frames_delivered_total 3"),
            "{text}"
        );
        assert!(text.ends_with("# EOF\n"));
    }
}
