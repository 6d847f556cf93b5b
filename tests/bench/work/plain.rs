//! wasmtime as it comes: no epochs, no gate, no limits, and all that WASI has of sockets.

use std::path::Path;

use wasmtime::{
    Config, Engine, Store,
    component::{Component, Linker},
};
use wasmtime_wasi::{
    ResourceTable, WasiCtx, WasiCtxView, WasiView,
    p2::{self, bindings::CommandPre, pipe::MemoryOutputPipe},
};

const OUTPUT_BYTES_MAX: usize = 1024 * 1024;

/// A program, compiled.
pub(super) struct Plain {
    program: CommandPre<State>,
    runtime: tokio::runtime::Runtime,
}

struct State {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl Plain {
    pub(super) fn new(program: &Path) -> Self {
        let mut config = Config::new();
        config.wasm_component_model(true);
        let engine = Engine::new(&config).expect("wasmtime suits this machine");
        let mut linker = Linker::new(&engine);
        p2::add_to_linker_async(&mut linker).expect("each is defined once");
        let component = Component::from_file(&engine, program).expect("a component");
        let program = CommandPre::new(linker.instantiate_pre(&component).expect("it is linked")).expect("a program");
        // As many as Leasehold has for guests.
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
        Self { program, runtime }
    }

    /// What it prints.
    pub(super) fn run(&self, args: &[&str]) -> Vec<String> {
        let output = MemoryOutputPipe::new(OUTPUT_BYTES_MAX);
        let wasi = WasiCtx::builder()
            .arg("measures")
            .args(args)
            .stdout(output.clone())
            .inherit_stderr()
            .allow_tcp(true)
            .inherit_network()
            .build();
        let mut store = Store::new(self.program.engine(), State { wasi, table: ResourceTable::new() });
        let program = self.program.clone();
        let running = async move {
            let program = program.instantiate_async(&mut store).await.expect("it is instantiated");
            program.wasi_cli_run().call_run(&mut store).await
        };
        // On a thread of the runtime, as Leasehold's guests are.
        let ended = self.runtime.block_on(self.runtime.spawn(running)).expect("it does not panic");
        ended.expect("it does not trap").expect("it exits with 0");
        String::from_utf8_lossy(&output.contents()).lines().map(str::to_owned).collect()
    }
}
