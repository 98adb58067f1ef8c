//! Large files from the command line: in chunks, and only those that the server lacks.

mod support;

use std::fs;
use std::process::Stdio;
use support::program::{command, json, output, run, said, text};
use support::proxy::Proxy;
use support::{Server, eventually, noise};
use tempfile::TempDir;

const MIB: usize = 1 << 20;

#[tokio::test]
async fn a_large_file_goes_and_comes_in_chunks_and_its_next_version_shares_them() {
    let server = Server::builder()
        .flags(["--allow-user-key", "--allow-overwrite"])
        .start()
        .await;
    let folder = TempDir::new().unwrap();
    let (file, back) = (folder.path().join("file"), folder.path().join("back"));
    let mut value = noise(1, 40 * MIB);
    fs::write(&file, &value).unwrap();
    let put = ["put", "--user-keys", "--key", "large", text(&file)];
    assert_eq!(json(server.address(), &put)["already_there"], false);
    assert_eq!(json(server.address(), &put)["already_there"], true);
    output(
        server.address(),
        &["get", "--user-keys", "large", "--out", text(&back)],
    );
    assert!(fs::read(&back).unwrap() == value);
    let piped = run(server.address(), &["get", "--user-keys", "large"]);
    assert!(piped.status.success() && piped.stdout == value);

    let before = json(server.address(), &["status"])["store"]["unique_bytes"].as_u64();
    value.splice(20 * MIB..20 * MIB, noise(2, MIB));
    fs::write(&file, &value).unwrap();
    output(
        server.address(),
        &["put", "--user-keys", "--key", "next", text(&file)],
    );
    let after = json(server.address(), &["status"])["store"]["unique_bytes"].as_u64();
    let (before, after) = (before.unwrap(), after.unwrap());
    assert!(after - before < 6 * MIB as u64, "{before} {after}");
    output(
        server.address(),
        &["get", "--user-keys", "next", "--out", text(&back)],
    );
    assert!(fs::read(&back).unwrap() == value);
}

// The way must be open while this waits for what the program says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_file_whose_way_is_cut_goes_on_by_itself() {
    let builder = Server::builder().flags(["--allow-user-key", "--allow-overwrite"]);
    let server = builder.fail_points("shard::commit=sleep(40)").start().await;
    let proxy = Proxy::to(server.address()).await;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    let value = noise(5, 40 * MIB);
    fs::write(&file, &value).unwrap();
    let put = ["put", "--user-keys", "--key", "large", text(&file)];
    let mut putting = command(proxy.address(), &put);
    let mut putting = putting.stdout(Stdio::null()).spawn().unwrap();
    // Cut off when a part of it has come.
    let some = || {
        let stored = json(server.address(), &["status"])["log_bytes"].as_u64();
        (stored.unwrap() > 4 * MIB as u64).then_some(())
    };
    eventually("some chunks", some).await;
    assert!(putting.try_wait().unwrap().is_none(), "it was too fast");
    let before = proxy.accepted();
    proxy.cut();
    let ended = tokio::task::spawn_blocking(move || putting.wait().unwrap());
    assert!(ended.await.unwrap().success());
    assert!(proxy.accepted() > before, "nothing was cut off");
    let got = run(server.address(), &["get", "--user-keys", "large"]);
    assert!(got.status.success() && got.stdout == value);
}

#[tokio::test]
async fn a_folder_with_a_large_file_comes_back_under_its_digests() {
    let server = Server::builder().start().await;
    let (source, made) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let large = noise(3, 20 * MIB);
    fs::write(source.path().join("large"), &large).unwrap();
    fs::write(source.path().join("small"), b"small").unwrap();
    let list = output(server.address(), &["put", "-r", text(source.path())]);
    assert!(
        list.contains(&format!("{}  large\n", blake3::hash(&large))),
        "{list}"
    );
    let list_file = made.path().join("list");
    fs::write(&list_file, list).unwrap();
    let target = made.path().join("made");
    output(
        server.address(),
        &["get", "-r", text(&list_file), text(&target)],
    );
    assert!(fs::read(target.join("large")).unwrap() == large);
    assert_eq!(fs::read(target.join("small")).unwrap(), b"small");
    assert_eq!(
        fs::read_dir(&target).unwrap().count(),
        2,
        "nothing is left over"
    );
}

#[tokio::test]
async fn a_file_over_the_servers_limit_is_refused_and_named() {
    let server = Server::builder()
        .set("server.max_value_size", "10 MiB")
        .start()
        .await;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, noise(4, 12 * MIB)).unwrap();
    let refused = run(server.address(), &["put", text(&file)]);
    assert!(!refused.status.success());
    let said = said(&refused);
    assert!(said.contains("server.max_value_size"), "{said}");
}

/// Runs a command with this on its standard input, and a folder of its own for temporary files.
fn put_piped(server: &Server, arguments: &[&str], input: &[u8]) -> String {
    let temporary = TempDir::new().unwrap();
    let mut command = command(server.address(), arguments);
    command.env("TMPDIR", temporary.path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, input).unwrap();
    drop(stdin);
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{}", said(&done));
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0);
    String::from_utf8(done.stdout).unwrap()
}

/// A value over the largest message goes in no other way.
#[tokio::test]
async fn large_standard_input_goes_in_chunks_wherever_it_is_put() {
    let server = Server::builder()
        .flags(["--allow-user-key", "--allow-overwrite"])
        .start()
        .await;
    output(server.address(), &["ns", "create", "files"]);
    let value = noise(5, 30 * MIB);
    let named = ["put", "--user-keys", "--key", "film"];
    assert_eq!(put_piped(&server, &named, &value), "film\n");
    let in_namespace = ["put", "--key", "film", "--namespace", "files"];
    assert_eq!(put_piped(&server, &in_namespace, &value), "film\n");
    let folder = TempDir::new().unwrap();
    let (file, back) = (folder.path().join("file"), folder.path().join("back"));
    fs::write(&file, &value).unwrap();
    output(
        server.address(),
        &["put", "--key", "again", "--namespace", "files", text(&file)],
    );
    for key in ["film", "again"] {
        let get = ["get", key, "--namespace", "files", "--out", text(&back)];
        output(server.address(), &get);
        assert!(fs::read(&back).unwrap() == value, "{key}");
    }
    let bytes = &json(server.address(), &["status"])["store"]["unique_bytes"];
    assert!(bytes.as_u64().unwrap() < 31 * MIB as u64, "{bytes}");

    let by_content = Server::builder().start().await;
    let key = put_piped(&by_content, &["put"], &value);
    assert_eq!(key.trim(), blake3::hash(&value).to_hex().as_str());
}
