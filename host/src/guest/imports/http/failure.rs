//! What a guest is told when a request fails, and a person in the log.

use std::{error::Error as StdError, io};

use rustls::Error as Tls;
use wasmtime_wasi_http::Error;

use super::{address::NameError, body::RequestTooLarge};
use crate::guest::outlet::RunOver;

/// The causes of an error, from the outermost on.
fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn StdError + 'static)| next(*error))
}

fn next<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    // An io::Error's source is that of what it carries, and not that itself.
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(carried) => Some(carried),
        None => error.source(),
    }
}

fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// Of a request that has got no answer.
pub(super) fn of_request(error: &(dyn StdError + 'static)) -> Error {
    if find::<RunOver>(error).is_some() {
        // Nobody is left to hear of it.
        return Error::ConnectionTerminated;
    }
    if let Some(too_large) = find::<RequestTooLarge>(error) {
        return Error::HttpRequestBodySize(Some(too_large.0));
    }
    match find::<NameError>(error) {
        Some(NameError::Prohibited { .. }) => return Error::DestinationIpProhibited,
        Some(NameError::LookUp(_, why)) => return Error::DnsError { rcode: Some(why.to_string()), info_code: None },
        None => {}
    }
    match find::<Tls>(error) {
        Some(Tls::InvalidCertificate(_) | Tls::NoCertificatesPresented) => return Error::TlsCertificateError,
        Some(Tls::AlertReceived(alert)) => {
            return Error::TlsAlertReceived { alert_id: Some(u8::from(*alert)), alert_message: None };
        }
        Some(_) => return Error::TlsProtocolError,
        None => {}
    }
    if let Some(error) = find::<hyper::Error>(error) {
        if error.is_parse_too_large() {
            return Error::HttpResponseHeaderSectionSize(None);
        }
        if error.is_parse() {
            return Error::HttpProtocolError;
        }
        if error.is_incomplete_message() {
            return Error::HttpResponseIncomplete;
        }
    }
    match find::<io::Error>(error).map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => Error::ConnectionRefused,
        Some(io::ErrorKind::TimedOut) => Error::ConnectionTimeout,
        Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => Error::DestinationUnavailable,
        Some(_) => Error::ConnectionTerminated,
        None => Error::InternalError(Some(in_words(error))),
    }
}

/// Of an answer that has begun.
pub(super) fn of_body(error: &hyper::Error) -> Error {
    if error.is_incomplete_message() || find::<io::Error>(error).is_some() {
        return Error::HttpResponseIncomplete;
    }
    of_request(error)
}

/// What a person has to know: the last two causes, and what helps against them where that is known.
pub(super) fn in_words(error: &(dyn StdError + 'static)) -> String {
    if let Some(name) = find::<NameError>(error) {
        return match name {
            NameError::LookUp(_, why) => format!("{name}: {why}"),
            NameError::Prohibited { .. } => name.to_string(),
        };
    }
    let mut words: Vec<_> = chain(error).map(ToString::to_string).collect();
    words.dedup();
    words.drain(..words.len().saturating_sub(2));
    let words = words.join(": ");
    match find::<Tls>(error) {
        Some(Tls::InvalidCertificate(_)) => {
            format!("{words} (a certificate authority of your own is named by `caFile` under `allow`)")
        }
        _ => words,
    }
}
