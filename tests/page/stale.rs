//! A page that hears nothing says so, and takes it up again by itself.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use rustix::process::Signal;

use crate::{
    chromium::Chromium,
    row_says, says,
    scene::{Host, Scene, prints},
};

#[test]
fn a_host_that_stops_or_freezes_is_told_of_and_taken_up_again() {
    let scene = Scene::new();
    let tasks = [prints("nightly", 200, &["done"])];
    let mut host = scene.host("first", &tasks);
    let chromium = Chromium::start();
    chromium.open(&host.url("#/nightly"));
    chromium.wait_until("the leader", &row_says("nightly", "Leading"));
    chromium.wait_until("the connection", &says("#connection", "Live"));
    chromium.value("window.isTheSamePage = true");

    host.process.signal(Signal::STOP);
    chromium.wait_until("its silence", &says("#connection", "The host has said nothing for"));
    chromium.wait_until("of when it is", &says("#connection", "what is shown is of"));
    host.process.signal(Signal::CONT);
    chromium.wait_until("the connection", &says("#connection", "Live"));

    host.process.signal(Signal::TERM);
    assert_eq!(host.process.wait().code(), Some(0));
    chromium.wait_until("its end", &says("#connection", "The connection to the host is lost"));
    // What was there is still to be read.
    assert!(chromium.text("#output").contains("done"));
    let again = scene.host_at("second", &host.address, &[tasks[0].clone(), prints("another", 200, &["more"])]);
    chromium.wait_until("the connection", &says("#connection", "Live"));
    chromium.wait_until("the new replica", &says("#replica", "second"));
    chromium.wait_until("its new task", &row_says("another", "Leading"));
    again.process.wait_for_event("guest-output", 3);
    chromium.wait_until("the new output, from its beginning", &says("#output p:first-child", "done"));
    assert_eq!(chromium.value("window.isTheSamePage"), true);
    assert_eq!(chromium.value("document.querySelectorAll('#output .gap').length"), 0);
}

/// An event stream that nobody reads on from.
fn stream(host: &Host) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(&host.address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    write!(stream, "GET /tasks/events HTTP/1.1\r\nHost: test\r\n\r\n").expect("sent");
    let mut answer = [0; 4096];
    let length = stream.read(&mut answer).expect("an answer");
    (stream, String::from_utf8_lossy(&answer[..length]).into_owned())
}

#[test]
fn one_stream_too_many_is_refused_in_words_and_served_when_there_is_room() {
    let scene = Scene::new();
    let host = scene.host("only", &[prints("nightly", 200, &["done"])]);
    host.process.wait_for_event("guest-output", 1);
    let mut streams = Vec::new();
    let refused = loop {
        let (open, answer) = stream(&host);
        if !answer.starts_with("HTTP/1.1 200") {
            break answer;
        }
        streams.push(open);
        assert!(streams.len() < 1000, "they are without bound");
    };
    assert_eq!(streams.len(), 32);
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("retry-after: 5"), "{refused}");
    assert!(refused.contains("this host serves 32 event streams at a time"), "{refused}");

    let chromium = Chromium::start();
    chromium.open(&host.page());
    chromium.wait_until("why there is nothing", &says("#connection", "this host serves 32 event streams at a time"));
    streams.truncate(8);
    chromium.wait_until("it is served", &says("#connection", "Live"));
    chromium.wait_until("the task", &row_says("nightly", "Leading"));
}
