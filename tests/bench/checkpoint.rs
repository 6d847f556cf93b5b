//! What a checkpoint costs each renewal, by its size, on a real API server.

use std::time::Instant;

use leasehold::lease::kubernetes::KubernetesStore;
use leasehold_core::{
    checkpoint::{Checkpoint, STATE_BYTES_MAX, SavedState},
    lease::LeaseRecord,
    ports::LeaseStore,
    time::WallTime,
};
use leasehold_tests::{
    build,
    control_plane::ControlPlane,
    table::{Percentiles, Samples},
};

const WRITES: i64 = 300;

pub(crate) fn checkpoint() {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let plane = runtime.block_on(ControlPlane::start(build::control_plane_binaries())).expect("a control plane");
    let mut table = Percentiles::new("One write of the Lease (a renewal, or a save), by the checkpoint on it");
    let without = runtime.block_on(writes(&plane, None));
    table.row("none", &without, None);
    for (name, size) in [("8 bytes", 8), ("1 KiB", 1024), ("16 KiB", 16 * 1024), ("64 KiB", STATE_BYTES_MAX)] {
        table.row(name, &runtime.block_on(writes(&plane, Some(size))), Some(&without));
    }
    table.print();
}

async fn writes(plane: &ControlPlane, size: Option<usize>) -> Samples {
    let store = KubernetesStore::new(plane.client(), "default", &format!("checkpoint-{}", size.unwrap_or(0)));
    let state = |size| SavedState::new(vec![7; size]).expect("it is not too large");
    let checkpoint = size.map(|size| Checkpoint::Saved(state(size)));
    let mut record = LeaseRecord { holder: Some("a".into()), checkpoint, ..LeaseRecord::default() };
    let mut version = store.write(None, &record).await.expect("created");
    let mut samples = Samples::new();
    for micros in 0..WRITES {
        record.renewed = Some(WallTime::from_micros(micros));
        let begun = Instant::now();
        version = store.write(Some(version), &record).await.expect("written");
        samples.add_micros(i64::try_from(begun.elapsed().as_micros()).unwrap_or(i64::MAX));
    }
    samples
}
