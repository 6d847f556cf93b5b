//! One repository of a registry, as the OCI distribution specification has it: what is asked, as whom, and whither
//! credentials go.
//!
//! They go to the registry itself, over TLS unless it was said to be reached without, and to the token service that it
//! names; never to where it redirects a request.
//!
//! No library does this: `oci-client` reads manifests and tokens of any size, hides `Retry-After`, and brings a second
//! HTTP client.

use std::{
    borrow::Cow,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use leasehold_core::task::Digest;
use rustls::ClientConfig;
use serde::Deserialize;
use url::Url;

use super::{
    OciError,
    credentials::Credentials,
    manifest::{Descriptor, Fetched, INDEX_TYPE, Manifest},
    transport::{Transport, body, failed, unreachable, words},
};
use crate::{
    config::{OciReference, parse_digest},
    guest::module::digest,
};

/// The specification's own bound for what a client has to take.
const MANIFEST_BYTES_MAX: u64 = 4 * 1024 * 1024;
const TOKEN_BYTES_MAX: u64 = 1024 * 1024;
const REDIRECTS_MAX: usize = 5;
const USER_AGENT: &str = concat!("leasehold/", env!("CARGO_PKG_VERSION"));
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const MANIFEST_TYPES: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
                              application/vnd.docker.distribution.manifest.v2+json";

/// How a registry is reached.
pub struct Reach {
    /// Whom TLS trusts.
    pub tls: ClientConfig,
    /// Without TLS.
    pub plain_http: bool,
}

/// See the module's documentation.
pub struct Registry {
    transport: Transport,
    plain_http: bool,
    /// `https://REGISTRY/v2/REPOSITORY/`
    base: Url,
    registry: String,
    repository: String,
    credentials: Credentials,
    /// What it has taken last.
    authorization: Mutex<Option<HeaderValue>>,
}

/// A request that may have to be sent more than once.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    /// Of the answer or of the body, by the method.
    pub(super) media_type: Option<&'a str>,
    pub(super) body: Bytes,
    /// For messages.
    pub(super) what: &'a str,
}

impl Registry {
    /// The repository of `artifact`.
    ///
    /// # Errors
    /// No URL can be made of it.
    pub fn new(artifact: &OciReference, reach: Reach, credentials: Credentials) -> Result<Self, String> {
        let OciReference { registry, repository, .. } = artifact;
        let scheme = if reach.plain_http { "http" } else { "https" };
        // The name that Docker Hub is known by has no registry behind it.
        let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
        let base = format!("{scheme}://{host}/v2/{repository}/");
        Ok(Self {
            transport: Transport::new(registry, reach.tls),
            plain_http: reach.plain_http,
            base: base.parse().map_err(|error| format!("{registry:?} is not a registry's host: {error}"))?,
            registry: registry.clone(),
            repository: repository.clone(),
            credentials,
            authorization: Mutex::default(),
        })
    }

    pub(super) fn url(&self, path: &str) -> Url {
        // What is put into it is a tag, a digest, or our own.
        self.base.join(path).unwrap_or_else(|_| self.base.clone())
    }

    /// Where another part of the registry is, by what it says of it itself.
    pub(super) fn url_named(&self, location: &str) -> Option<Url> {
        self.base.join(location).ok().filter(|url| self.may_be_asked(url))
    }

    fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }

    /// Without TLS only where that was said.
    fn may_be_asked(&self, url: &Url) -> bool {
        url.scheme() == "https" || (self.plain_http && url.scheme() == "http")
    }

    /// What the manifest of this name is called by; `None`: there is none, or it is not said.
    pub(super) async fn digest_of(&self, name: &str) -> Result<Option<Digest>, OciError> {
        let what = &self.what("head manifest", name);
        let answer = self.get(Method::HEAD, &format!("manifests/{name}"), Some(MANIFEST_TYPES), what).await?;
        match answer.status() {
            StatusCode::OK => {
                let digest = answer.headers().get(&CONTENT_DIGEST).and_then(|digest| digest.to_str().ok());
                Ok(digest.and_then(|digest| parse_digest(digest).ok()))
            }
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(failed(answer, what).await),
        }
    }

    /// The manifest of this name; `None`: there is none.
    pub(super) async fn manifest(&self, name: &str) -> Result<Option<Fetched>, OciError> {
        let what = &self.what("get manifest", name);
        let answer = self.get(Method::GET, &format!("manifests/{name}"), Some(MANIFEST_TYPES), what).await?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(failed(answer, what).await),
        }
        let bytes = body(answer, what, MANIFEST_BYTES_MAX).await?;
        let found = digest(&bytes);
        if let Ok(expected) = parse_digest(name)
            && expected != found
        {
            return Err(OciError::WrongBytes { what: what.clone(), expected });
        }
        let manifest = serde_json::from_slice(&bytes)
            .map_err(|error| OciError::NotAModule(format!("{what}: what came is not an OCI manifest: {error}")))?;
        Ok(Some(Fetched { manifest, digest: found }))
    }

    /// What names this manifest as its subject.
    pub(super) async fn referrers(&self, manifest: &Digest) -> Result<Vec<Descriptor>, OciError> {
        let what = &self.what("get referrers of", manifest);
        let answer = self.get(Method::GET, &format!("referrers/{manifest}"), Some(INDEX_TYPE), what).await?;
        match answer.status() {
            StatusCode::OK => {}
            // A registry that does not keep them by itself: whoever pushes does, under a tag.
            StatusCode::NOT_FOUND => {
                let tag = manifest.replace(':', "-");
                return Ok(self.manifest(&tag).await?.map_or_else(Vec::new, |found| found.manifest.manifests));
            }
            _ => return Err(failed(answer, what).await),
        }
        let bytes = body(answer, what, MANIFEST_BYTES_MAX).await?;
        let index: Manifest = serde_json::from_slice(&bytes)
            .map_err(|error| unreachable(what, format!("what came is not a list of manifests: {error}")))?;
        Ok(index.manifests)
    }

    /// `size` bytes of this digest, which whoever uses them compares.
    pub(super) async fn blob(&self, digest: &Digest, size: u64) -> Result<Vec<u8>, OciError> {
        let what = &self.what("get blob", digest);
        let answer = self.get(Method::GET, &format!("blobs/{digest}"), None, what).await?;
        if answer.status() != StatusCode::OK {
            return Err(failed(answer, what).await);
        }
        match body(answer, what, size).await {
            // More than the manifest says, so it is another one.
            Err(OciError::TooLarge { .. }) => {
                Err(OciError::WrongBytes { what: what.clone(), expected: digest.clone() })
            }
            bytes => bytes,
        }
    }

    pub(super) fn what(&self, verb: &str, name: &str) -> String {
        format!("{verb} {name} ({}/{})", self.registry, self.repository)
    }

    async fn get(
        &self,
        method: Method,
        path: &str,
        accept: Option<&str>,
        what: &str,
    ) -> Result<Response<Incoming>, OciError> {
        self.send(&Ask { method, url: self.url(path), media_type: accept, body: Bytes::new(), what }).await
    }

    /// The answer, of whoever it is that has it.
    pub(super) async fn send(&self, ask: &Ask<'_>) -> Result<Response<Incoming>, OciError> {
        let (answer, own) = self.follow(ask).await?;
        // Who is asked on the registry's behalf is shown no credentials, nor anybody whom they name.
        if answer.status() != StatusCode::UNAUTHORIZED || !own {
            return self.let_in(answer, ask.what).await;
        }
        let authorization = self.authorize(answer.headers(), ask.what).await?;
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(authorization);
        let (answer, _) = self.follow(ask).await?;
        self.let_in(answer, ask.what).await
    }

    async fn let_in(&self, answer: Response<Incoming>, what: &str) -> Result<Response<Incoming>, OciError> {
        if !matches!(answer.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Ok(answer);
        }
        let status = answer.status();
        let words = words(answer).await;
        let told = self.credentials.of(&self.registry, &self.repository).await.map_or_else(|why| why, |it| it.told);
        Err(OciError::Denied { what: what.to_owned(), why: format!("the registry answers {status}{words} ({told})") })
    }

    /// The answer at the end of all redirects, and whether it is the registry's own.
    async fn follow(&self, ask: &Ask<'_>) -> Result<(Response<Incoming>, bool), OciError> {
        let mut url = ask.url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let answer = self.transport.send(self.request(ask, &url)?, ask.what).await?;
            let reads = matches!(ask.method, Method::GET | Method::HEAD);
            let location = answer.headers().get(header::LOCATION).filter(|_| reads && answer.status().is_redirection());
            let Some(location) = location else { return Ok((answer, self.is_own(&url))) };
            let to = location.to_str().ok().and_then(|location| url.join(location).ok());
            url = to.filter(|to| self.may_be_asked(to)).ok_or_else(|| {
                let location = String::from_utf8_lossy(location.as_bytes());
                unreachable(ask.what, format!("it is redirected to {location:?}, which is not followed: no https URL"))
            })?;
        }
        Err(unreachable(ask.what, format!("it is redirected more than {REDIRECTS_MAX} times")))
    }

    fn request(&self, ask: &Ask<'_>, url: &Url) -> Result<Request<Full<Bytes>>, OciError> {
        let mut request =
            Request::builder().method(&ask.method).uri(url.as_str()).header(header::USER_AGENT, USER_AGENT);
        if let Some(media_type) = ask.media_type {
            let reads = matches!(ask.method, Method::GET | Method::HEAD);
            request = request.header(if reads { header::ACCEPT } else { header::CONTENT_TYPE }, media_type);
        }
        // The registry's own, and nobody else's.
        let known = self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(authorization) = known.filter(|_| self.is_own(url)) {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        request.body(Full::new(ask.body.clone())).map_err(|error| unreachable(ask.what, format!("{url}: {error}")))
    }

    /// What the registry asks for, from whoever it says has it.
    async fn authorize(&self, headers: &HeaderMap, what: &str) -> Result<HeaderValue, OciError> {
        let denied = |why: String| OciError::Denied { what: what.to_owned(), why };
        let found = self.credentials.of(&self.registry, &self.repository).await.map_err(denied)?;
        let asked: Vec<_> =
            headers.get_all(header::WWW_AUTHENTICATE).iter().filter_map(|it| it.to_str().ok()).collect();
        let challenges = asked.iter().flat_map(|asked| http_auth::parse_challenges(asked).unwrap_or_default());
        for challenge in challenges {
            let value = if challenge.scheme.eq_ignore_ascii_case("bearer") {
                let param = |name: &str| {
                    let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                    found.map(|(_, value)| value.to_unescaped())
                };
                let login = found.login.as_ref().map(|login| login.basic());
                let token = self.token(param, login, what).await.map_err(|error| match error {
                    OciError::Denied { what, why } => OciError::Denied { what, why: format!("{why} ({})", found.told) },
                    error => error,
                })?;
                format!("Bearer {token}")
            } else if challenge.scheme.eq_ignore_ascii_case("basic") {
                let login = found.login.as_ref();
                login.ok_or_else(|| denied(format!("the registry wants to know who asks; {}", found.told)))?.basic()
            } else {
                continue;
            };
            let mut value = HeaderValue::try_from(value)
                .map_err(|_| denied("what there is to show the registry does not fit into a header".into()))?;
            value.set_sensitive(true);
            return Ok(value);
        }
        Err(denied(format!("the registry asks for a way to log in that this host does not know: {}", asked.join(", "))))
    }

    /// A token for what the registry wants to be shown one for.
    async fn token(
        &self,
        param: impl Fn(&str) -> Option<String>,
        login: Option<String>,
        what: &str,
    ) -> Result<String, OciError> {
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
        }
        let realm = param("realm").unwrap_or_default();
        let url = realm.parse::<Url>().ok();
        let mut url = url.filter(|url| self.may_be_asked(url)).ok_or_else(|| {
            unreachable(what, format!("tokens are to be had at {realm:?}, which is not asked: no https URL"))
        })?;
        for name in ["service", "scope"] {
            if let Some(value) = param(name) {
                url.query_pairs_mut().append_pair(name, &value);
            }
        }
        let mut request = Request::get(url.as_str()).header(header::USER_AGENT, USER_AGENT);
        if let Some(login) = login {
            request = request.header(header::AUTHORIZATION, login);
        }
        let request = request.body(Full::default()).map_err(|error| unreachable(what, format!("{url}: {error}")))?;
        let what: Cow<'_, str> = format!("{what}: a token of {}", url.host_str().unwrap_or_default()).into();
        let answer = self.transport.send(request, &what).await?;
        match answer.status() {
            StatusCode::OK => {}
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                let why = format!("it answers {status}{}", words(answer).await);
                return Err(OciError::Denied { what: what.into(), why });
            }
            _ => return Err(failed(answer, &what).await),
        }
        let answer = body(answer, &what, TOKEN_BYTES_MAX).await?;
        let answer: Option<Answer> = serde_json::from_slice(&answer).ok();
        answer
            .and_then(|answer| answer.token.or(answer.access_token))
            .filter(|token| !token.is_empty())
            .ok_or_else(|| unreachable(&what, "there is no token in its answer".into()))
    }
}

#[cfg(test)]
mod tests {
    use rustls::RootCertStore;

    use super::*;
    use crate::guest::imports::http::tls;

    fn registry(artifact: &str, plain_http: bool) -> Registry {
        let reach = Reach { tls: tls::client_config(RootCertStore::empty()), plain_http };
        Registry::new(&artifact.parse().expect("it is right"), reach, Credentials::OfDocker).expect("a URL")
    }

    fn url(text: &str) -> Url {
        text.parse().expect("a URL")
    }

    #[test]
    fn only_the_registry_itself_is_its_own() {
        let ours = registry("r.example:5000/tasks/nightly", false);
        assert_eq!(ours.url("manifests/1").as_str(), "https://r.example:5000/v2/tasks/nightly/manifests/1");
        assert!(ours.is_own(&url("https://r.example:5000/elsewhere")));
        for other in
            ["https://r.example/v2/", "http://r.example:5000/", "https://a.r.example:5000/", "https://r.example.:5000/"]
        {
            assert!(!ours.is_own(&url(other)), "{other}");
        }
        assert_eq!(registry("docker.io/org/a", false).url("x").as_str(), "https://registry-1.docker.io/v2/org/a/x");
    }

    #[test]
    fn nobody_is_asked_without_tls_unless_it_was_said() {
        let (secure, plain) = (registry("r/a", false), registry("r/a", true));
        assert!(secure.may_be_asked(&url("https://blobs/a")) && plain.may_be_asked(&url("http://blobs/a")));
        assert!(plain.may_be_asked(&url("https://blobs/a")));
        for refused in ["http://r/a", "ftp://r/a", "file:///etc/passwd"] {
            assert!(!secure.may_be_asked(&url(refused)) && secure.url_named(refused).is_none(), "{refused}");
        }
        assert!(!plain.may_be_asked(&url("file:///etc/passwd")));
        assert_eq!(secure.url_named("/v2/a/blobs/uploads/1?s=2").expect("it is its own").scheme(), "https");
    }
}
