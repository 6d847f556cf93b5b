//! What a probe is answered, by the routes that are served.

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use http_body_util::BodyExt;
use leasehold_core::time::BootTime;
use tower::ServiceExt;

use super::*;
use crate::report::liveness::Pulse;

/// Of a host with this ticker, and a task whose loop has this pulse.
fn shown(ticker: Pulse, of_loop: impl FnOnce(&Pulse)) -> Shown {
    let liveness = Liveness::new(ticker);
    of_loop(&liveness.of_loop("nightly"));
    Shown {
        tasks: Arc::new(Tasks::new([("nightly", "nightly")].into_iter())),
        outputs: Arc::new(Outputs::new(["nightly"].into_iter())),
        readiness: Arc::new(Readiness::new(["nightly"].into_iter())),
        metrics: Arc::default(),
        liveness: Arc::new(liveness),
    }
}

async fn livez(shown: Shown) -> (StatusCode, String) {
    let asked = Request::get("/livez").body(Body::empty()).expect("a request");
    let Ok(answer) = routes(shown).oneshot(asked).await;
    let status = answer.status();
    let body = answer.into_body().collect().await.expect("a body").to_bytes();
    (status, String::from_utf8(body.into()).expect("UTF-8"))
}

/// Since the machine was started, more or less.
fn overdue(pulse: &Pulse) {
    pulse.due(Some(BootTime::from_nanos(1)));
}

#[tokio::test]
async fn what_does_not_move_is_not_live_and_is_named() {
    let (status, said) = livez(shown(Pulse::default(), |_| {})).await;
    assert_eq!((status, &*said), (StatusCode::OK, "it works\n"));

    let (status, said) = livez(shown(Pulse::default(), overdue)).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(said.starts_with("task nightly: its loop is ") && said.ends_with("its lease is not renewed\n"), "{said}");

    let ticker = Pulse::default();
    overdue(&ticker);
    let (status, said) = livez(shown(ticker, overdue)).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(said.lines().count() == 2 && said.starts_with("the epoch ticker is "), "{said}");
}
