//! Deletes objects that are older than they may get: what previews, tests and one-off jobs leave behind.
//!
//! Looks every `EVERY` (`1m`) at the objects of `RESOURCE` (a path, `/api/v1/namespaces/previews/configmaps`) that
//! `SELECTOR` takes (`preview=yes`), and deletes those that were created longer than `MAX_AGE` ago (`24h`). It has no
//! state: what one leader has not come to, the next one finds.

mod config;
mod http;
mod objects;

wit_bindgen::generate!({ path: "../../wit", world: "leader-task", generate_all });

use std::time::SystemTime;

use leasehold::task::{leadership, progress};
use wasi::{clocks::monotonic_clock, io::poll};

use self::{
    config::Config,
    objects::{Deleted, Objects},
};

struct StaleCleaner;

impl Guest for StaleCleaner {
    fn on_start_leading(_: Term) -> Result<(), String> {
        let config = Config::from_env()?;
        let objects = Objects::new(&config.resource, config.selector.as_deref());
        let stop = leadership::subscribe_stop();
        while leadership::stop_requested().is_none() {
            // One that fails is tried again in the next round: the API server may only be away for a while.
            match clean(&objects, &config) {
                Ok(Round { seen, deleted }) => {
                    let done = format!("{seen} objects, {deleted} of them too old and deleted");
                    println!("{done}");
                    progress::report(&done);
                }
                Err(error) => {
                    eprintln!("not cleaned: {error}");
                    progress::report(&error);
                }
            }
            poll::poll(&[&stop, &monotonic_clock::subscribe_duration(config.every_ns)]);
        }
        Ok(())
    }
}

struct Round {
    seen: usize,
    deleted: usize,
}

fn clean(objects: &Objects, config: &Config) -> Result<Round, String> {
    let mut round = Round { seen: 0, deleted: 0 };
    let mut page = None;
    loop {
        let list = objects.list(page.as_deref())?;
        round.seen += list.items.len();
        for object in list.items {
            if leadership::stop_requested().is_some() {
                return Ok(round);
            }
            // A clock that is behind the API server's makes an object younger, not older.
            let age = SystemTime::now().duration_since(object.metadata.created()?).unwrap_or_default();
            if age < config.max_age {
                continue;
            }
            let name = &object.metadata.name;
            match objects.delete(&object.metadata)? {
                Deleted::Now => {
                    println!("deleted {name}, {} old", humantime::format_duration(whole_seconds(age)));
                    round.deleted += 1;
                }
                // Somebody uses it, or was faster.
                Deleted::Changed => println!("left {name}: it has changed or gone since it was listed"),
            }
        }
        page = list.metadata.next_page.filter(|next| !next.is_empty());
        if page.is_none() {
            return Ok(round);
        }
    }
}

fn whole_seconds(age: std::time::Duration) -> std::time::Duration {
    std::time::Duration::from_secs(age.as_secs())
}

export!(StaleCleaner);
