//! A Lease in a folder.

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::PathBuf,
};

use leasehold::lease::file::FileStore;
use leasehold_core::{
    lease::{LeaseRecord, Observation},
    ports::{LeaseStore, StoreFailure},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::place::{Place, Watched, create, failure, held_by, read_present, renewed, words};

pub(crate) struct InFolder(TempDir);

impl InFolder {
    fn path(&self, extension: &str) -> PathBuf {
        self.0.path().join(format!("default.task.{extension}"))
    }

    fn content(&self) -> Value {
        let text = fs::read(self.path("json")).expect("the lease is there");
        serde_json::from_slice(&text).expect("it is replaced in one step, never half")
    }

    /// As an editor saves, and with a greater version, without which an edit is no news.
    fn edit(&self, edit: impl FnOnce(&mut Value)) {
        let mut content = self.content();
        edit(&mut content);
        content["version"] = json!(content["version"].as_u64().expect("a version") + 2);
        self.replace(&content.to_string());
    }

    fn replace(&self, content: &str) {
        let beside = self.path("edited");
        fs::write(&beside, content).expect("written");
        fs::rename(beside, self.path("json")).expect("renamed");
    }
}

impl Place for InFolder {
    type Store = FileStore;

    async fn fresh() -> Self {
        Self(TempDir::new().expect("a folder"))
    }

    fn store(&self) -> FileStore {
        FileStore::open(self.0.path(), "default", "task").expect("it can be written")
    }

    async fn delete(&self) {
        fs::remove_file(self.path("json")).expect("it is there");
    }

    async fn set(&self, field: &str, value: Value) {
        self.edit(|content| match value {
            Value::Null => drop(content.as_object_mut().expect("an object").remove(field)),
            value => content[field] = value,
        });
    }

    async fn set_checkpoint(&self, text: Option<&str>) {
        self.set("checkpoint", json!(text)).await;
    }

    async fn write_beside(&self) {
        self.edit(|content| {
            content["preferredHolder"] = json!("somebody-else");
            content["notes"] = json!({"of": ["a", "newer", "leasehold"], "since": 2.5});
        });
    }

    async fn beside(&self) -> Value {
        let content = self.content();
        json!([content["preferredHolder"], content["notes"]])
    }
}

#[tokio::test]
async fn a_damaged_file_is_rejected_left_alone_and_taken_again_when_it_is_repaired() {
    let place = InFolder::fresh().await;
    let store = place.store();
    let version = create(&store, &held_by("one")).await;
    let mut watched = Watched::begin(&store);
    watched.seen().await;
    let good = place.content().to_string();
    for damaged in [&good[..good.len() / 2], "", "{}", "[]", "not json", r#"{"version": -1, "leaseTransitions": 0}"#] {
        place.replace(damaged);
        let error = store.read().await.expect_err("it is no lease");
        assert_eq!(error.failure, StoreFailure::Rejected);
        let words = words(error);
        assert!(words.contains("default.task.json") && words.contains("does not hold a lease"), "{words}");
        let written = store.write(Some(version), &renewed(&held_by("one"), 1)).await;
        assert_eq!(failure(written), StoreFailure::Rejected);
        assert_eq!(fs::read_to_string(place.path("json")).expect("it is there"), damaged);
        assert_eq!(watched.until_broken().await.failure, StoreFailure::Rejected);
        place.replace(&good);
        // It says the same as before the trouble. That it is told says that the trouble is over.
        watched.until_again(|seen| seen.version() == Some(version)).await;
    }
}

#[tokio::test]
async fn a_lock_that_is_not_let_go_is_an_unavailable_store_until_it_is() {
    let place = InFolder::fresh().await;
    let store = place.store();
    let version = create(&store, &held_by("one")).await;
    let held = File::open(place.path("lock")).expect("the lock file is there");
    held.lock().expect("nobody else has it");
    let error = store.write(Some(version), &renewed(&held_by("one"), 1)).await.expect_err("it is locked");
    assert_eq!(error.failure, StoreFailure::Unavailable);
    assert!(words(error).contains("locked"));
    // Who only reads needs no lock.
    assert_eq!(read_present(&store).await, (version, held_by("one")));
    drop(held);
    store.write(Some(version), &renewed(&held_by("one"), 1)).await.expect("the lock is free again");
}

#[tokio::test]
async fn a_folder_that_may_not_be_written_is_denied_and_one_that_is_gone_is_unavailable() {
    let elsewhere = TempDir::new().expect("a folder");
    let folder = elsewhere.path().join("leases");
    // No permission is missing to root, but nobody can make a file in this one.
    let links = [("/sys", StoreFailure::Denied), ("/nonexistent/folder", StoreFailure::Unavailable)];
    for (leads_to, expected) in links {
        let place = InFolder::fresh().await;
        symlink(place.0.path(), &folder).expect("a link");
        let store = FileStore::open(&folder, "default", "task").expect("it can be written");
        let version = create(&store, &held_by("one")).await;
        fs::remove_file(&folder).expect("it is there");
        symlink(leads_to, &folder).expect("a link");
        assert_eq!(failure(store.write(Some(version), &held_by("one")).await), expected, "{leads_to}");
        fs::remove_file(&folder).expect("it is there");
    }
}

#[tokio::test]
async fn leases_are_not_kept_where_no_folder_can_be() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    assert!(FileStore::open(file.path(), "default", "task").is_err());
    assert!(FileStore::open(&file.path().join("below"), "default", "task").is_err());
    assert!(FileStore::open("/sys".as_ref(), "default", "task").is_err());
}

/// Somebody has emptied the folder: no version is better than one that looks old.
#[tokio::test]
async fn a_deletion_of_the_lock_file_as_well_is_told_without_a_version() {
    let place = InFolder::fresh().await;
    let store = place.store();
    create(&store, &held_by("one")).await;
    let mut watched = Watched::begin(&store);
    watched.seen().await;
    fs::remove_file(place.path("lock")).expect("it is there");
    place.delete().await;
    watched.until(|seen| *seen == Observation::Missing { deleted_at: None }).await;
}

#[tokio::test]
async fn a_watch_outlives_its_folder_and_goes_on_in_the_next_of_its_name() {
    let parent = TempDir::new().expect("a folder");
    let folder = parent.path().join("leases");
    let store = FileStore::open(&folder, "default", "task").expect("it can be written");
    create(&store, &held_by("one")).await;
    let mut watched = Watched::begin(&store);
    watched.seen().await;
    fs::remove_dir_all(&folder).expect("it is there");
    assert_eq!(watched.until_broken().await.failure, StoreFailure::Unavailable);
    assert_eq!(failure(store.write(None, &held_by("one")).await), StoreFailure::Unavailable);
    let next = FileStore::open(&folder, "default", "task").expect("it can be written");
    create(&next, &held_by("two")).await;
    watched.until_again(|seen| seen.holder() == Some("two")).await;
}

#[tokio::test]
async fn a_duration_of_nothing_is_read_as_missing() {
    let place = InFolder::fresh().await;
    create(&place.store(), &held_by("one")).await;
    place.set("leaseDurationSeconds", json!(0)).await;
    assert_eq!(read_present(&place.store()).await.1, LeaseRecord { duration: None, ..held_by("one") });
}

#[tokio::test]
async fn leases_of_one_folder_keep_out_of_each_others_way() {
    let folder = TempDir::new().expect("a folder");
    let open = |namespace, name| FileStore::open(folder.path(), namespace, name).expect("it can be written");
    let stores = [open("default", "a"), open("default", "b"), open("jobs", "a")];
    for (store, holder) in stores.iter().zip(["one", "two", "three"]) {
        create(store, &held_by(holder)).await;
    }
    for (store, holder) in stores.iter().zip(["one", "two", "three"]) {
        assert_eq!(read_present(store).await.1, held_by(holder));
    }
}
