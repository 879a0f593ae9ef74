//! What is counted, in Prometheus' terms.

use crate::core::presence::Counts;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// A call's labels. Methods come from the schema and codes from the vocabulary, so both are few.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CallLabels {
    /// Service and method.
    pub method: &'static str,
    /// `OK`, or a name of the shared error vocabulary.
    pub code: &'static str,
}

/// Upper bounds of the call histogram, seconds: the deadline is the last but one.
const SECONDS: [f64; 9] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0];

/// All of them.
#[derive(Debug)]
pub struct Metrics {
    calls: Family<CallLabels, Counter>,
    seconds: Histogram,
    in_work: Gauge,
    leases: Gauge,
    sockets: Gauge,
    coordinators: Gauge,
    users_online: Gauge,
    registry: Registry,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            calls: Family::default(),
            seconds: Histogram::new(SECONDS),
            in_work: Gauge::default(),
            leases: Gauge::default(),
            sockets: Gauge::default(),
            coordinators: Gauge::default(),
            users_online: Gauge::default(),
            registry: Registry::with_prefix("beeline_registry"),
        };
        let r = &mut metrics.registry;
        r.register("calls", "Calls answered", metrics.calls.clone());
        r.register(
            "call_seconds",
            "Time until a call was answered",
            metrics.seconds.clone(),
        );
        r.register(
            "calls_in_work",
            "Calls being worked on",
            metrics.in_work.clone(),
        );
        r.register("leases", "Devices whose lease runs", metrics.leases.clone());
        r.register(
            "sockets",
            "Open sockets as gateways report",
            metrics.sockets.clone(),
        );
        r.register(
            "coordinators",
            "Live coordinators",
            metrics.coordinators.clone(),
        );
        r.register(
            "users_online",
            "Users with a listed device online",
            metrics.users_online.clone(),
        );
        metrics
    }
}

impl Metrics {
    /// Counts a call as in work until the answer is dropped.
    pub fn begin_call(&self) -> InWork {
        self.in_work.inc();
        InWork(self.in_work.clone())
    }

    /// Calls in work now.
    pub fn calls_in_work(&self) -> i64 {
        self.in_work.get()
    }

    /// Counts one call.
    pub fn observe_call(&self, method: &'static str, code: &'static str, seconds: f64) {
        self.calls.get_or_create(&CallLabels { method, code }).inc();
        self.seconds.observe(seconds);
    }

    /// Notes how much is held.
    pub fn observe_presence(&self, counts: Counts) {
        let int = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.leases.set(int(counts.leases));
        self.sockets.set(int(counts.sockets));
        self.coordinators.set(int(counts.coordinators));
        self.users_online.set(int(counts.users_online));
    }

    /// The text a scraper reads (OpenMetrics 1.0).
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// A call in work.
#[derive(Debug)]
pub struct InWork(Gauge);

impl Drop for InWork {
    fn drop(&mut self) {
        self.0.dec();
    }
}
