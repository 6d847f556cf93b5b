//! One HTTP call with a deadline, over `wasi:http`.

use std::{fmt, time::Duration};

use crate::{
    config::Url,
    leasehold::task::leadership,
    nanos,
    wasi::{
        clocks::monotonic_clock,
        http::{
            outgoing_handler,
            types::{Fields, HeaderError, IncomingResponse, Method, OutgoingBody, OutgoingRequest, Scheme},
        },
        io::poll::{self, Pollable},
    },
};

/// As much of an answer's body is read as a message may be long; the rest does not matter.
const WORDS_BYTES: u64 = 200;

pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The header `Leasehold-Clock`.
    pub(crate) clock: Option<String>,
    /// When the head of the answer was here, in nanoseconds of our monotonic clock.
    pub(crate) received: u64,
    words: String,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status, self.words.trim())
    }
}

pub(crate) enum Unanswered {
    /// The instance was asked to stop before the answer was here.
    Asked,
    Failed(String),
}

impl<E: ToString> From<E> for Unanswered {
    fn from(error: E) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Calls, without a body, and waits for the answer: until the deadline, and, with `stop`, not longer than until the
/// instance is asked to stop.
pub(crate) fn ask(
    method: &Method,
    url: &Url,
    headers: &[(&str, String)],
    deadline: Duration,
    stop: Option<&Pollable>,
) -> Result<Answer, Unanswered> {
    let timer = monotonic_clock::subscribe_duration(nanos(deadline));
    let fields = Fields::new();
    fields.append("content-length", b"0")?;
    for (name, value) in headers {
        match fields.append(name, value.as_bytes()) {
            // The one that the host adds itself: the task's `allow.tokenHeader`.
            Ok(()) | Err(HeaderError::Forbidden) => {}
            Err(error) => return Err(format!("header {name}: {error}").into()),
        }
    }
    let request = OutgoingRequest::new(fields);
    let scheme = if url.tls { Scheme::Https } else { Scheme::Http };
    request.set_method(method).map_err(|()| "the method is none")?;
    request.set_scheme(Some(&scheme)).map_err(|()| "the scheme is none")?;
    request.set_authority(Some(&url.authority)).map_err(|()| "the URL's host is none")?;
    request.set_path_with_query(Some(&url.path)).map_err(|()| "the URL's path is none")?;
    let body = request.body().map_err(|()| "the request has no body")?;
    let answer = outgoing_handler::handle(request, None)?;
    OutgoingBody::finish(body, None)?;

    let (answered, late) = (answer.subscribe(), format!("no answer within {}", humantime::format_duration(deadline)));
    if !ready(&answered, &timer, stop)? {
        return Err(late.into());
    }
    let answer = answer.get().ok_or("there is no answer")?.map_err(|()| "the answer was taken")??;
    let received = monotonic_clock::now();
    let clock = answer.headers().get("leasehold-clock").into_iter().next();
    let clock = clock.map(|value| String::from_utf8(value).map_err(|_| "Leasehold-Clock is not text")).transpose()?;
    let words = first_words(&answer, &timer);
    Ok(Answer { status: answer.status(), clock, received, words })
}

/// Waits for `what`; says whether it was in time.
fn ready(what: &Pollable, timer: &Pollable, stop: Option<&Pollable>) -> Result<bool, Unanswered> {
    match stop {
        Some(stop) => poll::poll(&[what, timer, stop]),
        None => poll::poll(&[what, timer]),
    };
    match (what.ready(), stop.is_some() && leadership::stop_requested().is_some()) {
        (true, _) => Ok(true),
        (false, true) => Err(Unanswered::Asked),
        (false, false) => Ok(false),
    }
}

/// For a message. Where they do not come, the status has to do.
fn first_words(answer: &IncomingResponse, timer: &Pollable) -> String {
    let Ok(body) = answer.consume() else { return String::new() };
    let Ok(stream) = body.stream() else { return String::new() };
    poll::poll(&[&stream.subscribe(), timer]);
    stream.read(WORDS_BYTES).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
