//! `docs/reference.md` names every public phase, reason and metric once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic, in its helpers too")]

mod support;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::Stdio,
};

const REFERENCE: &str = include_str!("../docs/reference.md");

/// Whether a table row begins with this name.
fn rows_named(name: &str) -> usize {
    REFERENCE.lines().filter(|line| line.starts_with('|') && line.contains(&format!("`{name}`"))).count()
}

#[test]
fn every_reason_stands_in_the_reference() {
    for reason in sentei_rollout::reasons::ALL {
        assert!(rows_named(reason) >= 1, "docs/reference.md lacks the reason {reason}");
    }
}

#[test]
fn every_phase_stands_in_the_reference() {
    let crd = sentei_api::crd_yaml().unwrap();
    let phases = crd.split("phase:").nth(1).unwrap();
    let listed: Vec<&str> = phases
        .lines()
        .skip_while(|line| !line.contains("enum:"))
        .skip(1)
        .map_while(|line| line.trim().strip_prefix("- "))
        .collect();
    assert!(listed.len() >= 13, "{listed:?}");
    for phase in listed {
        assert!(rows_named(phase) >= 1, "docs/reference.md lacks the phase {phase}");
    }
}

/// Names on the page a real server exports, without the suffixes that the format adds.
fn exported() -> Vec<String> {
    let workplace = support::Workplace::digits(|manifest| manifest);
    let model = format!("{}/digits_resnet20.onnx", support::DIGITS);
    let mut server = workplace
        .sentei(&["serve", "--model", &model, "--listen", "127.0.0.1:0", "--exit-with-stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let line = BufReader::new(server.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .find(|line| line.contains("Serving"));
    let line = line.expect("the server says where it listens");
    let address = line.split("http://").nth(1).unwrap().split('/').next().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    drop(server.stdin.take());
    server.wait().unwrap();
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types
        .filter_map(|line| line.split_once(' '))
        .map(|(name, kind)| if kind == "counter" { format!("{name}_total") } else { name.to_owned() })
        .collect()
}

/// Names in the server's source, for the families that have no sample yet and so no line on the page.
fn registered() -> Vec<String> {
    let source = include_str!("../crates/serve/src/metrics.rs");
    let names = |call: &str, suffix: &str| -> Vec<String> {
        let calls = source.split(call).skip(1).filter_map(|rest| rest.split('"').next());
        calls.map(|name| format!("sentei_{name}{suffix}")).collect()
    };
    [names("sentei.register(\"", "_total"), names("sentei.register_with_unit(\"", "_seconds")].concat()
}

#[test]
fn every_exported_metric_stands_in_the_reference() {
    let (exported, registered) = (exported(), registered());
    assert!(exported.len() >= 4 && registered.len() >= 9, "{exported:?} {registered:?}");
    for name in exported.iter().chain(&registered) {
        assert!(rows_named(name) >= 1, "docs/reference.md lacks the metric {name}");
    }
}
