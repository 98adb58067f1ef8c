//! A small disk that is filled at random points, by the values of the clients and by somebody else
//! who takes space and gives it back: reads and deletes always work, writes are refused with an
//! error that says what to do and come back soon after there is room, and a `kill -9` on the full
//! disk loses nothing.

use crate::run::{cases, quick_dir, seed};
use crate::support::{PATIENCE, Random, Server, SmallDisk, noise};
use rustix::fs::FallocateFlags;
use shardkeep::proto::v1;
use shardkeep::proto::v1::key_value_service_client::KeyValueServiceClient;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Code, Status};

type Client = KeyValueServiceClient<Channel>;

const DISK_MIB: u64 = 128;
const CLIENTS: u64 = 16;
const CONNECTIONS: usize = 4;
/// Keys of a client: so few that they fit, or so many that they do not.
const FEW_KEYS: u64 = 6;
const MANY_KEYS: u64 = 40;
const VALUE_MAX: u64 = 600_000;
/// The promise: how long after there is room a write may still be refused.
const WRITES_RETURN: Duration = Duration::from_secs(5);
/// How long a shard may be away while it is opened anew.
const REOPENS: Duration = Duration::from_secs(5);

fn value(id: u64) -> Vec<u8> {
    let size = Random::seeded(id).within(16..VALUE_MAX);
    noise(id, usize::try_from(size).unwrap())
}

/// What all clients and the disk share.
#[derive(Default)]
struct Shared {
    fresh: AtomicU64,
    /// The clients are to stop.
    stop: AtomicBool,
    /// The server may be gone.
    gone: AtomicBool,
    refused: AtomicU64,
    answered: AtomicU64,
}

impl Shared {
    fn is(flag: &AtomicBool) -> bool {
        flag.load(Ordering::SeqCst)
    }
}

/// How a call ended that did not do what it was asked to.
enum Failure {
    /// The server is gone; whether it did it, nobody knows.
    Gone,
    /// A promise is broken.
    Broken(String),
}

fn broken<T>(what: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Broken(what.into()))
}

/// One client with keys of its own, and what may stand under each.
struct Tenant {
    number: u64,
    random: Random,
    keys: u64,
    held: BTreeMap<String, Vec<Option<u64>>>,
    shared: Arc<Shared>,
}

impl Tenant {
    fn key(&mut self) -> String {
        format!("{}/{}", self.number, self.random.within(0..self.keys))
    }

    fn states(&mut self, key: &str) -> &mut Vec<Option<u64>> {
        self.held.entry(key.to_owned()).or_insert(vec![None])
    }

    fn failure(&self, what: &str, status: &Status) -> Failure {
        if Shared::is(&self.shared.gone) {
            return Failure::Gone;
        }
        Failure::Broken(format!("{what}: {status}"))
    }

    /// An index that ran out of room all the same is opened anew, which is soon done.
    fn is_reopening(&self, status: &Status, deadline: Instant) -> bool {
        let is_open = !Shared::is(&self.shared.gone);
        status.code() == Code::Unavailable && is_open && Instant::now() < deadline
    }

    async fn run(mut self, mut client: Client) -> Result<Self, String> {
        while !Shared::is(&self.shared.stop) {
            let done = match self.random.within(0..100) {
                0..=49 => self.put(&mut client).await,
                50..=74 => self.get(&mut client).await,
                _ => {
                    let key = self.key();
                    self.delete(&mut client, &key).await
                }
            };
            match done {
                Ok(()) => self.shared.answered.fetch_add(1, Ordering::SeqCst),
                Err(Failure::Gone) => break,
                Err(Failure::Broken(what)) => return Err(what),
            };
        }
        Ok(self)
    }

    async fn put(&mut self, client: &mut Client) -> Result<(), Failure> {
        let key = self.key();
        let id = self.shared.fresh.fetch_add(1, Ordering::SeqCst);
        match put(client, &key, value(id)).await {
            Ok(()) => *self.states(&key) = vec![Some(id)],
            Err(status) if status.code() == Code::ResourceExhausted => {
                self.shared.refused.fetch_add(1, Ordering::SeqCst);
                let why = status.message();
                if !(why.contains("disk full") && why.contains("writes return by themselves")) {
                    return broken(format!("a refusal does not say what to do: {status}"));
                }
            }
            Err(status) => {
                self.states(&key).push(Some(id));
                // An index that ran out of room is opened anew.
                if status.code() != Code::Unavailable || Shared::is(&self.shared.gone) {
                    return Err(self.failure("a Put", &status));
                }
            }
        }
        Ok(())
    }

    async fn get(&mut self, client: &mut Client) -> Result<(), Failure> {
        let key = self.key();
        self.look(client, &key).await
    }

    async fn look(&mut self, client: &mut Client, key: &str) -> Result<(), Failure> {
        let request = v1::GetRequest {
            key: key.to_owned().into(),
            ..v1::GetRequest::default()
        };
        // It waits where the shard's index is opened anew.
        let found = match client.get(request).await {
            Ok(found) => Some(found.into_inner().value),
            Err(status) if status.code() == Code::NotFound => None,
            Err(status) => return Err(self.failure("a Get", &status)),
        };
        let is = |state: &Option<u64>| match (state, &found) {
            (Some(id), Some(found)) => value(*id) == *found,
            (state, found) => state.is_none() && found.is_none(),
        };
        let states = self.states(key);
        let Some(state) = states.iter().copied().find(is) else {
            let len = found.map(|found| found.len());
            return broken(format!("{key} has {len:?} bytes, may be one of {states:?}"));
        };
        *states = vec![state];
        Ok(())
    }

    async fn delete(&mut self, client: &mut Client, key: &str) -> Result<(), Failure> {
        let request = v1::DeleteRequest {
            key: key.to_owned().into(),
            ..v1::DeleteRequest::default()
        };
        let deadline = Instant::now() + REOPENS;
        loop {
            match client.delete(request.clone()).await {
                Ok(_) => break,
                Err(status) if status.code() == Code::NotFound => break,
                Err(status) => {
                    self.states(key).push(None);
                    if !self.is_reopening(&status, deadline) {
                        return Err(self.failure("a Delete", &status));
                    }
                    pause().await;
                }
            }
        }
        *self.states(key) = vec![None];
        Ok(())
    }
}

async fn pause() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

async fn put(client: &mut Client, key: &str, value: Vec<u8>) -> Result<(), Status> {
    let request = v1::PutRequest {
        key: key.to_owned().into(),
        value: value.into(),
        ..v1::PutRequest::default()
    };
    client.put(request).await.map(drop)
}

/// Somebody else on the disk: who takes what is free, but does not come back for what the server sets
/// free of its own.
struct Neighbour {
    path: PathBuf,
    random: Random,
}

impl Neighbour {
    /// Takes space and gives some back, a few times, and ends with all taken, or nearly all.
    fn fill(&mut self) {
        let file = File::create(&self.path).unwrap();
        for _ in 0..self.random.within(0..3) {
            let left = self.random.within(0..32 << 20);
            self.take_all_but(&file, left);
            let moment = Duration::from_millis(self.random.within(0..200));
            std::thread::sleep(moment);
            let len = file.metadata().unwrap().len();
            file.set_len(self.random.within(len / 2..len + 1)).unwrap();
        }
        let left = self.random.within(0..2) * self.random.within(0..2 << 20);
        self.take_all_but(&file, left);
    }

    fn take_all_but(&self, file: &File, left: u64) {
        let free = shardkeep::log::free_space(&self.path).unwrap();
        let len = file.metadata().unwrap().len();
        if free > left {
            // It keeps what it gets if that is not all.
            let _full = rustix::fs::fallocate(file, FallocateFlags::empty(), len, free - left);
        }
    }

    fn leave(&self) {
        std::fs::remove_file(&self.path).unwrap();
    }
}

/// A server on a small disk, and who uses it.
struct House {
    disk: SmallDisk,
    server: Server,
    /// What is set aside for a full disk.
    reserve: &'static str,
    tenants: Vec<Tenant>,
    shared: Arc<Shared>,
    random: Random,
    longest_return: Duration,
}

async fn start(disk: &SmallDisk, reserve: &str) -> Result<Server, String> {
    let builder = Server::builder()
        .flags(["--allow-user-key", "--allow-overwrite", "--shards", "2"])
        .flags(["--max-upload-size-mb", "1"])
        .set("storage.segment_size", "4 MiB")
        .set("index.write_buffer_size", "1 MiB")
        .set("index.checkpoint_bytes", "1 MiB")
        .set("gc.check_interval", "200ms")
        .set("gc.live_threshold", "0.9")
        .set("dedup.grace", "0s")
        .set("dedup.sweep_interval", "1s")
        .set("disk.ballast", reserve)
        .data_dir(disk.path().join("data"));
    let started = builder.launch().ready_or_ended().await;
    started.map_err(|log| format!("the server does not start:\n{log}"))
}

impl House {
    async fn new(seed: u64, reserve: &'static str) -> Option<Self> {
        let disk = SmallDisk::mount_in(quick_dir(), DISK_MIB)?;
        let server = start(&disk, reserve).await.unwrap();
        let shared = Arc::new(Shared::default());
        let mut random = Random::seeded(seed);
        let tenant = |number| Tenant {
            number,
            random: random.fork(),
            keys: FEW_KEYS,
            held: BTreeMap::new(),
            shared: shared.clone(),
        };
        Some(Self {
            disk,
            server,
            reserve,
            tenants: (0..CLIENTS).map(tenant).collect(),
            shared,
            random,
            longest_return: Duration::ZERO,
        })
    }

    async fn client(&self) -> Client {
        KeyValueServiceClient::new(self.server.channel().await)
    }

    async fn begin(&mut self, keys: u64) -> JoinSet<Result<Tenant, String>> {
        self.shared.stop.store(false, Ordering::SeqCst);
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            clients.push(self.client().await);
        }
        let mut tasks = JoinSet::new();
        for mut tenant in std::mem::take(&mut self.tenants) {
            tenant.keys = keys;
            let client = clients[tenant.number as usize % CONNECTIONS].clone();
            tasks.spawn(tenant.run(client));
        }
        tasks
    }

    async fn end(&mut self, tasks: JoinSet<Result<Tenant, String>>) -> Result<(), String> {
        self.shared.stop.store(true, Ordering::SeqCst);
        for tenant in tasks.join_all().await {
            self.tenants.push(tenant?);
        }
        Ok(())
    }

    /// Ends the clients; every other time because the server is killed, and started on what is left.
    async fn end_or_fall(&mut self, tasks: JoinSet<Result<Tenant, String>>) -> Result<(), String> {
        if self.random.percent(50) {
            self.shared.gone.store(true, Ordering::SeqCst);
            self.server.kill();
            self.end(tasks).await?;
            self.server = start(&self.disk, self.reserve).await?;
            self.shared.gone.store(false, Ordering::SeqCst);
        } else {
            self.end(tasks).await?;
        }
        self.look_at_all().await
    }

    async fn look_at_all(&mut self) -> Result<(), String> {
        let mut client = self.client().await;
        for tenant in &mut self.tenants {
            let keys: Vec<String> = tenant.held.keys().cloned().collect();
            for key in keys {
                words(tenant.look(&mut client, &key).await)?;
            }
        }
        Ok(())
    }

    /// How long it takes until a write is let in.
    async fn writes_return(&mut self) -> Result<Duration, String> {
        let mut client = self.client().await;
        let begun = Instant::now();
        loop {
            match put(&mut client, "probe", vec![7; 1_000]).await {
                Ok(()) => return Ok(begun.elapsed()),
                Err(status) if begun.elapsed() > PATIENCE => {
                    return Err(format!("writes never came back: {status}"));
                }
                Err(_) => pause().await,
            }
        }
    }

    /// Somebody else takes all, holds it for a while, and goes.
    async fn filled_by_a_neighbour(&mut self) -> Result<(), String> {
        let mut neighbour = Neighbour {
            path: self.disk.path().join("somebody-elses"),
            random: self.random.fork(),
        };
        let tasks = self.begin(FEW_KEYS).await;
        let filling = tokio::task::spawn_blocking(move || {
            neighbour.fill();
            neighbour
        });
        let neighbour = filling.await.unwrap();
        let moment = Duration::from_millis(self.random.within(0..1_000));
        tokio::time::sleep(moment).await;
        self.end_or_fall(tasks).await?;
        let tasks = self.begin(FEW_KEYS).await;
        let moment = Duration::from_millis(self.random.within(0..500));
        tokio::time::sleep(moment).await;
        neighbour.leave();
        let took = self.writes_return().await?;
        self.end(tasks).await?;
        self.longest_return = self.longest_return.max(took);
        if took > WRITES_RETURN {
            return Err(format!("writes came back after {took:?}"));
        }
        self.look_at_all().await
    }

    /// The clients fill it, and make room by deleting.
    async fn filled_by_values(&mut self) -> Result<(), String> {
        let tasks = self.begin(MANY_KEYS).await;
        let wanted = self.shared.refused.load(Ordering::SeqCst) + self.random.within(1..200);
        let deadline = Instant::now() + PATIENCE;
        while self.shared.refused.load(Ordering::SeqCst) < wanted && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.end_or_fall(tasks).await?;
        let mut client = self.client().await;
        for tenant in &mut self.tenants {
            let keys: Vec<String> = tenant.held.keys().cloned().collect();
            for key in keys {
                words(tenant.delete(&mut client, &key).await)?;
            }
        }
        self.writes_return().await?;
        self.look_at_all().await
    }

    async fn rounds(&mut self, rounds: u64) -> Result<(), String> {
        for _ in 0..rounds {
            if self.random.percent(60) {
                self.filled_by_a_neighbour().await?;
            } else {
                self.filled_by_values().await?;
            }
        }
        Ok(())
    }
}

fn words(done: Result<(), Failure>) -> Result<(), String> {
    done.map_err(|failure| match failure {
        Failure::Gone => "the server is gone".to_owned(),
        Failure::Broken(what) => what,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_filled_at_random_points_is_survived() {
    let seed = seed("small_disk");
    let Some(mut house) = House::new(seed, "1 MiB").await else {
        return;
    };
    let rounds = cases(3);
    let done = house.rounds(rounds).await;
    done.unwrap_or_else(|what| panic!("{what}\n{}", house.server.log()));
    let count = |figure: &AtomicU64| figure.load(Ordering::SeqCst);
    let (answered, refused) = (count(&house.shared.answered), count(&house.shared.refused));
    assert!(refused > 0, "the disk was never full");
    let longest = house.longest_return;
    eprintln!(
        "{rounds} times full: {answered} answers, {refused} Puts refused, writes back after {longest:?} at most"
    );
}

/// The planted fault: a server that keeps no reserve.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_a_reserve_is_found() {
    let Some(mut house) = House::new(11, "0").await else {
        return;
    };
    let found = house.rounds(20).await.unwrap_err();
    let is_it = ["a Delete", "a Get", "does not start"].map(|what| found.contains(what));
    assert!(is_it.contains(&true), "{found}");
}
