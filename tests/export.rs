//! `export` and `import`: the keys of a namespace as one checked file.

mod support;

use shardkeep::client::{Database, Expect, PutOptions, Query, Stay};
use shardkeep::model::ValueType;
use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;
use std::time::Duration;
use support::program::{code, command, json, output, piped, run, said, text};
use support::{Builder, Server, noise};
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
