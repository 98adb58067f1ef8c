//! The command line from outside: the real program against a real server.

mod support;

use serde_json::Value;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};
use support::program::{code, command, json, output, piped, run, said, text};
use support::{ADMIN_PASSWORD, Server, noise, set_of};
use tempfile::TempDir;

/// The BLAKE3 digest of nothing.
const EMPTY: &str = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";

/// A folder with what folders have: equal files, a large one, names that are hard on lists.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::create_dir_all(folder.path().join("sub/deeper")).unwrap();
    for (name, content) in [
        ("a.txt", &b"hello"[..]),
        ("sub/equal.txt", b"hello"),
        ("sub/deeper/noise", &noise(1, 900_000)),
        ("sub/two  spaces", b"2"),
        ("sub/line\nbreak\\and more", b"3"),
    ] {
        fs::write(folder.path().join(name), content).unwrap();
    }
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
    folder
}

/// Every file below a folder with its bytes, in order.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    walkdir::WalkDir::new(folder)
        .sort_by_file_name()
        .into_iter()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| {
            let name = entry.path().strip_prefix(folder).unwrap();
            (text(name).to_owned(), fs::read(entry.path()).unwrap())
        })
        .collect()
}

#[tokio::test]
async fn a_folder_comes_back_from_its_list() {
    let server = Server::builder().start().await;
    let source = folder();
    fs::write(source.path().join("empty"), b"").unwrap();
    let list = output(server.address(), &["put", "-r", text(source.path())]);
    assert_eq!(list.lines().count(), 6);
    assert!(list.contains(&format!("{EMPTY}  empty\n")), "{list}");

    let place = TempDir::new().unwrap();
    let list_file = place.path().join("list");
    fs::write(&list_file, list).unwrap();
    let made = place.path().join("made");
    let get = ["get", "-r", text(&list_file), text(&made)];
    output(server.address(), &get);
    assert!(files(source.path()) == files(&made));
}

#[tokio::test]
async fn what_the_server_has_is_not_sent_again() {
    let server = Server::builder().start().await;
    let source = folder();
    let put = ["put", "-r", text(source.path())];
    let first = &json(server.address(), &put)["summary"];
    assert_eq!(first["files"], 5);
    assert_eq!(first["sent_files"], 4);
    assert_eq!(first["duplicate_files"], 1);
    assert_eq!(first["skipped_links"], 1);

    let second = &json(server.address(), &put)["summary"];
    assert_eq!(second["sent_bytes"], 0);
    assert_eq!(second["present_files"], 4);
    assert_eq!(second["bytes"], first["bytes"]);
    assert_eq!(second["saved_by_dedup_bytes"], second["bytes"]);
}

#[tokio::test]
async fn a_folder_comes_back_by_the_prefix_of_its_keys() {
    let server = Server::builder().flag("--allow-user-key").start().await;
    let source = folder();
    let put = ["put", "-r", "--user-keys", "--prefix", "photos/"];
    let listed = output(
        server.address(),
        &[&put[..], &[text(source.path())]].concat(),
    );
    assert_eq!(listed, "");

    let place = TempDir::new().unwrap();
    let get = ["get", "-r", "--prefix", "photos/", text(place.path())];
    output(server.address(), &get);
    assert!(files(source.path()) == files(place.path()));
}

#[tokio::test]
async fn an_empty_file_that_a_user_key_cannot_hold_is_told() {
    let server = Server::builder().flag("--allow-user-key").start().await;
    let source = folder();
    fs::write(source.path().join("empty"), b"").unwrap();
    let put = ["put", "-r", "--user-keys", text(source.path())];
    let refused = run(server.address(), &put);
    assert_eq!(code(&refused), 1);
    assert!(
        said(&refused).contains("--skip-empty"),
        "{}",
        said(&refused)
    );
    output(server.address(), &[&put[..], &["--skip-empty"]].concat());
}

#[tokio::test]
async fn a_changed_file_that_the_server_does_not_replace_is_told() {
    let server = Server::builder().flag("--allow-user-key").start().await;
    let put = ["put", "--user-keys", "--key", "k"];
    assert_eq!(code(&piped(server.address(), &put, b"old")), 0);
    let kept = piped(server.address(), &put, b"new");
    assert_eq!(code(&kept), 1);
    assert!(said(&kept).contains("--allow-overwrite"), "{}", said(&kept));
    assert_eq!(output(server.address(), &["get", "k"]), "old");
}

#[tokio::test]
async fn user_keys_on_a_server_of_content_keys_are_refused_with_the_remedy() {
    let server = Server::builder().start().await;
    let put = ["put", "--user-keys", "--key", "k"];
    let refused = piped(server.address(), &put, b"value");
    assert_eq!(code(&refused), 2);
    assert!(
        said(&refused).contains("--allow-user-key"),
        "{}",
        said(&refused)
    );
}

#[tokio::test]
async fn a_value_goes_through_the_standard_streams() {
    let server = Server::builder().start().await;
    let value = noise(2, 300_000);
    let put = piped(server.address(), &["put", "-"], &value);
    let key = String::from_utf8(put.stdout).unwrap();
    let got = run(server.address(), &["get", key.trim()]);
    assert!(got.stdout == value);
}

#[tokio::test]
async fn the_groups_that_puts_made_are_counted() {
    const PUTS: u64 = 20;
    let server = Server::builder().flag("--allow-user-key").start().await;
    let folder = TempDir::new().unwrap();
    for number in 0..PUTS {
        // Too small for homes of their own, so that each takes one command.
        fs::write(folder.path().join(number.to_string()), format!("{number}")).unwrap();
    }
    let put = ["put", "-r", "--user-keys", text(folder.path())];
    output(server.address(), &put);

    let writes = &json(server.address(), &["status"])["writes"];
    let total = &writes["total"];
    let number = |figure: &Value| figure.as_u64().unwrap_or_else(|| panic!("{writes:#}"));
    assert_eq!(number(&total["commands"]), PUTS);
    assert!((1..=PUTS).contains(&number(&total["groups"])), "{writes:#}");
    for name in [
        "commands_per_group",
        "bytes_per_group",
        "sync_us",
        "index_us",
        "wait_us",
    ] {
        let spread = &total[name];
        assert!(
            number(&spread["p50"]) <= number(&spread["p99"]),
            "{name}: {writes:#}"
        );
    }
    let shards = writes["shards"].as_array().unwrap();
    for name in ["groups", "commands"] {
        let sum: u64 = shards.iter().map(|shard| number(&shard[name])).sum();
        assert_eq!(sum, number(&total[name]), "{name}: {writes:#}");
    }
    let text = output(server.address(), &["status"]);
    assert!(text.contains("writes since its start"), "{text}");
    server.stop().await;
}

#[tokio::test]
async fn a_key_is_listed_told_and_removed() {
    let server = Server::builder().start().await;
    let put = piped(server.address(), &["put"], b"value");
    let key = String::from_utf8(put.stdout).unwrap();
    let key = key.trim();
    assert_eq!(output(server.address(), &["ls", &key[..4]]).trim(), key);
    let stat = json(server.address(), &["stat", key]);
    assert_eq!((&stat["bytes"], &stat["version"]), (&5.into(), &1.into()));
    assert_eq!(json(server.address(), &["status"])["keys"], 1);

    output(server.address(), &["rm", key]);
    for gone in [&["get", key][..], &["stat", key], &["rm", key]] {
        let output = run(server.address(), gone);
        assert_eq!(code(&output), 3, "{gone:?}: {}", said(&output));
    }
    output(server.address(), &["rm", "--force", key]);
    assert_eq!(output(server.address(), &["ls"]), "");
}

#[tokio::test]
async fn keys_are_scanned_by_their_bounds_whatever_bytes_they_are() {
    use std::os::unix::ffi::OsStrExt as _;
    let server = Server::builder().flag("--allow-user-key").start().await;
    let mut client = server.client().await;
    for key in [&b"a/1"[..], b"a/2", b"a/3\n", b"b/1", b"b/\xff"] {
        let stored = client.set(set_of(key, "value")).await.unwrap();
        assert_eq!(stored.into_inner().errcode, 0);
    }
    let scan = |arguments: &[&str]| {
        let output = run(server.address(), &[&["scan"], arguments].concat());
        assert_eq!(code(&output), 0, "{arguments:?}: {}", said(&output));
        let lines = output.stdout.split(|byte| *byte == b'\n');
        let lines = lines.filter(|it| !it.is_empty());
        lines.map(<[u8]>::to_vec).collect::<Vec<_>>()
    };
    let all = [&b"a/1"[..], b"a/2", b"\\a/3\\n", b"b/1", b"b/\xff"];
    assert_eq!(scan(&[]), all);
    assert_eq!(scan(&["a/"]), all[..3]);
    assert_eq!(scan(&["--from", "a/2", "--to", "b/1"]), all[1..3]);
    assert_eq!(scan(&["a", "--to", "a/2"]), all[..1]);
    assert_eq!(scan(&["--reverse", "-n", "2"]), [all[4], all[3]]);
    let prefix = std::ffi::OsStr::from_bytes(b"b/\xff");
    let mut odd = command(server.address(), &["scan"]);
    assert_eq!(odd.arg(prefix).output().unwrap().stdout, b"b/\xff\n");
    let long = String::from_utf8(scan(&["a/1", "--long"])[0].clone()).unwrap();
    let columns: Vec<&str> = long.split_whitespace().collect();
    assert_eq!((columns[0], columns[1], columns[3]), ("5", "1", "a/1"));
    let found = json(server.address(), &["scan", "b"]);
    assert_eq!(found["count"], 2);
    assert_eq!(found["keys"][0]["bytes"], 5);
    assert_eq!(found["keys"][1]["key"]["hex"], "622fff");
    let unknown = "00112233445566778899aabbccddeeff";
    for (arguments, exit) in [
        (&["scan", "--from", "b", "--to", "a"][..], 1),
        (&["scan", "-n", "0"], 2),
        (&["scan", "--snapshot", unknown], 3),
        (&["scan", "--namespace", "unknown"], 3),
    ] {
        let output = run(server.address(), arguments);
        assert_eq!(code(&output), exit, "{arguments:?}: {}", said(&output));
    }
}

#[tokio::test]
async fn keys_are_removed_by_prefix_only_with_a_yes() {
    let server = Server::builder().flag("--allow-user-key").start().await;
    for key in ["a/1", "a/2", "b/1"] {
        let put = ["put", "--user-keys", "--key", key];
        assert_eq!(code(&piped(server.address(), &put, b"value")), 0);
    }
    let unanswered = run(server.address(), &["rm", "--prefix", "a/"]);
    assert_eq!(code(&unanswered), 2);
    assert_eq!(output(server.address(), &["ls"]), "a/1\na/2\nb/1\n");
    output(server.address(), &["rm", "--prefix", "a/", "--yes"]);
    assert_eq!(output(server.address(), &["ls"]), "b/1\n");
}

#[tokio::test]
async fn a_file_over_the_limit_is_told_and_the_others_are_stored() {
    let server = Server::builder();
    let server = server.flags(["--max-upload-size-mb", "1"]).start().await;
    let source = folder();
    fs::write(source.path().join("large"), noise(3, (1 << 20) + 1)).unwrap();
    let output = run(server.address(), &["put", "-r", text(source.path())]);
    assert_eq!(code(&output), 1);
    assert!(said(&output).contains("large"), "{}", said(&output));
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 5);
}

#[tokio::test]
async fn a_list_makes_nothing_outside_its_folder() {
    let server = Server::builder().start().await;
    let put = piped(server.address(), &["put"], b"value");
    let key = String::from_utf8(put.stdout).unwrap();
    let key = key.trim();
    let place = TempDir::new().unwrap();
    let inner = place.path().join("inner");
    let absolute = place.path().join("absolute");
    let list = format!(
        "{key}  ../climbed\n{key}  {}\n{key}  good\n",
        text(&absolute)
    );
    let output = piped(
        server.address(),
        &["get", "-r", "-", text(&inner)],
        list.as_bytes(),
    );
    assert_eq!(code(&output), 1, "{}", said(&output));
    assert_eq!(
        files(place.path()),
        [("inner/good".to_owned(), b"value".to_vec())]
    );
}

#[tokio::test]
async fn a_list_with_missing_keys_makes_the_others_and_is_exit_code_3() {
    let server = Server::builder().start().await;
    let put = piped(server.address(), &["put"], b"value");
    let key = String::from_utf8(put.stdout).unwrap();
    let missing = "0".repeat(64);
    let list = format!("{missing}  missing\n{}  good\n", key.trim());
    let place = TempDir::new().unwrap();
    let get = ["get", "-r", "-", text(place.path())];
    let output = piped(server.address(), &get, list.as_bytes());
    assert_eq!(code(&output), 3, "{}", said(&output));
    assert_eq!(
        files(place.path()),
        [("good".to_owned(), b"value".to_vec())]
    );
}

#[tokio::test]
async fn a_refusing_server_is_exit_code_4() {
    let server = Server::builder().flag("--disable-set").start().await;
    let source = folder();
    for put in [
        &["put", text(&source.path().join("a.txt"))][..],
        &["put", "-r", text(source.path())],
    ] {
        let output = run(server.address(), put);
        assert_eq!(code(&output), 4, "{}", said(&output));
    }
    let wrong = ["backup", "daily", "--admin-password", "wrong"];
    let output = run(server.address(), &wrong);
    assert_eq!(code(&output), 4, "{}", said(&output));
    assert!(said(&output).contains("SHARDKEEP_ADMIN_PASSWORD"));
}

#[test]
fn a_server_that_is_not_there_is_exit_code_5_and_the_remedy_is_told() {
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let output = run(address, &["status"]);
    assert_eq!(code(&output), 5);
    assert_eq!(
        said(&output),
        format!(
            "shardkeep: cannot reach {address}: connection refused; is `shardkeep serve` running \
             there?\n"
        )
    );
    let error = &json(address, &["ls"])["error"];
    assert_eq!(error["exit_code"], 5);
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    for wrong in [
        &["no-such-command"][..],
        &["put", "--key", "k"],
        &["get", "-r", "list"],
        &["rm"],
        &["ls", "--server", "no address"],
    ] {
        assert_eq!(code(&run(nowhere, wrong)), 2, "{wrong:?}");
    }
    assert_eq!(code(&run(nowhere, &["--help"])), 0);
    assert!(output(nowhere, &["completions", "bash"]).contains("shardkeep"));
}

#[tokio::test]
async fn a_reader_that_goes_away_is_exit_code_141_and_no_panic() {
    let server = Server::builder().start().await;
    let source = folder();
    let mut child = streaming(server.address(), source.path());
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 141);
    assert!(!said(&output).contains("panicked"), "{}", said(&output));
}

#[tokio::test]
async fn an_interrupted_run_tells_how_far_it_came() {
    let server = Server::builder().start().await;
    let source = TempDir::new().unwrap();
    // More lines than a pipe holds: the run cannot end before they are read.
    for number in 0..2000 {
        let name = format!("{number:04}{}", "x".repeat(100));
        fs::write(source.path().join(name), number.to_string()).unwrap();
    }
    let mut child = streaming(server.address(), source.path());
    let mut list = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    list.read_line(&mut first).unwrap();
    interrupt(&child);
    let mut rest = String::new();
    list.read_to_string(&mut rest).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 130, "{}", said(&output));
    assert!(said(&output).contains("interrupted"), "{}", said(&output));
    assert!(first.trim_end().ends_with(&"x".repeat(100)));
}

fn streaming(server: SocketAddr, source: &Path) -> Child {
    let mut command = command(server, &["put", "-r", text(source)]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn interrupt(child: &Child) {
    use rustix::process::{Pid, Signal, kill_process};
    kill_process(Pid::from_child(child), Signal::INT).unwrap();
}

#[tokio::test]
async fn a_backup_builds_a_new_data_directory_without_a_server() {
    let server = Server::builder().start().await;
    let source = folder();
    let list = output(server.address(), &["put", "-r", text(source.path())]);
    let backup = ["backup", "daily", "--admin-password", ADMIN_PASSWORD];
    let target = output(server.address(), &backup);
    assert!(Path::new(target.trim()).is_absolute(), "{target}");

    let place = TempDir::new().unwrap();
    let data_dir = place.path().join("data");
    let restore = ["restore", "--data-dir", text(&data_dir), target.trim()];
    output(server.address(), &restore);
    let report = json(server.address(), &["verify", text(&data_dir)]);
    assert_eq!(report["problems"], serde_json::json!([]));

    let restored = Server::builder().data_dir(&data_dir).start().await;
    let made = place.path().join("made");
    let get = ["get", "-r", "-", text(&made)];
    let output = piped(restored.address(), &get, list.as_bytes());
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert!(files(source.path()) == files(&made));
}

#[tokio::test]
async fn a_backup_is_merged_into_a_running_server() {
    let server = Server::builder().start().await;
    let put = piped(server.address(), &["put"], b"value");
    let key = String::from_utf8(put.stdout).unwrap();
    let backup = ["backup", "daily", "--admin-password", ADMIN_PASSWORD];
    let target = output(server.address(), &backup);

    let other = Server::builder().start().await;
    let name = Path::new(target.trim()).file_name().unwrap();
    let root = other.data_dir().join("backups");
    fs::create_dir_all(&root).unwrap();
    fs::copy(target.trim(), root.join(name)).unwrap();
    let restore = ["restore", name.to_str().unwrap(), "--admin-password"];
    let restore = [&restore[..], &[ADMIN_PASSWORD]].concat();
    output(other.address(), &restore);
    assert_eq!(output(other.address(), &["get", key.trim()]), "value");
}

#[tokio::test]
async fn a_namespace_is_made_told_changed_and_dropped_only_with_a_yes() {
    let server = Server::builder().start().await;
    let server = server.address();
    let made = [
        "ns",
        "create",
        "orders",
        "--overwrite=false",
        "--default-ttl=60",
    ];
    assert!(output(server, &made).contains("60 s"));
    assert_eq!(code(&run(server, &made)), 1, "it is there already");
    let told = json(server, &["ns", "describe", "orders"]);
    assert_eq!(told["overwrite"], false, "{told}");
    assert_eq!(told["default_ttl"], 60.0, "{told}");
    let changed = json(
        server,
        &[
            "ns",
            "update",
            "orders",
            "--overwrite=true",
            "--value-size-max=64KiB",
        ],
    );
    assert_eq!(changed["overwrite"], true, "{changed}");
    assert_eq!(changed["value_size_max"], 65_536, "{changed}");
    assert_eq!(changed["default_ttl"], 60.0, "{changed}");
    assert!(output(server, &["status"]).contains("orders"));
    let status = json(server, &["status"]);
    assert_eq!(status["namespaces"][1]["name"], "orders", "{status}");
    let all = json(server, &["ns", "list"]);
    let names: Vec<_> = all["namespaces"].as_array().unwrap().iter().collect();
    assert_eq!(
        (&names[0]["name"], &names[1]["name"]),
        (&"default".into(), &"orders".into())
    );
    let drop = ["ns", "drop", "orders"];
    let refused = run(server, &drop);
    assert_eq!(code(&refused), 2);
    assert!(said(&refused).contains("--yes"), "{}", said(&refused));
    output(server, &[&drop[..], &["--yes"]].concat());
    for gone in [&drop[..], &["ns", "describe", "orders"]] {
        let gone = run(server, gone);
        assert_eq!(code(&gone), 3, "{}", said(&gone));
    }
    assert_eq!(code(&run(server, &["ns", "drop", "default", "--yes"])), 4);
}
