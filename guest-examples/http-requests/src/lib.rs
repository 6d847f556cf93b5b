//! Sends the HTTP requests that its arguments ask for and prints what comes back: for trying out what a task is allowed,
//! and for the tests. URLs and headers are handed over as they stand, whatever is wrong with them.
//!
//! An argument is one step, its words separated by blanks:
//!
//! | step | prints |
//! |---|---|
//! | `GET URL [Name:value]... [body=text] [connect=ms] [first-byte=ms] [between=ms]` | `GET URL -> 200 the body`, or `-> error ...` |
//! | `lines URL` | each line of the answer when it comes |
//! | `upload URL` | `uploading`, and goes on to send pieces until it is stopped |
//! | `abort COUNT URL` | the same, but so many pieces and then a trap |
//! | `hold COUNT URL` | how many of so many requests at once were answered |
//! | `all COUNT URL` | the same, and each answer is read |
//! | `repeat COUNT URL` | the last answer |
//! | `drop COUNT URL` | makes so many requests and drops them where they are |
//! | `stay` | `staying`, and waits until it is asked to stop |

wit_bindgen::generate!({ path: "../../wit", world: "leader-task", generate_all });

use leasehold::task::leadership;
use wasi::{
    clocks::monotonic_clock,
    http::{
        outgoing_handler,
        types::{
            Fields, FutureIncomingResponse, IncomingResponse, Method, OutgoingBody, OutgoingRequest, RequestOptions,
            Scheme,
        },
    },
    io::{
        poll,
        streams::{InputStream, OutputStream, StreamError},
    },
};

const PIECE_PAUSE_NS: u64 = 5_000_000;
const READ_BYTES: u64 = 64 * 1024;

struct HttpRequests;

impl Guest for HttpRequests {
    fn on_start_leading(_: Term) -> Result<(), String> {
        // The first is the task's name.
        for step in wasi::cli::environment::get_arguments().iter().skip(1) {
            run(step)?;
        }
        Ok(())
    }
}

fn run(step: &str) -> Result<(), String> {
    let words: Vec<_> = step.split(' ').collect();
    match words[..] {
        ["stay"] => {
            println!("staying");
            poll::poll(&[&leadership::subscribe_stop()]);
        }
        ["lines", url] => lines(url),
        ["upload", url] => upload(url, u64::MAX)?,
        ["abort", count, url] => {
            upload(url, number(count)? as u64)?;
            std::process::abort();
        }
        ["hold", count, url] => hold(number(count)?, url),
        ["all", count, url] => all(number(count)?, url),
        ["repeat", count, url] => repeat(number(count)?, url),
        ["drop", count, url] => drop_many(number(count)?, url),
        [method, url, ref rest @ ..] => {
            let said = ask(method, url, rest).unwrap_or_else(|error| format!("error {error}"));
            println!("{method} {url} -> {said}");
        }
        _ => return Err(format!("{step:?} is no step")),
    }
    Ok(())
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("{text:?} is no number"))
}

/// One request, and all of its answer.
fn ask(method: &str, url: &str, words: &[&str]) -> Result<String, String> {
    let headers = Fields::new();
    let options = RequestOptions::new();
    let mut body = None;
    for word in words {
        let time = |text: &str| text.parse().map(|ms: u64| ms * 1_000_000).map_err(|_| format!("{word:?} is no time"));
        if let Some(text) = word.strip_prefix("body=") {
            body = Some(text);
        } else if let Some(text) = word.strip_prefix("connect=") {
            options.set_connect_timeout(Some(time(text)?)).map_err(|()| "no such option")?;
        } else if let Some(text) = word.strip_prefix("first-byte=") {
            options.set_first_byte_timeout(Some(time(text)?)).map_err(|()| "no such option")?;
        } else if let Some(text) = word.strip_prefix("between=") {
            options.set_between_bytes_timeout(Some(time(text)?)).map_err(|()| "no such option")?;
        } else if let Some((name, value)) = word.split_once(':') {
            let value = value.replace("\\r\\n", "\r\n");
            headers.append(name, value.as_bytes()).map_err(|error| format!("header {name}: {error:?}"))?;
        }
    }
    let request = request(method, url, headers)?;
    let sending = body.map(|text| request.body().map(|body| (body, text)).map_err(|()| "no body")).transpose()?;
    let answer = outgoing_handler::handle(request, Some(options)).map_err(|error| format!("{error:?}"))?;
    if let Some((body, text)) = sending {
        // Where the answer comes early, or the request fails, the stream ends: the answer says more.
        let _ = write_all(&body, text.as_bytes());
        OutgoingBody::finish(body, None).map_err(|error| format!("{error:?}"))?;
    }
    let answer = wait(answer)?;
    let mut text = Vec::new();
    let status = answer.status();
    read(&answer, |piece| text.extend_from_slice(piece))?;
    Ok(format!("{status} {}", String::from_utf8_lossy(&text)))
}

/// As it stands: what is wrong with the URL is for the host to find.
fn request(method: &str, url: &str, headers: Fields) -> Result<OutgoingRequest, String> {
    let (scheme, rest) = url.split_once("://").ok_or("no scheme")?;
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let request = OutgoingRequest::new(headers);
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    };
    let method = match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "PATCH" => Method::Patch,
        "CONNECT" => Method::Connect,
        "TRACE" => Method::Trace,
        other => Method::Other(other.to_owned()),
    };
    request.set_method(&method).map_err(|()| "invalid method")?;
    request.set_scheme(Some(&scheme)).map_err(|()| "invalid scheme")?;
    request.set_authority(Some(authority)).map_err(|()| "invalid authority")?;
    request.set_path_with_query(Some(path)).map_err(|()| "invalid path")?;
    Ok(request)
}

fn get(url: &str) -> Result<FutureIncomingResponse, String> {
    outgoing_handler::handle(request("GET", url, Fields::new())?, None).map_err(|error| format!("{error:?}"))
}

fn wait(answer: FutureIncomingResponse) -> Result<IncomingResponse, String> {
    answer.subscribe().block();
    let answer = answer.get().expect("it is ready").expect("it is taken once");
    answer.map_err(|error| format!("{error:?}"))
}

fn read(answer: &IncomingResponse, mut piece: impl FnMut(&[u8])) -> Result<(), String> {
    let body = answer.consume().map_err(|()| "no body")?;
    let stream: InputStream = body.stream().map_err(|()| "no stream")?;
    loop {
        match stream.blocking_read(READ_BYTES) {
            Ok(bytes) => piece(&bytes),
            Err(StreamError::Closed) => return Ok(()),
            Err(StreamError::LastOperationFailed(error)) => {
                let code = wasi::http::types::http_error_code(&error);
                return Err(code.map_or_else(|| error.to_debug_string(), |code| format!("{code:?}")));
            }
        }
    }
}

fn write_all(body: &OutgoingBody, bytes: &[u8]) -> Result<(), StreamError> {
    let stream: OutputStream = body.write().expect("it is taken once");
    for piece in bytes.chunks(4096) {
        stream.blocking_write_and_flush(piece)?;
    }
    Ok(())
}

fn lines(url: &str) {
    let mut begun = Vec::new();
    let done = get(url).and_then(wait).and_then(|answer| {
        println!("lines of {url}: {}", answer.status());
        read(&answer, |piece| {
            begun.extend_from_slice(piece);
            while let Some(end) = begun.iter().position(|byte| *byte == b'\n') {
                println!("line {}", String::from_utf8_lossy(&begun[..end]));
                begun.drain(..=end);
            }
        })
    });
    println!("lines of {url} end: {done:?}");
}

/// Pieces of a body that is never ended.
fn upload(url: &str, count: u64) -> Result<(), String> {
    let request = request("POST", url, Fields::new())?;
    let body = request.body().map_err(|()| "no body")?;
    let answer = outgoing_handler::handle(request, None).map_err(|error| format!("{error:?}"))?;
    let stream = body.write().map_err(|()| "no stream")?;
    println!("uploading");
    for number in 1..=count {
        stream.blocking_write_and_flush(format!("piece {number}\n").as_bytes()).map_err(|error| error.to_string())?;
        monotonic_clock::subscribe_duration(PIECE_PAUSE_NS).block();
    }
    // Whoever drops a body says that it is whole.
    std::mem::forget((stream, body, answer));
    Ok(())
}

/// All at once, and none is read.
fn hold(count: usize, url: &str) {
    let begun: Vec<_> = (0..count).map(|_| get(url)).collect();
    let ended: Vec<_> = begun.into_iter().map(|answer| answer.and_then(wait)).collect();
    tell_of_many(&ended);
}

/// All at once, and each is read to its end.
fn all(count: usize, url: &str) {
    let begun: Vec<_> = (0..count).map(|_| get(url)).collect();
    let whole = |answer: IncomingResponse| read(&answer, |_| ());
    let ended: Vec<_> = begun.into_iter().map(|answer| answer.and_then(wait).and_then(whole)).collect();
    tell_of_many(&ended);
}

fn tell_of_many<T>(ended: &[Result<T, String>]) {
    let (count, answered) = (ended.len(), ended.iter().filter(|answer| answer.is_ok()).count());
    let mut errors: Vec<_> = ended.iter().filter_map(|answer| answer.as_ref().err()).collect();
    errors.sort();
    errors.dedup();
    println!("{answered} of {count} are answered, errors: {errors:?}");
}

fn repeat(count: usize, url: &str) {
    let mut last = Ok(String::new());
    for _ in 0..count {
        last = ask("GET", url, &[]);
        if last.is_err() {
            break;
        }
    }
    println!("repeated: {last:?}");
}

fn drop_many(count: usize, url: &str) {
    for _ in 0..count {
        drop(get(url));
    }
    println!("dropped {count}");
}

export!(HttpRequests);
