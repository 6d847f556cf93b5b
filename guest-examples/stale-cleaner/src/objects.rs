//! A list of objects in the Kubernetes API. The host adds its credentials: they are not known here.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::{
    http::{self, Answer},
    wasi::http::types::Method,
};

/// So that neither an answer nor the memory it takes grows with the cluster.
const PAGE_OBJECTS: usize = 200;

pub(crate) struct Objects {
    path: String,
    query: String,
}

#[derive(Deserialize)]
pub(crate) struct List {
    pub(crate) metadata: ListMetadata,
    pub(crate) items: Vec<Object>,
}

#[derive(Deserialize)]
pub(crate) struct ListMetadata {
    #[serde(rename = "continue")]
    pub(crate) next_page: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct Object {
    pub(crate) metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metadata {
    pub(crate) name: String,
    uid: String,
    resource_version: String,
    creation_timestamp: String,
}

impl Metadata {
    pub(crate) fn created(&self) -> Result<SystemTime, String> {
        humantime::parse_rfc3339(&self.creation_timestamp)
            .map_err(|error| format!("{} was created at {}: {error}", self.name, self.creation_timestamp))
    }
}

pub(crate) enum Deleted {
    Now,
    /// It is another one, or has changed.
    Changed,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeleteOptions<'a> {
    api_version: &'a str,
    kind: &'a str,
    propagation_policy: &'a str,
    preconditions: Preconditions<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Preconditions<'a> {
    uid: &'a str,
    resource_version: &'a str,
}

impl Objects {
    pub(crate) fn new(path: &str, selector: Option<&str>) -> Self {
        let selector = selector.map_or(String::new(), |selector| format!("&labelSelector={}", escaped(selector)));
        Self { path: path.to_owned(), query: format!("limit={PAGE_OBJECTS}{selector}") }
    }

    /// A page of them; the first one where `page` is none.
    pub(crate) fn list(&self, page: Option<&str>) -> Result<List, String> {
        let page = page.map_or(String::new(), |page| format!("&continue={}", escaped(page)));
        let path = format!("{}?{}{page}", self.path, self.query);
        let answer = http::ask(&Method::Get, &path, None)?;
        match answer.status {
            200 => serde_json::from_slice(&answer.body).map_err(|error| format!("GET {path}: {error}")),
            _ => Err(refused("GET", &path, &answer)),
        }
    }

    /// Deletes exactly what was listed: not one of the same name that came after it, nor one that has changed since.
    pub(crate) fn delete(&self, listed: &Metadata) -> Result<Deleted, String> {
        let path = format!("{}/{}", self.path, listed.name);
        let options = DeleteOptions {
            api_version: "v1",
            kind: "DeleteOptions",
            propagation_policy: "Background",
            preconditions: Preconditions { uid: &listed.uid, resource_version: &listed.resource_version },
        };
        let body = serde_json::to_vec(&options).map_err(|error| error.to_string())?;
        let answer = http::ask(&Method::Delete, &path, Some(&body))?;
        match answer.status {
            200 | 202 => Ok(Deleted::Now),
            404 | 409 => Ok(Deleted::Changed),
            _ => Err(refused("DELETE", &path, &answer)),
        }
    }
}

/// What the API server says, which is a `Status` whose message a person can read.
fn refused(method: &str, path: &str, answer: &Answer) -> String {
    #[derive(Deserialize)]
    struct Status {
        message: String,
    }
    let words = serde_json::from_slice(&answer.body)
        .map_or_else(|_| String::from_utf8_lossy(&answer.body).into_owned(), |status: Status| status.message);
    format!("{method} {path}: {}: {words}", answer.status)
}

/// As a value in a query.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(byte.into()),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}
