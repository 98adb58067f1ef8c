//! `export` and `import`: the keys of a namespace as one checked file.

mod support;

use bytes::Bytes;
use shardkeep::client::{Database, Expect, Keyspace, PutOptions, Query, Stay};
use shardkeep::model::ValueType;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;
use support::program::{code, command, json, output, piped, run, said, text};
use support::{Builder, Server, eventually, noise};
use tempfile::TempDir;

fn user_keys() -> Builder {
    Server::builder().flags(["--allow-user-key", "--allow-overwrite"])
}

/// What a walk over a namespace sees, versions left out.
async fn seen(server: &Server, namespace: &str) -> Vec<(String, usize, Option<u64>, String)> {
    let db = Database::connect(&server.address().to_string())
        .await
        .unwrap();
    let mut rows = db
        .keyspace(namespace)
        .scan(Query::all().values())
        .await
        .unwrap();
    let mut all = Vec::new();
    while let Some(page) = rows.next_page().await.unwrap() {
        for row in page {
            let entry = row.entry;
            let key = String::from_utf8(entry.key.to_vec()).unwrap();
            let said = format!(
                "{:?} {:?} {:x}",
                entry.value_type, entry.metadata, entry.sum64
            );
            all.push((
                key,
                row.data.unwrap().len(),
                entry.expiry.map(|it| it.0),
                said,
            ));
        }
    }
    all
}

/// A namespace with values of many sizes, some of which say something of themselves.
async fn fill(server: &Server) -> Database {
    let db = Database::connect(&server.address().to_string())
        .await
        .unwrap();
    output(
        server.address(),
        &["ns", "create", "orders", "--value-size-max=2MiB"],
    );
    let orders = db.keyspace("orders");
    for number in 0..1200u64 {
        let value = format!("value {number} ").repeat(usize::try_from(number % 40).unwrap());
        orders.put(format!("a/{number:04}"), value).await.unwrap();
    }
    let options = PutOptions {
        lifetime: Stay::For(Duration::from_secs(3600)),
        value_type: ValueType::Json,
        metadata: BTreeMap::from([("from".to_owned(), "test".to_owned())]),
        ..PutOptions::default()
    };
    orders.put_with("b/said", "{}", options).await.unwrap();
    orders.put("b/large", noise(1, 1_500_000)).await.unwrap();
    orders
        .put("b/large too", noise(1, 1_500_000))
        .await
        .unwrap();
    orders.put("b/empty", "").await.unwrap();
    db
}

#[tokio::test]
async fn a_namespace_comes_back_from_its_file_and_twice_changes_nothing() {
    let server = user_keys().set("storage.shards", "2").start().await;
    fill(&server).await;
    let place = TempDir::new().unwrap();
    let file = place.path().join("orders.export");
    let export = ["export", "--namespace", "orders", "--out", text(&file)];
    let told = json(server.address(), &export);
    assert_eq!(told["keys"], 1204, "{told}");
    assert_eq!(told["bytes"], fs::metadata(&file).unwrap().len());
    assert_eq!(
        fs::read_dir(place.path()).unwrap().count(),
        1,
        "nothing is left over"
    );

    let fresh = user_keys().start().await;
    let told = json(fresh.address(), &["import", text(&file)]);
    assert_eq!(told["imported"][0]["written"], 1204, "{told}");
    assert!(seen(&fresh, "orders").await == seen(&server, "orders").await);
    let rules = json(fresh.address(), &["ns", "describe", "orders"]);
    assert_eq!(rules["value_size_max"], 2 << 20, "{rules}");
    let version = json(fresh.address(), &["status"])["max_version"].clone();
    let again = json(fresh.address(), &["import", text(&file)]);
    assert_eq!(again["imported"][0]["unchanged"], 1204, "{again}");
    assert_eq!(json(fresh.address(), &["status"])["max_version"], version);

    // Into another namespace, which must be there or is made as theirs was.
    output(
        fresh.address(),
        &["import", text(&file), "--namespace", "copy"],
    );
    assert!(seen(&fresh, "copy").await == seen(&server, "orders").await);
}

#[tokio::test]
async fn a_part_of_the_keys_goes_through_a_pipe_as_of_a_snapshot() {
    let server = user_keys().start().await;
    let db = fill(&server).await;
    let snapshot = db.snapshot().await.unwrap();
    let before = seen(&server, "orders").await;
    db.keyspace("orders")
        .put("a/0001", "changed later")
        .await
        .unwrap();
    let part = [
        "a/",
        "--from",
        "a/0001",
        "--to",
        "a/0100",
        "--namespace",
        "orders",
    ];
    let export = [&["export"], &part[..], &["--snapshot", snapshot.id()]].concat();
    let exported = run(server.address(), &export);
    assert_eq!(code(&exported), 0, "{}", said(&exported));
    let import = ["import", "-", "--namespace", "part"];
    output(server.address(), &["ns", "create", "part"]);
    let imported = piped(server.address(), &import, &exported.stdout);
    assert_eq!(code(&imported), 0, "{}", said(&imported));
    let part = before
        .into_iter()
        .filter(|it| *it.0 >= *"a/0001" && *it.0 < *"a/0100");
    assert!(seen(&server, "part").await == part.collect::<Vec<_>>());
}

#[tokio::test]
async fn keys_that_are_there_are_replaced_or_kept() {
    let server = user_keys().start().await;
    let db = Database::connect(&server.address().to_string())
        .await
        .unwrap();
    let keys = db.keyspace("");
    for key in ["1", "2", "3"] {
        keys.put(key, "theirs").await.unwrap();
    }
    let place = TempDir::new().unwrap();
    let file = place.path().join("export");
    output(server.address(), &["export", "--out", text(&file)]);
    keys.put("1", "mine").await.unwrap();
    keys.delete("2").await.unwrap();
    let kept = json(server.address(), &["import", text(&file), "--keep"]);
    let kept = &kept["imported"][0];
    let counts = ["written", "kept", "unchanged"].map(|it| kept[it].as_u64().unwrap());
    assert_eq!(counts, [1, 1, 1], "{kept}");
    assert_eq!(keys.get("1").await.unwrap().unwrap().data, "mine");
    output(server.address(), &["import", text(&file)]);
    assert_eq!(keys.get("1").await.unwrap().unwrap().data, "theirs");
    // Where keys keep their first value, that is told, and nothing of its commit is written.
    let firm = Server::builder().flag("--allow-user-key").start().await;
    let db = Database::connect(&firm.address().to_string())
        .await
        .unwrap();
    db.keyspace("")
        .put_if("2", "first", Expect::Absent)
        .await
        .unwrap();
    let refused = run(firm.address(), &["import", text(&file)]);
    assert_eq!(code(&refused), 7, "{}", said(&refused));
    assert!(
        said(&refused).contains("0 of 3 keys are in"),
        "{}",
        said(&refused)
    );
    assert_eq!(output(firm.address(), &["scan"]), "2\n");
    output(firm.address(), &["import", text(&file), "--keep"]);
    assert_eq!(output(firm.address(), &["scan"]), "1\n2\n3\n");
}

#[tokio::test]
async fn a_file_that_is_not_whole_or_no_export_changes_nothing() {
    let server = user_keys().start().await;
    let db = Database::connect(&server.address().to_string())
        .await
        .unwrap();
    for number in 0..50 {
        db.keyspace("")
            .put(format!("k{number}"), noise(number, 3000))
            .await
            .unwrap();
    }
    let place = TempDir::new().unwrap();
    let file = place.path().join("export");
    output(server.address(), &["export", "--out", text(&file)]);
    let whole = fs::read(&file).unwrap();
    let fresh = user_keys().start().await;
    let harmed = place.path().join("harmed");
    for at in (100..whole.len()).step_by(whole.len() / 23) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&harmed, bytes).unwrap();
        assert_ne!(
            code(&run(fresh.address(), &["import", text(&harmed)])),
            0,
            "{at}"
        );
        let cut = piped(fresh.address(), &["import", "-"], &whole[..at]);
        assert_ne!(code(&cut), 0, "{at}");
    }
    assert_eq!(output(fresh.address(), &["scan"]), "");

    // A restore takes no export, and an import no backup.
    let own = fresh.data_dir().join("backups/export.zstdb.bak");
    fs::write(&own, &whole).unwrap();
    let password = ["--admin-password", support::ADMIN_PASSWORD];
    let restore = [&["restore", text(&own)], &password[..]].concat();
    let refused = run(fresh.address(), &restore);
    assert_ne!(code(&refused), 0);
    assert!(
        said(&refused).contains("shardkeep import"),
        "{}",
        said(&refused)
    );
    let backup = [&["backup", "all"], &password[..]].concat();
    let backup = output(server.address(), &backup);
    let backup = fs::read(backup.trim()).unwrap();
    let refused = piped(fresh.address(), &["import", "-"], &backup);
    assert!(said(&refused).contains("restore"), "{}", said(&refused));
    assert_eq!(output(fresh.address(), &["scan"]), "");
}

#[tokio::test]
async fn an_export_that_is_cut_short_leaves_no_file() {
    let mut server = user_keys().start().await;
    fill(&server).await;
    let place = TempDir::new().unwrap();
    let file = place.path().join("export");
    fs::write(&file, "an older one").unwrap();
    server.kill();
    let failed = run(server.address(), &["export", "--out", text(&file)]);
    assert_eq!(code(&failed), 5, "{}", said(&failed));
    let missing = run(
        server.address(),
        &["export", "--out", text(&place.path().join("no/x"))],
    );
    assert_ne!(code(&missing), 0);
    assert_eq!(fs::read(&file).unwrap(), b"an older one");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    let mut terminal = command(server.address(), &["export", "--output", "json"]);
    let usage = terminal.stdout(Stdio::piped()).output().unwrap();
    assert_eq!(code(&usage), 2);
}

/// Stores a value of any size.
async fn upload(keys: &Keyspace, key: &str, value: &[u8], options: PutOptions) {
    let (sender, pieces) = tokio::sync::mpsc::channel(4);
    let value = Bytes::copy_from_slice(value);
    let size = value.len() as u64;
    let sending = async move {
        for at in (0..value.len()).step_by(1 << 20) {
            let end = value.len().min(at + (1 << 20));
            sender.send(value.slice(at..end)).await.unwrap();
        }
    };
    let (done, ()) = tokio::join!(
        keys.upload(key.to_owned(), (size, pieces), options),
        sending
    );
    done.unwrap();
}

async fn download(keys: &Keyspace, key: &str) -> Vec<u8> {
    let mut download = keys.download(key.to_owned()).await.unwrap().unwrap();
    let mut value = Vec::new();
    while let Some(piece) = download.next().await.unwrap() {
        value.extend_from_slice(&piece);
    }
    value
}

/// A store with large values that share most of what they are, between small ones.
async fn large_values(server: &Server) -> (Vec<u8>, Vec<u8>) {
    let db = Database::connect(&server.address().to_string())
        .await
        .unwrap();
    let keys = db.keyspace("");
    let first = noise(1, 20 << 20);
    let mut second = first.clone();
    second.splice(9 << 20..9 << 20, noise(2, 1 << 20));
    let said = PutOptions {
        value_type: ValueType::Text,
        metadata: BTreeMap::from([("name".to_owned(), "film".to_owned())]),
        ..PutOptions::default()
    };
    upload(&keys, "b/first", &first, said).await;
    upload(&keys, "b/second", &second, PutOptions::default()).await;
    upload(&keys, "c/first again", &first, PutOptions::default()).await;
    for key in ["a", "b/g", "d"] {
        keys.put(key, key).await.unwrap();
    }
    (first, second)
}

#[tokio::test]
async fn values_of_any_size_come_back_and_what_they_share_stands_in_the_file_once() {
    let server = user_keys().set("storage.shards", "2").start().await;
    let (first, second) = large_values(&server).await;
    let place = TempDir::new().unwrap();
    let file = place.path().join("export");
    let told = json(server.address(), &["export", "--out", text(&file)]);
    assert_eq!(told["keys"], 6, "{told}");
    let size = fs::metadata(&file).unwrap().len();
    assert!(size < 27 << 20, "{size} bytes for 20 MiB and 1 MiB in it");

    let fresh = user_keys().start().await;
    let imported = json(fresh.address(), &["import", text(&file)]);
    assert_eq!(imported["imported"][0]["written"], 6, "{imported}");
    let db = Database::connect(&fresh.address().to_string())
        .await
        .unwrap();
    let keys = db.keyspace("");
    assert!(download(&keys, "b/first").await == first);
    assert!(download(&keys, "b/second").await == second);
    assert!(download(&keys, "c/first again").await == first);
    let head = keys.head("b/first").await.unwrap().unwrap();
    assert_eq!(
        (head.value_type, &*head.metadata["name"]),
        (ValueType::Text, "film")
    );
    let status = json(fresh.address(), &["status"]);
    let again = json(fresh.address(), &["import", text(&file)]);
    assert_eq!(again["imported"][0]["unchanged"], 6, "{again}");
    let after = json(fresh.address(), &["status"]);
    assert_eq!(after["max_version"], status["max_version"]);

    // One that is another now is replaced or kept.
    upload(&keys, "b/first", &second, PutOptions::default()).await;
    let kept = json(fresh.address(), &["import", text(&file), "--keep"]);
    assert_eq!(kept["imported"][0]["kept"], 1, "{kept}");
    assert!(download(&keys, "b/first").await == second);
    output(fresh.address(), &["import", text(&file)]);
    assert!(download(&keys, "b/first").await == first);

    // A flaw in a chunk is found before the first key is written.
    let mut bytes = fs::read(&file).unwrap();
    bytes[10 << 20] ^= 1;
    let empty = user_keys().start().await;
    fs::write(&file, bytes).unwrap();
    let refused = run(empty.address(), &["import", text(&file)]);
    assert_eq!(code(&refused), 6, "{}", said(&refused));
    assert_eq!(output(empty.address(), &["scan"]), "");
}

/// A command that goes on beside the test.
fn spawn(server: &Server, arguments: &[&str]) -> Child {
    let mut command = command(server.address(), arguments);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Waits until some file of a folder has so many bytes.
async fn has_file_of(folder: &Path, bytes: u64) {
    eventually("a file that grows", || {
        let files = fs::read_dir(folder).unwrap();
        let mut sizes = files.filter_map(|it| Some(it.ok()?.metadata().ok()?.len()));
        sizes.any(|size| size >= bytes).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_export_whose_program_or_server_is_killed_leaves_nothing_under_its_name() {
    let mut server = user_keys().start().await;
    large_values(&server).await;
    let place = TempDir::new().unwrap();
    let folder = place.path().join("files");
    fs::create_dir(&folder).unwrap();
    let file = folder.join("export");
    let export = ["export", "--out", text(&file)];
    let mut exporting = spawn(&server, &export);
    has_file_of(&folder, 1 << 20).await;
    exporting.kill().unwrap();
    assert!(exporting.wait().unwrap().code().is_none(), "it was killed");
    assert!(!file.exists());
    // What was left over is another's, and is in nobody's way.
    for left in fs::read_dir(&folder).unwrap() {
        fs::remove_file(left.unwrap().path()).unwrap();
    }

    let mut exporting = spawn(&server, &export);
    has_file_of(&folder, 1 << 20).await;
    server.kill();
    assert_ne!(exporting.wait().unwrap().code(), Some(0));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

#[tokio::test]
async fn an_import_whose_program_or_server_is_killed_is_gone_on_with_by_the_next() {
    let server = user_keys().start().await;
    let (first, second) = large_values(&server).await;
    let place = TempDir::new().unwrap();
    let file = place.path().join("export");
    output(server.address(), &["export", "--out", text(&file)]);
    let import = ["import", text(&file)];

    let data_dir = place.path().join("data");
    let start = |actions: &'static str| {
        let builder = user_keys().data_dir(&data_dir);
        builder.fail_points(actions).start()
    };
    // Slow enough to be met in the middle of a large value.
    let mut slow = start("shard::commit=sleep(30)").await;
    let log = data_dir.join("shards/000/log");
    let mut importing = spawn(&slow, &import);
    has_file_of(&log, 6 << 20).await;
    importing.kill().unwrap();
    assert!(importing.wait().unwrap().code().is_none(), "it was killed");
    assert_eq!(output(slow.address(), &["scan"]), "a\n", "no half a value");

    let mut importing = spawn(&slow, &import);
    has_file_of(&log, 12 << 20).await;
    slow.kill();
    assert_ne!(importing.wait().unwrap().code(), Some(0));

    let whole = start("").await;
    let told = json(whole.address(), &import);
    let told = &told["imported"][0];
    assert_eq!(told["keys"], 6, "{told}");
    let db = Database::connect(&whole.address().to_string())
        .await
        .unwrap();
    let keys = db.keyspace("");
    assert!(download(&keys, "b/first").await == first);
    assert!(download(&keys, "b/second").await == second);
    assert_eq!(
        output(whole.address(), &["scan"]),
        output(server.address(), &["scan"])
    );
}

/// Files that others have put in the way of temporary ones are neither written nor followed.
#[tokio::test]
async fn standard_input_is_kept_where_nobody_else_can_read_or_foresee_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let server = user_keys().start().await;
    large_values(&server).await;
    let exported = run(server.address(), &["export", "a"]).stdout;
    let place = TempDir::new().unwrap();
    let mut command = command(server.address(), &["import", "-"]);
    command.env("TMPDIR", place.path()).stdin(Stdio::piped());
    let mut importing = command.spawn().unwrap();
    let spooled = eventually("the file", || {
        fs::read_dir(place.path()).unwrap().find_map(Result::ok)
    })
    .await;
    let mode = spooled.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let name = spooled.file_name().into_string().unwrap();
    let pid = importing.id().to_string();
    let rest = name.strip_prefix(&format!(".shardkeep-{pid}-")).unwrap();
    assert!(rest.len() >= 16, "a name that can be guessed: {name}");
    let mut input = importing.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, &exported).unwrap();
    drop(input);
    assert!(importing.wait().unwrap().success());
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}
