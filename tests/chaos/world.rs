//! The hosts, the API server and the networks between them, and what is done to all of them.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use leasehold_tests::{
    build,
    control_plane::ControlPlane,
    host_process::PATIENCE,
    network::{Network, Weather},
};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::{
    api_server::{ApiServer, Order},
    history::{History, Note, Told},
    hosts::{Host, Hosts, LEASE, RETRY},
    plan::{Fault, HOSTS, Plan, Target},
};

/// For how long who has stepped down lets others go first.
const STAY_OUT: Duration = Duration::from_secs(30);
/// In calm, somebody leads within this: a lease that has just been seen for the first time runs out,
/// a standby whose request has failed tries again, and then the machine is busy. How long it took is printed.
const CALM: Duration = LEASE.saturating_add(RETRY).saturating_add(Duration::from_secs(15));
/// How long those are down that end by themselves, because the API server does not answer.
const DOWN: Duration = Duration::from_millis(500);
/// How often what happens by itself is looked after.
const TICK: Duration = Duration::from_millis(5);

/// See the module's documentation.
pub(crate) struct World {
    // In this order: what was begun ends, the hosts end, their folder goes.
    begun: JoinSet<(Fault, Result<()>)>,
    hosts: Hosts,
    api_server: ApiServer,
    history: History,
    config_maps: Api<ConfigMap>,
    kubeconfig: PathBuf,
    module: Vec<u8>,
    modules_made: u8,
    to_be_undone: Vec<(Instant, Undo)>,
    /// For how long each is down when it ends next, where it is not killed.
    down: [Duration; HOSTS],
    pub(crate) done: BTreeMap<String, usize>,
    pub(crate) failed: BTreeMap<String, usize>,
    runtime: tokio::runtime::Runtime,
    folder: TempDir,
}

#[derive(Clone, Copy, Debug)]
enum Undo {
    GoOn(usize),
    Fine(usize),
    Mend,
}

impl World {
    pub(crate) fn new() -> Result<Self> {
        let runtime = tokio::runtime::Runtime::new()?;
        let plane = runtime.block_on(ControlPlane::start(build::control_plane_binaries()))?;
        let folder = tempfile::Builder::new().prefix("leasehold-chaos-").tempdir()?;
        let module = fs::read(build::guest("fenced-writer"))?;
        let file = folder.path().join("task.wasm");
        fs::write(&file, &module)?;
        let config_maps: Api<ConfigMap> = {
            let _inside = runtime.enter();
            Api::namespaced(plane.client(), "default")
        };
        let config_map = json!({"metadata": {"name": "task"}, "binaryData": binary_data(&module)});
        let config_map = serde_json::from_value(config_map)?;
        runtime.block_on(config_maps.create(&PostParams::default(), &config_map))?;
        let hosts = ('a'..).take(HOSTS).enumerate().map(|(index, letter)| {
            let network = runtime.block_on(Network::to(plane.server()))?;
            let kubeconfig = plane.kubeconfig_via(network.address())?;
            // Three have their module from the file, two from the ConfigMap.
            let from_file = index % 2 == 0;
            let module = if from_file { file.display().to_string() } else { "configmap:default/task/task.wasm".into() };
            Ok(Host::new(letter, module, kubeconfig, network))
        });
        let hosts = hosts.collect::<Result<_>>()?;
        let hosts = Hosts::new(hosts, folder.path(), &folder.path().join("stderr"))?;
        let kubeconfig = plane.kubeconfig().to_owned();
        let api_server = ApiServer::of(plane, runtime.handle().clone());
        Ok(Self {
            begun: JoinSet::new(),
            hosts,
            api_server,
            history: History::begin()?,
            config_maps,
            kubeconfig,
            module,
            modules_made: 0,
            to_be_undone: Vec::new(),
            down: [DOWN; HOSTS],
            done: BTreeMap::new(),
            failed: BTreeMap::new(),
            runtime,
            folder,
        })
    }

    /// As the plan says, for this long.
    pub(crate) fn rage(&mut self, plan: &mut Plan, time: Duration, step_downs_until: Instant) -> Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            let (pause, fault) = plan.draw();
            self.wait(pause.min(until.saturating_duration_since(Instant::now())))?;
            if fault != Fault::StepDown || Instant::now() < step_downs_until {
                self.does(fault)?;
            }
        }
        // Calm is to be reached with nobody leading as well.
        self.does(plan.last())
    }

    fn wait(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        loop {
            self.tick()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(TICK));
        }
    }

    fn wait_for(&mut self, what: &str, at_most: Duration, is: impl Fn(&Self) -> Result<bool>) -> Result<()> {
        let begun = Instant::now();
        while !is(self)? {
            ensure!(begun.elapsed() < at_most, "{what}: not within {at_most:?}");
            self.wait(TICK)?;
        }
        Ok(())
    }

    /// What happens by itself, and what has to be undone by now.
    fn tick(&mut self) -> Result<()> {
        let (due, later) =
            std::mem::take(&mut self.to_be_undone).into_iter().partition(|(at, _)| *at <= Instant::now());
        self.to_be_undone = later;
        self.undo(due)?;
        self.hosts.reap(self.down, &self.history)?;
        self.hosts.start(&self.history)?;
        while let Some(ended) = self.begun.try_join_next() {
            let (fault, outcome) = ended?;
            if let Err(error) = outcome {
                // The API server may be away: it is told how often, and nothing more.
                self.history.note(Note::Did, &format!("{fault} has failed: {error:#}"));
                *self.failed.entry(fault.to_string()).or_default() += 1;
            }
        }
        if let [violation, ..] = &*self.history.told().judge.violations {
            bail!("{violation}");
        }
        Ok(())
    }

    fn undo(&mut self, what: Vec<(Instant, Undo)>) -> Result<()> {
        for (_, undo) in what {
            match undo {
                Undo::GoOn(index) => self.hosts.go_on(index, &self.history),
                Undo::Fine(index) => self.hosts.hosts[index].network.set(Weather::default()),
                Undo::Mend => self.write_file(&self.module)?,
            }
        }
        Ok(())
    }

    fn undo_after(&mut self, time: Duration, undo: Undo) {
        self.to_be_undone.push((Instant::now() + time, undo));
    }

    fn does(&mut self, fault: Fault) -> Result<()> {
        self.history.note(Note::Did, &format!("{fault:?}"));
        let done = match fault {
            Fault::Stop(target, time) => self.at(target, |world, index| {
                let stopped = world.hosts.stop(index, &world.history);
                if stopped {
                    world.undo_after(time, Undo::GoOn(index));
                }
                Ok(stopped)
            }),
            Fault::Kill(target, down) => self.at(target, |world, index| world.hosts.kill(index, down, &world.history)),
            Fault::Terminate(target, down) => self.at(target, |world, index| {
                world.down[index] = DOWN.max(down);
                Ok(world.hosts.terminate(index, &world.history))
            }),
            Fault::Silence(target, time) => {
                self.at(target, |world, index| Ok(world.weather(index, time, Duration::ZERO, true)))
            }
            Fault::Delay { host, late, time } => {
                self.at(host, |world, index| Ok(world.weather(index, time, late, false)))
            }
            Fault::RestartApiServer(down) => self.api_server.order(Order::Restart(down)),
            Fault::FreezeApiServer(time) => self.api_server.order(Order::Freeze(time)),
            Fault::SwapFile => {
                self.another_module();
                self.write_file(&self.module).map(|()| true)
            }
            Fault::SwapConfigMap => Ok(self.swap_config_map()),
            Fault::BreakFile(time) => {
                self.undo_after(time, Undo::Mend);
                self.write_file(&self.module[..self.module.len() / 2]).map(|()| true)
            }
            Fault::StepDown => Ok(self.step_down()),
        }?;
        *self.done.entry(fault.to_string()).or_default() += usize::from(done);
        Ok(())
    }

    fn at(&mut self, target: Target, what: impl FnOnce(&mut Self, usize) -> Result<bool>) -> Result<bool> {
        let index = match target {
            Target::Host(index) => Some(index),
            Target::Leader => self.leader(),
        };
        index.map_or(Ok(false), |index| what(self, index))
    }

    fn leader(&self) -> Option<usize> {
        let told = self.history.told();
        let leader = told.judge.leader()?;
        self.hosts.hosts.iter().position(|host| host.name() == Some(leader))
    }

    fn weather(&mut self, index: usize, time: Duration, answers_late: Duration, silent: bool) -> bool {
        self.hosts.hosts[index].network.set(Weather { answers_late, silent, ..Weather::default() });
        self.undo_after(time, Undo::Fine(index));
        true
    }

    /// Does the same, and is another one.
    fn another_module(&mut self) {
        const SECTION: &[u8] = b"\x00\x07\x05chaos";
        self.modules_made = self.modules_made.wrapping_add(1);
        if self.modules_made > 1 {
            self.module.truncate(self.module.len() - SECTION.len() - 1);
        }
        self.module.extend_from_slice(SECTION);
        self.module.push(self.modules_made);
    }

    /// Renamed over, so that nobody reads half of it.
    fn write_file(&self, module: &[u8]) -> Result<()> {
        let new = self.folder.path().join("new.wasm");
        fs::write(&new, module)?;
        Ok(fs::rename(new, self.folder.path().join("task.wasm"))?)
    }

    fn swap_config_map(&mut self) -> bool {
        self.another_module();
        let (config_maps, patch) = (self.config_maps.clone(), json!({"binaryData": binary_data(&self.module)}));
        let patched = async move {
            let params = PatchParams::default();
            let patch = Patch::Merge(patch);
            let patched = tokio::time::timeout(PATIENCE, config_maps.patch("task", &params, &patch)).await;
            patched.context("no answer").and_then(|patched| Ok(patched.map(drop)?))
        };
        self.begin(Fault::SwapConfigMap, patched);
        true
    }

    fn step_down(&mut self) -> bool {
        let told = self.history.told();
        let may_lead = self.hosts.names().filter(|name| told.may_lead(name)).count();
        drop(told);
        // Where all have stepped down, nobody leads for half a minute, and rightly so.
        if may_lead < 3 {
            return false;
        }
        let mut command = tokio::process::Command::new(build::leasehold());
        command.args(["step-down", "task", "--timeout", "0s"]).env("KUBECONFIG", &self.kubeconfig);
        command.stdin(Stdio::null()).kill_on_drop(true);
        self.begin(Fault::StepDown, async move {
            let output = command.output().await?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
            Ok(())
        });
        true
    }

    fn begin(&mut self, fault: Fault, what: impl Future<Output = Result<()>> + Send + 'static) {
        self.begun.spawn_on(async move { (fault, what.await) }, self.runtime.handle());
    }

    /// Ends all that is done to them, and sees that somebody leads, and that all compete.
    pub(crate) fn calm(&mut self) -> Result<()> {
        let all = std::mem::take(&mut self.to_be_undone);
        self.undo(all)?;
        self.down = [DOWN; HOSTS];
        self.wait_for("the API server is back", PATIENCE, |world| world.api_server.is_well())?;
        self.wait_for("what was begun has ended", PATIENCE, |world| Ok(world.begun.is_empty()))?;
        self.hosts.start_all_now(&self.history)?;
        self.wait_for("one that may lead competes", PATIENCE, |world| {
            let told = world.history.told();
            Ok(world.hosts.names().any(|name| told.may_lead(name)))
        })?;
        let calms = self.history.told().judge.found.calms.len();
        self.history.note(Note::Calm, "");
        self.wait_for("in calm, somebody leads", CALM, |world| {
            Ok(world.history.told().judge.found.calms.len() > calms)
        })?;
        self.wait_for("all compete", PATIENCE, |world| {
            let told = world.history.told();
            Ok(world.hosts.names().filter(|name| told.judge.competes(name)).count() == HOSTS)
        })
    }

    /// One leader after the other is asked to end, until nobody is left: whoever has been through
    /// all that still competes.
    pub(crate) fn end(&mut self) -> Result<()> {
        self.hosts.last_boot = true;
        self.history.note(Note::Over, "");
        while self.hosts.names().next().is_some() {
            self.wait_for("one of those that are left leads", PATIENCE, |world| Ok(world.leader().is_some()))?;
            let leader = self.leader().context("it led just now")?;
            let name = self.hosts.hosts[leader].name().map(ToOwned::to_owned);
            self.hosts.terminate(leader, &self.history);
            self.wait_for("it ends", PATIENCE, |world| Ok(world.hosts.hosts[leader].name() != name.as_deref()))?;
        }
        Ok(())
    }

    /// Ends all there is; what was told, and what went wrong.
    pub(crate) fn close(self) -> (Told, String, Result<()>) {
        let Self { begun, hosts, api_server, history, folder, runtime, .. } = self;
        drop((begun, hosts));
        let ended = api_server.end();
        drop(runtime);
        let stderr = fs::read_to_string(folder.path().join("stderr")).unwrap_or_else(|error| error.to_string());
        (history.end(), stderr, ended)
    }
}

fn binary_data(module: &[u8]) -> serde_json::Value {
    json!({"task.wasm": BASE64_STANDARD.encode(module)})
}

impl Told {
    /// It competes, and does not let others go first.
    fn may_lead(&self, name: &str) -> bool {
        let stays_out =
            self.stepped_down.iter().any(|(host, at)| host == name && at.elapsed() < STAY_OUT + Duration::from_secs(5));
        self.judge.competes(name) && !stays_out
    }
}
