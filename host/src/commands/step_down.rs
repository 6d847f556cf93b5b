//! `leasehold step-down`: writes onto the Lease whom it is asked of, and waits until that one has
//! given it up. It never touches the holder: only who holds the Lease knows when its component has
//! stopped.

#[cfg(test)]
mod tests;

use std::{
    io::{self, Write},
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use leasehold_core::{
    lease::{LeaseRecord, Observation, Version},
    ports::{LeaseStore, StoreError, StoreFailure},
};
use tokio::time::Instant;

use crate::{
    args::StepDownArgs,
    config::{Environment, Name, StoreChoice},
    kubernetes::cluster::{Cluster, first_contact},
    lease::{access, file::FileStore, kubernetes::KubernetesStore},
};

/// How often to write: the holder may renew in between, but not this often.
const TRIES: u32 = 5;
/// How often to look whether it was given up. Reading needs no other right than asking does; watching would.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long to wait for a successor, only to be able to name it.
const SUCCESSOR_WAIT: Duration = Duration::from_secs(2);

/// Asks the holder of the Lease to give it up, and waits until it has.
///
/// # Errors
/// Nobody was asked, and why; or who was asked has not followed in time.
pub fn step_down(args: StepDownArgs) -> anyhow::Result<()> {
    let StepDownArgs { lease, namespace, lease_store, timeout } = args;
    let environment = Environment::from(|name| std::env::var(name).ok());
    let namespace = match namespace {
        Some(namespace) => Some(namespace),
        None => environment.namespace()?,
    };
    let (lease, timeout) = (lease.as_str(), *timeout);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match lease_store {
            StoreChoice::Folder(folder) => {
                let namespace = namespace.as_ref().map_or("default", Name::as_str);
                let store = FileStore::at(&folder, namespace, lease);
                let name = format!("{namespace}/{lease} in {}", folder.display());
                Asking { store, name, rule: None }.run(timeout).await
            }
            StoreChoice::Kubernetes => {
                let cluster = Cluster::default();
                let client = cluster.client().await?;
                let namespace = namespace.as_ref().map_or(client.default_namespace(), Name::as_str);
                let store = KubernetesStore::new(client.clone(), namespace, lease).written_by("leasehold-step-down");
                let rule = access::target(namespace, lease).rule(&["get", "update"]);
                Asking { store, name: format!("{namespace}/{lease}"), rule: Some(rule) }.run(timeout).await
            }
        }
    })
}

struct Asking<S> {
    store: S,
    /// The Lease's, for people.
    name: String,
    /// What a Role needs to have, where Roles say who may.
    rule: Option<String>,
}

/// The Lease while somebody holds it who can be asked.
struct Held {
    version: Version,
    holder: String,
    record: LeaseRecord,
}

/// Not given up and taken again in between.
fn are_of_one_term(one: &LeaseRecord, other: &LeaseRecord) -> bool {
    one.holder == other.holder && one.acquired == other.acquired
}

/// What has become of a Lease after its holder was asked to give it up.
enum After {
    /// The holder still has it.
    Held,
    /// Nobody has it.
    Free,
    /// This one has it.
    TakenBy(String),
    /// Nobody else has taken it, and so the one that was asked has it again.
    TakenAgain,
    /// The request is gone, and the holder is not.
    TakenBack,
    Deleted,
}

impl<S: LeaseStore> Asking<S> {
    async fn run(self, timeout: Duration) -> anyhow::Result<()> {
        let Self { name, .. } = &self;
        let asked = self.ask().await?;
        let holder = &asked.holder;
        say(&format!("asked {holder} to give up lease {name}"))?;
        if timeout.is_zero() {
            return Ok(());
        }
        let begun = Instant::now();
        let after = self.wait(&asked, begun + timeout).await?;
        let took = begun.elapsed();
        match after {
            After::Free => say(&format!("{holder} has given it up after {took:.0?}; nobody has taken it yet")),
            After::TakenBy(next) => say(&format!("{holder} holds it no more, after {took:.0?}: {next} does")),
            After::TakenAgain => {
                say(&format!("{holder} has given it up, and holds it again: nobody else has taken it"))
            }
            After::TakenBack => bail!("somebody has taken the request back: {holder} keeps lease {name}"),
            After::Deleted => say("the lease was deleted meanwhile"),
            After::Held => bail!(
                "{holder} has not given up lease {name} within {}. The request stands: it is followed as soon as {holder} \
                 sees it and its component has stopped (its log says `step-down-requested`), or the lease has run out",
                humantime::format_duration(timeout)
            ),
        }
    }

    /// Writes the request.
    async fn ask(&self) -> anyhow::Result<Held> {
        let mut first: Option<Held> = None;
        for _ in 0..TRIES {
            let held = self.held().await?;
            if let Some(first) = first.filter(|first| !are_of_one_term(&first.record, &held.record)) {
                bail!(
                    "{} has given up lease {} meanwhile, and {} holds it: nobody was asked. Run this again if it is that one's \
                     turn to step down",
                    first.holder,
                    self.name,
                    held.holder
                );
            }
            if held.record.step_down.as_ref() == Some(&held.holder) {
                return Ok(held); // By somebody else, or by this command when it was run before.
            }
            let record = LeaseRecord { step_down: Some(held.holder.clone()), ..held.record.clone() };
            match first_contact(async { Ok(self.store.write(Some(held.version), &record).await) }).await? {
                Ok(_) => return Ok(held),
                Err(error) if matches!(error.failure, StoreFailure::Conflict | StoreFailure::Missing) => {
                    first = Some(held);
                }
                Err(error) => return Err(self.refused(error)),
            }
        }
        bail!("lease {} was changed by others at each of {TRIES} tries: nobody was asked; try again", self.name)
    }

    async fn held(&self) -> anyhow::Result<Held> {
        let name = &self.name;
        let seen = first_contact(async { self.store.read().await.map_err(|error| self.refused(error)) }).await?;
        let Observation::Present { version, record } = seen else { bail!("there is no lease {name}") };
        let Some(holder) = record.holder.clone() else {
            bail!("nobody holds lease {name}: there is nobody to ask");
        };
        if record.task.is_none() {
            bail!(
                "{holder}, who holds lease {name}, is no Leasehold host (the lease names no task) and would not follow: \
                 nothing was changed"
            );
        }
        Ok(Held { version, holder, record })
    }

    /// Looks until it was given up, or `deadline` is over.
    async fn wait(&self, asked: &Held, deadline: Instant) -> anyhow::Result<After> {
        let (mut deadline, mut after, mut failed) = (deadline, After::Held, None);
        loop {
            match tokio::time::timeout_at(deadline, self.store.read()).await {
                Ok(Ok(seen)) => {
                    failed = None;
                    let was_held = matches!(after, After::Held);
                    after = match what_became_of(asked, seen) {
                        After::Held => After::Held,
                        After::Free if was_held => {
                            deadline = deadline.min(Instant::now() + SUCCESSOR_WAIT);
                            After::Free
                        }
                        After::Free => After::Free,
                        done => return Ok(done),
                    };
                }
                // It may be back before the time is over.
                Ok(Err(error)) => failed = Some(self.refused(error)),
                Err(_) => {}
            }
            if Instant::now() + LOOK_EVERY >= deadline {
                return match failed {
                    Some(error) if matches!(after, After::Held) => Err(error.context(format!(
                        "{} was asked to give up lease {}, but whether it has is not known",
                        asked.holder, self.name
                    ))),
                    _ => Ok(after),
                };
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn refused(&self, error: StoreError) -> anyhow::Error {
        let may_not = match (&self.rule, error.failure) {
            (Some(rule), StoreFailure::Denied) => Some(format!("not allowed: asking for it needs a Role with {rule}")),
            _ => None,
        };
        let error = anyhow!(error);
        match may_not {
            Some(may_not) => error.context(may_not),
            None => error,
        }
    }
}

fn what_became_of(asked: &Held, seen: Observation) -> After {
    let Observation::Present { record, .. } = seen else { return After::Deleted };
    match &record.holder {
        None => After::Free,
        Some(holder) if *holder != asked.holder => After::TakenBy(holder.clone()),
        Some(holder) if record.step_down.as_ref() == Some(holder) => After::Held,
        Some(_) if are_of_one_term(&asked.record, &record) => After::TakenBack,
        Some(_) => After::TakenAgain,
    }
}

fn say(line: &str) -> anyhow::Result<()> {
    writeln!(io::stdout(), "{line}").with_context(|| format!("cannot print {line:?}"))
}
