//! The whole API against a reference model: several clients, every operation of the native protocol
//! and of zstdb's, drawn at random, beside an operator at work, through kills and restarts.
//!
//! `SHARDKEEP_ADVERSARY_CASES` says how many lives the server has, `SHARDKEEP_ADVERSARY_SEED`
//! repeats the choices; moments are the machine's own.

#[path = "../adversary/run.rs"]
mod run;
#[path = "../support/mod.rs"]
mod support;

mod call;
mod chores;
mod client;
mod draw;
mod fault;
mod held;
mod large;
mod model;
mod operator;
mod rules;
mod switches;

use call::Connection;
use chores::Operator;
use client::{Client, version_now};
use run::{cases, quick_dir, seed};
use shardkeep::start::offline;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{Builder, Random, Server};
use switches::Switches;
use tokio::task::JoinSet;

const CLIENTS: usize = 6;
/// Of each client in a life that is not cut short.
const CALLS: u64 = 60;

fn builder(dir: &Path) -> Builder {
    Server::builder()
        .flags(["--allow-user-key", "--allow-overwrite", "--shards", "3"])
        .set("storage.segment_size", "16 MiB")
        .set("index.checkpoint_bytes", "1 MiB")
        .set("server.max_upload_size", large::ANSWER_MAX.to_string())
        .set("gc.check_interval", "1h")
        .set("dedup.grace", "1s")
        .set("dedup.sweep_interval", "1s")
        .data_dir(dir)
}

/// The clients of one store, over the lives of its server.
struct Crowd {
    clients: Vec<Client>,
    random: Random,
}

impl Crowd {
    fn new(count: usize, seed: u64) -> Self {
        let mut random = Random::seeded(seed);
        let clients = (0..count).map(|number| Client::new(number, random.fork()));
        Self {
            clients: clients.collect(),
            random,
        }
    }

    /// Everybody at work, until they have done their calls or the server is killed. A server that
    /// is not killed has told its watchers everything in the end.
    async fn live(
        &mut self,
        server: &mut Server,
        kill_after: Option<Duration>,
    ) -> Result<(), String> {
        let mut watching = Vec::new();
        for client in &mut self.clients {
            watching.extend(client.arrive(server).await?);
        }
        let gone = Arc::new(AtomicBool::new(false));
        let channel = server.channel().await;
        let switches = Switches::default();
        let mut operator = Operator::new(channel, self.random.fork(), gone.clone());
        operator.switches = switches.clone();
        let operator = tokio::spawn(async move { operator.work(u64::MAX).await });
        let mut working = JoinSet::new();
        for mut client in self.clients.drain(..) {
            client.may_lose = kill_after.is_some();
            let connection = Connection::to(server).await.beside(&switches);
            working.spawn(async move {
                let done = client.work(connection, CALLS).await;
                (client, done)
            });
        }
        if let Some(length) = kill_after {
            tokio::time::sleep(length).await;
            gone.store(true, Ordering::SeqCst);
            server.kill();
        }
        let mut outcome = Ok(());
        while let Some(done) = working.join_next().await {
            let (client, done) = done.unwrap();
            outcome = outcome.and(done);
            self.clients.push(client);
        }
        self.clients
            .sort_by(|a, b| a.model.prefix.cmp(&b.model.prefix));
        gone.store(true, Ordering::SeqCst);
        outcome.and(operator.await.unwrap())?;
        if kill_after.is_none() {
            self.check(server).await?;
        }
        for watch in watching {
            watch.abort();
        }
        Ok(())
    }

    /// Everything, while nobody writes.
    async fn check(&mut self, server: &Server) -> Result<(), String> {
        let mut connection = Connection::to(server).await;
        let version = version_now(server).await;
        let version = version.map_err(|status| status.to_string())?;
        for client in &mut self.clients {
            client.check_all(&mut connection).await?;
            client.check_watches(version).await?;
        }
        operator::check_counts(server.channel().await, &self.clients).await
    }

    fn calls(&self) -> u64 {
        self.clients.iter().map(|client| client.calls).sum()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_answer_is_what_the_model_says_through_kills_and_restarts() {
    let mut crowd = Crowd::new(
        CLIENTS,
        seed("every_answer_is_what_the_model_says_through_kills_and_restarts"),
    );
    let dir = quick_dir();
    let lives = cases(4);
    for life in 0..=lives {
        let mut server = builder(dir.path()).start().await;
        if life == 0 {
            operator::make_namespaces(server.channel().await).await;
        }
        // The last one ends well.
        let is_killed = life < lives && crowd.random.percent(60);
        let kill_after = is_killed.then(|| Duration::from_millis(crowd.random.within(50..1500)));
        let lived = crowd.live(&mut server, kill_after).await;
        lived.unwrap_or_else(|what| panic!("life {life}: {what}"));
        if life == lives {
            operator::check_backup(&server, &mut crowd.clients).await;
        }
        if !is_killed {
            server.stop().await;
        }
    }
    let path = dir.path().to_owned();
    let verified =
        tokio::task::spawn_blocking(move || offline::verify(&path, false, &mut |_, _| {}));
    assert_eq!(verified.await.unwrap().unwrap().problems, []);
    let sum = |of: fn(&Client) -> u64| crowd.clients.iter().map(of).sum::<u64>();
    let (settled, anew) = (sum(|client| client.settled), sum(|client| client.anew));
    let streamed = sum(|client| client.streamed);
    let switched_off = sum(|client| client.switched_off);
    let (again, left_alone) = (sum(|client| client.again), sum(|client| client.left_alone));
    eprintln!(
        "{lives} lives, {} calls, {streamed} with streams or chunks, {settled} of unknown outcome, {switched_off} refused because they were switched off, {again} sent again long after, {left_alone} left alone by another run, {anew} watches begun anew",
        crowd.calls()
    );
}

/// The planted faults: of each kind of answer, one that is not right.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_kind_of_wrong_answer_is_found() {
    let seed = seed("every_kind_of_wrong_answer_is_found");
    let dir = quick_dir();
    let server = builder(dir.path()).start().await;
    operator::make_namespaces(server.channel().await).await;
    for kind in 0..fault::KINDS {
        let mut client = Client::new(kind, Random::seeded(seed + kind as u64));
        client.fault = Some(kind);
        let connection = Connection::to(&server).await;
        let done = client.work(connection, 10_000).await;
        assert!(
            client.distorted,
            "{kind}: there was no such answer: {done:?}"
        );
        assert!(done.is_err(), "{kind}: a wrong answer was believed");
    }
    server.stop().await;
}

/// The planted faults of an operator's answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_kind_of_wrong_answer_to_an_operator_is_found() {
    let seed = seed("every_kind_of_wrong_answer_to_an_operator_is_found");
    let dir = quick_dir();
    let server = builder(dir.path()).start().await;
    for kind in 0..chores::KINDS {
        let random = Random::seeded(seed + kind as u64);
        let mut operator = Operator::new(server.channel().await, random, Arc::default());
        operator.fault = Some(kind);
        let done = operator.work(1_000).await;
        assert!(
            operator.distorted,
            "{kind}: there was no such answer: {done:?}"
        );
        assert!(done.is_err(), "{kind}: a wrong answer was believed");
    }
    server.stop().await;
}

/// A watch of which one event was spoiled after the life of a client: what is said of that then.
async fn said_of_spoiled(name: &str, spoil: impl FnOnce(&Client) -> bool) -> String {
    let mut crowd = Crowd::new(1, seed(name));
    let dir = quick_dir();
    let mut server = builder(dir.path()).start().await;
    operator::make_namespaces(server.channel().await).await;
    crowd.live(&mut server, None).await.unwrap();
    let client = &crowd.clients[0];
    client.check_watches(0).await.unwrap();
    assert!(spoil(client));
    client.check_watches(0).await.unwrap_err()
}

/// The planted fault of the watches: one event is left out.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_event_that_is_left_out_is_found() {
    let name = "an_event_that_is_left_out_is_found";
    let what = said_of_spoiled(name, Client::forget_an_event).await;
    assert!(what.contains("did not tell"), "{what}");
}

/// The same of one value.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_event_with_another_value_is_found() {
    let name = "an_event_with_another_value_is_found";
    let what = said_of_spoiled(name, Client::bend_an_event).await;
    assert!(what.contains("other bytes"), "{what}");
}
