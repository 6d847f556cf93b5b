//! A gauge of what is left until some time, as it is when somebody looks.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use leasehold_core::time::BootTime;
use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::{MetricType, TypedMetric},
};

use crate::clock;

/// In seconds; 0 from then on, and where no time was set.
#[derive(Clone, Debug, Default)]
pub(super) struct Remaining(Arc<AtomicU64>);

impl Remaining {
    pub(super) fn until(&self, time: BootTime) {
        self.0.store(time.as_nanos(), Ordering::Relaxed);
    }
}

impl TypedMetric for Remaining {
    const TYPE: MetricType = MetricType::Gauge;
}

impl EncodeMetric for Remaining {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        let left = BootTime::from_nanos(self.0.load(Ordering::Relaxed)).since(clock::boot());
        encoder.encode_gauge(&left.as_secs_f64())
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}
