//! One request to the API server, over `wasi:http`.

use crate::{
    leasehold::task::leadership,
    wasi::{
        http::{
            outgoing_handler,
            types::{Fields, IncomingResponse, Method, OutgoingBody, OutgoingRequest, Scheme},
        },
        io::{poll, streams::StreamError},
    },
};

/// What the host takes for the API server.
const AUTHORITY: &str = "kubernetes.default.svc";
/// `blocking-write-and-flush` takes no more.
const WRITE_BYTES: usize = 4096;
const READ_BYTES: u64 = 64 * 1024;

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// Asks, and waits for the whole answer; not any longer when the task is asked to stop.
pub(crate) fn ask(method: &Method, path: &str, json: Option<&[u8]>) -> Result<Answer, String> {
    let headers = Fields::new();
    headers.append("accept", b"application/json").map_err(|error| format!("accept: {error}"))?;
    if let Some(json) = json {
        headers.append("content-type", b"application/json").map_err(|error| format!("content-type: {error}"))?;
        let length = json.len().to_string();
        headers.append("content-length", length.as_bytes()).map_err(|error| format!("content-length: {error}"))?;
    }
    let request = OutgoingRequest::new(headers);
    request.set_method(method).map_err(|()| format!("{method:?} is no method"))?;
    request.set_scheme(Some(&Scheme::Http)).map_err(|()| "http is no scheme")?;
    request.set_authority(Some(AUTHORITY)).map_err(|()| "the host has no name")?;
    request.set_path_with_query(Some(path)).map_err(|()| format!("{path} is no path"))?;
    let body = request.body().map_err(|()| "the request has no body")?;
    let answer = outgoing_handler::handle(request, None).map_err(|error| format!("{path}: {error}"))?;
    if let Some(json) = json {
        let stream = body.write().map_err(|()| "the body has no stream")?;
        for piece in json.chunks(WRITE_BYTES) {
            // Where the request has failed, the answer says how.
            if stream.blocking_write_and_flush(piece).is_err() {
                break;
            }
        }
    }
    OutgoingBody::finish(body, None).map_err(|error| format!("{path}: {error}"))?;

    poll::poll(&[&answer.subscribe(), &leadership::subscribe_stop()]);
    let answer = answer.get().ok_or("asked to stop")?.map_err(|()| "the answer was taken")?;
    let answer = answer.map_err(|error| format!("{path}: {error}"))?;
    Ok(Answer { status: answer.status(), body: read(&answer).map_err(|error| format!("{path}: {error}"))? })
}

fn read(answer: &IncomingResponse) -> Result<Vec<u8>, String> {
    let body = answer.consume().map_err(|()| "the answer has no body")?;
    let stream = body.stream().map_err(|()| "the body has no stream")?;
    let mut all = Vec::new();
    loop {
        match stream.blocking_read(READ_BYTES) {
            Ok(piece) => all.extend_from_slice(&piece),
            Err(StreamError::Closed) => return Ok(all),
            Err(StreamError::LastOperationFailed(error)) => return Err(error.to_debug_string()),
        }
    }
}
