//! What a request asks of the API server, read from its method and URL as the API server itself does
//! (`RequestInfoFactory.NewRequestInfo` in k8s.io/apiserver, pkg/endpoints/request/requestinfo.go, 1.36).

use http::Method;
use percent_encoding::percent_decode_str;

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RequestInfo {
    /// About objects.
    Resource(ResourceRequest),
    /// About anything else: `/version`, `/openapi/v3`, the list of a group's kinds.
    NonResource {
        /// The method, in lower case.
        verb: String,
        path: String,
    },
}

/// See [`RequestInfo::Resource`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ResourceRequest {
    pub(super) verb: &'static str,
    /// Empty for the core one.
    pub(super) group: String,
    /// The plural, and after a `/` the subresource.
    pub(super) resource: String,
    /// Empty for what is in none, or in all.
    pub(super) namespace: String,
    /// Empty for a collection.
    pub(super) name: String,
    follows: bool,
}

impl RequestInfo {
    /// Reads a request.
    ///
    /// # Errors
    /// It could be read in two ways, or in an old one that nobody needs.
    pub(super) fn of(method: &Method, path: &str, query: Option<&str>) -> Result<Self, String> {
        let whole = || Self::NonResource { verb: method.as_str().to_ascii_lowercase(), path: path.to_owned() };
        let parts = segments(path)?;
        let (group, parts) = match parts.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["api", _, _, ..] => ("", &parts[2..]),
            ["apis", ..] if parts.len() >= 4 => (&*parts[1], &parts[3..]),
            _ => return Ok(whole()),
        };
        if matches!(&*parts[0], "watch" | "proxy") {
            return Err(format!("the path begins with `{}`, a form long deprecated: `?watch=1` watches", parts[0]));
        }
        let (namespace, parts) = match parts {
            [kind, namespace, rest @ ..] if kind == "namespaces" => match rest.first().map(String::as_str) {
                // Of the Namespace itself.
                None | Some("status" | "finalize") => (&**namespace, parts),
                Some(_) => (&**namespace, rest),
            },
            _ => ("", parts),
        };
        let part = |index: usize| parts.get(index).cloned().unwrap_or_default();
        let resource = match parts.get(2) {
            Some(subresource) => format!("{}/{subresource}", parts[0]),
            None => part(0),
        };
        let parameters = Parameters(query.unwrap_or_default());
        let mut name = part(1);
        let verb = match *method {
            Method::GET | Method::HEAD if name.is_empty() => {
                name = parameters.selected_name();
                if parameters.is_set("watch") { "watch" } else { "list" }
            }
            Method::GET | Method::HEAD => "get",
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE if name.is_empty() => "deletecollection",
            Method::DELETE => "delete",
            _ => return Err(format!("the API server knows no method {method}")),
        };
        let follows = resource == "pods/log" && parameters.is_set("follow");
        let (group, namespace) = (group.to_owned(), namespace.to_owned());
        Ok(Self::Resource(ResourceRequest { verb, group, resource, namespace, name, follows }))
    }

    /// Whether the answer has no end by itself.
    pub(super) fn is_stream(&self) -> bool {
        matches!(self, Self::Resource(request) if request.verb == "watch" || request.follows)
    }

    /// The rule that would allow it.
    pub(super) fn rule(&self) -> String {
        match self {
            Self::NonResource { verb, path } => format!("{{nonResourceURLs: [{path}], verbs: [{verb}]}}"),
            Self::Resource(ResourceRequest { verb, group, resource, namespace, .. }) => {
                let group = if group.is_empty() { "\"\"" } else { group };
                let namespaces =
                    if namespace.is_empty() { String::new() } else { format!(", namespaces: [{namespace}]") };
                format!("{{apiGroups: [{group}], resources: [{resource}], verbs: [{verb}]{namespaces}}}")
            }
        }
    }
}

/// The path's segments, decoded as Go decodes them.
fn segments(path: &str) -> Result<Vec<String>, String> {
    let inner = path.strip_prefix('/').unwrap_or(path);
    if inner.is_empty() {
        return Ok(Vec::new());
    }
    inner.split('/').map(segment).collect()
}

fn segment(encoded: &str) -> Result<String, String> {
    let decoded = percent_decode_str(encoded).decode_utf8().map_err(|_| "its path is not UTF-8".to_owned())?;
    if decoded.is_empty() {
        return Err("its path has an empty segment".into());
    }
    if decoded.contains(['/', '%', '\\', '?', '#']) || decoded.chars().any(char::is_control) {
        return Err("its path has an encoded `/`, `%`, `?` or `#`, which no name has".into());
    }
    Ok(decoded.into_owned())
}

/// A query, of which the API server takes the first of each.
struct Parameters<'a>(&'a str);

impl Parameters<'_> {
    fn first(&self, name: &str) -> Option<String> {
        let mut all = url::form_urlencoded::parse(self.0.as_bytes());
        all.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    /// As `Convert_Slice_string_To_bool` reads it: only `0` and `false` are not.
    fn is_set(&self, name: &str) -> bool {
        self.first(name).is_some_and(|value| value != "0" && !value.eq_ignore_ascii_case("false"))
    }

    /// The one object that a field selector names.
    fn selected_name(&self) -> String {
        let selector = self.first("fieldSelector").unwrap_or_default();
        let name = selector.split(',').find_map(|term| {
            let (field, name) = term.split_once('=')?;
            (field == "metadata.name").then(|| name.trim_start_matches('=').to_owned())
        });
        name.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: Method, url: &str) -> Result<RequestInfo, String> {
        let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
        RequestInfo::of(&method, path, query)
    }

    /// The cases of the API server's own test (`TestGetAPIRequestInfo`), and more.
    #[test]
    fn requests_are_read_as_the_api_server_reads_them() {
        let cases = [
            (Method::GET, "/api/v1/namespaces", "list", "", "namespaces", "", ""),
            (Method::GET, "/api/v1/namespaces/other", "get", "", "namespaces", "other", "other"),
            (Method::PUT, "/api/v1/namespaces/other/finalize", "update", "", "namespaces/finalize", "other", "other"),
            (Method::GET, "/api/v1/namespaces/other/status", "get", "", "namespaces/status", "other", "other"),
            (Method::GET, "/api/v1/namespaces/other/pods", "list", "", "pods", "other", ""),
            (Method::GET, "/api/v1/namespaces/other/pods/foo", "get", "", "pods", "other", "foo"),
            (Method::HEAD, "/api/v1/namespaces/other/pods/foo", "get", "", "pods", "other", "foo"),
            (Method::GET, "/api/v1/namespaces/other/pods/foo?watch=1", "get", "", "pods", "other", "foo"),
            (Method::GET, "/api/v1/pods", "list", "", "pods", "", ""),
            (Method::HEAD, "/api/v1/pods", "list", "", "pods", "", ""),
            (Method::GET, "/api/v1/pods?watch=true", "watch", "", "pods", "", ""),
            (Method::GET, "/api/v1/pods?watch", "watch", "", "pods", "", ""),
            (Method::GET, "/api/v1/pods?watch=", "watch", "", "pods", "", ""),
            (Method::GET, "/api/v1/pods?%77atch=1", "watch", "", "pods", "", ""),
            (Method::GET, "/api/v1/pods?watch=False", "list", "", "pods", "", ""),
            (Method::GET, "/api/v1/pods?watch=0&watch=1", "list", "", "pods", "", ""),
            (Method::GET, "/api/v1/pods?fieldSelector=metadata.name%3Dx", "list", "", "pods", "", "x"),
            (Method::GET, "/api/v1/namespaces/other/pods/foo/log", "get", "", "pods/log", "other", "foo"),
            (Method::POST, "/api/v1/namespaces/other/pods", "create", "", "pods", "other", ""),
            (Method::POST, "/api/v1/namespaces/other/pods/foo/eviction", "create", "", "pods/eviction", "other", "foo"),
            (Method::PATCH, "/api/v1/namespaces/other/pods/foo", "patch", "", "pods", "other", "foo"),
            (Method::DELETE, "/api/v1/namespaces/other/pods/foo", "delete", "", "pods", "other", "foo"),
            (Method::DELETE, "/api/v1/namespaces/other/pods", "deletecollection", "", "pods", "other", ""),
            (Method::GET, "/api/v1/namespaces/other/pods/foo/proxy/a/b", "get", "", "pods/proxy", "other", "foo"),
            (Method::GET, "/apis/apps/v1/namespaces/o/deployments/d", "get", "apps", "deployments", "o", "d"),
            (Method::GET, "/apis/batch/v1/jobs", "list", "batch", "jobs", "", ""),
            (Method::GET, "/apis/a.io/v1/clusterroles/system%3Anode", "get", "a.io", "clusterroles", "", "system:node"),
        ];
        for (method, url, verb, group, resource, namespace, name) in cases {
            let RequestInfo::Resource(info) = of(method, url).expect(url) else { panic!("{url} is about objects") };
            let read = (info.verb, &*info.group, &*info.resource, &*info.namespace, &*info.name);
            assert_eq!(read, (verb, group, resource, namespace, name), "{url}");
        }
    }

    #[test]
    fn what_is_not_about_objects_is_known_as_that() {
        for path in ["/", "/version", "/api", "/api/v1", "/apis", "/apis/apps", "/apis/apps/v1", "/openapi/v3/api/v1/x"]
        {
            let expected = RequestInfo::NonResource { verb: "get".into(), path: path.into() };
            assert_eq!(of(Method::GET, path), Ok(expected), "{path}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let paths = [
            "/api/v1//pods",
            "/api/v1/pods/",
            "/api/v1/namespaces/a%2fpods/b",
            "/api/v1/namespaces/a%25/pods",
            "/api/v1/namespaces/a%3f/pods",
            "/api/v1/watch/pods",
            "/api/v1/proxy/nodes/x",
            "/apis/apps/v1/watch/deployments",
            "/api/v1/pods/%ff",
        ];
        for path in paths {
            assert!(of(Method::GET, path).is_err(), "{path}");
        }
        assert!(of(Method::OPTIONS, "/api/v1/pods").is_err());
    }

    #[test]
    fn only_what_has_no_end_is_a_stream() {
        for url in ["/api/v1/pods?watch=1", "/api/v1/namespaces/a/pods/b/log?follow=true"] {
            assert!(of(Method::GET, url).expect(url).is_stream(), "{url}");
        }
        for url in
            ["/api/v1/pods", "/api/v1/namespaces/a/pods/b/log", "/api/v1/namespaces/a/pods/b?watch=1", "/version"]
        {
            assert!(!of(Method::GET, url).expect(url).is_stream(), "{url}");
        }
    }
}
