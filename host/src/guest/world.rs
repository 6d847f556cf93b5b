//! What a component is to the host: which of the worlds that this host runs it was built for.

use leasehold_core::task::{Outcome, StopReason};
use semver::Version;
use wasmtime::{Store, component::InstancePre};
use wasmtime_wasi::p2::bindings::CommandPre;

use super::{
    imports::{LeaderTaskPre, ObservingLeaderTaskPre, Term, stop_reason},
    module::ModuleError,
    state::State,
};

/// The WIT package that this host speaks.
const PACKAGE: &str = "leasehold:task";
/// Its version here.
const VERSION: Version = Version::new(0, 1, 0);

/// `wasi:cli/exit` passes on whether, not which (`exit-with-code` is an unstable part of WASI 0.2).
pub(super) const FAILED_STATUS: &str = "it exited with a status other than 0 (WASI 0.2 does not say which)";

/// What a component is called for.
#[derive(Clone, Debug)]
pub enum Call {
    /// The term's work.
    StartLeading,
    /// `on-stop-leading`: the term's end, and why.
    StopLeading(StopReason),
    /// `on-new-leader`: who leads.
    NewLeader(String),
}

impl Call {
    /// The export's name, of a callback.
    pub(super) fn callback(&self) -> Option<&'static str> {
        match self {
            Self::StartLeading => None,
            Self::StopLeading(_) => Some(CALLBACKS[0]),
            Self::NewLeader(_) => Some(CALLBACKS[1]),
        }
    }
}

/// What the observing world exports beside `on-start-leading`.
const CALLBACKS: [&str; 2] = ["on-stop-leading", "on-new-leader"];

/// What of a component is called in a term.
pub(super) enum World {
    /// `on-start-leading` of `leasehold:task/leader-task`.
    LeaderTask(LeaderTaskPre<State>),
    /// The same, and the callbacks of `leasehold:task/observing-leader-task`.
    ObservingLeaderTask(ObservingLeaderTaskPre<State>),
    /// `run` of `wasi:cli/command`: any program. Its environment has the term.
    Command(CommandPre<State>),
}

impl World {
    /// The world of what was linked.
    ///
    /// # Errors
    /// It is of none, in wasmtime's words about the first; or its callbacks are not what they have to be.
    pub(super) fn of(linked: InstancePre<State>) -> Result<Self, ModuleError> {
        match LeaderTaskPre::new(linked.clone()) {
            Ok(_) if CALLBACKS.iter().any(|name| linked.component().get_export_index(None, name).is_some()) => {
                ObservingLeaderTaskPre::new(linked)
                    .map(Self::ObservingLeaderTask)
                    .map_err(|error| ModuleError::Callbacks(format!("{error:#}")))
            }
            Ok(task) => Ok(Self::LeaderTask(task)),
            Err(error) => {
                CommandPre::new(linked).map(Self::Command).map_err(|_| ModuleError::Export(format!("{error:#}")))
            }
        }
    }

    /// Whether it has the callbacks.
    pub(super) fn observes(&self) -> bool {
        matches!(self, Self::ObservingLeaderTask(_))
    }

    pub(super) fn linked(&self) -> &InstancePre<State> {
        match self {
            Self::LeaderTask(task) => task.instance_pre(),
            Self::ObservingLeaderTask(task) => task.instance_pre(),
            Self::Command(program) => program.instance_pre(),
        }
    }

    /// What is called.
    pub(super) fn export(&self) -> &'static str {
        match self {
            Self::LeaderTask(_) => "on-start-leading",
            Self::ObservingLeaderTask(_) => "on-start-leading, on-stop-leading, on-new-leader",
            Self::Command(_) => "wasi:cli/run (a program: the term is in its environment, LEASEHOLD_TOKEN and others)",
        }
    }

    /// The term, for the environment of those that are not given it as an argument.
    pub(super) fn environment(&self, term: &Term) -> Vec<(&'static str, String)> {
        match self {
            Self::LeaderTask(_) | Self::ObservingLeaderTask(_) => vec![],
            Self::Command(_) => vec![
                ("LEASEHOLD_LEASE", term.lease.clone()),
                ("LEASEHOLD_NAMESPACE", term.namespace.clone()),
                ("LEASEHOLD_IDENTITY", term.identity.clone()),
                ("LEASEHOLD_TOKEN", term.token.to_string()),
            ],
        }
    }

    /// Instantiates it and makes the call. `Err` is a trap, or the end from outside.
    ///
    /// # Errors
    /// In which of the two steps, and what wasmtime says.
    pub(super) async fn call(&self, store: &mut Store<State>, call: Call) -> Result<Outcome, Failed> {
        let returned = match (self, call) {
            (Self::LeaderTask(task), Call::StartLeading) => {
                let task = task.instantiate_async(&mut *store).await.map_err(Failed::ToStart)?;
                let term = store.data().term.clone();
                task.call_on_start_leading(&mut *store, &term).await.map_err(Failed::Running)?
            }
            (Self::ObservingLeaderTask(task), call) => {
                let task = task.instantiate_async(&mut *store).await.map_err(Failed::ToStart)?;
                let term = store.data().term.clone();
                match call {
                    Call::StartLeading => task.call_on_start_leading(&mut *store, &term).await,
                    Call::StopLeading(reason) => {
                        task.call_on_stop_leading(&mut *store, &term, stop_reason(reason)).await.map(Ok)
                    }
                    Call::NewLeader(identity) => task.call_on_new_leader(&mut *store, &identity).await.map(Ok),
                }
                .map_err(Failed::Running)?
            }
            (Self::Command(program), Call::StartLeading) => {
                let program = program.instantiate_async(&mut *store).await.map_err(Failed::ToStart)?;
                let run = program.wasi_cli_run().call_run(&mut *store).await.map_err(Failed::Running)?;
                run.map_err(|()| FAILED_STATUS.into())
            }
            (Self::LeaderTask(_) | Self::Command(_), call) => {
                let export = call.callback().unwrap_or_default();
                return Ok(Outcome::NotStarted(format!("the component does not export {export}")));
            }
        };
        Ok(returned.map_or_else(Outcome::Error, |()| Outcome::Returned))
    }
}

/// Where [`World::call`] has failed.
#[derive(Debug)]
pub(super) enum Failed {
    /// It could not be instantiated.
    ToStart(wasmtime::Error),
    /// It was called.
    Running(wasmtime::Error),
}

/// The version of `leasehold:task` that something with these imports was built for, where that is not this host's.
pub(super) fn other_version<'a>(imports: impl IntoIterator<Item = &'a str>) -> Option<Version> {
    imports
        .into_iter()
        .filter_map(|import| {
            let (interface, version) = import.split_once('@')?;
            let (package, _) = interface.split_once('/')?;
            (package == PACKAGE).then(|| version.parse().ok()).flatten()
        })
        .find(|version| *version != VERSION)
}

/// How this host is called where versions are compared.
pub(super) fn this_version() -> String {
    format!("{PACKAGE}@{VERSION}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_of_the_wit_package() {
        let package = format!("package {};", this_version());
        assert!(include_str!("../../../wit/world.wit").lines().any(|line| line == package));
    }

    #[test]
    fn only_our_own_package_has_another_version() {
        let other = |import| other_version([import]);
        assert_eq!(other("leasehold:task/types@0.1.0"), None);
        assert_eq!(other("wasi:io/poll@0.2.12"), None);
        assert_eq!(other("acme:leasehold/types@2.0.0"), None);
        assert_eq!(other("leasehold:task/types"), None);
        assert_eq!(other("leasehold:task/types@0.2.0"), Some(Version::new(0, 2, 0)));
    }
}
