//! The rules of the house, read off the sources: which room may name which, how long a file or a
//! function may be, what is not written outside tests. The idea is TigerBeetle's `tidy.zig`.
//!
//! The tables below are the rules; `tidy/source.rs` finds what breaks them. To change a rule, change
//! its row here, in a commit that says why.

#[path = "tidy/source.rs"]
mod source;

use source::{Fault, faults_of, test_only_files};
use std::path::{Path, PathBuf};

/// A room may name the rooms of lower layers only. A room that is not here may not exist.
const LAYERS: &[(&str, u8)] = &[
    ("allocator", 0),
    ("model", 0),
    ("config", 0),
    ("telemetry", 0),
    ("proto", 0),
    ("codec", 1),
    ("log", 1),
    ("index", 1),
    ("actor", 1),
    ("shard", 2),
    ("dedup", 2),
    ("router", 3),
    ("backup", 3),
    ("service", 4),
    ("gateway", 5),
    ("supervise", 5),
    ("start", 6),
    ("client", 6),
    ("exchange", 7),
    ("embedded", 8),
    ("cli", 8),
];

/// Who names whom in the same layer, and why that is no climb.
const SIDEWAYS: &[(&str, &str)] = &[
    // Telemetry is opened with the `[log]` section.
    ("telemetry", "config"),
    // The bytes of a record are the codec's; segments and rows only carry them.
    ("log", "codec"),
    ("index", "codec"),
    // A row says where in the log its record stands.
    ("index", "log"),
    // A backup reads through a cut over all shards, which the router makes.
    ("backup", "router"),
];

/// Rooms that see less than what is below them.
const NARROW: &[(&str, &[&str])] = &[
    // A client knows the wire and nothing of a server's inside.
    ("client", &["model", "proto"]),
    // `codec` for the digest that `put` and `get` compare, `backup` and `start` for offline work.
    (
        "cli",
        &[
            "model",
            "proto",
            "client",
            "config",
            "telemetry",
            "codec",
            "backup",
            "exchange",
            "start",
        ],
    ),
    // Files on one side, the words of clients on the other.
    ("exchange", &["model", "codec", "backup", "client"]),
    // The words of programs in `client`; what is done is the service's, which `start` opens.
    (
        "embedded",
        &["model", "config", "client", "exchange", "service", "start"],
    ),
    // Bytes in, bytes out: what a front decides, it asks the service for.
    (
        "gateway",
        &["model", "proto", "config", "telemetry", "service"],
    ),
];

/// Foreign crates that only some rooms may name, so that each can be replaced in one place.
const CRATES: &[(&str, &[&str])] = &[
    ("config", &["config"]),
    ("tracing_subscriber", &["telemetry"]),
    ("tracing_appender", &["telemetry"]),
    ("zstd", &["codec"]),
    ("zstd_safe", &["codec"]),
    ("blake3", &["codec"]),
    ("fastcdc", &["codec"]),
    // Files in `log`; free space in `supervise`; the lock and the signals of the process in `start`.
    ("rustix", &["log", "supervise", "start"]),
    ("fjall", &["index"]),
    ("lsm_tree", &["index"]),
    ("actix", &["actor", "shard", "dedup", "supervise"]),
    ("actix_rt", &["actor", "shard", "dedup", "supervise"]),
    ("dashmap", &["dedup"]),
    ("quick_cache", &["service"]),
    ("tonic", &["gateway", "client", "proto"]),
    ("hyper", &["gateway"]),
    ("hyper_util", &["gateway"]),
    ("tonic_prost", &["gateway", "client", "proto"]),
    ("tonic_health", &["gateway", "client"]),
    ("tonic_reflection", &["gateway"]),
    ("tonic_types", &["gateway", "client"]),
    ("prost", &["gateway", "client", "proto"]),
    ("prost_types", &["gateway", "client", "proto"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("comfy_table", &["cli"]),
    ("indicatif", &["cli"]),
    ("console", &["cli"]),
    ("libmimalloc_sys", &["allocator"]),
];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &[
    "utils", "util", "common", "helpers", "helper", "manager", "misc",
];

/// Macros and methods that do not belong in code that serves.
const BANNED_MACROS: &[&str] = &["todo", "unimplemented", "dbg"];

/// Lines of a file and of a function, tests excluded.
const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

#[test]
fn the_sources_keep_the_rules_of_the_house() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join("src"), &mut files);
    assert!(files.len() > 10, "the sources were not found");
    let sources: Vec<(String, String)> = files
        .iter()
        .map(|file| {
            let path = file
                .strip_prefix(root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            (path, std::fs::read_to_string(file).unwrap())
        })
        .collect();
    let test_only = test_only_files(&sources);
    let faults: Vec<String> = sources
        .iter()
        .filter(|(path, _)| !test_only.iter().any(|it| path.starts_with(it)))
        .flat_map(|(path, source)| faults_of(path, source))
        .map(|fault| fault.to_string())
        .collect();
    assert!(
        faults.is_empty(),
        "{} faults\n{}",
        faults.len(),
        faults.join("\n")
    );
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|it| it == "rs") {
            files.push(path);
        }
    }
    files.sort();
}

/// The rules that a source breaks, with the lines, as `line rule`.
fn broken(path: &str, source: &str) -> Vec<String> {
    let source = format!("//! Room.\n{source}");
    let short = |fault: Fault| format!("{} {}", fault.line, fault.rule);
    faults_of(path, &source).into_iter().map(short).collect()
}

#[test]
fn an_import_that_climbs_is_found_however_it_is_written() {
    for source in [
        "use crate::service::Service;",
        "use crate::{model::Key, service::{Service, Stats}};",
        "use super::super::service::Service;",
        "fn f() -> crate::service::Stats { crate::service::Stats::default() }",
        "fn f() { println!(\"{}\", crate::service::NAME); }",
        "mod inner { use super::super::super::service::Service; }",
        "pub use crate::service;",
    ] {
        let found = broken("src/shard/plan.rs", source);
        assert!(!found.is_empty(), "{source}");
        assert!(
            found.iter().all(|it| it == "2 import climbs"),
            "{source}: {found:?}"
        );
    }
}

#[test]
fn imports_that_go_down_or_stay_are_fine() {
    for (path, source) in [
        (
            "src/shard/plan.rs",
            "use crate::{model::Key, log::Segment, shard::Row};",
        ),
        (
            "src/shard/plan.rs",
            "use super::apply::Row; use self::x::Y; mod x { use super::super::Z; }",
        ),
        ("src/log/scan.rs", "use crate::codec::Record;"),
        ("src/supervise/mod.rs", "use crate::service::Service;"),
        (
            "src/start.rs",
            "use crate::{supervise::Disk, gateway::Grpc};",
        ),
        ("src/cli/serve.rs", "use crate::start;"),
        ("src/main.rs", "use shardkeep::cli;"),
        (
            "src/model/key.rs",
            "#[cfg(test)] mod tests { use crate::service::Service; }",
        ),
    ] {
        assert_eq!(broken(path, source), [""; 0], "{path}: {source}");
    }
}

#[test]
fn neighbours_do_not_import_each_other() {
    for (path, target) in [
        ("src/shard/mod.rs", "dedup"),
        ("src/dedup/mod.rs", "shard"),
        ("src/log/mod.rs", "index"),
        ("src/gateway/mod.rs", "supervise"),
        ("src/gateway/mod.rs", "shard"),
        ("src/client/mod.rs", "service"),
        ("src/cli/mod.rs", "service"),
        ("src/service/mod.rs", "start"),
    ] {
        let found = broken(path, &format!("use crate::{target}::X;"));
        assert_eq!(found, ["2 import climbs"], "{path} {target}");
    }
}

#[test]
fn a_foreign_crate_outside_its_room_is_found() {
    for (path, source) in [
        ("src/shard/apply.rs", "use fjall::Keyspace;"),
        ("src/service/mod.rs", "fn f() { blake3::hash(b\"\"); }"),
        (
            "src/service/mod.rs",
            "fn f() { assert!(zstd::compress()); }",
        ),
        ("src/router/mod.rs", "use ::dashmap::DashMap;"),
        ("src/start.rs", "use {tonic::Status, std::fmt};"),
        ("src/log/mod.rs", "use actix;"),
        ("src/service/mod.rs", "#[tonic::async_trait] trait T {}"),
        ("src/config/mod.rs", "use tracing_subscriber::fmt;"),
    ] {
        let found = broken(path, source);
        assert_eq!(
            found,
            ["2 foreign crate outside its room"],
            "{path}: {source}"
        );
    }
}

#[test]
fn a_foreign_crate_at_home_and_a_room_of_the_same_name_are_fine() {
    for (path, source) in [
        ("src/index/batch.rs", "use fjall::Keyspace;"),
        (
            "src/config/layer.rs",
            "use config::Value; fn f() { config::Config::builder(); }",
        ),
        (
            "src/start.rs",
            "use crate::config; fn f() { config::Layers::new(); }",
        ),
        ("src/cli/mod.rs", "mod config; use config::Command;"),
        ("src/service/mod.rs", "fn f(config: u8) -> u8 { config }"),
    ] {
        assert_eq!(broken(path, source), [""; 0], "{path}: {source}");
    }
}

#[test]
fn a_room_that_nobody_knows_is_found() {
    let unknown = ["2 unknown room"];
    assert_eq!(broken("src/log/mod.rs", "use crate::engine::X;"), unknown);
    assert_eq!(broken("src/engine/mod.rs", ""), ["1 unknown room"]);
}

#[test]
fn a_name_that_says_nothing_is_found() {
    for path in [
        "src/log/utils.rs",
        "src/log/common/mod.rs",
        "src/shard/manager.rs",
    ] {
        assert_eq!(broken(path, ""), ["1 empty name"], "{path}");
    }
}

#[test]
fn a_file_without_its_text_is_found() {
    let found = faults_of("src/log/mod.rs", "use std::fs;\n//! late");
    assert!(found.iter().any(|it| it.rule == "no text at the top"));
    let found = faults_of("src/log/mod.rs", "// only a remark\nfn f() {}\n");
    assert_eq!(found.len(), 1);
}

#[test]
fn unwrap_and_unfinished_code_are_found_outside_tests_only() {
    for source in [
        "fn f() { g().unwrap(); }",
        "fn f() { x.map(Option::unwrap); }",
        "fn f() { assert!(g().unwrap()); }",
        "impl X { fn f() { g().unwrap(); } }",
        "fn f() { todo!() }",
        "fn f() { if true { unimplemented!(\"later\") } }",
        "fn f() { dbg!(1); }",
        "fn f() { println!(\"{}\", dbg!(1)); }",
        "#[cfg(not(test))] fn f() { dbg!(1); }",
    ] {
        assert_eq!(
            broken("src/log/mod.rs", source),
            ["2 not outside tests"],
            "{source}"
        );
    }
    for source in [
        "fn f() { g().expect(\"proof\").unwrap_or(1); }",
        "#[cfg(test)] mod tests { fn f() { g().unwrap(); todo!() } }",
        "#[cfg(test)] fn f() { g().unwrap(); }",
        "impl X { #[cfg(test)] fn f() { g().unwrap(); } }",
        "/// `x.unwrap()`\nfn f() -> &'static str { \"todo!()\" }",
    ] {
        assert_eq!(broken("src/log/mod.rs", source), [""; 0], "{source}");
    }
}

#[test]
fn long_functions_and_files_are_found_but_tests_may_be_long() {
    let body = |lines: usize| "    g();\n".repeat(lines);
    let function = |lines: usize| format!("fn f() {{\n{}}}\n", body(lines - 2));
    let at = "src/log/mod.rs";
    assert_eq!(broken(at, &function(70)), [""; 0]);
    assert_eq!(broken(at, &function(71)), ["2 function too long"]);
    let method = format!("impl X {{\n{}}}\n", function(71));
    assert_eq!(broken(at, &method), ["3 function too long"]);
    let filler = "const X: u8 = 1;\n";
    assert_eq!(broken(at, &filler.repeat(499)), [""; 0]);
    assert_eq!(broken(at, &filler.repeat(500)), ["1 file too long"]);
    let tests = format!(
        "{}#[cfg(test)]\nmod tests {{\n{}}}\n",
        filler.repeat(499),
        function(300)
    );
    assert_eq!(broken(at, &tests), [""; 0]);
}

#[test]
fn files_of_tests_alone_are_known_by_their_declaration() {
    let sources = [
        ("src/log/mod.rs", "#[cfg(test)] mod tests; mod scan;"),
        ("src/log/scan.rs", "#[cfg(test)]\nmod oracle;"),
        (
            "src/log/tail.rs",
            "#[cfg(test)] #[path = \"tail_tests.rs\"] mod tests;",
        ),
    ];
    let sources = sources.map(|(path, text)| (path.to_owned(), text.to_owned()));
    let expected = [
        "src/log/tests.rs",
        "src/log/tests/",
        "src/log/scan/oracle.rs",
        "src/log/scan/oracle/",
        "src/log/tail_tests.rs",
    ];
    assert_eq!(test_only_files(&sources), expected);
}

#[test]
fn what_is_not_rust_is_named() {
    assert_eq!(broken("src/log/mod.rs", "fn f( {"), ["2 does not parse"]);
}

#[test]
fn a_message_names_the_file_the_line_the_rule_and_the_remedy() {
    let faults = faults_of(
        "src/log/mod.rs",
        "//! Room.\n\nuse crate::service::Service;\n",
    );
    let message = faults[0].to_string();
    for part in ["src/log/mod.rs:3: import climbs: ", "log", "service", "; "] {
        assert!(message.contains(part), "{message}");
    }
}
