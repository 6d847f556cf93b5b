//! What HTTP one task is granted, made once from its config and the machine's certificates; the same for all its runs.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use http::HeaderName;
use rustls::ClientConfig;

use super::{
    super::counts::CallCounts,
    address::{Resolve, SystemResolver},
    kubernetes::KubernetesGrant,
    limits::HttpLimits,
    rule::HttpRule,
};

/// So many refusals and failures that differ are told in the log. A guest that makes up one URL after the other fills
/// no log; all of them are counted.
const TOLD_MAX: usize = 100;

/// Requests of one task that have ended; those that are `ok` with the head of an answer.
#[derive(Clone, Debug, Default)]
pub struct HttpCounts {
    /// To where a rule allows it.
    pub http: CallCounts,
    /// To the API server.
    pub kubernetes: CallCounts,
}

/// See the module's documentation. Nothing is granted by default.
pub struct HttpGrant {
    /// What may be asked.
    pub rules: Vec<HttpRule>,
    /// For `https`.
    pub tls: Option<Arc<ClientConfig>>,
    /// The header that carries the fencing token, if one is to.
    pub token_header: Option<HeaderName>,
    /// The Kubernetes API.
    pub kubernetes: Option<KubernetesGrant>,
    /// How long and how large.
    pub limits: HttpLimits,
    /// Counts.
    pub counts: HttpCounts,
    /// Names to addresses.
    pub resolver: Arc<dyn Resolve>,
    /// What was told of it.
    pub told: Told,
}

/// What was told in the log already: each thing is told once.
#[derive(Debug, Default)]
pub struct Told(Mutex<HashSet<String>>);

impl Default for HttpGrant {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            tls: None,
            token_header: None,
            kubernetes: None,
            limits: HttpLimits::default(),
            counts: HttpCounts::default(),
            resolver: Arc::new(SystemResolver),
            told: Told::default(),
        }
    }
}

impl std::fmt::Debug for HttpGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rules, limits, .. } = self;
        f.debug_struct("HttpGrant").field("rules", rules).field("limits", limits).finish_non_exhaustive()
    }
}

/// Whether something is to be told in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::guest::imports) enum Telling {
    Now,
    /// And nothing new after it.
    AsTheLast,
    No,
}

impl Told {
    pub(in crate::guest::imports) fn telling(&self, what: &str) -> Telling {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= TOLD_MAX || !told.insert(what.to_owned()) {
            return Telling::No;
        }
        if told.len() == TOLD_MAX { Telling::AsTheLast } else { Telling::Now }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_is_told_once_and_no_more_than_so_many_ever() {
        let told = Told::default();
        assert_eq!([told.telling("a"), told.telling("a")], [Telling::Now, Telling::No]);
        let many = (0..10_000).filter(|number| told.telling(&number.to_string()) != Telling::No).count();
        assert_eq!(many, TOLD_MAX - 1);
    }
}
