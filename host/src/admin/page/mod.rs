//! The status page, for browsers: `/` and what it is made of, as files that stand in this binary. What it shows it
//! gets from `/tasks/events`.
//!
//! Nothing in it is made by the host, so that nothing a component prints or a module is called can be taken for a part of it;
//! and the browser is told to run nothing but this script, to let it make no markup of text, and to ask nobody else.

use axum::{
    Router,
    http::{
        HeaderName, HeaderValue,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
            X_FRAME_OPTIONS,
        },
    },
    routing::{MethodRouter, get},
};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
                      trusted-types 'none'";

const HEADERS: [(HeaderName, HeaderValue); 7] = [
    (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    // Another version of the host has another page.
    (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
];

/// The page. Its own addresses are relative: it works below any path that a proxy puts before it.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", file("text/html; charset=utf-8", include_str!("page.html")))
        .route("/status/page.css", file("text/css; charset=utf-8", include_str!("page.css")))
        .route("/status/page.js", file("text/javascript; charset=utf-8", include_str!("page.js")))
        .route("/status/view.js", file("text/javascript; charset=utf-8", include_str!("view.js")))
        .route("/status/words.js", file("text/javascript; charset=utf-8", include_str!("words.js")))
        .route("/status/icon.svg", file("image/svg+xml", include_str!("icon.svg")))
}

fn file<S: Clone + Send + Sync + 'static>(media_type: &'static str, text: &'static str) -> MethodRouter<S> {
    get(move || async move { (HEADERS, [(CONTENT_TYPE, media_type)], text) })
}
