//! `leasehold push`

use std::{
    io::{self, Write},
    time::Duration,
};

use anyhow::{Context, anyhow};

use super::source::registry;
use crate::{
    args::PushArgs,
    config::{ConfigError, Environment, Name, OciReference, Origin, Reference},
    guest::{module::ReadyModule, runtime::GuestRuntime},
    kubernetes::cluster::Cluster,
    module::{
        ModuleSource,
        configmap::{ConfigMapKey, PutError},
        oci::push::{Component, Described},
    },
    supervisor::modules::Rejected,
};

/// How long all of it may take: some megabytes over a slow line, too.
const PUSHED_WITHIN: Duration = Duration::from_secs(10 * 60);

/// With what a component begins, where a core module has another version.
const COMPONENT: [u8; 8] = *b"\0asm\x0d\0\x01\0";

/// Puts a component where hosts find it, and prints what to write into a task's config.
///
/// # Errors
/// This host could not run it, it does not fit, or it is not taken; and why.
pub fn push(args: PushArgs) -> anyhow::Result<()> {
    let PushArgs { file, to, namespace, reach } = args;
    let origin = Origin::from(reach).of(&to)?;
    let environment = Environment::from(|name| std::env::var(name).ok());
    let namespace = namespace.map_or_else(|| environment.namespace(), |namespace| Ok(Some(namespace)))?;
    let workers = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let cannot = || format!("{} is not pushed", file.display());
    let bytes =
        workers.block_on(ModuleSource::File(file.clone()).read()).map_err(Rejected::from).with_context(cannot)?;
    let guests = GuestRuntime::new(workers.handle().clone())?;
    let ready = guests.prepare(&bytes).map_err(|error| Rejected::Module(error.into())).with_context(cannot)?;
    let digest = ready.digest.clone();
    let pushing = async {
        let cluster = Cluster::default();
        match &to {
            Reference::File(path) => Err(ConfigError(format!(
                "{} is a file, and not where a module is pushed to: give `configmap:[NAMESPACE/]NAME/KEY` or \
                 `oci:REGISTRY/REPOSITORY[:TAG]`",
                path.display()
            ))
            .into()),
            Reference::ConfigMap { namespace: own, name, key } => {
                let client = cluster.client().await?;
                let namespace = own.as_ref().or(namespace.as_ref()).map_or(client.default_namespace(), Name::as_str);
                let key = ConfigMapKey::new(client.clone(), namespace, name.as_str(), key);
                to_config_map(&key, &bytes).await
            }
            Reference::Oci(artifact) => {
                let registry = registry(artifact, namespace.as_ref(), &origin, &cluster).await?;
                if artifact.digest.is_some() {
                    return Err(ConfigError(format!("{to}: a digest comes of what is pushed; give a tag")).into());
                }
                let tag = artifact.tag().to_owned();
                let called = registry.push(bytes.clone(), described(&ready, &bytes), &tag).await?;
                let pushed = OciReference { tag: Some(tag), digest: Some(called), ..artifact.clone() };
                Ok(Reference::Oci(pushed).to_string())
            }
        }
    };
    let pushing = async {
        let pushed = tokio::time::timeout(PUSHED_WITHIN, pushing).await;
        pushed.unwrap_or_else(|_| Err(anyhow!("it has taken more than {PUSHED_WITHIN:?}")))
    };
    let module = workers.block_on(pushing).with_context(cannot)?;
    let mut out = io::stdout().lock();
    writeln!(out, "module: {module}")?;
    writeln!(out, "digest: {digest}")?;
    Ok(())
}

async fn to_config_map(key: &ConfigMapKey, bytes: &[u8]) -> anyhow::Result<String> {
    match key.put(bytes).await {
        Ok(None) => {}
        Ok(Some(size)) => {
            eprintln!("compressed with zstd, to {size}: hosts expand it, and its digest is the expanded one's")
        }
        Err(PutError::TooLarge(why)) => return Err(ConfigError(why).into()),
        Err(error) => return Err(error.into()),
    }
    Ok(key.reference())
}

fn described(ready: &ReadyModule, bytes: &[u8]) -> Described {
    let component =
        bytes.starts_with(&COMPONENT).then(|| Component { exports: ready.exports(), imports: ready.imports() });
    Described { component }
}
