//! `leasehold check`

use std::{
    io::{self, Write},
    path::Path,
};

use anyhow::Context;

use crate::{
    guest::runtime::GuestRuntime,
    module::file,
    supervisor::modules::{Rejected, prepare},
};

/// Prints what the component is and needs.
///
/// # Errors
/// This host cannot run it, and why.
pub fn check(module: &Path) -> anyhow::Result<()> {
    let workers = tokio::runtime::Builder::new_current_thread().build()?;
    let guests = GuestRuntime::new(workers.handle().clone())?;
    let ready = file::read(module)
        .map_err(Rejected::from)
        .and_then(|bytes| prepare(&guests, &bytes, None))
        .with_context(|| format!("{} cannot be run", module.display()))?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}: this host can run it", module.display())?;
    writeln!(out, "  digest    {}", ready.digest)?;
    writeln!(out, "  size      {}", ready.size)?;
    writeln!(out, "  compiles  in {:.0?}", ready.compile_time)?;
    writeln!(out, "  exports   on-start-leading")?;
    for (index, import) in ready.imports().iter().enumerate() {
        writeln!(out, "  {:<8}  {import}", if index == 0 { "imports" } else { "" })?;
    }
    Ok(())
}
