//! A span, and how OTLP writes it in JSON.
//!
//! The mapping (<https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>): ids in hexadecimal, enums as numbers,
//! and 64-bit integers as text, as protobuf's own JSON has it.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

/// What all spans of a trace have. Never 0, which stands for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TraceId(u128);

impl TraceId {
    pub(super) fn new() -> Self {
        Self(fastrand::u128(1..))
    }
}

impl Serialize for TraceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:032x}", self.0))
    }
}

/// Never 0, which stands for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SpanId(u64);

impl SpanId {
    pub(super) fn new() -> Self {
        Self(fastrand::u64(1..))
    }
}

impl Serialize for SpanId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:016x}", self.0))
    }
}

/// A span that has ended.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Span {
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parent_span_id: Option<SpanId>,
    pub(super) name: &'static str,
    kind: u8,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    pub(super) attributes: Vec<Attribute>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
}

/// `SPAN_KIND_INTERNAL`
const INTERNAL: u8 = 1;
/// `STATUS_CODE_ERROR`
const ERROR: u8 = 2;

#[derive(Clone, Debug, Serialize)]
struct Status {
    code: u8,
    message: String,
}

impl Span {
    pub(super) fn new(
        (trace_id, span_id): (TraceId, SpanId),
        parent_span_id: Option<SpanId>,
        name: &'static str,
        (start, end): (SystemTime, SystemTime),
    ) -> Self {
        Self {
            trace_id,
            span_id,
            parent_span_id,
            name,
            kind: INTERNAL,
            start_time_unix_nano: unix_nanos(start),
            // The wall clock may have been set back.
            end_time_unix_nano: unix_nanos(end.max(start)),
            attributes: Vec::new(),
            status: None,
        }
    }

    pub(super) fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.attributes.push(Attribute::text(key, value));
        self
    }

    /// It has failed, in these words.
    pub(super) fn failed(mut self, message: impl Into<String>) -> Self {
        self.status = Some(Status { code: ERROR, message: message.into() });
        self
    }
}

fn unix_nanos(time: SystemTime) -> String {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
}

/// A name and its value.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Attribute {
    key: String,
    value: AttributeValue,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
enum AttributeValue {
    StringValue(String),
    IntValue(String),
}

impl Attribute {
    pub(super) fn text(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), value: AttributeValue::StringValue(value.into()) }
    }

    pub(super) fn number(key: impl Into<String>, value: u64) -> Self {
        Self { key: key.into(), value: AttributeValue::IntValue(value.to_string()) }
    }
}

/// `ExportTraceServiceRequest`
pub(super) fn request(resource: &[Attribute], spans: &[Span]) -> Value {
    let scope = json!({"name": "leasehold", "version": env!("CARGO_PKG_VERSION")});
    json!({"resourceSpans": [{
        "resource": {"attributes": resource},
        "scopeSpans": [{"scope": scope, "spans": spans}],
    }]})
}
