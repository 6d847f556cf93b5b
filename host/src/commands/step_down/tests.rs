use std::{collections::VecDeque, sync::Mutex};

use futures_core::stream::BoxStream;
use leasehold_core::{ports::WatchUpdate, time::WallTime};

use super::*;

/// A store that answers what the test has written down, in that order; the last read again and again.
#[derive(Default)]
struct Scripted {
    reads: Mutex<VecDeque<Result<Observation, StoreFailure>>>,
    writes: Mutex<VecDeque<Result<(), StoreFailure>>>,
    written: Mutex<Vec<(Version, LeaseRecord)>>,
}

fn error(failure: StoreFailure) -> StoreError {
    StoreError { failure, step: "reach the lease".into(), source: "the test says so".into() }
}

impl LeaseStore for Scripted {
    async fn read(&self) -> Result<Observation, StoreError> {
        let mut reads = self.reads.lock().expect("one thread");
        let next = if reads.len() > 1 { reads.pop_front() } else { reads.front().cloned() };
        next.expect("something to read").map_err(error)
    }

    async fn write(&self, based_on: Option<Version>, record: &LeaseRecord) -> Result<Version, StoreError> {
        let based_on = based_on.expect("it makes no lease");
        self.written.lock().expect("one thread").push((based_on, record.clone()));
        let next = self.writes.lock().expect("one thread").pop_front().unwrap_or(Err(StoreFailure::Conflict));
        next.map(|()| Version(100)).map_err(error)
    }

    fn watch(&self) -> BoxStream<'static, WatchUpdate> {
        panic!("a watch needs more rights than asking does")
    }
}

/// Held by this one, which acquired it then.
fn held(version: u64, holder: &str, acquired: i64) -> Observation {
    let record = LeaseRecord {
        holder: Some(holder.into()),
        acquired: Some(WallTime::from_micros(acquired)),
        renewed: Some(WallTime::from_micros(1_000 + i64::try_from(version).expect("small"))),
        task: Some("nightly".into()),
        ..LeaseRecord::default()
    };
    Observation::Present { version: Version(version), record }
}

fn edited(seen: Observation, edit: impl FnOnce(&mut LeaseRecord)) -> Observation {
    let Observation::Present { version, mut record } = seen else { panic!("it is there") };
    edit(&mut record);
    Observation::Present { version, record }
}

fn asking(seen: Observation) -> Observation {
    edited(seen, |record| record.step_down = record.holder.clone())
}

struct Outcome {
    result: Result<(), String>,
    /// The version that each write was based on.
    written: Vec<u64>,
}

/// The command, with these answers to its reads and writes.
fn run(reads: Vec<Observation>, writes: Vec<Result<(), StoreFailure>>) -> Outcome {
    run_with(reads.into_iter().map(Ok).collect(), writes)
}

fn run_with(reads: Vec<Result<Observation, StoreFailure>>, writes: Vec<Result<(), StoreFailure>>) -> Outcome {
    let store = Scripted { reads: Mutex::new(reads.into()), writes: Mutex::new(writes.into()), ..Scripted::default() };
    let store = std::sync::Arc::new(store);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let asking = Asking { store: Shared(store.clone()), name: "jobs/nightly".into(), rule: Some("{a rule}".into()) };
    let result = runtime.block_on(asking.run(Duration::from_millis(300)));
    let result = result.map_err(|error| format!("{error:#}"));
    let written = store.written.lock().expect("one thread");
    for (_, record) in written.iter() {
        assert!(record.step_down.is_some() && record.step_down == record.holder, "nothing else is ever written");
    }
    Outcome { result, written: written.iter().map(|(version, _)| version.0).collect() }
}

struct Shared(std::sync::Arc<Scripted>);

impl LeaseStore for Shared {
    async fn read(&self) -> Result<Observation, StoreError> {
        self.0.read().await
    }

    async fn write(&self, based_on: Option<Version>, record: &LeaseRecord) -> Result<Version, StoreError> {
        self.0.write(based_on, record).await
    }

    fn watch(&self) -> BoxStream<'static, WatchUpdate> {
        self.0.watch()
    }
}

#[test]
fn a_renewal_in_between_is_no_reason_to_ask_less() {
    let reads = vec![held(5, "a", 1), held(6, "a", 1), asking(held(7, "a", 1)), held(9, "b", 2)];
    let outcome = run(reads, vec![Err(StoreFailure::Conflict), Ok(())]);
    assert_eq!((outcome.result, outcome.written), (Ok(()), vec![5, 6]));
}

#[test]
fn whoever_has_taken_over_in_between_is_not_asked() {
    // Another; or the same one, in a later term.
    for meanwhile in [held(6, "b", 2), held(6, "a", 2)] {
        let outcome = run(vec![held(5, "a", 1), meanwhile], vec![Err(StoreFailure::Conflict), Ok(())]);
        let error = outcome.result.expect_err("nobody was asked");
        assert!(error.contains("a has given up lease jobs/nightly meanwhile"), "{error}");
        assert_eq!(outcome.written, [5]);
    }
    let free = edited(held(6, "a", 1), |record| record.holder = None);
    for (meanwhile, says) in [(free, "nobody holds"), (Observation::Missing { deleted_at: None }, "there is no lease")]
    {
        let error = run(vec![held(5, "a", 1), meanwhile], vec![Err(StoreFailure::Conflict)]).result;
        assert!(error.expect_err("nobody was asked").contains(says));
    }
}

#[test]
fn a_lease_that_is_always_changed_first_is_given_up_on() {
    let outcome = run(vec![held(5, "a", 1)], vec![]);
    let error = outcome.result.expect_err("nobody was asked");
    assert!(error.contains("nobody was asked; try again"), "{error}");
    assert_eq!(outcome.written.len(), 5);
}

#[test]
fn a_write_that_gets_no_answer_is_told_as_that() {
    let outcome = run(vec![held(5, "a", 1)], vec![Err(StoreFailure::Unavailable)]);
    assert!(outcome.result.expect_err("who knows").contains("the test says so"));
    let outcome = run(vec![held(5, "a", 1)], vec![Err(StoreFailure::Denied)]);
    assert!(outcome.result.expect_err("it may not").contains("needs a Role with {a rule}"));
}

#[test]
fn who_was_asked_before_is_waited_for_and_not_asked_again() {
    let outcome = run(vec![asking(held(5, "a", 1)), asking(held(6, "a", 1)), held(9, "b", 2)], vec![]);
    assert_eq!((outcome.result, outcome.written), (Ok(()), vec![]));
}

#[test]
fn each_way_it_can_end_is_told_apart() {
    let free = edited(held(8, "a", 1), |record| record.holder = None);
    let gone = Observation::Missing { deleted_at: None };
    for after in [free.clone(), held(9, "b", 2), held(9, "a", 2), gone] {
        let outcome = run(vec![held(5, "a", 1), asking(held(6, "a", 1)), after.clone()], vec![Ok(())]);
        assert_eq!(outcome.result, Ok(()), "{after:?}");
    }
    let ends_with = |after: Observation| {
        run(vec![held(5, "a", 1), asking(held(6, "a", 1)), after], vec![Ok(())]).result.expect_err("it was in vain")
    };
    assert!(ends_with(asking(held(7, "a", 1))).contains("within 300ms. The request stands"));
    // Its term could not be renewed, and it has begun the next without having followed: it will.
    assert!(ends_with(asking(held(7, "a", 2))).contains("The request stands"));
    assert!(ends_with(held(7, "a", 1)).contains("taken the request back"));
}

#[test]
fn a_store_that_is_gone_for_a_while_is_asked_again_and_one_that_stays_away_is_told() {
    let unavailable = || Err(StoreFailure::Unavailable);
    let back = run_with(vec![Ok(held(5, "a", 1)), unavailable(), Ok(held(9, "b", 2))], vec![Ok(())]);
    assert_eq!(back.result, Ok(()));
    let away = run_with(vec![Ok(held(5, "a", 1)), unavailable()], vec![Ok(())]).result.expect_err("it is not known");
    assert!(away.contains("whether it has is not known") && away.contains("the test says so"), "{away}");
}
