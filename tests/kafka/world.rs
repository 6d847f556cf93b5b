//! An API server, a broker, a producer, three replicas, and the networks between them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    net::{SocketAddr, TcpListener},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use leasehold_tests::{
    build, control_plane::ControlPlane, guardian::Guardian, host_process::PATIENCE, network::Network,
};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    history::{Entry, History, What},
    program::{Program, java},
    replica::{Common, Fault, Replica, Ways, built},
};

const REPLICAS: usize = 3;
const TOPIC: &str = "numbers";
/// Between two numbers.
const PAUSE_MS: &str = "10";
/// So many records after a fault is over, one that was active before has had its chance to do something wrong.
const RECORDS_AFTER: usize = 100;

pub(crate) struct World {
    // In this order: the processes end, their folder goes, and nobody looks after them any more.
    pub(crate) replicas: Vec<Replica>,
    producer: Program,
    broker: Program,
    pub(crate) common: Common,
    _plane: ControlPlane,
    _folder: TempDir,
    guardian: Guardian,
    faults: usize,
    _runtime: tokio::runtime::Runtime,
}

impl World {
    pub(crate) fn start() -> Self {
        let built = built(build::root());
        build::leasehold();
        build::guest("sidecar-switch");
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        let plane = runtime.block_on(ControlPlane::start(build::control_plane_binaries())).expect("a control plane");
        let folder = tempfile::Builder::new().prefix("leasehold-kafka-").tempdir().expect("a folder");
        let mut guardian = Guardian::over(folder.path()).expect("a shell");
        let stderr = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kafka-stderr.txt");
        let stderr = File::create(stderr).expect("a file");

        // The broker tells each replica another address of itself: that of the replica's own way to it.
        let [own, controller, ports @ ..] = free_ports::<{ 2 + 2 * REPLICAS }>();
        let (listeners, applications) = ports.split_at(REPLICAS);
        let to_broker: Vec<_> = listeners.iter().map(|&port| network(&runtime, loopback(port))).collect();
        let broker = start_broker(&built, folder.path(), own, controller, listeners, &to_broker, &stderr);
        guardian.watch_over(&[broker.id()]).expect("it lives");

        let history = History::begin();
        let target = runtime.block_on(history.serve());
        let producer = start_producer(&built, own, &history, &stderr);
        guardian.watch_over(&[broker.id(), producer.id()]).expect("it lives");
        producer.wait_for("ready");
        let replicas = ('a'..).zip(to_broker).zip(applications).map(|((letter, to_broker), &port)| {
            let [to_api_server, to_target, to_application] =
                [plane.server(), target, loopback(port)].map(|server| network(&runtime, server));
            let kubeconfig = plane.kubeconfig_via(to_api_server.address()).expect("a kubeconfig");
            Replica::new(letter, port, kubeconfig, Ways { to_api_server, to_broker, to_target, to_application })
        });
        let mut this = Self {
            replicas: replicas.collect(),
            producer,
            broker,
            common: Common { built, history, stderr },
            _plane: plane,
            _folder: folder,
            guardian,
            faults: 0,
            _runtime: runtime,
        };
        for index in 0..REPLICAS {
            this.replicas[index].start(&this.common);
            this.tell_guardian();
        }
        this.wait_until_all_are_ready();
        this
    }

    /// Does it to whoever is active, waits until another process is, or the same again, and puts it right again. Returns
    /// which of all faults this was.
    pub(crate) fn does(&mut self, fault: Fault) -> usize {
        let index = self.wait_for("somebody is active", Self::active);
        let index = if fault == Fault::PermissionLapses {
            self.permission_lapses(index)
        } else {
            self.hands_over(fault, index)
        };
        self.common.history.note(What::Over);
        self.replicas[index].is_over(fault, &self.common);
        let since = self.sent();
        self.wait_for("records come", |world| (world.sent() > since + RECORDS_AFTER).then_some(()));
        // As after the end of a Pod; and a host that has stepped down would stay out of the race for a while.
        self.replicas[index].end();
        self.tell_guardian();
        self.replicas[index].start(&self.common);
        self.tell_guardian();
        self.wait_until_all_are_ready();
        self.faults += 1;
        self.faults - 1
    }

    /// Until another process is active.
    fn hands_over(&mut self, fault: Fault, index: usize) -> usize {
        let process = self.replicas[index].process();
        self.common.history.note(What::Fault { name: fault.to_string(), process: process.clone() });
        let since = self.sent();
        self.replicas[index].does(fault, &self.common);
        self.tell_guardian();
        self.wait_for("another one is active", |world| {
            world.senders_after(since).iter().any(|sender| *sender != process).then_some(())
        });
        index
    }

    /// Nothing more is produced, and all of it is consumed; then all end, one after the other. Returns all that was.
    pub(crate) fn end(mut self) -> Vec<Entry> {
        self.producer.signal(Signal::TERM);
        self.producer.wait_for("ended");
        self.producer.wait();
        self.wait_for("all that was produced is consumed", |world| {
            world.common.history.look(|entries| {
                // To the last one of each partition: whether one was left out before is for the judge to say.
                let mut last = BTreeMap::new();
                for entry in entries {
                    if let What::Acked { partition, offset, .. } = &entry.what {
                        let last = last.entry(*partition).or_insert(*offset);
                        *last = (*last).max(*offset);
                    }
                }
                for entry in entries {
                    if let What::Done(sent) = &entry.what
                        && last.get(&sent.partition).is_some_and(|last| sent.offset >= *last)
                    {
                        last.remove(&sent.partition);
                    }
                }
                last.is_empty().then_some(())
            })
        });
        for replica in &mut self.replicas {
            replica.end();
        }
        self.broker.kill();
        self.common.history.look(<[Entry]>::to_vec)
    }

    /// Whose application has sent the last record, not long ago.
    pub(crate) fn active(&self) -> Option<usize> {
        let history = &self.common.history;
        let (at, process) = history.look(|entries| {
            entries.iter().rev().find_map(|entry| match &entry.what {
                What::Done(sent) => Some((entry.at, sent.process.clone())),
                _ => None,
            })
        })?;
        let fresh = history.ago(at) < Duration::from_millis(500);
        self.replicas.iter().position(|replica| fresh && replica.process() == process)
    }

    /// How many records were sent so far.
    pub(crate) fn sent(&self) -> usize {
        self.common.history.look(|entries| entries.iter().filter(|entry| matches!(entry.what, What::Done(_))).count())
    }

    /// Who has sent those after the first so many.
    fn senders_after(&self, count: usize) -> BTreeSet<String> {
        self.common.history.look(|entries| {
            let sent = entries.iter().filter_map(|entry| match &entry.what {
                What::Done(sent) => Some(sent.process.clone()),
                _ => None,
            });
            sent.skip(count).collect()
        })
    }

    fn wait_until_all_are_ready(&self) {
        self.replicas.iter().for_each(Replica::wait_until_ready);
    }

    pub(crate) fn wait_for<T>(&self, what: &str, found: impl Fn(&Self) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = found(self) {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}:\n{}", self.last_lines());
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn last_lines(&self) -> String {
        self.replicas.iter().map(Replica::last_lines).collect::<Vec<_>>().join("\n\n")
    }

    fn tell_guardian(&mut self) {
        let ids = [self.broker.id(), self.producer.id()].into_iter();
        let ids: Vec<_> = ids.chain(self.replicas.iter().flat_map(Replica::ids)).collect();
        self.guardian.watch_over(&ids).expect("it lives");
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn network(runtime: &tokio::runtime::Runtime, server: SocketAddr) -> Network {
    runtime.block_on(Network::to(server)).expect("a port")
}

/// Ports that were free just now, all different.
fn free_ports<const N: usize>() -> [u16; N] {
    // Below those that the system gives to connections (ip_local_port_range): there are many before a JVM has its own. Each
    // run begins elsewhere.
    let mut candidates =
        (20_000..32_000_u16).cycle().skip(usize::try_from(std::process::id()).expect("small") % 12_000);
    let mut free = || candidates.by_ref().take(12_000).find_map(|port| TcpListener::bind(loopback(port)).ok());
    // Held until all are known.
    let held: [TcpListener; N] = std::array::from_fn(|_| free().expect("a free port"));
    held.map(|listener| listener.local_addr().expect("it listens").port())
}

/// One node, broker and controller at once, in a folder that is new.
fn start_broker(
    built: &Path,
    folder: &Path,
    own: u16,
    controller: u16,
    listeners: &[u16],
    networks: &[Network],
    stderr: &File,
) -> Program {
    let mut listen = format!("CONTROLLER://127.0.0.1:{controller},PLAINTEXT://127.0.0.1:{own}");
    let mut advertised = format!("PLAINTEXT://127.0.0.1:{own}");
    let mut protocols = "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT".to_owned();
    for (name, (port, network)) in ('A'..).zip(listeners.iter().zip(networks)) {
        listen += &format!(",{name}://127.0.0.1:{port}");
        advertised += &format!(",{name}://{}", network.address());
        protocols += &format!(",{name}:PLAINTEXT");
    }
    let config = format!(
        "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
         controller.listener.names=CONTROLLER\ninter.broker.listener.name=PLAINTEXT\n\
         listeners={listen}\nadvertised.listeners={advertised}\nlistener.security.protocol.map={protocols}\n\
         log.dirs={}\noffsets.topic.num.partitions=1\noffsets.topic.replication.factor=1\n\
         transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
         share.coordinator.state.topic.replication.factor=1\nshare.coordinator.state.topic.min.isr=1\n\
         auto.create.topics.enable=false\ngroup.initial.rebalance.delay.ms=0\n",
        folder.join("broker").display()
    );
    let file = folder.join("broker.properties");
    fs::write(&file, config).expect("written");
    let broker = built.join("broker");
    let mut format = java(&broker, 128);
    format.args(["kafka.tools.StorageTool", "format", "--cluster-id", "bGVhc2Vob2xkLXRlc3RzMQ", "--config"]).arg(&file);
    let mut formatting = Program::start("the broker's folder", &mut format, stderr, |_| ());
    assert!(formatting.wait().success(), "{}", formatting.last_lines());
    let mut command = java(&broker, 256);
    command.arg("kafka.Kafka").arg(&file).current_dir(folder);
    Program::start("the broker", &mut command, stderr, |_| ())
}

fn start_producer(built: &Path, port: u16, history: &History, stderr: &File) -> Program {
    let mut command = java(&built.join("broker"), 64);
    command.args(["Producer", &loopback(port).to_string(), TOPIC, PAUSE_MS]);
    let history = history.clone();
    Program::start("the producer", &mut command, stderr, move |line| {
        let Some(rest) = line.strip_prefix("acked ") else { return };
        let mut words = rest.split(' ');
        let mut next = || words.next().and_then(|word| word.parse::<u64>().ok()).expect("three numbers");
        let (number, partition, offset) = (next(), next(), next());
        let partition = u32::try_from(partition).expect("there are three");
        history.note(What::Acked { number, partition, offset });
    })
}
