//! `wasi:http/types.http-error-code`: what an error of a body's stream was.
//!
//! wasmtime 48's own looks in the error for the WIT's type, where a body's stream has put [`Error`], and so finds
//! nothing: a guest could not tell a timeout from a body that is too large. This one takes its place.

use wasmtime::{
    StoreContextMut,
    component::{Linker, Resource},
};
use wasmtime_wasi::p2::bindings::io::error::Error as IoError;
use wasmtime_wasi_http::{Error, p2::bindings::http::types::ErrorCode};

use crate::guest::state::State;

/// Where wasmtime has put its own.
const INTERFACE: &str = "wasi:http/types@0.2.12";

/// Puts it in the place of wasmtime's.
///
/// # Errors
/// The linker does not take it: a defect of this host.
pub(in crate::guest::imports) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let linked = linker.instance(INTERFACE)?.func_wrap(
        "http-error-code",
        |store: StoreContextMut<'_, State>, (error,): (Resource<IoError>,)| {
            let error = store.data().table.get(&error)?;
            let code = error.downcast_ref::<ErrorCode>().cloned();
            Ok((code.or_else(|| error.downcast_ref::<Error>().map(of_body)),))
        },
    );
    linker.allow_shadowing(false);
    linked
}

/// Those that [`super::body::ResponseBody`] ends with.
fn of_body(error: &Error) -> ErrorCode {
    match error {
        Error::HttpResponseTimeout => ErrorCode::HttpResponseTimeout,
        Error::ConnectionReadTimeout => ErrorCode::ConnectionReadTimeout,
        Error::HttpResponseBodySize(max) => ErrorCode::HttpResponseBodySize(*max),
        Error::HttpResponseIncomplete => ErrorCode::HttpResponseIncomplete,
        Error::ConnectionTerminated => ErrorCode::ConnectionTerminated,
        Error::HttpProtocolError => ErrorCode::HttpProtocolError,
        other => ErrorCode::InternalError(Some(other.to_string())),
    }
}
