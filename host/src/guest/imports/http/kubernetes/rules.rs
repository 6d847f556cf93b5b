//! `allow.kubernetes.rules`: shaped like the rules of a Role, and read as RBAC reads those, with `namespaces` beside
//! them. They take away from what the API server allows, and never add to it.

use serde::Deserialize;

use super::request_info::RequestInfo;

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct ApiRule(Written);

/// As it is written. `*` in a list is everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    verbs: Vec<String>,
    #[serde(default)]
    api_groups: Vec<String>,
    #[serde(default)]
    resources: Vec<String>,
    /// Empty: all.
    #[serde(default)]
    resource_names: Vec<String>,
    /// Empty: all, and what is in none.
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
}

/// The verbs there are; those for paths are methods.
const VERBS: [&str; 8] = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];
const METHODS: [&str; 7] = ["get", "head", "post", "put", "patch", "delete", "options"];

impl TryFrom<Written> for ApiRule {
    type Error = String;

    fn try_from(rule: Written) -> Result<Self, String> {
        let Written { verbs, api_groups, resources, resource_names, namespaces, non_resource_urls } = &rule;
        let known: &[&str] = match (resources.is_empty(), non_resource_urls.is_empty()) {
            (false, true) if api_groups.is_empty() => {
                return Err("a rule with `resources` needs `apiGroups` (the core one is \"\")".into());
            }
            (false, true) => &VERBS,
            (true, false) if [api_groups, resource_names, namespaces].iter().all(|list| list.is_empty()) => &METHODS,
            _ => {
                return Err(
                    "a rule needs `apiGroups` and `resources`, or else `nonResourceURLs`, and `verbs` with them".into(),
                );
            }
        };
        if verbs.is_empty() {
            return Err("a rule without `verbs` allows nothing".into());
        }
        match verbs.iter().find(|verb| *verb != "*" && !known.contains(&verb.as_str())) {
            Some(unknown) => Err(format!("{unknown:?} is not a verb: expected one of {}, or *", known.join(", "))),
            None => Ok(Self(rule)),
        }
    }
}

impl ApiRule {
    pub(super) fn allows(&self, info: &RequestInfo) -> bool {
        let rule = &self.0;
        match info {
            RequestInfo::NonResource { verb, path } => {
                has(&rule.verbs, verb) && rule.non_resource_urls.iter().any(|allowed| covers(allowed, path))
            }
            RequestInfo::Resource(asked) => {
                has(&rule.verbs, asked.verb)
                    && has(&rule.api_groups, &asked.group)
                    && rule.resources.iter().any(|allowed| is_resource(allowed, &asked.resource))
                    && (rule.resource_names.is_empty() || rule.resource_names.contains(&asked.name))
                    && (rule.namespaces.is_empty() || has(&rule.namespaces, &asked.namespace))
            }
        }
    }
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|one| one == "*" || one == wanted)
}

/// `*`, `pods`, `pods/log`, or `*/scale`: the subresource of any. (`ResourceMatches` of RBAC.)
fn is_resource(allowed: &str, asked: &str) -> bool {
    allowed == "*"
        || allowed == asked
        || allowed.strip_prefix("*/").is_some_and(|of_any| asked.split_once('/').is_some_and(|(_, sub)| sub == of_any))
}

/// `*` only at the end. (`NonResourceURLMatches` of RBAC.)
fn covers(allowed: &str, path: &str) -> bool {
    allowed == path || allowed.strip_suffix('*').is_some_and(|begin| path.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn rule(text: &str) -> Result<ApiRule, String> {
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }

    fn allows(text: &str, method: Method, url: &str) -> bool {
        let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
        rule(text).expect(text).allows(&RequestInfo::of(&method, path, query).expect(url))
    }

    #[test]
    fn rules_are_read_as_those_of_a_role() {
        let pods = "{apiGroups: [\"\"], resources: [pods, pods/log], verbs: [get, list], namespaces: [a]}";
        assert!(allows(pods, Method::GET, "/api/v1/namespaces/a/pods"));
        assert!(allows(pods, Method::GET, "/api/v1/namespaces/a/pods/x/log"));
        assert!(!allows(pods, Method::GET, "/api/v1/namespaces/a/pods?watch=1"), "no watch");
        assert!(!allows(pods, Method::GET, "/api/v1/namespaces/a/pods/x/exec"), "another subresource");
        assert!(!allows(pods, Method::GET, "/api/v1/namespaces/b/pods"), "another namespace");
        assert!(!allows(pods, Method::GET, "/api/v1/pods"), "all namespaces");
        assert!(!allows(pods, Method::GET, "/apis/x.io/v1/namespaces/a/pods"), "another group");
        assert!(!allows(pods, Method::DELETE, "/api/v1/namespaces/a/pods/x"), "another verb");
        assert!(!allows(pods, Method::GET, "/version"));

        let named = "{apiGroups: [\"\"], resources: [configmaps], resourceNames: [x], verbs: [\"*\"]}";
        assert!(allows(named, Method::PATCH, "/api/v1/namespaces/a/configmaps/x"));
        assert!(!allows(named, Method::PATCH, "/api/v1/namespaces/a/configmaps/y"));
        assert!(!allows(named, Method::GET, "/api/v1/namespaces/a/configmaps"), "a collection has no name");
        assert!(allows(named, Method::GET, "/api/v1/namespaces/a/configmaps?watch=1&fieldSelector=metadata.name=x"));

        let scale = "{apiGroups: [\"*\"], resources: [\"*/scale\"], verbs: [update]}";
        assert!(allows(scale, Method::PUT, "/apis/apps/v1/namespaces/a/deployments/d/scale"));
        assert!(!allows(scale, Method::PUT, "/apis/apps/v1/namespaces/a/deployments/d"));

        let paths = "{nonResourceURLs: [/version, /openapi/*], verbs: [get]}";
        assert!(allows(paths, Method::GET, "/version"));
        assert!(allows(paths, Method::GET, "/openapi/v3/api/v1"));
        assert!(!allows(paths, Method::GET, "/metrics"));
        assert!(!allows(paths, Method::GET, "/api/v1/pods"));
    }

    #[test]
    fn a_rule_that_allows_nothing_is_a_mistake() {
        let cases = [
            ("{verbs: [get]}", "`apiGroups` and `resources`"),
            ("{resources: [pods], verbs: [get]}", "needs `apiGroups`"),
            ("{apiGroups: [\"\"], resources: [pods], verbs: []}", "allows nothing"),
            ("{apiGroups: [\"\"], resources: [pods], verbs: [read]}", "\"read\" is not a verb"),
            ("{nonResourceURLs: [/version], verbs: [list]}", "\"list\" is not a verb"),
            ("{nonResourceURLs: [/version], resources: [pods], verbs: [get]}", "or else"),
            ("{apiGroups: [\"\"], resources: [pods], verbs: [get], users: [a]}", "unknown field `users`"),
        ];
        for (text, wanted) in cases {
            let why = rule(text).expect_err(text);
            assert!(why.contains(wanted), "{text}: {why}");
        }
    }
}
