//! HTTP as a config file grants it: with a certificate authority of one's own, the token's header, and counted.

use std::process::Command;

use leasehold_tests::{
    build::{self, guest},
    host_process::HostProcess,
    http_server::HttpServer,
};
use tempfile::TempDir;

use super::config_map::get;

/// A host whose one task goes through `steps`, with this under `allow`.
fn host(folder: &TempDir, allow: &str, steps: &str) -> HostProcess {
    let path = folder.path().join("host.yaml");
    let config = format!(
        "leaseStore: file:{}\nadmin: 127.0.0.1:0\ntasks:\n- name: http\n  module: {}\n  args: {steps}\n  allow:\n{allow}",
        folder.path().join("leases").display(),
        guest("http-requests").display(),
    );
    std::fs::write(&path, config).expect("written");
    let mut command = Command::new(build::leasehold());
    command.args(["run", "--log-format", "json", "--config"]).arg(path);
    HostProcess::spawn("http", command)
}

fn line(host: &HostProcess, begin: &str) -> String {
    let of_guest = host.wait_for(begin, |event| event.name() == "guest-output" && event.message().starts_with(begin));
    of_guest.message().to_owned()
}

#[test]
fn a_config_file_grants_https_with_an_authority_of_ones_own_and_the_token_goes_along() {
    let (server, folder) = (HttpServer::start_tls(), TempDir::new().expect("a folder"));
    let authority = folder.path().join("authority.pem");
    std::fs::write(&authority, server.authority()).expect("written");
    let url = format!("https://localhost:{}/echo", server.port());
    let allow =
        format!("    http: [\"{url}\"]\n    caFile: {}\n    tokenHeader: Leasehold-Token\n", authority.display());
    let host = host(&folder, &allow, &format!("[\"GET {url}\", \"GET https://localhost:1/\", stay]"));
    let token = host.wait_for_event("leading", 1).token();
    let said = line(&host, &format!("GET {url}"));
    assert!(said.contains("-> 200 GET /echo") && said.contains(&format!("leasehold-token=\"{token}\"")), "{said}");
    line(&host, "staying");
    let refused = host.wait_for_event("http-refused", 1);
    assert!(refused.message().contains("add \"https://localhost:1/\" to allow.http"), "{refused}");
    let (_, metrics) = get(&host, "/metrics");
    for (result, count) in [("ok", 1), ("refused", 1), ("failed", 0)] {
        let wanted = format!("leasehold_host_calls_total{{task=\"http\",kind=\"http\",result=\"{result}\"}} {count}\n");
        assert!(metrics.contains(&wanted), "no {wanted} in {metrics}");
    }
}
