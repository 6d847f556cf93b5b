//! What a guest can call, one file an interface. Each is reached only through the gate: the call
//! hook asks it before the host function begins and before the guest gets its answer.

pub mod checkpoint;
pub mod counts;
pub mod http;
mod leadership;
pub mod output;
pub mod progress;
pub mod sockets;

use wasmtime::component::{HasSelf, Linker};

use super::{files, state::State};

mod bindings {
    #![allow(missing_docs, clippy::all, reason = "generated; the WIT package has the documentation")]
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "leader-task",
        imports: { "leasehold:task/checkpoint": async | trappable, default: trappable },
        exports: { default: async },
        with: {
            "wasi:cli": wasmtime_wasi::p2::bindings::cli,
            "wasi:clocks": wasmtime_wasi::p2::bindings::clocks,
            "wasi:filesystem": wasmtime_wasi::p2::bindings::filesystem,
            "wasi:io": wasmtime_wasi::p2::bindings::io,
            "wasi:random": wasmtime_wasi::p2::bindings::random,
            "wasi:sockets": wasmtime_wasi::p2::bindings::sockets,
            "wasi:http": wasmtime_wasi_http::p2::bindings::http,
        },
    });
}

/// The exports of the world that has the callbacks too. What it imports is the same.
mod observing {
    #![allow(missing_docs, clippy::all, reason = "generated; the WIT package has the documentation")]
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "observing-leader-task",
        imports: { default: trappable },
        exports: { default: async },
        with: {
            "leasehold:task/types": super::bindings::leasehold::task::types,
            "leasehold:task/checkpoint": super::bindings::leasehold::task::checkpoint,
            "leasehold:task/leadership": super::bindings::leasehold::task::leadership,
            "leasehold:task/progress": super::bindings::leasehold::task::progress,
            "wasi:cli": wasmtime_wasi::p2::bindings::cli,
            "wasi:clocks": wasmtime_wasi::p2::bindings::clocks,
            "wasi:filesystem": wasmtime_wasi::p2::bindings::filesystem,
            "wasi:io": wasmtime_wasi::p2::bindings::io,
            "wasi:random": wasmtime_wasi::p2::bindings::random,
            "wasi:sockets": wasmtime_wasi::p2::bindings::sockets,
            "wasi:http": wasmtime_wasi_http::p2::bindings::http,
        },
    });
}

pub(super) use bindings::{LeaderTaskPre, leasehold::task::types::Term};
pub(super) use leadership::stop_reason;
pub(super) use observing::ObservingLeaderTaskPre;

/// A linker with everything this host offers.
///
/// # Errors
/// Two definitions of one import: a defect of this host.
pub(super) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    files::add_to_linker(&mut linker)?;
    sockets::add_to_linker(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    http::error_code::link(&mut linker)?;
    bindings::leasehold::task::types::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;
    bindings::leasehold::task::checkpoint::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;
    bindings::leasehold::task::leadership::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;
    bindings::leasehold::task::progress::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;
    Ok(linker)
}
