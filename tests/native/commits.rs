//! Commits: many changes as one, on conditions.

use crate::call::{
    Client, assert_error, batch_get, client, get, only_if, put, put_of, restored_from, user_keys,
};
use crate::support::{Server, noise};
use bytes::Bytes;
use shardkeep::proto::v1;
use shardkeep::proto::v1::admin_service_client::AdminServiceClient;
use shardkeep::proto::v1::condition::Requirement::{self, Absent, Digest, Present, Version};
use shardkeep::proto::v1::expiry::Expiry;
use shardkeep::proto::v1::operation::Change;
use shardkeep::proto::v1::operation_result::Result as Of;
use shardkeep::proto::v1::transaction_service_client::TransactionServiceClient;
use std::collections::BTreeSet;
use tonic::Code;
use tonic::transport::Channel;

type Commits = TransactionServiceClient<Channel>;

async fn commits(server: &Server) -> Commits {
    TransactionServiceClient::new(server.channel().await).max_encoding_message_size(1 << 30)
}

fn store(key: impl Into<Bytes>, value: impl Into<Bytes>) -> v1::Operation {
    let put = v1::PutOperation {
        value: value.into(),
        ..v1::PutOperation::default()
    };
    v1::Operation {
        key: key.into(),
        change: Some(Change::Put(put)),
    }
}

fn remove(key: impl Into<Bytes>) -> v1::Operation {
    v1::Operation {
        key: key.into(),
        change: Some(Change::Delete(v1::DeleteOperation {})),
    }
}

fn touch(key: impl Into<Bytes>, expiry: Option<Expiry>) -> v1::Operation {
    let expiry = expiry.map(|it| v1::Expiry { expiry: Some(it) });
    v1::Operation {
        key: key.into(),
        change: Some(Change::Touch(v1::TouchOperation { expiry })),
    }
}

fn hour() -> Option<Expiry> {
    Some(Expiry::Ttl(prost_types::Duration {
        seconds: 3600,
        nanos: 0,
    }))
}

fn add(key: impl Into<Bytes>, delta: i64) -> v1::Operation {
    let increment = v1::IncrementOperation {
        delta,
        initial_value: 100,
    };
    v1::Operation {
        key: key.into(),
        change: Some(Change::Increment(increment)),
    }
}

fn if_so(key: impl Into<Bytes>, requirement: Requirement) -> v1::KeyCondition {
    v1::KeyCondition {
        key: key.into(),
        condition: only_if(requirement),
    }
}

fn of(operations: Vec<v1::Operation>) -> v1::CommitRequest {
    v1::CommitRequest {
        operations,
        ..v1::CommitRequest::default()
    }
}

async fn done(commits: &mut Commits, request: v1::CommitRequest) -> v1::CommitResponse {
    let mut done = commits.commit(request).await.unwrap().into_inner();
    assert_ne!(std::mem::take(&mut done.run), 0);
    done
}

fn digest(value: &[u8]) -> Requirement {
    Digest(blake3::hash(value).as_bytes().to_vec().into())
}

#[tokio::test]
async fn a_commit_changes_keys_of_all_shards_under_one_version() {
    for shards in ["1", "4"] {
        let server = user_keys().set("storage.shards", shards).start().await;
        let (mut keys, mut commits) = (client(&server).await, commits(&server).await);
        let before = put(&mut keys, "goes", "old").await;
        put(&mut keys, "old", noise(1, 100_000)).await;
        let operations = vec![
            store("new", "small"),
            remove("goes"),
            store("large", noise(2, 100_000)),
            remove("never was"),
            store("old", noise(2, 100_000)),
        ];
        let done = done(&mut commits, of(operations)).await;
        assert!(done.succeeded && done.version > before);
        let results: Vec<Of> = done
            .results
            .iter()
            .map(|it| it.result.clone().unwrap())
            .collect();
        let [
            Of::Put(new),
            Of::Delete(goes),
            Of::Put(large),
            Of::Delete(never),
            Of::Put(old),
        ] = &results[..]
        else {
            panic!("{done:?}");
        };
        assert!(new.created && large.created && !old.created);
        assert_eq!(new.digest, blake3::hash(b"small").as_bytes()[..]);
        assert_ne!(
            large.deduplicated, old.deduplicated,
            "one of them came first"
        );
        assert_eq!((goes.deleted, goes.previous_version), (true, before));
        assert_eq!((never.deleted, never.version), (false, 0));
        let versions = [new.version, goes.version, large.version, old.version];
        assert_eq!(versions, [done.version; 4]);
        assert_eq!(get(&mut keys, "new").await.unwrap(), "small");
        assert_eq!(get(&mut keys, "goes").await, None);
        assert_eq!(get(&mut keys, "large").await.unwrap(), noise(2, 100_000));
        assert_eq!(get(&mut keys, "old").await.unwrap(), noise(2, 100_000));
        let fresh = restored_from(&server).await;
        let mut there = client(&fresh).await;
        assert_eq!(get(&mut there, "new").await.unwrap(), "small");
        assert_eq!(get(&mut there, "large").await.unwrap(), noise(2, 100_000));
        assert_eq!(get(&mut there, "goes").await, None);
    }
}

#[tokio::test]
async fn conditions_choose_what_is_done() {
    let server = user_keys().set("storage.shards", "4").start().await;
    let (mut keys, mut commits) = (client(&server).await, commits(&server).await);
    let version = put(&mut keys, "small", "value").await;
    put(&mut keys, "large", noise(1, 100_000)).await;
    let cases = [
        (vec![], true),
        (
            vec![if_so("small", Present(true)), if_so("none", Absent(true))],
            true,
        ),
        (vec![if_so("small", Version(version))], true),
        (vec![if_so("small", Version(version + 1))], false),
        (vec![if_so("small", digest(b"value"))], true),
        (vec![if_so("small", digest(b"other"))], false),
        (vec![if_so("none", digest(b"value"))], false),
        (
            vec![
                if_so("large", digest(&noise(1, 100_000))),
                if_so("none", Absent(true)),
            ],
            true,
        ),
        (
            vec![if_so("small", Present(true)), if_so("none", Present(true))],
            false,
        ),
        (vec![if_so("large", Absent(true))], false),
    ];
    for (conditions, holds) in cases {
        let request = v1::CommitRequest {
            conditions: conditions.clone(),
            operations: vec![store("a", "then"), store("b", noise(3, 100_000))],
            else_operations: vec![store("a", "else"), remove("b")],
            ..v1::CommitRequest::default()
        };
        let done = done(&mut commits, request).await;
        assert_eq!(done.succeeded, holds, "{conditions:?}");
        let word = if holds { "then" } else { "else" };
        assert_eq!(get(&mut keys, "a").await.unwrap(), word, "{conditions:?}");
        assert_eq!(get(&mut keys, "b").await.is_some(), holds, "{conditions:?}");
    }
    let request = v1::CommitRequest {
        conditions: vec![if_so("small", Absent(true))],
        operations: vec![store("a", "no")],
        ..v1::CommitRequest::default()
    };
    let refused = done(&mut commits, request).await;
    assert_eq!(refused, v1::CommitResponse::default());
}

/// Moves between accounts: each reads two and commits on the versions that it has read.
#[tokio::test(flavor = "multi_thread")]
async fn transactions_that_check_what_they_read_lose_nothing() {
    const ACCOUNTS: u64 = 6;
    const MOVES: u64 = 40;
    let server = user_keys().set("storage.shards", "3").start().await;
    let mut keys = client(&server).await;
    for account in 0..ACCOUNTS {
        put(&mut keys, format!("account-{account}"), "100").await;
    }
    let mut movers = tokio::task::JoinSet::new();
    for mover in 0..4 {
        let (mut keys, mut commits) = (client(&server).await, commits(&server).await);
        movers.spawn(async move {
            let mut turn = mover;
            let mut moved = 0;
            while moved < MOVES {
                turn += 1;
                let pair = [turn % ACCOUNTS, (turn + 1 + mover % 2) % ACCOUNTS];
                let pair = pair.map(|it| Bytes::from(format!("account-{it}")));
                let found = batch_get(&mut keys, pair.to_vec(), false).await;
                let amount = |at: usize| -> i64 {
                    std::str::from_utf8(&found[at].value)
                        .unwrap()
                        .parse()
                        .unwrap()
                };
                let version = |at: usize| found[at].entry.as_ref().unwrap().version;
                let request = v1::CommitRequest {
                    conditions: (0..2)
                        .map(|at| if_so(pair[at].clone(), Version(version(at))))
                        .collect(),
                    operations: vec![
                        store(pair[0].clone(), (amount(0) - 7).to_string()),
                        store(pair[1].clone(), (amount(1) + 7).to_string()),
                    ],
                    ..v1::CommitRequest::default()
                };
                moved += u64::from(done(&mut commits, request).await.succeeded);
            }
        });
    }
    while let Some(mover) = movers.join_next().await {
        mover.unwrap();
    }
    let all = (0..ACCOUNTS)
        .map(|it| format!("account-{it}").into())
        .collect();
    let found = batch_get(&mut keys, all, false).await;
    let amounts = found.iter().map(|it| {
        std::str::from_utf8(&it.value)
            .unwrap()
            .parse::<i64>()
            .unwrap()
    });
    assert_eq!(amounts.sum::<i64>(), 100 * i64::try_from(ACCOUNTS).unwrap());
}

#[tokio::test]
async fn a_wrong_commit_names_the_field_and_changes_nothing() {
    let server = user_keys()
        .set("server.max_upload_size", "1 MiB")
        .start()
        .await;
    let (mut keys, mut commits) = (client(&server).await, commits(&server).await);
    put(&mut keys, "text", "no number").await;
    let with = |change| v1::Operation {
        key: "k".into(),
        change: Some(Change::Put(change)),
    };
    let first = || store("first", "value");
    let many = |count: usize| -> Vec<_> { (0..count).map(|it| remove(format!("{it}"))).collect() };
    let conditions = |conditions| v1::CommitRequest {
        conditions,
        ..of(vec![first()])
    };
    let huge: Vec<_> = (0..65)
        .map(|it| store(format!("{it}"), noise(it, 1 << 20)))
        .collect();
    let cases = [
        (
            of(vec![first(), store("", "v")]),
            "KEY_EMPTY",
            "operations[1].key",
        ),
        (
            of(vec![first(), remove(noise(1, 65_001))]),
            "KEY_TOO_LARGE",
            "operations[1].key",
        ),
        (
            of(vec![first(), store("k", "v"), remove("k")]),
            "KEY_TWICE",
            "operations[2].key",
        ),
        (
            v1::CommitRequest {
                else_operations: vec![remove("k"), remove("k")],
                ..of(vec![first()])
            },
            "KEY_TWICE",
            "else_operations[1].key",
        ),
        (
            of(vec![
                first(),
                v1::Operation {
                    key: "k".into(),
                    change: None,
                },
            ]),
            "OPERATION_EMPTY",
            "operations[1]",
        ),
        (
            of(vec![
                first(),
                with(v1::PutOperation {
                    sum64: Some(7),
                    ..Default::default()
                }),
            ]),
            "SUM64_MISMATCH",
            "operations[1].put.sum64",
        ),
        (
            of(vec![
                first(),
                with(v1::PutOperation {
                    digest: "short".into(),
                    ..Default::default()
                }),
            ]),
            "DIGEST_SIZE",
            "operations[1].put.digest",
        ),
        (
            of(vec![
                first(),
                with(v1::PutOperation {
                    value_type: 77,
                    ..Default::default()
                }),
            ]),
            "VALUE_TYPE_UNKNOWN",
            "operations[1].put.value_type",
        ),
        (
            of(vec![first(), store("k", noise(1, (1 << 20) + 1))]),
            "VALUE_TOO_LARGE",
            "operations[1].put.value",
        ),
        (
            of(vec![first(), add("", 1)]),
            "KEY_EMPTY",
            "operations[1].key",
        ),
        (
            of(vec![first(), touch("k", None), add("k", 1)]),
            "KEY_TWICE",
            "operations[2].key",
        ),
        (
            of(vec![first(), touch("k", Some(Expiry::Keep(false)))]),
            "CONDITION_FALSE",
            "operations[1].touch.expiry.keep",
        ),
        (
            of(vec![first(), add("text", 1)]),
            "NOT_A_COUNTER",
            "operations[1].key",
        ),
        (
            of(vec![first(), add("new", i64::MAX)]),
            "COUNTER_OVERFLOW",
            "operations[1].increment.delta",
        ),
        (of(huge), "COMMIT_TOO_LARGE", "operations"),
        (of(many(10_001)), "COMMIT_TOO_LARGE", "operations"),
        (
            conditions(vec![v1::KeyCondition {
                key: "k".into(),
                condition: None,
            }]),
            "CONDITION_EMPTY",
            "conditions[0].condition",
        ),
        (
            conditions(vec![if_so("", Absent(true))]),
            "KEY_EMPTY",
            "conditions[0].key",
        ),
        (
            conditions(vec![if_so("k", Absent(false))]),
            "CONDITION_FALSE",
            "conditions[0].condition.absent",
        ),
    ];
    for (request, reason, field) in cases {
        let refused = commits.commit(request).await.unwrap_err();
        assert_error(&refused, Code::InvalidArgument, reason, Some(field));
    }
    let elsewhere = v1::CommitRequest {
        namespace: "nowhere".into(),
        ..of(vec![first()])
    };
    let refused = commits.commit(elsewhere).await.unwrap_err();
    assert_error(&refused, Code::NotFound, "NAMESPACE_NOT_FOUND", None);
    let absent = of(vec![first(), touch("absent", None)]);
    let refused = commits.commit(absent).await.unwrap_err();
    assert_error(&refused, Code::NotFound, "KEY_NOT_FOUND", None);
    assert!(refused.message().contains("absent"), "{refused}");
    assert_eq!(get(&mut keys, "first").await, None);
    // The most that may be.
    let most = done(&mut commits, of(many(10_000))).await;
    assert_eq!((most.results.len(), most.version), (10_000, 0));
}

#[tokio::test]
async fn ten_thousand_keys_are_one_commit() {
    let server = user_keys().set("storage.shards", "2").start().await;
    let (mut keys, mut commits) = (client(&server).await, commits(&server).await);
    let all: Vec<Bytes> = (0..10_000).map(|it| format!("key-{it}").into()).collect();
    for generation in ["one", "two"] {
        let puts = all
            .iter()
            .map(|key| store(key.clone(), format!("{generation} of {key:?}")));
        let done = done(&mut commits, of(puts.collect())).await;
        let found = batch_get(&mut keys, all.clone(), false).await;
        let versions: BTreeSet<u64> = found
            .iter()
            .map(|it| it.entry.as_ref().unwrap().version)
            .collect();
        assert_eq!(versions, BTreeSet::from([done.version]));
        let value = format!("{generation} of {:?}", all[77]);
        assert_eq!(found[77].value, value);
    }
}

#[tokio::test]
async fn a_first_value_that_must_stay_refuses_the_whole_commit() {
    let server = Server::builder()
        .flag("--allow-user-key")
        .set("storage.shards", "3")
        .start()
        .await;
    let (mut keys, mut commits) = (client(&server).await, commits(&server).await);
    put(&mut keys, "taken", "first").await;
    let puts = |count: u64| (0..count).map(|it| store(format!("key-{it}"), noise(it, 100_000)));
    let all = puts(5).chain([store("taken", "second")]);
    let refused = commits.commit(of(all.collect())).await.unwrap_err();
    assert_error(&refused, Code::AlreadyExists, "KEY_EXISTS", None);
    assert!(refused.message().contains("taken"), "{refused}");
    assert_eq!(get(&mut keys, "key-0").await, None);
    assert_eq!(get(&mut keys, "taken").await.unwrap(), "first");
    put(&mut keys, "5", "5").await;
    let refused = commits.commit(of(vec![add("5", 1)])).await.unwrap_err();
    assert_error(
        &refused,
        Code::FailedPrecondition,
        "OVERWRITE_DISABLED",
        None,
    );
    let others = of(vec![add("new", 1), touch("5", hour())]);
    assert_eq!(done(&mut commits, others).await.results.len(), 2);
    let all = puts(5).chain([remove("taken")]);
    assert!(done(&mut commits, of(all.collect())).await.succeeded);
    assert_eq!(get(&mut keys, "key-4").await.unwrap(), noise(4, 100_000));
}

#[tokio::test]
async fn contents_can_be_stored_together() {
    let server = Server::builder().set("storage.shards", "3").start().await;
    let (mut keys, mut commits) = (client(&server).await, commits(&server).await);
    let values: Vec<Vec<u8>> = [10, 5_000, 100_000]
        .map(|size| noise(size, size as usize))
        .into();
    let puts: Vec<_> = values
        .iter()
        .map(|value| store("", value.clone()))
        .collect();
    let refused = commits.commit(of(vec![add("n", 1)])).await.unwrap_err();
    let field = Some("operations[0].key");
    assert_error(&refused, Code::InvalidArgument, "COUNTER_ON_CONTENT", field);
    for turn in 0..2 {
        let done = done(&mut commits, of(puts.clone())).await;
        for (value, result) in values.iter().zip(done.results) {
            let Some(Of::Put(put)) = result.result else {
                panic!("{result:?}");
            };
            assert_eq!(put.key, blake3::hash(value).to_hex().as_bytes());
            assert_eq!((put.created, put.deduplicated), (turn == 0, turn > 0));
            assert_eq!(get(&mut keys, put.key).await.unwrap(), value[..]);
        }
    }
    let twice = vec![store("", "same"), store("", "same")];
    let refused = commits.commit(of(twice)).await.unwrap_err();
    assert_error(
        &refused,
        Code::InvalidArgument,
        "KEY_TWICE",
        Some("operations[1].key"),
    );
    let named = values.iter().map(|value| blake3::hash(value).to_hex());
    let touches = named.map(|key| touch(key.to_string(), hour()));
    let done = done(&mut commits, of(touches.collect())).await;
    for (value, result) in values.iter().zip(done.results) {
        let Some(Of::Touch(touched)) = result.result else {
            panic!("{result:?}");
        };
        let digest = blake3::hash(value);
        assert_eq!(touched.entry.unwrap().digest, digest.as_bytes()[..]);
        let found = get(&mut keys, digest.to_hex().to_string()).await.unwrap();
        assert_eq!(found, *value);
    }
}

#[tokio::test]
async fn expiry_and_metadata_come_with_a_commit() {
    let server = user_keys().start().await;
    let (mut keys, mut commits) = (client(&server).await, commits(&server).await);
    let expiring = |key: &str, expiry| v1::Operation {
        key: key.to_owned().into(),
        change: Some(Change::Put(v1::PutOperation {
            value: "1".into(),
            expiry: Some(v1::Expiry {
                expiry: Some(expiry),
            }),
            value_type: v1::ValueType::Int64.into(),
            metadata: [("of".to_owned(), "test".to_owned())].into(),
            ..v1::PutOperation::default()
        })),
    };
    let ttl = |seconds| v1::expiry::Expiry::Ttl(prost_types::Duration { seconds, nanos: 0 });
    done(
        &mut commits,
        of(vec![expiring("a", ttl(1000)), expiring("b", ttl(2000))]),
    )
    .await;
    let head = |entry: &v1::BatchGetResult| entry.entry.clone().unwrap();
    let names = vec!["a".into(), "b".into()];
    let first = batch_get(&mut keys, names.clone(), true).await;
    assert_eq!(head(&first[0]).metadata["of"], "test");
    assert_eq!(head(&first[0]).value_type(), v1::ValueType::Int64);
    let keep = v1::expiry::Expiry::Keep(true);
    done(&mut commits, of(vec![expiring("a", keep), store("b", "2")])).await;
    let second = batch_get(&mut keys, names, true).await;
    assert_eq!(head(&second[0]).expire_time, head(&first[0]).expire_time);
    assert_eq!(head(&second[1]).expire_time, None);
}

#[tokio::test]
async fn a_switched_off_delete_refuses_a_commit_with_one() {
    let server = user_keys()
        .set("access.disable_delete", "true")
        .start()
        .await;
    let (mut keys, mut commits): (Client, Commits) =
        (client(&server).await, commits(&server).await);
    keys.put(put_of("k", "v")).await.unwrap();
    let both = of(vec![store("other", "v"), remove("k")]);
    let refused = commits.commit(both).await.unwrap_err();
    assert_error(&refused, Code::FailedPrecondition, "DELETE_DISABLED", None);
    assert_eq!(get(&mut keys, "other").await, None);
    assert!(
        done(&mut commits, of(vec![store("other", "v")]))
            .await
            .succeeded
    );
}

#[tokio::test]
async fn touches_and_counts_belong_to_their_commit() {
    for shards in ["1", "4"] {
        let server = user_keys().set("storage.shards", shards).start().await;
        let (mut keys, mut commits) = (client(&server).await, commits(&server).await);
        put(&mut keys, "small", "value").await;
        put(&mut keys, "large", noise(1, 100_000)).await;
        put(&mut keys, "whole", noise(2, 9 << 20)).await;
        let operations = vec![
            store("put", "x"),
            touch("small", hour()),
            touch("large", hour()),
            touch("whole", hour()),
            add("counter", 5),
        ];
        let first = done(&mut commits, of(operations)).await;
        let results = first.results.iter().map(|it| it.result.as_ref().unwrap());
        let [
            Of::Put(_),
            Of::Touch(small),
            Of::Touch(large),
            Of::Touch(whole),
            Of::Increment(counter),
        ] = results.collect::<Vec<_>>()[..]
        else {
            panic!("{first:?}");
        };
        assert_eq!((counter.value, counter.version), (105, first.version));
        for (touched, key) in [(small, "small"), (large, "large"), (whole, "whole")] {
            let told = touched.entry.as_ref().unwrap();
            assert!(told.expire_time.is_some() && told.version == first.version);
            let head = v1::HeadRequest {
                key: key.into(),
                ..v1::HeadRequest::default()
            };
            let head = keys.head(head).await.unwrap().into_inner();
            assert_eq!(head.entry.as_ref(), Some(told));
        }
        assert_eq!(get(&mut keys, "large").await.unwrap(), noise(1, 100_000));
        // Once more: what was touched is touched again, and stays for ever.
        let operations = vec![touch("large", None), add("counter", -7)];
        let second = done(&mut commits, of(operations)).await;
        let [Of::Touch(large), Of::Increment(counter)] = [0, 1].map(|it| {
            let result: &v1::OperationResult = &second.results[it];
            result.result.clone().unwrap()
        }) else {
            panic!("{second:?}");
        };
        assert_eq!((counter.value, counter.version), (98, second.version));
        assert_eq!(large.entry.unwrap().expire_time, None);
        assert_eq!(get(&mut keys, "counter").await.unwrap(), "98");
        let fresh = restored_from(&server).await;
        assert_eq!(
            get(&mut client(&fresh).await, "counter").await.unwrap(),
            "98"
        );
        fresh.stop().await;
        server.stop().await;
    }
}

#[tokio::test]
async fn a_touch_or_count_that_cannot_be_done_fails_only_with_its_list() {
    let server = user_keys().start().await;
    let (mut keys, mut commits) = (client(&server).await, commits(&server).await);
    put(&mut keys, "text", "no number").await;
    let request = |holds, bad: v1::Operation| v1::CommitRequest {
        conditions: vec![if_so(
            "text",
            if holds { Present(true) } else { Absent(true) },
        )],
        operations: vec![store("then", "x"), bad],
        else_operations: vec![store("other", "x"), add("counter", 1)],
        ..v1::CommitRequest::default()
    };
    for bad in [touch("absent", hour()), add("text", 1)] {
        let refused = commits.commit(request(true, bad.clone())).await;
        let refused = refused.unwrap_err();
        assert!(matches!(
            refused.code(),
            Code::NotFound | Code::InvalidArgument
        ));
        assert_eq!(get(&mut keys, "then").await, None);
        let done = done(&mut commits, request(false, bad)).await;
        assert!(!done.succeeded && done.results.len() == 2);
    }
    assert_eq!(get(&mut keys, "counter").await.unwrap(), "102");
    server.stop().await;
}

/// Counters that many add to at once, some of them in commits that touch both, in either order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_of_commits_are_not_lost_beside_others() {
    const EACH: i64 = 25;
    let builder = user_keys().set("storage.shards", "3").without_password();
    let server = builder.start().await;
    put(&mut client(&server).await, "large", noise(1, 100_000)).await;
    let mut counting = tokio::task::JoinSet::new();
    for number in 0..8 {
        let (mut keys, mut commits) = (client(&server).await, commits(&server).await);
        counting.spawn(async move {
            for _ in 0..EACH {
                let mut operations = vec![add("a", 1), add("b", -1)];
                match number % 4 {
                    0 => {
                        let increment = v1::IncrementRequest {
                            key: "a".into(),
                            delta: 1,
                            initial_value: 100,
                            ..v1::IncrementRequest::default()
                        };
                        keys.increment(increment).await.unwrap();
                        continue;
                    }
                    1 => operations.reverse(),
                    // A large value that one puts while another touches it.
                    2 => operations.push(store("large", noise(number, 100_000))),
                    _ => operations.push(touch("large", hour())),
                }
                let done = done(&mut commits, of(operations)).await;
                assert!(done.succeeded);
            }
        });
    }
    while let Some(ended) = counting.join_next().await {
        ended.unwrap();
    }
    let mut keys = client(&server).await;
    let expected = [("a", 100 + 8 * EACH), ("b", 100 - 6 * EACH)];
    for (key, count) in expected {
        assert_eq!(get(&mut keys, key).await.unwrap(), count.to_string());
    }
    assert_eq!(get(&mut keys, "large").await.unwrap().len(), 100_000);
    let mut admin = AdminServiceClient::new(server.channel().await);
    let steps = admin.verify(v1::VerifyRequest {}).await.unwrap();
    let mut steps = steps.into_inner();
    while let Some(step) = steps.message().await.unwrap() {
        assert_eq!(step.problems, []);
    }
    server.stop().await;
}
