//! What a guest's store holds: everything a host call can reach.

use std::sync::Arc;

use leasehold_core::task::RunId;
use wasmtime_wasi::{ResourceTable, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::{
    cpu::CpuMeter,
    engine::Ticking,
    gate::Gate,
    imports::{checkpoint::Known, http::Http, progress::Reports, sockets::Sockets},
    limits::Limiter,
    runtime::RunEvents,
};
use crate::guest::imports::Term;

pub(super) struct State {
    /// First, and so dropped first: when the bodies in the table go, which looks like their end to whoever sends them,
    /// nothing must be sent any more.
    pub(super) http_hooks: Http,
    /// The same.
    pub(super) sockets: Sockets,
    pub(super) run: RunId,
    pub(super) term: Term,
    /// Whether it may run.
    pub(super) gate: Arc<Gate>,
    /// Whether its replica leads: the same, but for a callback.
    pub(super) lead: Arc<Gate>,
    pub(super) events: RunEvents,
    pub(super) stepped_down: bool,
    pub(super) checkpoint: Known,
    pub(super) reports: Reports,
    pub(super) limiter: Limiter,
    pub(super) cpu: CpuMeter,
    pub(super) table: ResourceTable,
    pub(super) wasi: WasiCtx,
    pub(super) http: WasiHttpCtx,
    /// Its gate is asked on every tick.
    pub(super) _ticking: Ticking,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.http_hooks, table: &mut self.table, ctx: &mut self.http }
    }
}
