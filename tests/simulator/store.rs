//! The one store: a Lease, its versions, and everything it has ever said.

use leasehold_core::{
    election::{Reply, Request},
    lease::{LeaseRecord, Observation, Version},
    ports::StoreFailure,
};

#[derive(Clone, Debug)]
pub(crate) struct Store {
    /// Never empty; the last is how the Lease is now.
    history: Vec<Observation>,
    version: u64,
    /// The states before this one are not told any more.
    first_kept: usize,
    /// Planted: writes are taken whatever version they name.
    pub(crate) ignores_versions: bool,
    /// Planted: a Lease that is made again counts from 1 again.
    pub(crate) restarts_versions: bool,
    /// Planted: requests to step down are not kept.
    pub(crate) forgets_requests: bool,
}

impl Store {
    /// Without a Lease; versions begin anywhere.
    pub(crate) fn new(version: u64) -> Self {
        let history = vec![Observation::Missing { deleted_at: None }];
        Self {
            history,
            version,
            first_kept: 0,
            ignores_versions: false,
            restarts_versions: false,
            forgets_requests: false,
        }
    }

    pub(crate) fn current(&self) -> &Observation {
        &self.history[self.history.len() - 1]
    }

    /// How many states there were.
    pub(crate) fn len(&self) -> usize {
        self.history.len()
    }

    pub(crate) fn at(&self, index: usize) -> &Observation {
        &self.history[index]
    }

    pub(crate) fn newest_version(&self) -> u64 {
        self.version
    }

    pub(crate) fn first_kept(&self) -> usize {
        self.first_kept
    }

    pub(crate) fn compact(&mut self) {
        self.first_kept = self.history.len() - 1;
    }

    /// What the Lease said in this version; of several, the newest.
    pub(crate) fn record_of(&self, version: u64) -> Option<&LeaseRecord> {
        let of_version = |seen: &&Observation| seen.version() == Some(Version(version));
        self.history.iter().rev().find(of_version)?.record()
    }

    /// What it said right before this version.
    pub(crate) fn record_before(&self, version: u64) -> Option<&LeaseRecord> {
        let index = self.history.iter().rposition(|seen| seen.version() == Some(Version(version)))?;
        self.history[..index].last()?.record()
    }

    pub(crate) fn put(&mut self, mut record: LeaseRecord) -> Version {
        if self.forgets_requests {
            record.step_down = None;
        }
        if self.restarts_versions && self.current().record().is_none() {
            self.version = 0;
        }
        self.version += 1;
        let version = Version(self.version);
        self.history.push(Observation::Present { version, record });
        version
    }

    pub(crate) fn delete(&mut self) -> Version {
        self.version += 1;
        let version = Version(self.version);
        self.history.push(Observation::Missing { deleted_at: Some(version) });
        version
    }

    /// Does what was asked, and says what a store says.
    pub(crate) fn serve(&mut self, request: &Request) -> Result<Reply, StoreFailure> {
        match (request, self.current()) {
            (Request::Read, Observation::Missing { .. }) => Ok(Reply::Read(Observation::Missing { deleted_at: None })),
            (Request::Read, present) => Ok(Reply::Read(present.clone())),
            (Request::Write { record, .. }, _) if self.ignores_versions => Ok(Reply::Written(self.put(record.clone()))),
            (Request::Write { based_on: None, record }, Observation::Missing { .. }) => {
                Ok(Reply::Written(self.put(record.clone())))
            }
            (Request::Write { based_on: Some(based_on), record }, Observation::Present { version, .. })
                if based_on == version =>
            {
                Ok(Reply::Written(self.put(record.clone())))
            }
            (Request::Write { based_on: Some(_), .. }, Observation::Missing { .. }) => Err(StoreFailure::Missing),
            (Request::Write { .. }, Observation::Present { .. }) => Err(StoreFailure::Conflict),
        }
    }
}
