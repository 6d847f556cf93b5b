//! The Leases of a folder: read, or followed as the system tells of changes.

use std::path::PathBuf;

use anyhow::Context;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use leasehold_core::lease::LeaseRecord;

use super::{
    kind::Kind,
    lease::SeenLease,
    source::{Read, Update, Which},
};
use crate::lease::folder::{self, InFolder};

/// See the module's documentation.
pub(super) struct FolderLeases {
    folder: PathBuf,
    /// `None`: all namespaces.
    namespace: Option<String>,
    which: Which,
}

impl FolderLeases {
    pub(super) fn new(folder: PathBuf, namespace: Option<String>, which: Which) -> Self {
        Self { folder, namespace, which }
    }

    /// All there are.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(super) fn read(&self) -> anyhow::Result<Read> {
        let all = folder::list(&self.folder)
            .with_context(|| format!("cannot read the leases in {}", self.folder.display()))?;
        let in_namespace = |lease: &InFolder| self.namespace.as_ref().is_none_or(|only| *only == lease.namespace);
        let mut leases: Vec<_> = all.into_iter().filter(in_namespace).map(seen).collect();
        let mut missing = Vec::new();
        if let Which::Named(names) = &self.which {
            let named = |lease: &SeenLease, name: &str| lease.name == name;
            missing = self.which.missing(|name| leases.iter().any(|lease| named(lease, name)));
            leases.retain(|lease| names.iter().any(|name| named(lease, name.as_str())));
        }
        Ok(Read { leases, missing })
    }

    /// As they are, and each change. It never ends by itself.
    pub(super) fn follow(self) -> BoxStream<'static, Update> {
        let changes = folder::changes(&self.folder);
        let updates = stream::unfold((self, changes), |(this, mut changes)| async move {
            let update = match changes.next().await? {
                Ok(()) => match this.read() {
                    Ok(read) => Update::All(read.leases),
                    Err(error) => Update::Broken(format!("{error:#}")),
                },
                Err(error) => Update::Broken(format!("cannot follow {}: {error}", this.folder.display())),
            };
            Some((update, (this, changes)))
        });
        updates.boxed()
    }
}

fn seen(lease: InFolder) -> SeenLease {
    let InFolder { namespace, name, found } = lease;
    let (record, problem) = match found {
        Ok(record) => (record, None),
        Err(error) => (LeaseRecord::default(), Some(error)),
    };
    let kind = if record.task.is_some() { Kind::Task } else { Kind::Application };
    SeenLease { namespace, name, kind, record, taken_at: None, problem }
}
