//! The threads that compile modules. They give way to all else, and are there only while something is compiled.
//!
//! wasmtime compiles a module's functions side by side, on the threads of the rayon pool that it is called in
//! (`Engine::run_maybe_parallel`). Its default is one pool for the process, with the priority of whoever needed it
//! first; and there one module's functions would queue behind another's. So each module gets a pool of its own.

use rayon::{ThreadPoolBuildError, ThreadPoolBuilder};

use crate::priority::{self, Work};

/// How many modules are compiled at a time. Compiling takes memory, some twenty times what the module has; and one
/// uses every core by itself. Two, so that a small module does not wait for a large one.
pub const COMPILED_AT_ONCE_MAX: usize = 2;

/// Does `work` on threads that give way to all others of this process and of the machine.
///
/// # Errors
/// The system has no threads left.
///
/// # Panics
/// Where `work` does.
pub(super) fn at_low_priority<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, ThreadPoolBuildError> {
    let pool = ThreadPoolBuilder::new()
        .thread_name(|index| format!("compile-{index}"))
        .start_handler(|_| priority::give_way(Work::Compiling))
        .build()?;
    Ok(pool.install(work))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rayon::prelude::*;
    use rustix::{process::getpriority_process, thread::gettid};

    use super::*;

    fn nice() -> i32 {
        getpriority_process(Some(gettid())).expect("it can be asked")
    }

    #[test]
    fn all_that_is_done_side_by_side_in_there_has_the_low_priority_and_the_caller_keeps_its_own() {
        let before = nice();
        let inside: Vec<_> =
            at_low_priority(|| (0..64).into_par_iter().map(|_| nice()).collect()).expect("there are threads");
        assert!(inside.iter().all(|nice| *nice == 15.max(before)), "{inside:?}");
        assert_eq!(nice(), before);
    }
}
