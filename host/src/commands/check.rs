//! `leasehold check`

use std::io::{self, Write};

use anyhow::Context;

use super::source::source;
use crate::{
    args::RegistryArgs,
    config::{Origin, Reference},
    guest::runtime::GuestRuntime,
    kubernetes::cluster::Cluster,
    supervisor::modules::Rejected,
};

/// Prints what the component is and needs.
///
/// # Errors
/// This host cannot run it, and why.
pub fn check(module: &Reference, registry: RegistryArgs) -> anyhow::Result<()> {
    let origin = Origin::from(registry).of(module)?;
    let signed = origin.cosign_key.is_some();
    let workers = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let guests = GuestRuntime::new(workers.handle().clone())?;
    let bytes = workers.block_on(async {
        let source = source(module, None, &origin, &Cluster::default()).await?;
        let read = source.read().await;
        // Whoever cannot be reached has said nothing about the module.
        let read = read.map_err(|error| match error.is_of_the_source() {
            true => anyhow::Error::from(error),
            false => Rejected::from(error).into(),
        });
        read.with_context(|| format!("{module} cannot be run"))
    })?;
    let ready = guests
        .prepare(&bytes)
        .map_err(|error| Rejected::Module(error.into()))
        .with_context(|| format!("{module} cannot be run"))?;
    let mut out = io::stdout().lock();
    writeln!(out, "{module}: this host can run it")?;
    writeln!(out, "  digest    {}", ready.digest)?;
    if signed {
        writeln!(out, "  signed    with the key that was given")?;
    }
    writeln!(out, "  size      {}", ready.size)?;
    writeln!(out, "  compiles  in {:.0?}", ready.compile_time)?;
    writeln!(out, "  exports   {}", ready.export())?;
    for (index, import) in ready.imports().iter().enumerate() {
        writeln!(out, "  {:<8}  {import}", if index == 0 { "imports" } else { "" })?;
    }
    Ok(())
}
