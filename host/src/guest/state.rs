//! What a guest's store holds: everything a host call can reach.

use std::sync::Arc;

use leasehold_core::task::RunId;
use wasmtime_wasi::{ResourceTable, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::{cpu::CpuMeter, engine::Ticking, gate::Gate, imports::http::NoHttp, limits::Limiter, runtime::RunEvents};
use crate::guest::imports::Term;

pub(super) struct State {
    pub(super) run: RunId,
    pub(super) term: Term,
    pub(super) gate: Arc<Gate>,
    pub(super) events: RunEvents,
    pub(super) stepped_down: bool,
    pub(super) limiter: Limiter,
    pub(super) cpu: CpuMeter,
    pub(super) table: ResourceTable,
    pub(super) wasi: WasiCtx,
    pub(super) http: WasiHttpCtx,
    pub(super) http_hooks: NoHttp,
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
