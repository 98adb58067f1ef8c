//! The `bench` command from outside: it starts real servers, measures them and leaves nothing behind.

mod support;

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use support::Server;
use tempfile::TempDir;

fn bench(arguments: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shardkeep"));
    command.arg("bench").args(arguments);
    command.current_dir(dir).stdin(Stdio::null());
    command.output().unwrap()
}

/// The one JSON object of a run that must succeed.
fn report(arguments: &[&str], dir: &Path) -> Value {
    let output = bench(&[arguments, &["--output", "json"]].concat(), dir);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Little enough for a test, with all parts in it.
const SMALL: [&str; 6] = ["--connections", "2", "--in-flight", "4", "--warmup", "0s"];

fn assert_measured(side: &Value) {
    assert!(side["requests"].as_u64().unwrap() > 0, "{side}");
    assert_eq!(side["errors"], 0, "{side}");
    for name in [
        "seconds",
        "requests_per_second",
        "bytes_per_second",
        "server_cpu_us_per_request",
        "client_cpu_us_per_request",
        "server_resident_bytes",
    ] {
        assert!(side[name].as_f64().is_some(), "{name}: {side}");
    }
    let latency = |name: &str| side["latency_us"][name].as_f64().unwrap();
    let rising = ["p50", "p90", "p99", "p99_9", "max"].map(latency);
    assert!(rising.is_sorted() && rising[0] > 0.0, "{side}");
}

#[test]
fn a_second_of_reads_is_measured_and_nothing_is_left_behind() {
    let dir = TempDir::new().unwrap();
    let arguments = [
        &["get", "--duration", "1s", "--keys", "50", "--verify"],
        &SMALL[..],
    ]
    .concat();
    let report = report(&arguments, dir.path());
    assert_eq!(report["work"], "get");
    assert_eq!(report["value_size"], 1024);
    assert_eq!(report["keys"], 50);
    assert_eq!(report["duration_s"], 1.0);
    assert!(report["machine"]["cores"].as_u64().unwrap() > 0);
    assert_measured(&report["shardkeep"]);
    assert!(report.get("ratio").is_none());
    assert_eq!(dir.path().read_dir().unwrap().count(), 0);
}

#[test]
fn a_baseline_is_measured_in_turn_and_compared_pair_by_pair() {
    let dir = TempDir::new().unwrap();
    for (work, more) in [("set", "--baseline"), ("mixed", "--baseline=admitted")] {
        let rounds = [work, more, "--pairs", "2", "--count", "200", "--keys", "20"];
        let report = report(&[&rounds, &SMALL[..]].concat(), dir.path());
        assert_eq!(report["pairs"], 2);
        for side in ["shardkeep", "noop"] {
            assert_measured(&report[side]);
            assert_eq!(report[side]["requests"], 400);
            assert_eq!(
                report[side]["rounds_per_second"].as_array().unwrap().len(),
                2
            );
        }
        let ratio = &report["ratio"]["throughput"];
        let numbers = ["min", "median", "max"].map(|name| ratio[name].as_f64().unwrap());
        assert!(numbers.is_sorted() && numbers[0] > 0.0, "{report}");
    }
}

/// The works of the native protocol, what each is compared with, and values that a request moves.
const NATIVE: [(&[&str], &str, u64); 7] = [
    (&["get", "--keys", "20"], "zstdb", 1),
    (&["put", "--request-ids"], "zstdb", 1),
    (&["batch-get", "--batch", "8", "--keys", "20"], "single", 8),
    (&["scan", "--keys", "3000"], "noop", 3000),
    (&["upload", "--size", "9 MiB"], "noop", 1),
    (&["download", "--size", "9 MiB"], "noop", 1),
    (&["find-missing", "--size", "9 MiB"], "upload", 1),
];

#[test]
fn every_native_work_is_measured_beside_what_it_is_compared_with() {
    let dir = TempDir::new().unwrap();
    for (work, rival, values) in NATIVE {
        let rounds = ["--pairs", "2", "--count", "3"];
        let arguments = [&["native"], work, &rounds, &SMALL[..]].concat();
        let report = report(&arguments, dir.path());
        assert_eq!(report["front"], "native");
        assert_eq!(report["baseline"].as_str().unwrap().split(' ').next(), {
            let stack = if rival == "noop" { "bare" } else { rival };
            Some(stack)
        });
        for side in ["shardkeep", rival] {
            assert_measured(&report[side]);
            assert_eq!(report[side]["requests"], 6, "{work:?}");
        }
        let side = &report["shardkeep"];
        let ratio = |name: &str| {
            side[name].as_f64().unwrap() / side["requests_per_second"].as_f64().unwrap()
        };
        let moved = ratio("values_per_second");
        assert!(
            (moved / values as f64 - 1.0).abs() < 0.01,
            "{work:?}: {side}"
        );
        assert!(side["server_grown_bytes"].as_u64().is_some(), "{side}");
        assert!(report["ratio"]["throughput"]["median"].as_f64().unwrap() > 0.0);
    }
    assert_eq!(dir.path().read_dir().unwrap().count(), 0);
}

#[test]
fn a_native_work_can_be_compared_with_the_server_that_does_nothing() {
    let dir = TempDir::new().unwrap();
    for work in ["get", "put", "batch-get"] {
        let rounds = [
            "native",
            work,
            "--baseline",
            "--pairs",
            "1",
            "--count",
            "20",
        ];
        let report = report(&[&rounds, &SMALL[..]].concat(), dir.path());
        assert_eq!(report["baseline"], "bare");
        assert_measured(&report["noop"]);
    }
}

#[test]
fn reads_of_the_baseline_can_come_from_a_file() {
    let dir = TempDir::new().unwrap();
    let rounds = [
        "get",
        "--baseline",
        "--pread",
        "--pairs",
        "1",
        "--count",
        "100",
        "--keys",
        "20",
        "--size",
        "100 KiB",
    ];
    let report = report(&[&rounds, &SMALL[..]].concat(), dir.path());
    assert_eq!(report["baseline"], "bare with pread");
    assert_measured(&report["noop"]);
}

#[tokio::test]
async fn a_server_that_runs_already_is_measured_where_it_is() {
    let server = Server::builder().flag("--allow-user-key").start().await;
    let dir = TempDir::new().unwrap();
    let (address, pid) = (server.address().to_string(), server.pid().to_string());
    let arguments = [
        "set-duplicate",
        "--user-keys",
        "--server",
        &address,
        "--server-pid",
        &pid,
        "--count",
        "100",
        "--keys",
        "10",
        "--value-kind",
        "json",
    ];
    let report = report(&[&arguments, &SMALL[..]].concat(), dir.path());
    assert_measured(&report["shardkeep"]);
    assert_eq!(report["shardkeep"]["requests"], 100);
    let mut client = server.client().await;
    let keys = client.count(support::key_of("bench-")).await.unwrap();
    let keys = keys.into_inner();
    assert_eq!(
        keys.data, "110",
        "10 beforehand, and 100 more names for them"
    );
    server.stop().await;
}

#[test]
fn an_open_loop_sends_what_the_rate_says() {
    let dir = TempDir::new().unwrap();
    let arguments = ["get", "--rate", "1000", "--count", "300", "--keys", "10"];
    let report = report(&[&arguments, &SMALL[..]].concat(), dir.path());
    let side = &report["shardkeep"];
    assert_eq!(side["requests"], 300);
    assert!(side["seconds"].as_f64().unwrap() >= 0.299, "{side}");
}

#[test]
fn the_raw_disk_is_measured() {
    let dir = TempDir::new().unwrap();
    let arguments = ["raw", "--sizes", "4 KiB,64KiB", "--duration", "20ms"];
    let report = report(&arguments, dir.path());
    let loops = report["loops"].as_array().unwrap();
    assert_eq!(loops.len(), 6);
    for one in loops {
        assert!(one["operations"].as_u64().unwrap() > 0, "{one}");
        assert!(one["latency_us"]["p50"].as_f64().is_some(), "{one}");
    }
    assert_eq!(dir.path().read_dir().unwrap().count(), 0);
}

#[test]
fn a_wrong_load_is_refused_before_anything_is_started() {
    let dir = TempDir::new().unwrap();
    for arguments in [
        &["get", "--size", "3"][..],
        &["get", "--connections", "0"],
        &["mixed", "--read-share", "2"],
        &["raw", "--sizes", "0"],
        &["native", "batch-get", "--batch", "0"],
        &["native", "upload", "--connections", "1000"],
    ] {
        let output = bench(arguments, dir.path());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
    assert_eq!(dir.path().read_dir().unwrap().count(), 0);
}

#[test]
fn a_server_that_is_not_there_is_said_to_be() {
    let dir = TempDir::new().unwrap();
    let arguments = ["set", "--server", "127.0.0.1:1", "--count", "1"];
    let output = bench(&arguments, dir.path());
    assert_eq!(output.status.code(), Some(5));
}
