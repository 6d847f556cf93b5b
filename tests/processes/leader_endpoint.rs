//! The leader endpoint: what an application in the same Pod is told.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use leasehold_tests::{
    build::guest,
    host_process::{HostProcess, PATIENCE, leasehold},
    network::{Network, Weather},
};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{LEASE, LEASE_DURATION, cluster::Cluster, only};

const ENDPOINT: [&str; 2] = ["--leader-address", "0"];

fn connect(host: &HostProcess, request: &str) -> TcpStream {
    let address = host.wait_for_event("leader-endpoint", 1).line["address"].as_str().expect("an address").to_owned();
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    write!(stream, "{request} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").expect("sent");
    stream
}

/// The status and the body.
fn request(host: &HostProcess, request: &str) -> (u16, String) {
    let mut answer = String::new();
    connect(host, request).read_to_string(&mut answer).expect("an answer in UTF-8");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, answer.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned()))
}

fn get(host: &HostProcess, path: &str) -> Value {
    let (status, body) = request(host, &format!("GET {path}"));
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).expect("JSON")
}

/// `/leader`, once `is` takes it.
fn leader_when(host: &HostProcess, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let leader = get(host, "/leader");
        if is(&leader) {
            return leader;
        }
        assert!(begun.elapsed() < PATIENCE, "no {what}: {leader}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// What an event stream tells, as it comes; closed when it ends.
struct Events(mpsc::Receiver<Value>);

impl Events {
    fn of(host: &HostProcess, path: &str) -> Self {
        let stream = connect(host, &format!("GET {path}"));
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                // Chunks and keep-alives are between.
                let Some(data) = line.strip_prefix("data: ") else { continue };
                if tell.send(serde_json::from_str(data).expect("JSON")).is_err() {
                    return;
                }
            }
        });
        Self(told)
    }

    fn next(&self) -> Value {
        self.0.recv_timeout(PATIENCE).expect("an event")
    }

    /// The first that `is` takes, and how many came before.
    fn wait_for(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let event = self.next();
            if is(&event) {
                return event;
            }
        }
        panic!("no {what}");
    }
}

fn leads(event: &Value) -> bool {
    event["leading"] == true
}

fn identity(host: &HostProcess) -> String {
    host.wait_for_event("candidate", 1).line["identity"].as_str().expect("an identity").to_owned()
}

fn in_folder(name: &str, folder: &TempDir) -> HostProcess {
    in_folder_with(&LEASE, name, folder)
}

fn in_folder_with(lease: &[&str], name: &str, folder: &TempDir) -> HostProcess {
    HostProcess::run_in_folder(name, &guest("parked"), folder.path(), &[lease, &ENDPOINT].concat())
}

#[test]
fn the_leaders_name_goes_from_one_pod_to_the_other_in_the_old_forms_and_in_the_new_one() {
    let folder = TempDir::new().expect("a folder");
    // Who leads is certain all the time, also on a machine that has too much to do.
    let long = ["--lease-duration", "120s", "--renew-deadline", "100s", "--retry-period", "1s"];
    let mut first = in_folder_with(&long, "pod-1", &folder);
    let started = first.wait_for_event("guest-started", 1);
    let second = in_folder_with(&long, "pod-2", &folder);
    leader_when(&second, "leader", |told| told["name"] == "pod-1");
    let (events, names) = (Events::of(&second, "/events"), Events::of(&second, "/sse"));

    for host in [&first, &second] {
        let told = get(host, "/");
        let fields: Vec<_> = told.as_object().expect("fields").keys().map(String::as_str).collect();
        assert_eq!((fields, &told["name"]), (vec!["last_update", "name"], &json!("pod-1")), "parsers may be strict");
        assert!(told["last_update"].as_str().is_some_and(|time| time.len() == "2026-11-21T10:59:58Z".len()), "{told}");
    }
    assert_eq!(
        [&first, &second].map(|host| get(host, "/isLeader")["isLeader"].clone()),
        [true, false].map(Value::from)
    );

    let own = get(&first, "/leader");
    let expected = json!({
        "task": "parked", "lease": "parked", "namespace": "default", "identity": identity(&first), "leading": true,
        "leader": identity(&first), "name": "pod-1", "token": started.token(), "ending": null, "why": null,
    });
    for (field, value) in expected.as_object().expect("fields") {
        assert_eq!(own[field], *value, "{field}: {own}");
    }
    let certain = own["certainForMs"].as_u64().expect("a time");
    assert!(certain > 0 && certain < 120_000, "a lease of 120 s is certain for {certain} ms");
    assert!(own["since"].as_str().is_some_and(|time| time.parse::<jiff::Timestamp>().is_ok()), "{own}");

    let others = get(&second, "/leader");
    assert_eq!((&others["leading"], &others["leader"]), (&json!(false), &json!(identity(&first))));
    assert_eq!([&others["token"], &others["since"], &others["certainForMs"], &others["ending"]], [&Value::Null; 4]);

    // What comes first is what there is.
    assert_eq!((&events.next()["name"], &names.next()["name"]), (&json!("pod-1"), &json!("pod-1")));
    first.signal(Signal::TERM);
    let taken = events.wait_for("term of the second", leads);
    assert_eq!((&taken["name"], &taken["leader"]), (&json!("pod-2"), &json!(identity(&second))));
    assert!(taken["token"].as_u64() > Some(started.token()), "{taken}");
    let took = names.wait_for("name of the second", |told| told["name"] == "pod-2");
    assert!(took["last_update"].is_string(), "{took}");
    assert_eq!(first.wait().code(), Some(0));
}

#[test]
fn a_leader_that_is_to_end_is_none_any_more_but_says_how_long_there_is_to_finish() {
    let folder = TempDir::new().expect("a folder");
    let args = [&LEASE[..], &ENDPOINT, &["--stop-grace", "3s"]].concat();
    let mut host = HostProcess::run_in_folder("pod-1", &guest("busy-loop"), folder.path(), &args);
    host.wait_for_event("guest-started", 1);
    let events = Events::of(&host, "/events");
    events.wait_for("term", leads);
    host.signal(Signal::TERM);
    let ending = events.next();
    assert_eq!(
        (&ending["leading"], &ending["ending"], &ending["name"]),
        (&json!(false), &json!("shutdown"), &Value::Null)
    );
    assert!(ending["token"].is_u64() && ending["certainForMs"].as_u64() > Some(0), "{ending}");
    assert_eq!(get(&host, "/")["name"], "", "who compares it with its own name stops");
    assert_eq!(host.events_named("guest-stopped").len(), 0, "it was told while there was still time");
    assert_eq!(host.wait().code(), Some(0));
}

#[test]
fn a_long_poll_answers_when_there_is_news_and_when_its_time_is_over() {
    let folder = TempDir::new().expect("a folder");
    let first = in_folder("pod-1", &folder);
    let leads = leader_when(&first, "term", leads);
    let version = leads["version"].as_u64().expect("a number");

    // Renewed twice meanwhile, which is no news.
    let same = get(&first, &format!("/leader?wait=5s&version={version}"));
    assert_eq!((&same["version"], &same["leading"]), (&json!(version), &json!(true)));
    let at_once = get(&first, &format!("/leader?wait=60s&version={}", version - 1));
    assert_eq!(at_once["version"], json!(version));

    let waits = thread::scope(|scope| {
        let polling = scope.spawn(|| get(&first, "/leader?wait=60s"));
        // It makes no difference if it comes too late: then there is news already.
        thread::sleep(Duration::from_millis(200));
        first.signal(Signal::TERM);
        polling.join().expect("an answer")
    });
    assert_eq!((&waits["leading"], &waits["ending"]), (&json!(false), &json!("shutdown")));
    assert!(waits["version"].as_u64() > Some(version));
}

/// Its control thread says nothing, and need not: the clock does.
#[test]
fn a_leader_that_was_stopped_is_none_when_it_goes_on_before_it_has_said_anything_else() {
    let folder = TempDir::new().expect("a folder");
    let (first, second) = (in_folder("pod-1", &folder), in_folder("pod-2", &folder));
    let (leader, standby) = match first.wait_until("decision", |events| {
        let name =
            |event: &leasehold_tests::event_log::Event| event.name() == "leading" || event.name() == "new-leader";
        events.iter().find(|event| name(event)).map(|event| event.name() == "leading")
    }) {
        true => (first, second),
        false => (second, first),
    };
    let mine = leader_when(&leader, "term", leads);
    let events = Events::of(&leader, "/events");
    assert!(leads(&events.next()));
    // Asked for while it cannot answer, so that it is the first thing it does.
    leader.signal(Signal::STOP);
    let taken = leader_when(&standby, "successor", leads);
    assert!(taken["token"].as_u64() > mine["token"].as_u64());
    let (mut asked, answered) = (connect(&leader, "GET /leader"), jiff::Timestamp::now());
    leader.signal(Signal::CONT);
    let mut answer = String::new();
    asked.read_to_string(&mut answer).expect("an answer");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    let told: Value = serde_json::from_str(body).expect("JSON");
    assert!(told["leading"] == false && told["token"].is_null() && told["certainForMs"].is_null(), "{told}");
    let after = events.next();
    assert!(!leads(&after), "{after}");
    let lost = leader.wait_for_event("lost", 1);
    assert!(lost.at_micros >= answered.as_microsecond());
}

#[test]
fn cut_off_from_the_cluster_a_leader_is_none_before_its_bound_and_a_standby_does_not_know() {
    let cluster = Cluster::start();
    let network = cluster.runtime.block_on(Network::to(cluster.plane.server())).expect("a network");
    let kubeconfig = cluster.plane.kubeconfig_via(network.address()).expect("a kubeconfig");
    let args = [&LEASE[..], &ENDPOINT, &["--lease", "task"]].concat();
    let run = |name| HostProcess::run_in_cluster(name, &guest("parked"), &kubeconfig, &args);
    let leader = run("pod-1");
    leader_when(&leader, "term", leads);
    let standby = run("pod-2");
    leader_when(&standby, "leader", |told| told["name"] == "pod-1");
    let (of_leader, of_standby) = (Events::of(&leader, "/events"), Events::of(&standby, "/events"));
    assert_eq!(
        [of_leader.next(), of_standby.next()].map(|event| event["name"].clone()),
        ["pod-1", "pod-1"].map(Value::from)
    );

    // Not between sending one and its answer, which then would stand on the Lease and not count here.
    cluster.wait_for_renewals(1);
    network.set(Weather { silent: true, ..Weather::default() });
    let ending = of_leader.next();
    assert_eq!((&ending["leading"], &ending["ending"]), (&json!(false), &json!("leadership-lost")));
    let certain = ending["certainForMs"].as_u64().expect("a time");
    assert!(certain <= 2_000, "from the renew deadline, 4 s of 6 s, it is certain for {certain} ms more");
    let over = of_leader.next();
    assert!(!leads(&over) && over["token"].is_null() && over["why"].is_string(), "{over}");
    let renewed = cluster.renewed_micros();
    let at = jiff::Timestamp::now().as_microsecond();
    assert!(at - renewed >= 0 && over["name"].is_null());

    // It has seen the last renewal, and heard nothing since.
    let unknown = of_standby.next();
    assert_eq!(
        (&unknown["leader"], &unknown["name"], &unknown["leading"]),
        (&Value::Null, &Value::Null, &json!(false))
    );
    let why = unknown["why"].as_str().expect("words");
    assert!(why.contains("pod-1_"), "{why}");
    assert_eq!(get(&standby, "/")["name"], "");
    let seen_for = jiff::Timestamp::now().as_microsecond() - renewed;
    assert!(
        seen_for >= i64::try_from(LEASE_DURATION.as_micros()).expect("small"),
        "it gave up on a record of {seen_for} us"
    );

    network.set(Weather::default());
    let again = leader_when(&leader, "leader", |told| told["leader"].is_string());
    leader_when(&standby, "the same leader", |told| told["leader"] == again["leader"]);
}

/// The leader is the same before and after, so nothing becomes of the task meanwhile but time.
#[test]
fn a_standby_that_was_cut_off_tells_its_listeners_of_the_same_leader_again() {
    let cluster = Cluster::start();
    let network = cluster.runtime.block_on(Network::to(cluster.plane.server())).expect("a network");
    let cut = cluster.plane.kubeconfig_via(network.address()).expect("a kubeconfig");
    let args = [&LEASE[..], &ENDPOINT, &["--lease", "task"]].concat();
    let leader = HostProcess::run_in_cluster("pod-1", &guest("parked"), cluster.plane.kubeconfig(), &args);
    leader_when(&leader, "term", leads);
    let standby = HostProcess::run_in_cluster("pod-2", &guest("parked"), &cut, &args);
    leader_when(&standby, "leader", |told| told["name"] == "pod-1");
    let events = Events::of(&standby, "/events");
    assert_eq!(events.next()["name"], "pod-1");

    network.set(Weather { silent: true, ..Weather::default() });
    let unknown = events.next();
    assert!(unknown["leader"].is_null() && unknown["name"].is_null(), "{unknown}");
    network.set(Weather::default());
    // Nobody asks meanwhile.
    let again = events.wait_for("the same leader", |told| told["name"] == "pod-1");
    assert_eq!(again["leading"], json!(false), "{again}");
    assert_eq!((leader.count("leading"), standby.count("leading")), (1, 0));
}

#[test]
fn with_several_tasks_each_is_asked_for_by_its_name() {
    let folder = TempDir::new().expect("a folder");
    let config = folder.path().join("host.yaml");
    let module = guest("parked");
    let text = format!(
        "leaseStore: file:{}\nidentity: pod-1\nleaderAddress: \"0\"\ntasks:\n- {{name: a, module: {module}}}\n- {{name: b, module: {module}}}\n",
        folder.path().display(),
        module = module.display()
    );
    fs::write(&config, text).expect("written");
    let mut command = std::process::Command::new(leasehold_tests::build::leasehold());
    command.args(["run", "--log-format", "json", "--config"]).arg(&config);
    let host = HostProcess::spawn("pod-1", command);
    host.wait_for_event("guest-started", 2);
    for task in ["a", "b"] {
        assert_eq!(get(&host, &format!("/?task={task}"))["name"], "pod-1");
        let told = get(&host, &format!("/leader?task={task}"));
        assert_eq!((&told["task"], &told["lease"]), (&json!(task), &json!(task)));
    }
    let (status, said) = request(&host, "GET /");
    assert!(status == 400 && said.contains("?task=NAME, one of: a, b"), "{status} {said}");
    let (status, said) = request(&host, "GET /leader?task=c");
    assert!(status == 404 && said.contains("\"c\"") && said.contains("a, b"), "{status} {said}");
}

#[test]
fn wrong_calls_say_what_would_be_right() {
    let folder = TempDir::new().expect("a folder");
    let host = in_folder("pod-1", &folder);
    for (call, status, said) in [
        ("GET /leaders", 404, "/leader"),
        ("POST /leader", 405, "only GET"),
        ("GET /leader?wait=1h", 400, "at most 60s"),
        ("GET /leader?version=1", 400, "add wait"),
        ("GET /events?wait=1s", 400, "there is: task"),
    ] {
        let answer = request(&host, call);
        assert!(answer.0 == status && answer.1.contains(said), "{call}: {answer:?}");
    }
    let module = guest("parked");
    let run = |args: &[&str], env: &[(&str, &str)]| {
        let store = format!("file:{}", folder.path().display());
        let module = module.to_str().expect("UTF-8");
        leasehold(&[&["run", module, "--lease-store", &store], args].concat(), env)
    };
    let wrong = run(&["--leader-address", "leader.local:4040"], &[]);
    assert!(wrong.code == Some(2) && wrong.stderr.contains("localhost:PORT"), "{wrong:?}");
    let wrong = run(&[], &[("ELECTOR_PATH", "http://localhost:4040/")]);
    assert!(wrong.code == Some(2) && wrong.stderr.contains("$ELECTOR_PATH"), "{wrong:?}");
    let taken = host.wait_for_event("leader-endpoint", 1).line["address"].as_str().expect("an address").to_owned();
    let wrong = run(&["--leader-address", &taken], &[]);
    assert!(wrong.code == Some(1) && wrong.stderr.contains("--leader-address"), "{wrong:?}");
}

#[test]
fn where_applications_ask_is_taken_from_the_environment_and_a_flag_wins() {
    let folder = TempDir::new().expect("a folder");
    let start = |args: &[&str]| {
        let mut command = std::process::Command::new(leasehold_tests::build::leasehold());
        let store = format!("file:{}", folder.path().display());
        command.arg("run").arg(guest("parked")).args(["--log-format", "json", "--lease-store", &store]).args(args);
        command.env("ELECTOR_PATH", "localhost:0");
        HostProcess::spawn("pod-1", command)
    };
    let told = |host: &HostProcess| host.wait_for_event("leader-endpoint", 1).line["address"].clone();
    // A client that asks for `localhost` may be sent to either.
    let both = start(&[]);
    let port = told(&both).as_str().and_then(|address| address.parse::<SocketAddr>().ok()).expect("an address").port();
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens there");
    TcpStream::connect((Ipv6Addr::LOCALHOST, port)).expect("and there");
    drop(both);
    assert!(told(&start(&[])).as_str().is_some_and(|address| address.starts_with("127.0.0.1:")));
    assert!(
        told(&start(&["--leader-address", "[::1]:0"])).as_str().is_some_and(|address| address.starts_with("[::1]:"))
    );
}

/// Many who do not read, and more than there is room for: whoever asks is answered, and the Lease is renewed.
#[test]
fn clients_without_number_and_without_haste_delay_no_renewal() {
    let folder = TempDir::new().expect("a folder");
    let host = in_folder("pod-1", &folder);
    let mine = leader_when(&host, "term", leads);
    let streams: Vec<_> = (0..80).map(|_| connect(&host, "GET /events")).collect();
    let status = |mut stream: &TcpStream| {
        let mut line = [0; 12];
        stream.read_exact(&mut line).expect("an answer");
        String::from_utf8_lossy(&line).into_owned()
    };
    let open = streams.iter().filter(|stream| status(stream) == "HTTP/1.1 200").count();
    assert_eq!(open, 64, "the others are refused");
    let (code, said) = request(&host, "GET /leader?wait=1s");
    assert!(code == 503 && said.contains("close some"), "{code} {said}");
    assert_eq!(get(&host, "/")["name"], "pod-1", "whoever does not wait is answered");
    // All the connections there are, and as many again, without a request on them.
    let address = only(host.events_named("leader-endpoint")).line["address"].as_str().expect("an address").to_owned();
    let idle: Vec<_> = (0..200).map(|_| TcpStream::connect(&address).expect("it listens")).collect();
    thread::sleep(LEASE_DURATION);
    assert!(host.events_named("lost").is_empty());
    drop((streams, idle));
    let after = leader_when(&host, "the same term", leads);
    assert_eq!(after["token"], mine["token"]);
}
