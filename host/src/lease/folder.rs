//! A folder of Leases, for somebody who looks at them and competes for none.

use std::{fs, io, path::Path, sync::atomic::Ordering};

use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use leasehold_core::lease::LeaseRecord;

use super::file::{REWATCH_DELAY, Stored, Watching};

/// A Lease in a folder.
#[derive(Debug)]
pub struct InFolder {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What it says, or why that cannot be told.
    pub found: Result<LeaseRecord, String>,
}

/// All Leases of a folder, by namespace and name.
///
/// # Errors
/// The folder is missing, or cannot be read.
pub fn list(folder: &Path) -> io::Result<Vec<InFolder>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let file = entry.file_name();
        // A namespace's name has no dot in it, a Lease's may.
        let name = file.to_str().and_then(|file| file.strip_suffix(".json")).and_then(|name| name.split_once('.'));
        let Some((namespace, name)) = name.filter(|(namespace, _)| !namespace.is_empty()) else { continue };
        let found = match fs::read(entry.path()) {
            Ok(bytes) => serde_json::from_slice::<Stored>(&bytes)
                .map(Into::into)
                .map_err(|error| format!("the file does not hold a lease: {error}")),
            // Deleted since.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => Err(format!("the file cannot be read: {error}")),
        };
        all.push(InFolder { namespace: namespace.to_owned(), name: name.to_owned(), found });
    }
    all.sort_by(|one, other| (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name)));
    Ok(all)
}

/// Comes at once, and whenever something in the folder has changed; an error where that cannot be told for now. It
/// never ends.
///
/// # Cancel safety
/// May be dropped at any time.
pub fn changes(folder: &Path) -> BoxStream<'static, notify::Result<()>> {
    let folder = folder.to_owned();
    let changes = stream::unfold((folder, None::<Watching>), |(folder, mut watching)| async move {
        let change = loop {
            match &mut watching {
                None => match Watching::begin(&folder) {
                    Ok(begun) => watching = Some(begun),
                    Err(error) => {
                        tokio::time::sleep(REWATCH_DELAY).await;
                        break Err(error);
                    }
                },
                Some(begun) if begun.folder_changed.load(Ordering::Relaxed) => watching = None,
                Some(begun) => {
                    begun.changed.notified().await;
                    break Ok(());
                }
            }
        };
        Some((change, (folder, watching)))
    });
    changes.boxed()
}
