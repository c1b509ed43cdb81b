//! Declares metrics: a name, what it means and its kind, in one line each.

use std::fmt;
use std::hash::Hash;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};

/// Declares metrics in a registry; each call gives the metric back.
pub(super) struct Declare<'a>(pub &'a mut Registry);

impl Declare<'_> {
    pub fn metric<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.0.register(name, help, metric.clone());
        metric
    }

    pub fn counter(&mut self, name: &str, help: &str) -> Counter {
        self.metric(name, help, Counter::default())
    }

    pub fn family<L>(&mut self, name: &str, help: &str) -> Family<L, Counter>
    where
        L: Clone + Eq + Hash + EncodeLabelSet + fmt::Debug + Send + Sync + 'static,
    {
        self.metric(name, help, Family::default())
    }

    pub fn rows(&mut self, name: &str, help: &str, label: &'static str, rows: &[(String, i64)]) {
        let gauges = Family::<[(&str, String); 1], Gauge>::default();
        for (value, count) in rows {
            gauges.get_or_create(&[(label, value.clone())]).set(*count);
        }
        self.0.register(name, help, gauges);
    }
}
