//! A new module in place of the one that runs, on a real API server: from the write of the ConfigMap to the new
//! module's first line, and how long neither of the two runs. Beside it, three hosts replaced one after the other, as a
//! rolling update does it, but for the images and the kubelet.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use k8s_openapi::{ByteString, api::core::v1::ConfigMap};
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};
use leasehold_tests::{
    build::{self, stamped},
    control_plane::ControlPlane,
    event_log::Event,
    host_process::{HostProcess, PATIENCE},
    table::{Samples, table},
};
use rustix::process::Signal;

const ROUNDS: u32 = 20;
const UPDATES: u32 = 5;
const REPLICAS: usize = 3;
const NAME: &str = "swaps";
const KEY: &str = "task.wasm";

pub(crate) fn swaps() {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let plane = runtime.block_on(ControlPlane::start(build::control_plane_binaries())).expect("a control plane");
    let config_maps: Api<ConfigMap> = {
        let _inside = runtime.enter();
        Api::default_namespaced(plane.client())
    };
    let put = |stamp: u32| {
        let config_map = ConfigMap {
            metadata: ObjectMeta { name: Some(NAME.into()), ..ObjectMeta::default() },
            binary_data: Some([(KEY.to_owned(), ByteString(stamped("heartbeat", stamp)))].into()),
            ..ConfigMap::default()
        };
        let params = PostParams::default();
        let sent = jiff::Timestamp::now().as_microsecond();
        runtime.block_on(async {
            match stamp {
                0 => config_maps.create(&params, &config_map).await,
                _ => config_maps.replace(NAME, &params, &config_map).await,
            }
            .expect("written");
        });
        sent
    };
    put(0);
    let module = format!("configmap:{NAME}/{KEY}");
    let spawn = |name: &str| {
        let args = ["--lease", NAME, "--env", "BEAT_MS=3600000"];
        HostProcess::run_in_cluster(name, module.as_ref(), plane.kubeconfig(), &args)
    };
    let mut hosts = vec![spawn("host-0")];
    hosts[0].wait_for_event("guest-output", 1);
    for index in 1..REPLICAS {
        hosts.push(spawn(&format!("host-{index}")));
        hosts[index].wait_for_event("new-leader", 1);
    }
    let [mut whole, mut compiled, mut rest, mut gap] = [(); 4].map(|()| Samples::new());
    for round in 1..=ROUNDS {
        let sent = put(round);
        let leader = &hosts[0];
        let nth = usize::try_from(round).expect("small") + 1;
        let loaded = leader.wait_for_event("module-loaded", nth);
        let stopped = leader.wait_for_event("guest-stopped", nth - 1);
        let first = first_line(leader, nth);
        let compile_us = loaded.line["compile_ms"].as_i64().expect("it is told") * 1_000;
        whole.add_micros(first.at_micros - sent);
        compiled.add_micros(compile_us);
        rest.add_micros(first.at_micros - sent - compile_us);
        gap.add_micros(first.at_micros - stopped.at_micros);
        // All have it: what they do about it does not fall into the next round.
        hosts.iter().for_each(|host| drop(host.wait_for_event("module-loaded", nth)));
        thread::sleep(Duration::from_millis(300));
    }
    drop(hosts);
    let (updated, without) = hosts_replaced(plane.kubeconfig());
    let mut rows = table(&["milliseconds: p50 (max, n)", "swap", "hosts replaced", "ratio"]);
    let ratio = |one: &Samples, other: &Samples| format!("{:.3}", one.p50_ms() / other.p50_ms());
    rows.add_row(["write to first line".into(), whole.cell(), updated.cell(), ratio(&whole, &updated)]);
    rows.add_row(["of it, compiling".to_owned(), compiled.cell(), "-".into(), "-".into()]);
    rows.add_row(["without compiling".to_owned(), rest.cell(), "-".into(), "-".into()]);
    rows.add_row(["neither runs".into(), gap.cell(), without.cell(), ratio(&gap, &without)]);
    println!("A new module on {REPLICAS} replicas, by a ConfigMap that is watched through the API\n\n{rows}\n");
}

/// The same components as files: a new host with the new one is started and waited for, then an old one is asked to
/// end, the leader last. Returns how long that takes to the new module's first line, and how long neither runs.
fn hosts_replaced(kubeconfig: &Path) -> (Samples, Samples) {
    let folder = tempfile::tempdir().expect("a folder");
    let start = |update: u32, index: usize| {
        let args = ["--lease", "replaced", "--env", "BEAT_MS=3600000"];
        let module = folder.path().join(format!("{update}.wasm"));
        let host = HostProcess::run_in_cluster(&format!("update-{update}-{index}"), &module, kubeconfig, &args);
        host.wait_for("that it competes", |event| matches!(event.name(), "new-leader" | "leading"));
        host
    };
    let write = |update: u32| {
        let begun = jiff::Timestamp::now().as_microsecond();
        let file = folder.path().join(format!("{update}.wasm"));
        std::fs::write(file, stamped("heartbeat", update)).expect("written");
        begun
    };
    write(0);
    let mut hosts: Vec<_> = (0..REPLICAS).map(|index| start(0, index)).collect();
    let [mut updated, mut without] = [(); 2].map(|()| Samples::new());
    for update in 1..=UPDATES {
        let leader = hosts.iter().position(|host| host.count("leading") > 0).expect("one leads");
        hosts[leader].wait_for_event("guest-output", 1);
        let leader = hosts.remove(leader);
        hosts.push(leader);
        let begun = write(update);
        let mut stopped = 0;
        for index in 0..REPLICAS {
            hosts.push(start(update, index));
            let mut old = hosts.remove(0);
            old.signal(Signal::TERM);
            old.wait();
            stopped = old.events_named("guest-stopped").last().map_or(stopped, |event| event.at_micros);
        }
        let begun_waiting = Instant::now();
        let first = loop {
            if let Some(first) = hosts.iter().find_map(|host| host.events_named("guest-output").into_iter().next()) {
                break first.at_micros;
            }
            assert!(begun_waiting.elapsed() < PATIENCE, "nobody leads");
            thread::sleep(Duration::from_millis(1));
        };
        updated.add_micros(first - begun);
        without.add_micros(first - stopped);
    }
    (updated, without)
}

/// The first line of the guest that is the `nth` to start.
fn first_line(host: &HostProcess, nth: usize) -> Event {
    host.wait_until("line of the new guest", |events| {
        let started = events.iter().enumerate().filter(|(_, event)| event.name() == "guest-started").nth(nth - 1)?.0;
        events[started..].iter().find(|event| event.name() == "guest-output").cloned()
    })
}
