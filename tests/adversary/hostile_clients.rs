//! Clients that mean harm, beside others that do not: rapid resets, floods of headers, slow readers
//! and writers, idle connections, deadlines that nobody can meet, bombs in backups. The others are
//! answered, rightly, and the memory of the server stays where it was.
//!
//! How much later the others are answered is printed and never asserted. Who means harm sits on
//! other machines in life: here its threads get what the server and the others leave of this one.

use crate::run::{cases, quick_dir, seed};
use crate::support::{
    Builder, PATIENCE, Random, Server, command_of, eventually, http2, key_of, noise, process,
    set_of,
};
use shardkeep::backup::{ArchiveEncoder, ArchiveHeader, ChainId, Entry};
use shardkeep::codec::payload_sum;
use shardkeep::model::{Codec, Digest, SealedValue, StoreId, Timestamp, ValueInfo, Version};
use shardkeep::proto::zstdb::ItemReply;
use shardkeep::proto::zstdb::badger_client::BadgerClient;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::Request;
use tonic::transport::Channel;

const MIB: usize = 1 << 20;
/// What all the harm together may cost.
const MEMORY_MAX: usize = 128 * MIB;
/// What slow readers may cost: values of 8 MiB that are being read, the caches that the others fill in
/// that time, and some.
const READERS_MEMORY_MAX: usize = 96 * MIB;
/// What may still be there of it when the attack is over and what was freed has been given back: the
/// caches that the others have filled.
const LEFT_MAX: usize = 32 * MIB;
/// How long it may take until it has.
const GIVEN_BACK_IN: Duration = Duration::from_secs(20);
/// What the operator has granted to requests and replies in flight, which is part of that.
const BUDGET: &str = "32 MiB";
/// Connections that say nothing: what 20,000 open files allow.
const IDLE: u64 = 9_980;
const OTHERS: u64 = 4;
/// Calls of the others before an attack, to compare with.
const QUIET_CALLS: u64 = 1_000;
/// Calls of the others for which an attack that holds something holds it.
const HELD_CALLS: u64 = 500;

fn builder(dir: &tempfile::TempDir) -> Builder {
    let builder = Server::builder().flags(["--allow-user-key", "--allow-overwrite"]);
    let builder = builder.data_dir(dir.path().join("data"));
    builder.set("admission.bytes_in_flight", BUDGET)
}

/// How long one of the others rests before it calls again, so that the machine is not theirs alone.
const REST: Duration = Duration::from_millis(4);

/// Clients that mean no harm: each stores values and reads them back, over and over.
struct Others {
    calls: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Result<Vec<Duration>, String>>,
}

impl Others {
    async fn start(server: &Server) -> Self {
        let mut others = Self {
            calls: Arc::default(),
            stop: Arc::default(),
            tasks: JoinSet::new(),
        };
        for number in 0..OTHERS {
            let (calls, stop) = (Arc::clone(&others.calls), Arc::clone(&others.stop));
            let client = server.client().await;
            others.tasks.spawn(other(client, number, calls, stop));
        }
        others
    }

    /// Waits until they have been answered so many times more.
    async fn answered(&self, more: u64) {
        let goal = self.calls.load(Ordering::Relaxed) + more;
        let answered = || (self.calls.load(Ordering::Relaxed) >= goal).then_some(());
        eventually("answers for the others", answered).await;
    }

    /// How long each call took.
    async fn end(mut self) -> Result<Vec<Duration>, String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut took = Vec::new();
        while let Some(ended) = self.tasks.join_next().await {
            took.extend(ended.unwrap()?);
        }
        took.sort();
        Ok(took)
    }
}

async fn other(
    mut client: BadgerClient<Channel>,
    number: u64,
    calls: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> Result<Vec<Duration>, String> {
    let mut took = Vec::new();
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let key = format!("other/{number}/{}", round % 50);
        let value = noise(number * 1_000_000 + round, 1024);
        let set = client.set(set_of(key.clone(), value.clone()));
        let reply = timed(set, &mut took).await?;
        if reply.errcode != 0 {
            return Err(format!("a Set was answered {reply:?}"));
        }
        let reply = timed(client.get(key_of(key.clone())), &mut took).await?;
        if reply.data != value {
            return Err(format!("{key} is not what was acknowledged"));
        }
        calls.fetch_add(2, Ordering::Relaxed);
        tokio::time::sleep(REST).await;
    }
    Ok(took)
}

async fn timed(
    call: impl Future<Output = Result<tonic::Response<ItemReply>, tonic::Status>>,
    took: &mut Vec<Duration>,
) -> Result<ItemReply, String> {
    let begun = Instant::now();
    let reply = tokio::time::timeout(PATIENCE, call).await;
    let reply = reply.map_err(|_| "no answer for an other".to_owned())?;
    took.push(begun.elapsed());
    let reply = reply.map_err(|status| format!("a call of an other failed: {status}"))?;
    Ok(reply.into_inner())
}

fn p99(took: &[Duration]) -> Duration {
    took[took.len() * 99 / 100]
}

/// What an attack is made with.
struct Attack<'a> {
    server: &'a Server,
    others: &'a Others,
    random: Random,
    rounds: u64,
    /// How much the server's memory may grow.
    memory_max: usize,
}

impl Attack<'_> {
    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Keeps something up for a while.
    async fn hold(&self) {
        self.others.answered(HELD_CALLS).await;
    }
}

/// Lets this thread run only while no other wants to, as nothing on another machine would keep a core
/// of this one, or else with the least weight. Which of them it is.
fn come_last() -> &'static str {
    // Linux counts either for each thread.
    let thread = std::fs::read_link("/proc/thread-self").unwrap();
    let mut chrt = Command::new("chrt");
    chrt.args(["--idle", "--pid", "0"])
        .arg(thread.file_name().unwrap());
    let chrt = chrt.stdout(Stdio::null()).stderr(Stdio::null()).status();
    if chrt.is_ok_and(|ended| ended.success()) {
        return "SCHED_IDLE";
    }
    match rustix::process::nice(19) {
        Ok(_) => "nice 19",
        Err(_) => "no less than the others",
    }
}

/// Runs an attack on threads that come after all others of this machine. How they come after.
fn run_apart(
    made: &mut Attack<'_>,
    attack: impl AsyncFnOnce(&mut Attack<'_>) + Send,
) -> &'static str {
    let apart = || {
        let how = come_last();
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let threads = builder.worker_threads(2).on_thread_start(|| {
            come_last();
        });
        threads.enable_all().build().unwrap().block_on(attack(made));
        how
    };
    let ended = std::thread::scope(|scope| scope.spawn(apart).join());
    ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Runs an attack beside the others. What it cost them, or what is wrong.
async fn attacked(
    server: &mut Server,
    name: &str,
    rounds: u64,
    attack: impl AsyncFnOnce(&mut Attack<'_>) + Send,
) -> Result<(), String> {
    let quiet = Others::start(server).await;
    quiet.answered(QUIET_CALLS).await;
    let quiet = p99(&quiet.end().await?);
    let before = process::resident(server.pid());
    process::forget_peak(server.pid());
    let others = Others::start(server).await;
    let random = Random::seeded(seed(name));
    let mut made = Attack {
        server,
        others: &others,
        random,
        rounds,
        memory_max: MEMORY_MAX,
    };
    let how = tokio::task::block_in_place(|| run_apart(&mut made, attack));
    let memory_max = made.memory_max;
    let took = others.end().await?;
    if !server.is_running() || server.log().contains("panicked") {
        return Err(format!("{name}: the server failed:\n{}", server.log()));
    }
    let peak = process::resident_peak(server.pid());
    let grown = peak.saturating_sub(before);
    let (calls, during) = (took.len(), p99(&took));
    eprintln!(
        "{name}: {rounds} rounds on threads of {how}; memory {} MiB before, {} MiB more at most; {calls} calls of the others, p99 {quiet:?} before, {during:?} meanwhile",
        before / MIB,
        grown / MIB
    );
    if grown > memory_max {
        return Err(format!("{name}: memory grew by {} MiB", grown / MIB));
    }
    gives_back(server, before).await.map_err(|left| {
        let left = left / MIB;
        format!("{name}: {left} MiB more are still there after {GIVEN_BACK_IN:?}")
    })
}

/// Waits until little more is there than before an attack; how much more, if it stays.
async fn gives_back(server: &Server, before: usize) -> Result<(), usize> {
    let deadline = Instant::now() + GIVEN_BACK_IN;
    loop {
        let left = process::resident(server.pid()).saturating_sub(before);
        if left <= LEFT_MAX {
            eprintln!("{} MiB more are left", left / MIB);
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(left);
        }
        tokio::time::sleep(REST).await;
    }
}

/// Calls that are taken back as soon as they are made.
async fn rapid_resets(attack: &mut Attack<'_>) {
    for _ in 0..attack.rounds {
        let mut tasks = JoinSet::new();
        for _ in 0..8 {
            let address = attack.address();
            tasks.spawn(async move {
                let mut stream = http2::connect(address, &[]).await;
                for call in 0..1_000 {
                    let id = call * 2 + 1;
                    let headers = http2::call_headers(id, "Get", &[]);
                    let reset = http2::frame(http2::RST_STREAM, 0, id, &8_u32.to_be_bytes());
                    // The server may hang up on this, and should.
                    if stream.write_all(&[headers, reset].concat()).await.is_err() {
                        return;
                    }
                }
            });
        }
        tasks.join_all().await;
    }
}

/// Lists of headers that never end, that are too long, and too many at once.
async fn header_floods(attack: &mut Attack<'_>) {
    const CONTINUATION: u8 = 9;
    let mut field = vec![0, 60];
    field.extend_from_slice(&[b'x'; 60]);
    field.push(60);
    field.extend_from_slice(&[b'y'; 60]);
    let block = field.repeat(130);
    let endless = |stream: u32| {
        let mut frames = http2::frame(http2::HEADERS, 0, stream, &block);
        for _ in 0..64 {
            frames.extend(http2::frame(CONTINUATION, 0, stream, &block));
        }
        frames
    };
    let long = |stream: u32| {
        let flags = http2::END_HEADERS | http2::END_STREAM;
        http2::frame(http2::HEADERS, flags, stream, &block)
    };
    for _ in 0..attack.rounds {
        let mut tasks = JoinSet::new();
        for connection in 0..32 {
            let address = attack.address();
            let bytes = match connection % 2 {
                0 => endless(1),
                _ => (0..100).flat_map(|call| long(call * 2 + 1)).collect(),
            };
            tasks.spawn(async move {
                let mut stream = http2::connect(address, &[]).await;
                let _hung_up = stream.write_all(&bytes).await;
                stream
            });
        }
        drop(tasks.join_all().await);
    }
}

/// Who asks for much and takes nothing.
async fn slow_readers(attack: &mut Attack<'_>) {
    attack.memory_max = READERS_MEMORY_MAX;
    let mut client = attack.server.client().await;
    let value = noise(1, 8 * MIB);
    let stored = client.set(set_of("large", value)).await.unwrap();
    assert_eq!(stored.into_inner().errcode, 0);
    for _ in 0..attack.rounds {
        let mut stuck = Vec::new();
        for _ in 0..16 {
            let window = (1 << 31) - 1;
            let mut stream = http2::connect(attack.address(), &[(4, window)]).await;
            let more = (window - 65_535).to_be_bytes();
            let mut bytes = http2::frame(http2::WINDOW_UPDATE, 0, 0, &more);
            for call in 0..16 {
                let id = call * 2 + 1;
                let message = http2::grpc_message(&key_of("large"));
                bytes.extend(http2::call_headers(id, "Get", &[]));
                bytes.extend(http2::frame(http2::DATA, http2::END_STREAM, id, &message));
            }
            stream.write_all(&bytes).await.unwrap();
            stuck.push(stream);
        }
        attack.hold().await;
    }
}

/// Who announces much and sends it byte by byte.
async fn slow_writers(attack: &mut Attack<'_>) {
    for _ in 0..attack.rounds {
        let mut stuck: Vec<TcpStream> = Vec::new();
        for number in 0..128 {
            let mut stream = http2::connect(attack.address(), &[]).await;
            let message = http2::grpc_message(&set_of("slow", noise(number, 8 * MIB)));
            let headers = http2::call_headers(1, "Set", &[]);
            let begun = http2::frame(http2::DATA, 0, 1, &message[..8 * 1024]);
            stream.write_all(&[headers, begun].concat()).await.unwrap();
            stuck.push(stream);
        }
        for _ in 0..20 {
            attack.others.answered(HELD_CALLS / 20).await;
            for stream in &mut stuck {
                let _hung_up = stream
                    .write_all(&http2::frame(http2::DATA, 0, 1, b"x"))
                    .await;
            }
        }
    }
}

/// Connections that have said what HTTP/2 wants to hear, and nothing more.
async fn idle_connections(attack: &mut Attack<'_>) {
    let mut idle = Vec::new();
    for _ in 0..attack.rounds {
        let mut stream = http2::connect(attack.address(), &[]).await;
        // Its settings: it has taken the connection.
        assert!(http2::read_frame(&mut stream).await.is_some());
        idle.push(stream);
    }
    attack.hold().await;
    let open = process::open_paths(attack.server.pid());
    let open = open.iter().filter(|path| path.starts_with("socket:"));
    eprintln!("{} of the server's files are sockets", open.count());
}

/// Calls that have no time.
async fn deadline_storm(attack: &mut Attack<'_>) {
    let value = noise(2, 64 * 1024);
    for _ in 0..attack.rounds {
        let client = attack.server.client().await;
        let mut calls = JoinSet::new();
        for call in 0..200 {
            let mut client = client.clone();
            let value = value.clone();
            let micros = attack.random.within(1..3_000);
            calls.spawn(async move {
                let in_no_time = Duration::from_micros(micros);
                let mut set = Request::new(set_of(format!("storm/{}", call % 8), value));
                set.set_timeout(in_no_time);
                let _any = client.set(set).await;
                let mut get = Request::new(key_of(format!("storm/{}", call % 8)));
                get.set_timeout(in_no_time);
                let _any = client.get(get).await;
            });
        }
        calls.join_all().await;
    }
}

/// A zstd frame of a few bytes that unfolds to so many blocks of 128 KiB of zeros.
fn bomb(blocks: u64) -> Vec<u8> {
    const BLOCK: u64 = 128 * 1024;
    // The magic number, a stated length of 8 bytes, a window of 128 KiB.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0xc0, 0x38];
    frame.extend_from_slice(&(blocks * BLOCK).to_le_bytes());
    for number in 1..=blocks {
        let head = u32::try_from(BLOCK).unwrap() << 3 | 1 << 1 | u32::from(number == blocks);
        frame.extend_from_slice(&head.to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}

/// An archive of ours with contents that unfold to 1 GiB each, or say that they do.
fn bomb_of_ours(path: &Path, raw_len: u64) {
    let header = ArchiveHeader {
        store: StoreId(1),
        chain: ChainId(2),
        since: Version(0),
        max: Version(9),
        horizon: Version(0),
        created_at: Timestamp(1),
    };
    let file = std::fs::File::create(path).unwrap();
    let mut encoder = ArchiveEncoder::new(file, PathBuf::from("bomb"), header, 3).unwrap();
    let payload = bomb(8_192);
    for number in 0..8 {
        let digest = Digest([number; 32]);
        let value = SealedValue {
            info: ValueInfo { raw_len, sum64: 0 },
            digest: Some(digest),
            codec: Codec::Zstd,
            payload_sum: payload_sum(&payload),
            payload: payload.clone().into(),
        };
        encoder.write(&Entry::Blob { digest, value }).unwrap();
    }
    encoder.finish().unwrap();
}

/// A backup as zstdb writes it, with one value that unfolds to 16 GiB.
fn bomb_of_zstdb(path: &Path) {
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut field = vec![number << 3 | 2];
        shardkeep::codec::put_varint(&mut field, bytes.len() as u64);
        field.extend_from_slice(bytes);
        field
    }
    let version = [4 << 3, 1];
    let entry = [field(1, b"key"), field(2, &bomb(131_072)), version.into()].concat();
    let list = field(1, &entry);
    let length = (list.len() as u64).to_le_bytes();
    std::fs::write(path, [&length[..], &list].concat()).unwrap();
}

/// Backups that are small and would not be.
async fn bombs(attack: &mut Attack<'_>) {
    let dir = attack.server.data_dir().join("backups");
    std::fs::create_dir_all(&dir).unwrap();
    bomb_of_ours(&dir.join("ours.zstdb.bak"), 1 << 30);
    bomb_of_ours(&dir.join("endless.zstdb.bak"), u64::MAX);
    bomb_of_ours(&dir.join("short.zstdb.bak"), 1 << 20);
    bomb_of_zstdb(&dir.join("zstdb.zstdb.bak"));
    let mut client = attack.server.client().await;
    for _ in 0..attack.rounds {
        for name in ["ours", "endless", "short", "zstdb"] {
            let order = format!(r#"{{"path":"{name}.zstdb.bak"}}"#);
            let reply = client.admin(command_of("restore", &order)).await;
            let reply = reply.unwrap().into_inner();
            assert_ne!(reply.errcode, 0, "{name} was restored");
            eprintln!("{name}: {}", reply.status.escape_ascii());
        }
    }
}

async fn survives(name: &str, rounds: u64, attack: impl AsyncFnOnce(&mut Attack<'_>) + Send) {
    let dir = quick_dir();
    let mut server = builder(&dir).start().await;
    attacked(&mut server, name, rounds, attack).await.unwrap();
    server.assert_answers().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_resets_harm_nobody() {
    survives("resets", cases(5), rapid_resets).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_headers_harm_nobody() {
    survives("headers", cases(5), header_floods).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_readers_harm_nobody() {
    survives("readers", cases(40), slow_readers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_writers_harm_nobody() {
    survives("writers", cases(2), slow_writers).await;
}

/// Lets this process and what it starts open so many files, or as many as the machine allows.
fn open_files_up_to(wanted: u64) -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Some(allowed) = getrlimit(Resource::Nofile).maximum else {
        return u64::MAX;
    };
    let limit = |files| Rlimit {
        current: Some(files),
        maximum: Some(files),
    };
    // Only some may raise what is allowed.
    if wanted > allowed && setrlimit(Resource::Nofile, limit(wanted)).is_ok() {
        return wanted;
    }
    setrlimit(Resource::Nofile, limit(allowed)).unwrap();
    allowed
}

/// So many connections, one each round, or as many as the machine allows, to a server that keeps so
/// many that are idle. What is wrong, and how many connections there were.
async fn idle_beside(max_idle: &str, wanted: u64) -> (Result<(), String>, u64) {
    const SPARE: u64 = 20;
    // A server lets in half as many connections as it may open files.
    let files = open_files_up_to(2 * (wanted + SPARE));
    let rounds = wanted.min((files / 2).saturating_sub(SPARE));
    if rounds < wanted {
        eprintln!("SKIPPED: {rounds} of {wanted} connections: {files} open files are allowed here");
    }
    let dir = quick_dir();
    let most = (rounds + SPARE).to_string();
    let builder = builder(&dir).set("server.max_connections", most);
    let builder = builder.set("server.max_idle_connections", max_idle);
    let mut server = builder.start().await;
    let outcome = attacked(&mut server, "idle", rounds, idle_connections).await;
    server.assert_answers().await;
    server.stop().await;
    (outcome, rounds)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_harm_nobody() {
    let (outcome, _) = idle_beside("4096", cases(IDLE)).await;
    outcome.unwrap();
}

/// Planted: a server that keeps every connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_keeps_all_idle_connections_is_found() {
    let (outcome, connections) = idle_beside("1000000", IDLE).await;
    match connections {
        IDLE => assert!(outcome.unwrap_err().contains("memory grew")),
        few => eprintln!("SKIPPED: {few} connections do not take enough"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadlines_that_nobody_can_meet_harm_nobody() {
    survives("deadlines", cases(10), deadline_storm).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_in_backups_harm_nobody() {
    survives("bombs", cases(1), bombs).await;
}

/// Planted: a server that keeps every reply that nobody takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_a_budget_for_replies_is_found() {
    let dir = quick_dir();
    let unbounded = builder(&dir).set("admission.bytes_in_flight", "1 GiB");
    let mut server = unbounded.fail_points("memory::limit=return").start().await;
    let outcome = attacked(&mut server, "planted", 1, slow_readers).await;
    assert!(outcome.unwrap_err().contains("memory grew"));
}

/// Planted: an allocator that gives nothing back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_keeps_what_is_freed_is_found() {
    let dir = quick_dir();
    let keeping = builder(&dir).env("MIMALLOC_PURGE_DELAY", "-1");
    let mut server = keeping.start().await;
    let outcome = attacked(&mut server, "keeping", 40, slow_readers).await;
    let wrong = outcome.unwrap_err();
    let is_found = ["memory grew", "still there"].map(|what| wrong.contains(what));
    assert!(is_found.contains(&true), "{wrong}");
}
