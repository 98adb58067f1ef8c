//! Namespaces: apart from each other, with their rules, and gone when they are dropped.

use crate::call::{
    Client, assert_error, client, get_of, only_if, put_of, restored_from, user_keys,
};
use crate::support::{Builder, PATIENCE, Random, Server, command_of, noise};
use bytes::Bytes;
use shardkeep::proto::v1;
use shardkeep::proto::v1::condition::Requirement;
use shardkeep::proto::v1::namespace_service_client::NamespaceServiceClient;
use shardkeep::proto::v1::watch_service_client::WatchServiceClient;
use shardkeep::start::offline;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Status};

type Namespaces = NamespaceServiceClient<Channel>;

/// Between two looks at what takes its time.
const PAUSE: Duration = Duration::from_millis(20);

fn three_shards() -> Builder {
    user_keys().set("storage.shards", "3")
}

async fn clients(server: &Server) -> (Client, Namespaces) {
    let namespaces = NamespaceServiceClient::new(server.channel().await);
    (client(server).await, namespaces)
}

fn create_of(name: &str, options: Option<v1::NamespaceOptions>) -> v1::CreateNamespaceRequest {
    v1::CreateNamespaceRequest {
        name: name.to_owned(),
        options,
    }
}

async fn create(namespaces: &mut Namespaces, name: &str) -> v1::Namespace {
    let made = namespaces.create_namespace(create_of(name, None)).await;
    made.unwrap().into_inner()
}

async fn with_options(namespaces: &mut Namespaces, name: &str, options: v1::NamespaceOptions) {
    let made = namespaces.create_namespace(create_of(name, Some(options)));
    made.await.unwrap();
}

async fn describe(namespaces: &mut Namespaces, name: &str) -> Result<v1::Namespace, Status> {
    let request = v1::GetNamespaceRequest {
        name: name.to_owned(),
    };
    Ok(namespaces.get_namespace(request).await?.into_inner())
}

async fn counts(namespaces: &mut Namespaces, name: &str) -> v1::NamespaceCounts {
    let described = describe(namespaces, name).await.unwrap();
    described.counts.unwrap()
}

async fn drop_it(namespaces: &mut Namespaces, name: &str) -> Result<(), Status> {
    let request = v1::DropNamespaceRequest {
        name: name.to_owned(),
    };
    namespaces.drop_namespace(request).await.map(|_| ())
}

async fn names(namespaces: &mut Namespaces) -> Vec<String> {
    let all = namespaces.list_namespaces(v1::ListNamespacesRequest::default());
    let all = all.await.unwrap().into_inner().namespaces;
    all.into_iter().map(|it| it.name).collect()
}

fn put_in(namespace: &str, key: impl Into<Bytes>, value: impl Into<Bytes>) -> v1::PutRequest {
    v1::PutRequest {
        namespace: namespace.to_owned(),
        ..put_of(key, value)
    }
}

async fn put(client: &mut Client, namespace: &str, key: &str, value: impl Into<Bytes>) {
    let key = key.to_owned();
    client.put(put_in(namespace, key, value)).await.unwrap();
}

async fn get(client: &mut Client, namespace: &str, key: &str) -> Result<Bytes, Status> {
    let request = v1::GetRequest {
        namespace: namespace.to_owned(),
        ..get_of(key.to_owned())
    };
    Ok(client.get(request).await?.into_inner().value)
}

async fn scan(client: &mut Client, namespace: &str) -> Result<Vec<(Bytes, Bytes)>, Status> {
    let mut request = v1::ScanRequest {
        namespace: namespace.to_owned(),
        page_size: 7,
        ..v1::ScanRequest::default()
    };
    let mut all = Vec::new();
    loop {
        let page = client.scan(request.clone()).await?.into_inner();
        let results = page.results.into_iter();
        all.extend(results.map(|it| (it.entry.unwrap().key, it.value)));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return Ok(all);
        }
    }
}

/// Fails if the offline check finds anything wrong.
async fn assert_sound(data_dir: &Path) {
    let data_dir = data_dir.to_owned();
    let verify = move || offline::verify(&data_dir, false, &mut |_, _| {});
    let report = tokio::task::spawn_blocking(verify).await.unwrap().unwrap();
    assert_eq!(report.problems, []);
}

/// Small values, values in their own records, and contents with a home.
fn value_of(number: u64, namespace: u64) -> Vec<u8> {
    let size = [10, 3000, 70_000][(number % 3) as usize];
    noise(number + 1000 * namespace, size)
}

/// Puts some keys that every namespace has, each with a value of its own.
async fn fill(client: &mut Client, namespace: (&str, u64), keys: u64) -> Vec<(Bytes, Bytes)> {
    let mut model = Vec::new();
    for number in 0..keys {
        let (key, value) = (format!("key-{number:03}"), value_of(number, namespace.1));
        put(client, namespace.0, &key, value.clone()).await;
        model.push((key.into(), value.into()));
    }
    model
}

#[tokio::test]
async fn the_same_keys_in_two_namespaces_are_two_sets_of_keys() {
    let server = three_shards().start().await;
    let (mut client, mut namespaces) = clients(&server).await;
    create(&mut namespaces, "orders").await;
    create(&mut namespaces, "users").await;
    let all = [("", 0), ("orders", 1), ("users", 2)];
    let mut models = Vec::new();
    for namespace in all {
        models.push(fill(&mut client, namespace, 40).await);
    }
    for ((name, _), model) in all.iter().zip(&models) {
        assert_eq!(&scan(&mut client, name).await.unwrap(), model);
        for (key, value) in model {
            let key = std::str::from_utf8(key).unwrap();
            assert_eq!(get(&mut client, name, key).await.unwrap(), value);
        }
        let bytes: usize = model.iter().map(|(_, value)| value.len()).sum();
        let counts = counts(&mut namespaces, name).await;
        assert_eq!((counts.keys, counts.logical_bytes), (40, bytes as u64));
    }
    let delete = v1::DeleteRequest {
        namespace: "orders".to_owned(),
        key: "key-000".into(),
        ..v1::DeleteRequest::default()
    };
    assert!(client.delete(delete).await.unwrap().into_inner().deleted);
    let gone = get(&mut client, "orders", "key-000").await.unwrap_err();
    assert_error(&gone, Code::NotFound, "KEY_NOT_FOUND", None);
    assert_eq!(
        get(&mut client, "users", "key-000").await.unwrap(),
        models[2][0].1
    );
    let increment = |namespace: &str| v1::IncrementRequest {
        namespace: namespace.to_owned(),
        key: "counter".into(),
        delta: 5,
        ..v1::IncrementRequest::default()
    };
    for (namespace, expected) in [("orders", 5), ("orders", 10), ("users", 5), ("default", 5)] {
        let done = client.increment(increment(namespace)).await.unwrap();
        assert_eq!(done.into_inner().value, expected, "{namespace}");
    }
    let touch = v1::TouchRequest {
        namespace: "users".to_owned(),
        key: "counter".into(),
        condition: only_if(Requirement::Present(true)),
        ..v1::TouchRequest::default()
    };
    client.touch(touch).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn namespaces_and_their_counts_outlive_kills_and_a_lost_index() {
    let dir = tempfile::tempdir().unwrap();
    let start = || three_shards().data_dir(dir.path()).start();
    let mut server = start().await;
    let (mut client, mut namespaces) = clients(&server).await;
    let made = create(&mut namespaces, "orders").await;
    create(&mut namespaces, "dropped").await;
    drop_it(&mut namespaces, "dropped").await.unwrap();
    let model = fill(&mut client, ("orders", 1), 30).await;
    put(&mut client, "orders", "key-001", "another").await;
    let before = describe(&mut namespaces, "orders").await.unwrap();
    for lose_index in [false, true] {
        server.kill();
        if lose_index {
            for shard in ["000", "001", "002"] {
                let index = dir.path().join("shards").join(shard).join("index");
                std::fs::remove_dir_all(index).unwrap();
            }
        }
        server = start().await;
        let (mut client, mut namespaces) = clients(&server).await;
        let after = describe(&mut namespaces, "orders").await.unwrap();
        assert_eq!(after, before, "index lost: {lose_index}");
        assert_eq!((&after.name, after.version), (&made.name, made.version));
        assert_eq!(names(&mut namespaces).await, ["default", "orders"]);
        assert_eq!(
            scan(&mut client, "orders").await.unwrap().len(),
            model.len()
        );
        assert_eq!(scan(&mut client, "").await.unwrap(), []);
    }
    server.stop().await;
    assert_sound(dir.path()).await;
}

#[tokio::test]
async fn of_a_dropped_namespace_nothing_is_seen_and_its_space_is_freed() {
    let dir = tempfile::tempdir().unwrap();
    let start = || three_shards().data_dir(dir.path()).start();
    let mut server = start().await;
    let (mut client, mut namespaces) = clients(&server).await;
    create(&mut namespaces, "orders").await;
    let kept = fill(&mut client, ("", 0), 9).await;
    fill(&mut client, ("orders", 1), 60).await;
    drop_it(&mut namespaces, "orders").await.unwrap();
    let again = drop_it(&mut namespaces, "orders").await.unwrap_err();
    for refused in [
        again,
        get(&mut client, "orders", "key-000").await.unwrap_err(),
        scan(&mut client, "orders").await.unwrap_err(),
        describe(&mut namespaces, "orders").await.unwrap_err(),
    ] {
        assert_error(&refused, Code::NotFound, "NAMESPACE_NOT_FOUND", None);
    }
    let new = create(&mut namespaces, "orders").await;
    assert_eq!(scan(&mut client, "orders").await.unwrap(), []);
    put(&mut client, "orders", "key-000", "new").await;
    server.kill();
    server = start().await;
    let (mut client, mut namespaces) = clients(&server).await;
    let after = describe(&mut namespaces, "orders").await.unwrap();
    assert_eq!(
        (after.version, after.counts.unwrap().keys),
        (new.version, 1)
    );
    let only = [(Bytes::from("key-000"), Bytes::from("new"))];
    assert_eq!(scan(&mut client, "orders").await.unwrap(), only);
    assert_eq!(scan(&mut client, "").await.unwrap(), kept);
    freed(&server, kept.len() as u64 + 1).await;
    server.stop().await;
    assert_sound(dir.path()).await;
}

/// Waits until the store has so many keys left, those of dropped namespaces counted.
async fn freed(server: &Server, keys: u64) {
    let freed = async {
        let mut client = server.client().await;
        loop {
            let stats = client
                .status(crate::support::key_of("stats"))
                .await
                .unwrap();
            let stats = stats.into_inner().data;
            let stats: serde_json::Value = serde_json::from_slice(&stats).unwrap();
            let left = stats["key_count"].as_str().unwrap().parse::<u64>().unwrap();
            assert!(left >= keys, "{left} keys are left of {keys}");
            if left == keys {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(PATIENCE, freed)
        .await
        .expect("it is freed");
}

#[tokio::test]
async fn a_watch_tells_of_its_namespace_alone_and_ends_with_it() {
    let server = three_shards().start().await;
    let (mut client, mut namespaces) = clients(&server).await;
    create(&mut namespaces, "orders").await;
    let watch = v1::WatchRequest {
        namespace: "orders".to_owned(),
        ..v1::WatchRequest::default()
    };
    let mut watches = WatchServiceClient::new(server.channel().await);
    let mut stream = watches.watch(watch).await.unwrap().into_inner();
    for key in ["one", "two", "three"] {
        put(&mut client, "", key, "elsewhere").await;
        put(&mut client, "orders", key, "here").await;
    }
    let delete = v1::DeleteRangeRequest {
        namespace: "orders".to_owned(),
        selection: Some(v1::KeySelection {
            prefix: "t".into(),
            ..v1::KeySelection::default()
        }),
        ..v1::DeleteRangeRequest::default()
    };
    let deleted = client.delete_range(delete).await.unwrap().into_inner();
    assert_eq!(deleted.deleted_count, 2);
    let mut keys = Vec::new();
    while keys.len() < 5 {
        let message = stream.message().await.unwrap().unwrap();
        keys.extend(message.events.into_iter().map(|event| event.key));
    }
    keys[3..].sort();
    assert_eq!(keys, ["one", "two", "three", "three", "two"]);
    assert_eq!(scan(&mut client, "").await.unwrap().len(), 3);
    drop_it(&mut namespaces, "orders").await.unwrap();
    let end = loop {
        match stream.message().await {
            Ok(message) => assert_eq!(message.unwrap().events, []),
            Err(end) => break end,
        }
    };
    assert_error(&end, Code::NotFound, "NAMESPACE_NOT_FOUND", None);
}

#[tokio::test]
async fn a_backup_brings_namespaces_and_what_is_in_them() {
    let server = three_shards().start().await;
    let (mut client, mut namespaces) = clients(&server).await;
    for name in ["gone", "orders", "users"] {
        create(&mut namespaces, name).await;
        fill(&mut client, (name, 1), 9).await;
    }
    let model = fill(&mut client, ("orders", 2), 30).await;
    drop_it(&mut namespaces, "gone").await.unwrap();
    let made = describe(&mut namespaces, "orders").await.unwrap();
    let fresh = restored_from(&server).await;
    let (mut client, mut namespaces) = clients(&fresh).await;
    assert_eq!(names(&mut namespaces).await, ["default", "orders", "users"]);
    let restored = describe(&mut namespaces, "orders").await.unwrap();
    assert_eq!(restored, made);
    assert_eq!(scan(&mut client, "orders").await.unwrap(), model);
    assert_eq!(scan(&mut client, "users").await.unwrap().len(), 9);
    assert_eq!(scan(&mut client, "").await.unwrap(), []);
    freed(&fresh, 39).await;
}

#[tokio::test]
async fn a_restore_leaves_dropped_what_was_dropped_since_the_backup() {
    let dir = tempfile::tempdir().unwrap();
    let server = three_shards().data_dir(dir.path()).start().await;
    let (mut client, mut namespaces) = clients(&server).await;
    for name in ["orders", "users"] {
        create(&mut namespaces, name).await;
        fill(&mut client, (name, 1), 12).await;
    }
    let mut admin = server.client().await;
    let backup = command_of("backup", r#"{"path":"full"}"#);
    let made = admin.admin(backup).await.unwrap().into_inner();
    let made: serde_json::Value = serde_json::from_slice(&made.data).unwrap();
    drop_it(&mut namespaces, "orders").await.unwrap();
    create(&mut namespaces, "orders").await;
    put(&mut client, "orders", "new", "one").await;
    put(&mut client, "users", "key-000", "newer").await;
    let restore = serde_json::json!({ "path": made["target"] }).to_string();
    let done = admin.admin(command_of("restore", &restore)).await.unwrap();
    let done = done.into_inner();
    assert_eq!(done.errcode, 0, "{done:?}");
    let only = [(Bytes::from("new"), Bytes::from("one"))];
    assert_eq!(scan(&mut client, "orders").await.unwrap(), only);
    assert_eq!(scan(&mut client, "users").await.unwrap().len(), 12);
    assert_eq!(get(&mut client, "users", "key-000").await.unwrap(), "newer");
    assert_eq!(names(&mut namespaces).await, ["default", "orders", "users"]);
    freed(&server, 13).await;
    server.stop().await;
    assert_sound(dir.path()).await;
}

/// What is known of a namespace whose server may be killed at any time.
#[derive(Default)]
struct Known {
    created: bool,
    drop_asked: bool,
    dropped: bool,
}

/// Makes, fills and drops a namespace, until the server is gone.
async fn use_until_killed(server: &Server, name: &str, known: &mut Known) -> Result<(), Status> {
    let (mut client, mut namespaces) = clients(server).await;
    namespaces.create_namespace(create_of(name, None)).await?;
    known.created = true;
    for number in 0..40 {
        let put = put_in(name, format!("key-{number:03}"), value_of(number, 1));
        client.put(put).await?;
    }
    known.drop_asked = true;
    drop_it(&mut namespaces, name).await?;
    known.dropped = true;
    std::future::pending().await
}

/// Kills a server in the middle of the life of namespaces, again and again. The last server, or
/// what is not as it was acknowledged.
async fn lives_of_namespaces(builder: impl Fn() -> Builder) -> Result<Server, String> {
    let start = || builder().start();
    let mut server = start().await;
    let mut rounds = BTreeMap::new();
    let mut random = Random::seeded(41);
    for round in 0..12 {
        let (name, mut known) = (format!("round-{round}"), Known::default());
        let life = Duration::from_millis(random.within(1..500));
        let using = use_until_killed(&server, &name, &mut known);
        let _cut = tokio::time::timeout(life, using).await;
        server.kill();
        rounds.insert(name, known);
        server = start().await;
        let (mut client, mut namespaces) = clients(&server).await;
        let there = names(&mut namespaces).await;
        for (name, known) in &rounds {
            let is_there = there.contains(name);
            if is_there && known.dropped {
                return Err(format!("{name} is there after its drop"));
            }
            if known.created && !known.drop_asked && !is_there {
                return Err(format!("{name} was made and is not there"));
            }
        }
        let left: Vec<String> = there
            .iter()
            .filter(|it| *it != "default")
            .cloned()
            .collect();
        for name in left {
            scan(&mut client, &name).await.unwrap();
            drop_it(&mut namespaces, &name).await.unwrap();
        }
        assert_eq!(names(&mut namespaces).await, ["default"]);
        for known in rounds.values_mut() {
            (known.drop_asked, known.dropped) = (true, known.created);
        }
    }
    assert!(rounds.values().filter(|it| it.created).count() > 2);
    Ok(server)
}

#[tokio::test]
async fn what_was_acknowledged_of_namespaces_outlives_kills_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let lives = lives_of_namespaces(|| three_shards().data_dir(dir.path())).await;
    let server = lives.unwrap_or_else(|what| panic!("{what}"));
    freed(&server, 0).await;
    server.stop().await;
    assert_sound(dir.path()).await;
}

/// Planted: what becomes of a namespace is acknowledged, and never logged.
#[tokio::test]
async fn a_namespace_that_is_only_said_to_be_made_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let planted = || three_shards().fail_points("namespace::unlogged=return");
    let lives = lives_of_namespaces(|| planted().data_dir(dir.path())).await;
    let what = lives.map(drop).unwrap_err();
    assert!(what.ends_with("was made and is not there"), "{what}");
}

#[tokio::test]
async fn puts_follow_the_rules_of_their_namespace() {
    let server = three_shards().start().await;
    let (mut client, mut namespaces) = clients(&server).await;
    let hour = prost_types::Duration {
        seconds: 3600,
        nanos: 0,
    };
    let strict = v1::NamespaceOptions {
        overwrite: Some(false),
        default_ttl: Some(hour),
        value_size_max: 100,
        ..v1::NamespaceOptions::default()
    };
    with_options(&mut namespaces, "strict", strict).await;
    put(&mut client, "strict", "key", "first").await;
    let second = client.put(put_in("strict", "key", "second")).await;
    assert_error(
        &second.unwrap_err(),
        Code::AlreadyExists,
        "KEY_EXISTS",
        None,
    );
    assert_eq!(get(&mut client, "strict", "key").await.unwrap(), "first");
    let head = v1::HeadRequest {
        namespace: "strict".to_owned(),
        key: "key".into(),
        ..v1::HeadRequest::default()
    };
    let head = client.head(head).await.unwrap().into_inner().entry.unwrap();
    assert!(head.expire_time.is_some(), "the namespace's own");
    let large = client.put(put_in("strict", "large", vec![0; 101])).await;
    let field = Some("value");
    let large = large.unwrap_err();
    assert_error(&large, Code::InvalidArgument, "VALUE_TOO_LARGE", field);
    assert!(large.message().contains("strict"), "{large}");

    let relaxed = v1::UpdateNamespaceRequest {
        namespace: Some(v1::Namespace {
            name: "strict".to_owned(),
            ..v1::Namespace::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["options.overwrite".into(), "options.value_size_max".into()],
        }),
    };
    let relaxed = namespaces.update_namespace(relaxed).await.unwrap();
    let options = relaxed.into_inner().options.unwrap();
    assert_eq!((options.overwrite, options.value_size_max), (Some(true), 0));
    assert_eq!(options.default_ttl, strict.default_ttl);
    put(&mut client, "strict", "key", vec![7; 101]).await;
    assert_eq!(
        get(&mut client, "strict", "key").await.unwrap(),
        vec![7; 101]
    );
}

#[tokio::test]
async fn values_are_named_compressed_and_shared_as_their_namespace_says() {
    let server = three_shards().start().await;
    let (mut client, mut namespaces) = clients(&server).await;
    let content = v1::NamespaceOptions {
        key_mode: v1::KeyMode::Content.into(),
        ..v1::NamespaceOptions::default()
    };
    with_options(&mut namespaces, "by-content", content).await;
    let plain = v1::NamespaceOptions {
        compress: Some(false),
        dedup: Some(false),
        ..v1::NamespaceOptions::default()
    };
    with_options(&mut namespaces, "plain", plain).await;
    create(&mut namespaces, "usual").await;
    let value = b"over and over ".repeat(10_000);
    let size = value.len() as u64;
    let done = client.put(put_in("by-content", "", value.clone())).await;
    assert_eq!(
        done.unwrap().into_inner().key,
        blake3::hash(&value).to_hex().as_bytes()
    );
    let named = client.put(put_in("by-content", "own", value.clone())).await;
    assert_eq!(named.unwrap_err().code(), Code::InvalidArgument);
    for (name, unique, stored) in [("plain", 2 * size, 2 * size), ("usual", 0, 0)] {
        for key in ["one", "two"] {
            put(&mut client, name, key, value.clone()).await;
            assert_eq!(get(&mut client, name, key).await.unwrap(), value);
        }
        let held = v1::NamespaceCounts {
            keys: 2,
            logical_bytes: 2 * size,
            unique_bytes: unique,
            stored_bytes: stored,
        };
        assert_eq!(counts(&mut namespaces, name).await, held, "{name}");
    }
    let shared = counts(&mut namespaces, "").await;
    assert_eq!((shared.keys, shared.unique_bytes), (0, size));
    assert!(shared.stored_bytes < size / 10);
}

#[tokio::test]
async fn namespaces_are_listed_in_pages_by_name() {
    let server = three_shards().start().await;
    let (_, mut namespaces) = clients(&server).await;
    for name in ["zoo", "a", "e", "delta", "b-2"] {
        create(&mut namespaces, name).await;
    }
    let mut request = v1::ListNamespacesRequest {
        page_size: 2,
        ..v1::ListNamespacesRequest::default()
    };
    let mut pages = Vec::new();
    loop {
        let page = namespaces.list_namespaces(request.clone()).await;
        let page = page.unwrap().into_inner();
        let names = page.namespaces.into_iter().map(|it| it.name);
        pages.push(names.collect::<Vec<_>>());
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(pages, [["a", "b-2"], ["default", "delta"], ["e", "zoo"]]);
    for (wrong, reason, field) in [
        ((1001, ""), "COUNT_RANGE", "page_size"),
        ((-1, ""), "COUNT_RANGE", "page_size"),
        ((1, "12ab"), "PAGE_TOKEN_INVALID", "page_token"),
    ] {
        let request = v1::ListNamespacesRequest {
            page_size: wrong.0,
            page_token: wrong.1.to_owned(),
        };
        let refused = namespaces.list_namespaces(request).await.unwrap_err();
        assert_error(&refused, Code::InvalidArgument, reason, Some(field));
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_namespace_is_said_with_its_field() {
    let server = three_shards().start().await;
    let (mut client, mut namespaces) = clients(&server).await;
    let too_long = "n".repeat(64);
    for name in ["", "Orders", "1st", "a b", "ä", &too_long] {
        let refused = namespaces.create_namespace(create_of(name, None)).await;
        let refused = refused.unwrap_err();
        assert_error(
            &refused,
            Code::InvalidArgument,
            "NAMESPACE_NAME",
            Some("name"),
        );
    }
    create(&mut namespaces, "orders").await;
    for name in ["orders", "default"] {
        let refused = namespaces.create_namespace(create_of(name, None)).await;
        let refused = refused.unwrap_err();
        assert_error(&refused, Code::AlreadyExists, "NAMESPACE_EXISTS", None);
    }
    let options = |key_mode, seconds| v1::NamespaceOptions {
        key_mode,
        default_ttl: Some(prost_types::Duration { seconds, nanos: 0 }),
        ..v1::NamespaceOptions::default()
    };
    for (options, reason, field) in [
        (options(3, 1), "KEY_MODE_UNKNOWN", "options.key_mode"),
        (options(0, 0), "TTL_RANGE", "options.default_ttl"),
        (options(0, -1), "TTL_RANGE", "options.default_ttl"),
    ] {
        let refused = namespaces.create_namespace(create_of("new", Some(options)));
        let refused = refused.await.unwrap_err();
        assert_error(&refused, Code::InvalidArgument, reason, Some(field));
    }
    let update = |name: &str, paths: &[&str]| v1::UpdateNamespaceRequest {
        namespace: Some(v1::Namespace {
            name: name.to_owned(),
            ..v1::Namespace::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: paths.iter().map(|it| (*it).to_owned()).collect(),
        }),
    };
    let mut wrong = update("orders", &["options.default_ttl"]);
    wrong.namespace.as_mut().unwrap().options = Some(options(3, -1));
    let mut elsewhere = wrong.clone();
    elsewhere.update_mask = update("orders", &["options.overwrite"]).update_mask;
    let refused = namespaces.update_namespace(wrong).await.unwrap_err();
    let field = Some("namespace.options.default_ttl");
    assert_error(&refused, Code::InvalidArgument, "TTL_RANGE", field);
    // What the mask does not name is not looked at.
    namespaces.update_namespace(elsewhere).await.unwrap();
    for (paths, reason) in [
        (&[][..], "UPDATE_MASK_EMPTY"),
        (&["options.key_mode"], "UPDATE_MASK_PATH"),
        (&["options.dedup", "name"], "UPDATE_MASK_PATH"),
    ] {
        let refused = namespaces.update_namespace(update("orders", paths)).await;
        let field = Some("update_mask");
        assert_error(&refused.unwrap_err(), Code::InvalidArgument, reason, field);
    }
    for name in ["", "default"] {
        let fixed = namespaces.update_namespace(update(name, &["options.dedup"]));
        let fixed = fixed.await.unwrap_err();
        let dropped = drop_it(&mut namespaces, name).await.unwrap_err();
        for refused in [fixed, dropped] {
            assert_error(&refused, Code::FailedPrecondition, "NAMESPACE_FIXED", None);
        }
    }
    for name in ["nowhere", "A"] {
        let refused = get(&mut client, name, "key").await.unwrap_err();
        match name {
            "A" => assert_error(
                &refused,
                Code::InvalidArgument,
                "NAMESPACE_NAME",
                Some("namespace"),
            ),
            _ => assert_error(&refused, Code::NotFound, "NAMESPACE_NOT_FOUND", None),
        }
    }
    assert_eq!(names(&mut namespaces).await, ["default", "orders"]);
}

#[tokio::test]
async fn a_namespace_whose_maker_hung_up_is_seen_by_all_or_by_none() {
    // Long enough for the maker to be gone, and for the next to look.
    let points = "shard::commit=1*sleep(2000)->off";
    let server = user_keys().fail_points(points).start().await;
    let (_, mut namespaces) = clients(&server).await;
    let hasty = create_of("orders", None);
    let hasty = namespaces.create_namespace(hasty);
    let hung_up = tokio::time::timeout(Duration::from_millis(300), hasty).await;
    assert!(hung_up.is_err());
    match namespaces.create_namespace(create_of("orders", None)).await {
        // What was handed over is done.
        Err(there) => assert_error(&there, Code::AlreadyExists, "NAMESPACE_EXISTS", None),
        // It was not: this is the first.
        Ok(made) => assert_eq!(made.into_inner().version, 1),
    }
    describe(&mut namespaces, "orders").await.unwrap();
    assert_eq!(names(&mut namespaces).await, ["default", "orders"]);
}
