//! From the reference to a module to the source that has it.

use crate::{
    config::{Name, Reference},
    kubernetes::cluster::{Cluster, first_contact},
    module::{ModuleSource, configmap::ConfigMapKey},
};

/// `namespace` is the task's, for a reference that names none.
///
/// # Errors
/// The cluster that has it is not reached, or does not let it be followed.
pub(super) async fn source(
    reference: &Reference,
    namespace: Option<&Name>,
    cluster: &Cluster,
) -> anyhow::Result<ModuleSource> {
    match reference {
        Reference::File(path) => Ok(ModuleSource::File(path.clone())),
        Reference::ConfigMap { namespace: own, name, key } => {
            let client = cluster.client().await?;
            let namespace = own.as_ref().or(namespace).map_or(client.default_namespace(), Name::as_str);
            let key = ConfigMapKey::new(client.clone(), namespace, name.as_str(), key);
            first_contact(key.check_access()).await?;
            Ok(ModuleSource::ConfigMap(key))
        }
    }
}
