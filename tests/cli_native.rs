//! The commands of the native protocol from outside: the real program against a real server.

mod support;

use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Stdio};
use support::program::{code, command, json, output, piped, run, said};
use support::{Builder, Server, noise};

fn user_keys() -> Builder {
    Server::builder().flags(["--allow-user-key", "--allow-overwrite"])
}

fn interrupt(child: &Child) {
    use rustix::process::{Pid, Signal, kill_process};
    kill_process(Pid::from_child(child), Signal::INT).unwrap();
}

#[tokio::test]
async fn a_change_on_a_condition_has_an_exit_code_of_its_own_when_others_were_faster() {
    let server = user_keys().start().await;
    let server = server.address();
    let first = output(server, &["cas", "k", "--if-absent", "--value", "one"]);
    let version = first.trim();
    let there = run(server, &["cas", "k", "--if-absent", "--value", "two"]);
    assert_eq!(code(&there), 7, "{}", said(&there));
    let second = piped(server, &["cas", "k", "--if-version", version], b"two");
    assert_eq!(code(&second), 0, "{}", said(&second));
    let late = json(server, &["cas", "k", "--if-version", version, "--delete"]);
    assert_eq!(late["error"]["kind"], "conflict", "{late}");
    assert_eq!(late["error"]["exit_code"], 7);
    assert_eq!(output(server, &["get", "k"]), "two");

    let digest = blake3::hash(b"two").to_hex();
    let third = json(
        server,
        &["cas", "k", "--if-digest", &digest, "--value", "three"],
    );
    assert_eq!(third["created"], false, "{third}");
    let version = third["version"].to_string();
    let removed = json(server, &["cas", "k", "--if-version", &version, "--delete"]);
    assert_eq!(removed["removed_version"], third["version"], "{removed}");
    assert_eq!(code(&run(server, &["get", "k"])), 3);
    assert_eq!(
        code(&run(server, &["cas", "k", "--value", "x"])),
        2,
        "no condition"
    );
}

#[tokio::test]
async fn a_watch_tells_changes_and_where_another_goes_on() {
    let server = user_keys().start().await;
    let server = server.address();
    output(server, &["ns", "create", "orders"]);
    let put = |key: &str, value: &str| {
        let cas = [
            "cas",
            key,
            "--if-absent",
            "--value",
            value,
            "--namespace",
            "orders",
        ];
        let version = output(server, &cas);
        version.trim().to_owned()
    };
    let begun = put("other", "x");
    let one = put("a/1", "line\nbreak");
    let two = put("a/2", "two");
    let watch = ["watch", "a/", "--namespace", "orders", "--after"];
    let told = run(
        server,
        &[&watch[..], &[&begun, "--values", "-n", "1"]].concat(),
    );
    let text = String::from_utf8(told.stdout.clone()).unwrap();
    assert_eq!(text, format!("put     {one:>10}  \\a/1\tline\\nbreak\n"));
    let note = format!("go on with --after {one}");
    assert!(said(&told).contains(&note), "{}", said(&told));

    let json = ["--output", "json", "-n", "1"];
    let rest = output(server, &[&watch[..], &[&one], &json[..]].concat());
    let lines: Vec<Value> = rest
        .lines()
        .map(|it| serde_json::from_str(it).unwrap())
        .collect();
    let put: Vec<&Value> = lines.iter().filter(|it| !it["key"].is_null()).collect();
    assert_eq!(put.len(), 1, "{rest}");
    assert_eq!(
        (&put[0]["change"], &put[0]["key"]),
        (&"put".into(), &"a/2".into())
    );
    assert_eq!(put[0]["version"].to_string(), two);
    assert_eq!(lines.last().unwrap()["version"].to_string(), two);
    let ahead = run(server, &["watch", "--after", "999999"]);
    assert_eq!(code(&ahead), 1, "{}", said(&ahead));
}

#[tokio::test]
async fn an_interrupted_watch_says_how_to_go_on() {
    let server = user_keys().start().await;
    let server = server.address();
    let mut watch = command(server, &["watch", "--after", "0"]);
    watch.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut watch = watch.spawn().unwrap();
    let put = output(server, &["cas", "k", "--if-absent", "--value", "x"]);
    let mut line = String::new();
    let mut told = BufReader::new(watch.stdout.take().unwrap());
    told.read_line(&mut line).unwrap();
    assert_eq!(line, format!("put     {:>10}  k\n", put.trim()));
    interrupt(&watch);
    assert_eq!(watch.wait().unwrap().code(), Some(130));
    let mut said = String::new();
    watch.stderr.unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("go on with --after"), "{said}");
}

#[tokio::test]
async fn a_snapshot_is_read_from_until_it_is_removed() {
    let server = user_keys().start().await;
    let server = server.address();
    output(server, &["cas", "k", "--if-absent", "--value", "old"]);
    let id = output(server, &["snapshot", "create", "--lease", "60s"]);
    let id = id.trim();
    let version = json(server, &["snapshot", "ls"])["snapshots"][0]["version"].to_string();
    assert_eq!(version, "1");
    output(server, &["cas", "k", "--if-version", "1", "--value", "new"]);
    output(server, &["cas", "later", "--if-absent", "--value", "new"]);
    assert_eq!(output(server, &["get", "k", "--snapshot", id]), "old");
    assert_eq!(output(server, &["get", "k"]), "new");
    assert_eq!(output(server, &["scan", "--snapshot", id]), "k\n");
    assert!(output(server, &["snapshot", "ls"]).contains(id));
    assert!(output(server, &["snapshot", "renew", id, "--lease", "1h"]).contains("held until"));
    output(server, &["snapshot", "rm", id]);
    assert_eq!(code(&run(server, &["snapshot", "rm", id])), 3);
    let gone = run(server, &["get", "k", "--snapshot", id]);
    assert_eq!(code(&gone), 3, "{}", said(&gone));
    assert!(said(&gone).contains("lease"), "{}", said(&gone));
    let long = run(server, &["snapshot", "create", "--lease", "2h"]);
    assert_eq!(code(&long), 1, "{}", said(&long));
}

#[tokio::test]
async fn what_keys_hold_and_free_is_told() {
    let server = user_keys().start().await;
    let server = server.address();
    let put = |key| {
        let put = ["put", "--user-keys", "--key", key];
        assert_eq!(code(&piped(server, &put, &noise(1, 50_000))), 0);
    };
    put("in/1");
    put("in/2");
    let usage = json(server, &["du", "in/"]);
    assert_eq!(usage["keys"], 2, "{usage}");
    assert_eq!(usage["logical_bytes"], 100_000, "{usage}");
    assert_eq!(usage["freed_bytes"], 50_000, "{usage}");
    put("out/1");
    let usage = json(server, &["du", "in/"]);
    assert_eq!(
        (&usage["stored_bytes"], &usage["freed_bytes"]),
        (&50_000.into(), &0.into())
    );
    assert!(output(server, &["du"]).contains("deleting would free"));
    let nowhere = run(server, &["du", "--namespace", "nowhere"]);
    assert_eq!(code(&nowhere), 3, "{}", said(&nowhere));
}

#[tokio::test]
async fn a_prefix_of_a_namespace_is_removed_after_a_yes_and_counted_before() {
    let server = user_keys().set("storage.shards", "2").start().await;
    let server = server.address();
    output(server, &["ns", "create", "orders"]);
    let of = ["--namespace", "orders"];
    for key in ["a/1", "a/2", "a/3", "b/1"] {
        let put = ["put", "--key", key, "--value", "x"];
        output(server, &[&put[..], &of].concat());
    }
    output(server, &["put", "--key", "a/1", "--value", "x"]);
    let rm = [&["rm", "--prefix", "a/"], &of[..]].concat();
    let unanswered = run(server, &rm);
    assert_eq!(code(&unanswered), 2);
    let asked = said(&unanswered);
    assert!(
        asked.contains("orders") && asked.contains("3 keys"),
        "{asked}"
    );
    let counted = json(server, &[&rm[..], &["--dry-run"]].concat());
    assert_eq!(counted["would_remove"], 3, "{counted}");
    assert_eq!(
        output(server, &[&["scan"], &of[..]].concat())
            .lines()
            .count(),
        4
    );
    let removed = json(server, &[&rm[..], &["--yes"]].concat());
    assert_eq!(removed["removed"], 3, "{removed}");
    assert_eq!(output(server, &[&["scan"], &of[..]].concat()), "b/1\n");
    assert_eq!(
        output(server, &["scan"]),
        "a/1\n",
        "another namespace stays"
    );
    let all = [&["rm", "--prefix", "", "--yes"], &of[..]].concat();
    assert_eq!(json(server, &all)["removed"], 1);
    let nowhere = run(
        server,
        &["rm", "--prefix", "a", "--yes", "--namespace", "nowhere"],
    );
    assert_eq!(code(&nowhere), 3, "{}", said(&nowhere));
}

#[tokio::test]
async fn a_value_is_put_with_its_type_and_told_with_it() {
    let server = user_keys().start().await;
    let server = server.address();
    let place = tempfile::TempDir::new().unwrap();
    let out = place.path().join("out");
    let out = out.to_str().unwrap();
    let get = |key: &'static str| json(server, &["get", "--user-keys", key, "--out", out]);
    output(
        server,
        &["put", "--key", "n", "--type", "int64", "--value", "41"],
    );
    assert_eq!(get("n")["type"], "int64");
    output(server, &["put", "--key", "plain", "--value", "41"]);
    assert_eq!(get("plain")["type"], serde_json::Value::Null);
    let piped = piped(
        server,
        &["put", "--key", "j", "--type", "json"],
        b"{\"a\":1}",
    );
    assert_eq!(code(&piped), 0, "{}", said(&piped));
    assert_eq!(get("j")["type"], "json");

    let harmed = ["put", "--key", "x", "--type", "double", "--value", "much"];
    let refused = run(server, &harmed);
    assert_eq!(code(&refused), 2, "{}", said(&refused));
    assert!(said(&refused).contains("double"), "{}", said(&refused));
    assert_eq!(code(&run(server, &["get", "--user-keys", "x"])), 3);
}
