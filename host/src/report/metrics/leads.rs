//! A gauge that several tasks of a host may share: their Leases have one name, and are in different namespaces, of which
//! client-go's metric says nothing.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::{MetricType, TypedMetric},
};

/// 1 while any of those who share it leads, else 0.
#[derive(Clone, Debug, Default)]
pub(super) struct Leads {
    leading: Arc<AtomicI64>,
    /// Of this one.
    leads: Arc<AtomicBool>,
}

impl Leads {
    /// For one more of those who share it; it does not lead.
    pub(super) fn of_one_more(&self) -> Self {
        Self { leading: self.leading.clone(), leads: Arc::default() }
    }

    /// However often the same is said, it counts once.
    pub(super) fn set(&self, leads: bool) {
        match (self.leads.swap(leads, Ordering::Relaxed), leads) {
            (false, true) => self.leading.fetch_add(1, Ordering::Relaxed),
            (true, false) => self.leading.fetch_sub(1, Ordering::Relaxed),
            (true, true) | (false, false) => return,
        };
    }
}

impl TypedMetric for Leads {
    const TYPE: MetricType = MetricType::Gauge;
}

impl EncodeMetric for Leads {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        encoder.encode_gauge(&i64::from(self.leading.load(Ordering::Relaxed) > 0))
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}
