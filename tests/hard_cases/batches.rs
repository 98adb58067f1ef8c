//! Batches over one shard and over several: all of it or nothing, at every step, for every reader.

use crate::bench::{key, put, seal};
use crate::faults::{Hold, arm, disarm};
use crate::house::{House, LARGE};
use crate::support::{PATIENCE, eventually, noise};
use bytes::Bytes;
use shardkeep::model::{
    Attributes, Batch, BatchReply, Change, Condition, ErrorKind, Existing, Lifetime, NewValue,
    Operation, PutBody, Question, Reply, Result, ShardId, Test, Version,
};
use shardkeep::router::Router;
use shardkeep::service::{Commit, KeyRequirement, NewEntry, Requirement, Step};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Shards that the batches of these tests change; the house has one more.
const WRITERS: u16 = 3;

fn store(name: &str, value: &[u8], existing: Existing) -> Operation {
    Operation {
        key: key(name),
        change: Change::Put(Box::new(NewValue {
            body: PutBody::Small(seal(value)),
            existing,
            lifetime: Lifetime::Forever,
            attributes: Bytes::new(),
        })),
    }
}

fn replace(name: &str, value: &[u8]) -> Operation {
    store(name, value, Existing::Replace)
}

fn remove(name: &str) -> Operation {
    Operation {
        key: key(name),
        change: Change::Delete,
    }
}

fn ask(name: &str, condition: Condition) -> Test {
    Test {
        key: key(name),
        question: Question::Record(condition),
    }
}

fn plain(operations: Vec<Operation>) -> Batch {
    Batch {
        operations,
        ..Batch::default()
    }
}

/// `count` names whose keys are in a shard.
fn names_in(router: &Router, shard: u16, count: usize) -> Vec<String> {
    let names = (0..).map(|number| format!("n{number}"));
    let own = names.filter(|name| router.shard_of_key(&key(name)) == ShardId(shard));
    own.take(count).collect()
}

/// Two keys in each of the shards that batches change, and one in the shard that they only ask.
fn names(router: &Router) -> (Vec<String>, String) {
    let members = (0..WRITERS).flat_map(|shard| names_in(router, shard, 2));
    let asked = names_in(router, WRITERS, 1).remove(0);
    (members.collect(), asked)
}

/// One number under all members, if a key in another shard is there.
fn numbered(router: &Router, number: u64) -> Batch {
    let (members, asked) = names(router);
    let puts = members
        .iter()
        .map(|name| replace(name, &number.to_le_bytes()));
    Batch {
        tests: vec![ask(&asked, Condition::Present)],
        operations: puts.collect(),
        otherwise: Vec::new(),
    }
}

/// A house whose members all hold the number 1.
async fn with_members(house: &House) {
    let (_, asked) = names(house.router());
    house.set(asked.as_bytes(), b"here").await;
    let done = house.router().commit(numbered(house.router(), 1)).await;
    assert!(matches!(
        done,
        Ok(BatchReply::Done {
            succeeded: true,
            version: Some(_),
            ..
        })
    ));
}

/// The one number of all members, and their one version.
async fn number_of(house: &House, what: &str) -> (u64, Version) {
    let (members, _) = names(house.router());
    let mut found = BTreeMap::new();
    for name in &members {
        // A shard that has just panicked may not count as failed yet.
        let serves = || match house.router().find(&key(name)) {
            Err(error) if error.kind() == ErrorKind::Unavailable => None,
            found => Some(found.unwrap()),
        };
        let record = eventually("the shard serves", serves).await;
        let record = record.unwrap_or_else(|| panic!("{what}: {name} is not there"));
        let raw = record.open(record.payload().unwrap()).unwrap();
        let number = u64::from_le_bytes(raw[..].try_into().unwrap());
        found.insert(name.clone(), (number, record.row.version));
    }
    let one = *found.values().next().unwrap();
    assert!(
        found.values().all(|it| *it == one),
        "{what}: half a batch: {found:?}"
    );
    one
}

/// What stands, with its version, by the indexes and by the logs alone.
async fn assert_stays(house: &mut House, what: &str) {
    let before = number_of(house, what).await;
    house.crash().await;
    assert_eq!(
        number_of(house, what).await,
        before,
        "{what}: after a crash"
    );
    house.crash_without_indexes().await;
    assert_eq!(number_of(house, what).await, before, "{what}: by the logs");
    // And the shards go on.
    let next = house.router().commit(numbered(house.router(), 99)).await;
    assert!(matches!(next, Ok(BatchReply::Done { .. })), "{what}");
    assert_eq!(number_of(house, what).await.0, 99, "{what}");
}

async fn commit_aside(house: &House, number: u64) -> tokio::task::JoinHandle<Result<BatchReply>> {
    let router = house.router().clone();
    tokio::spawn(async move { router.commit(numbered(&router, number)).await })
}

#[tokio::test(flavor = "multi_thread")]
async fn all_changes_of_a_batch_take_one_version() {
    for shards in [1, 4] {
        let mut house = House::calm_over(shards).await;
        house.set(b"goes", b"old").await;
        house.set(b"changes", b"old").await;
        let batch = plain(vec![
            replace("changes", b"new"),
            remove("goes"),
            remove("never was"),
            replace("comes", b"new"),
        ]);
        let Ok(BatchReply::Done {
            succeeded: true,
            version: Some(version),
            results,
        }) = house.router().commit(batch).await
        else {
            panic!("the batch is done");
        };
        assert_eq!(version, Version(3), "one version for three changes");
        assert!(
            matches!(
                results[..],
                [
                    Reply::Put { version: a, previous: Some(Version(2)), .. },
                    Reply::Deleted { version: b, previous: Some(Version(1)), .. },
                    Reply::Missing,
                    Reply::Put { version: c, previous: None, .. },
                ] if [a, b, c] == [version; 3]
            ),
            "{results:?}"
        );
        for _ in 0..2 {
            assert_eq!(house.get(b"changes").await.unwrap(), b"new");
            assert_eq!(house.get(b"comes").await.unwrap(), b"new");
            assert_eq!(house.get(b"goes").await, None);
            for name in ["changes", "comes"] {
                let record = house.router().find(&key(name)).unwrap().unwrap();
                assert_eq!(record.row.version, version);
            }
            house.crash().await;
        }
        let shard = house.router().shard_of_key(&key("next"));
        let next = house.router().write(shard, put("next", b"value")).await;
        assert!(matches!(
            next,
            Ok(Reply::Put {
                version: Version(4),
                ..
            })
        ));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tests_in_any_shard_choose_the_list() {
    for shards in [1, 4] {
        let house = House::calm_over(shards).await;
        for number in 0..8 {
            house.set(format!("k{number}").as_bytes(), b"old").await;
        }
        let version = Version(5);
        let (right, wrong) = (Condition::Version(version), Condition::Version(Version(99)));
        let none = Condition::Absent;
        let cases = [
            (vec![ask("k4", right), ask("k9", none)], true),
            (vec![ask("k4", wrong), ask("k9", none)], false),
            (vec![ask("k4", right), ask("k0", none)], false),
            (vec![ask("k9", Condition::Present)], false),
            (vec![], true),
        ];
        for (tests, holds) in cases {
            let batch = Batch {
                tests: tests.clone(),
                operations: vec![replace("k1", b"then"), replace("k2", b"then")],
                otherwise: vec![replace("k1", b"else"), replace("k3", b"else")],
            };
            let done = house.router().commit(batch).await.unwrap();
            let BatchReply::Done {
                succeeded, results, ..
            } = done
            else {
                panic!("{done:?}");
            };
            assert_eq!((succeeded, results.len()), (holds, 2), "{tests:?}");
            let word = if holds { &b"then"[..] } else { b"else" };
            assert_eq!(house.get(b"k1").await.unwrap(), word, "{tests:?}");
            let other: &[u8] = if holds { b"k2" } else { b"k3" };
            assert_eq!(house.get(other).await.unwrap(), word, "{tests:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_refused_or_overtaken_changes_nothing() {
    for shards in [1, 4] {
        let house = House::calm_over(shards).await;
        for number in 0..8 {
            house.set(format!("k{number}").as_bytes(), b"old").await;
        }
        let counter = house.router().counter().current();
        let mut operations: Vec<_> = (10..20)
            .map(|it| replace(&format!("k{it}"), b"new"))
            .collect();
        let only_new = Existing::Require(Condition::Absent);
        operations.insert(7, store("k3", b"new", only_new));
        let refused = house.router().commit(plain(operations)).await.unwrap();
        let expected = BatchReply::Refused {
            succeeded: true,
            operation: 7,
            found: Some(Version(4)),
        };
        assert_eq!(refused, expected);
        let seen = |version, holds| Test {
            key: key("k5"),
            question: Question::Seen { version, holds },
        };
        let with = |test| Batch {
            tests: vec![ask("k9", Condition::Absent), test],
            operations: (10..20)
                .map(|it| replace(&format!("k{it}"), b"new"))
                .collect(),
            otherwise: Vec::new(),
        };
        for version in [None, Some(Version(5)), Some(Version(7))] {
            for holds in [true, false] {
                let done = house.router().commit(with(seen(version, holds))).await;
                assert_eq!(done.unwrap(), BatchReply::Overtaken);
            }
        }
        let no = house.router().commit(with(seen(Some(Version(6)), false)));
        let nothing = BatchReply::Done {
            succeeded: false,
            version: None,
            results: Vec::new(),
        };
        assert_eq!(no.await.unwrap(), nothing);
        for number in 10..20 {
            assert_eq!(house.get(format!("k{number}").as_bytes()).await, None);
        }
        assert_eq!(
            house.router().counter().current(),
            counter,
            "none was drawn"
        );
        let yes = house.router().commit(with(seen(Some(Version(6)), true)));
        assert!(matches!(
            yes.await,
            Ok(BatchReply::Done {
                succeeded: true,
                ..
            })
        ));
    }
}

/// What a kill leaves when every shard is at a step, and what it must mean. Where a prepare is
/// written and not synced, the disk decides.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_batch_is_whole_or_nothing_wherever_the_process_dies() {
    let house = House::armed().await;
    with_members(&house).await;
    let all = usize::from(WRITERS);
    let steps = [
        ("begun", all + 1, Some(false)),
        ("judged", all + 1, Some(false)),
        ("planned", all, Some(false)),
        ("written", all, None),
        ("prepared", all, Some(true)),
        ("committed", all, Some(true)),
        ("decided", all, Some(true)),
        ("hidden", all, Some(true)),
        ("shown", all, Some(true)),
    ];
    let mut number = 1;
    for (step, who, is_done) in steps {
        let point = format!("transaction::{step}");
        let hold = Hold::at(&point);
        let committing = commit_aside(&house, number + 1).await;
        hold.so_many(who).await;
        disarm(&point);
        let mut image = house.image().await;
        let (found, _) = number_of(&image, step).await;
        match is_done {
            Some(done) => assert_eq!(found, number + u64::from(done), "killed when {step}"),
            None => assert!(found == number || found == number + 1, "killed when {step}"),
        }
        assert_stays(&mut image, step).await;
        hold.release();
        let done = committing.await.unwrap();
        assert!(
            matches!(done, Ok(BatchReply::Done { .. })),
            "{step}: {done:?}"
        );
        number += 1;
        assert_eq!(number_of(&house, step).await.0, number);
    }
    let mut house = house;
    assert_stays(&mut house, "at the end").await;
}

/// Shards are at different steps when the process dies.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_some_shards_have_done_decides_for_the_others() {
    let house = House::armed().await;
    with_members(&house).await;
    // Where one shard is held, where the others are then, and whether the batch is done.
    let cases = [
        ("planned", "prepared", false),
        ("committed", "decided", true),
    ];
    let mut number = 1;
    for late in 0..WRITERS {
        for (behind, ahead, is_done) in cases {
            let what = format!("shard {late} {behind}, others {ahead}");
            let behind = format!("transaction::{behind}::{:03}", late);
            let ahead = format!("transaction::{ahead}");
            let (held, others) = (Hold::at(&behind), Hold::at(&ahead));
            let committing = commit_aside(&house, number + 1).await;
            held.somebody().await;
            others.so_many(usize::from(WRITERS) - 1).await;
            disarm(&behind);
            disarm(&ahead);
            let mut image = house.image().await;
            let (found, _) = number_of(&image, &what).await;
            assert_eq!(found, number + u64::from(is_done), "{what}");
            assert_stays(&mut image, &what).await;
            held.release();
            others.release();
            committing.await.unwrap().unwrap();
            number += 1;
            assert_eq!(number_of(&house, &what).await.0, number);
        }
    }
}

/// One shard fails or panics at a step, the process lives on.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_shard_that_fails_takes_the_whole_batch_with_it_or_nothing() {
    let mut house = House::armed().await;
    with_members(&house).await;
    let cases = [
        ("transaction::begun", "1*panic"),
        ("transaction::judged", "1*panic"),
        ("log::reserve", "1*return"),
        ("transaction::planned", "1*panic"),
        ("log::write", "1*return"),
        ("transaction::written", "1*return"),
        ("transaction::written", "1*panic"),
        ("log::sync", "1*return"),
        ("transaction::prepared", "1*panic"),
        ("transaction::committed", "1*panic"),
        ("transaction::committed::001", "1*return"),
        ("log::write", "3*off->1*return"),
        ("log::sync", "3*off->1*return"),
        ("transaction::decided", "1*panic"),
        ("transaction::hidden", "1*panic"),
        ("shard::indexed", "1*panic"),
        ("transaction::shown", "1*panic"),
    ];
    let mut number = 1;
    for (point, action) in cases {
        let what = format!("{point} {action}");
        arm(point, action);
        let done = house.router().commit(numbered(house.router(), number + 1));
        let done = tokio::time::timeout(PATIENCE, done)
            .await
            .expect("an answer");
        disarm(point);
        for shard in 0..=WRITERS {
            house.serving(ShardId(shard)).await;
        }
        let (found, _) = number_of(&house, &what).await;
        match done {
            Ok(_) => assert_eq!(found, number + 1, "{what}: it was acknowledged"),
            Err(error) if error.reason() == "OUTCOME_UNKNOWN" => {
                assert!(found == number || found == number + 1, "{what}: {found}");
            }
            Err(error) => assert_eq!(found, number, "{what}: it was refused: {error}"),
        }
        number = found;
        house.crash().await;
        assert_eq!(number_of(&house, &what).await.0, number, "{what}");
    }
    assert_stays(&mut house, "at the end").await;
}

/// Pairs of Gets, cuts, moments and lists beside a stream of batches.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_reader_sees_half_a_batch() {
    const BATCHES: u64 = 60;
    let house = House::armed().await;
    with_members(&house).await;
    // Batches of one shard too, whose rows come one after the other as well.
    let alone = names_in(house.router(), 1, 12);
    let alone = alone[2..].to_vec();
    let number = |value: &[u8]| u64::from_le_bytes(value.try_into().unwrap());
    let one = |number: u64| {
        let puts = alone.iter().map(|it| replace(it, &number.to_le_bytes()));
        plain(puts.collect())
    };
    house.router().commit(one(1)).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let mut readers = tokio::task::JoinSet::new();
    let (members, _) = names(house.router());
    for (group, forwards) in [(&members, true), (&members, false), (&alone, true)] {
        let (service, stop, mut group) = (house.service().clone(), stop.clone(), group.clone());
        if !forwards {
            group.reverse();
        }
        readers.spawn(async move {
            let mut reads = 0;
            while !stop.load(Ordering::Relaxed) {
                let mut newest = 0;
                for name in &group {
                    let found = service.get(name.as_bytes()).await.unwrap().unwrap();
                    let found = number(&found.data);
                    assert!(found >= newest, "{name}: {found} after {newest}");
                    newest = found;
                }
                reads += 1;
                tokio::task::yield_now().await; // What is cached is answered without a wait.
            }
            reads
        });
    }
    let (router, stopped, group) = (house.router().clone(), stop.clone(), members.clone());
    readers.spawn(async move {
        let mut reads = 0;
        while !stopped.load(Ordering::Relaxed) {
            let moment = router.moment().await.unwrap();
            let found = group.iter().map(|name| {
                let record = moment.find(&key(name)).unwrap().unwrap();
                record.row.version
            });
            let found: Vec<Version> = found.collect();
            assert!(found.iter().all(|it| *it == found[0]), "moment: {found:?}");
            reads += 1;
            tokio::task::yield_now().await;
        }
        reads
    });
    let (router, stopped, group) = (house.router().clone(), stop.clone(), members.clone());
    readers.spawn(async move {
        let mut reads = 0;
        while !stopped.load(Ordering::Relaxed) {
            let cut = router.cut().await.unwrap();
            let found = group.iter().map(|name| {
                let record = cut.record(&key(name)).unwrap().unwrap();
                record.row.version
            });
            let found: Vec<Version> = found.collect();
            assert!(found.iter().all(|it| *it == found[0]), "cut: {found:?}");
            assert!(found[0] <= cut.version);
            let listed = router.list(b"n", 0, 1000).unwrap();
            let listed: BTreeMap<_, _> = listed.into_iter().collect();
            let found: Vec<Version> = group.iter().map(|name| listed[&key(name)]).collect();
            assert!(found.iter().all(|it| *it == found[0]), "list: {found:?}");
            reads += 1;
            tokio::task::yield_now().await;
        }
        reads
    });
    for number in 2..=BATCHES {
        house
            .router()
            .commit(numbered(house.router(), number))
            .await
            .unwrap();
        house.router().commit(one(number)).await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(reads) = readers.join_next().await {
        assert!(reads.unwrap() > 0);
    }
}

/// Batches over any shards, cuts, and callers that go away, all at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn batches_and_cuts_do_not_wait_for_each_other_in_a_circle() {
    const CALLERS: u64 = 6;
    const TURNS: u64 = 25;
    let mut house = House::calm().await;
    with_members(&house).await;
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let router = house.router().clone();
        callers.spawn(async move {
            for turn in 0..TURNS {
                let first = ((caller + turn) % 4) as u16;
                let second = ((caller + turn * 3 + 1) % 4) as u16;
                let of = |shard| names_in(&router, shard, 4)[3].clone();
                let value = format!("{caller} {turn}");
                let mut puts = vec![replace(&of(first), value.as_bytes())];
                if second != first {
                    puts.push(replace(&of(second), value.as_bytes()));
                }
                let mut committing = Box::pin(router.commit(plain(puts)));
                match turn % 5 {
                    0 => drop(router.cut().await.unwrap()),
                    1 => {
                        // Gone after a moment, wherever the batch is then.
                        let soon = std::time::Duration::from_micros(300 * (caller + 1));
                        let _ = tokio::time::timeout(soon, committing.as_mut()).await;
                        continue;
                    }
                    _ => {}
                }
                committing.await.unwrap();
            }
        });
    }
    let all = async {
        while let Some(done) = callers.join_next().await {
            done.unwrap()
        }
    };
    tokio::time::timeout(PATIENCE, all)
        .await
        .expect("all go on");
    assert_stays(&mut house, "at the end").await;
}

/// Contents in other shards: a record names each reference, and nobody else has one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_commit_leaves_no_reference_that_no_record_names() {
    let house = House::calm().await;
    let large = |name: String, seed| {
        Step::Put(Box::new(NewEntry {
            key: name.into(),
            data: noise(seed, 2 * LARGE).into(),
            sum64: None,
            digest: None,
            lifetime: Lifetime::Forever,
            attributes: Attributes::default(),
        }))
    };
    let asks = |name: &str, condition| KeyRequirement {
        key: Bytes::copy_from_slice(name.as_bytes()),
        requirement: Requirement::Record(condition),
    };
    for turn in 0..12_u64 {
        let steps = |seed: u64| (0..10).map(move |it| large(format!("k{it}"), seed + it % 7));
        let holds = turn % 3 != 0;
        let condition = match holds {
            true => Condition::Absent,
            false => Condition::Present,
        };
        let namespace = house.service().default_namespace();
        let commit = Commit {
            conditions: vec![asks("never", condition)],
            operations: steps(turn).collect(),
            otherwise: steps(100 + turn)
                .chain([Step::Delete("gone".into())])
                .collect(),
        };
        let done = house.service().commit(namespace, commit);
        assert_eq!(done.await.unwrap().succeeded, holds);
        assert_eq!(house.references(), house.named_references(), "turn {turn}");
        assert_eq!(house.references().len(), 10);
    }
}
