//! A live server is sent broken frames: HTTP/2 that is none, and messages that are none. It answers
//! the others, panics nowhere, and its memory stays as it is.

use crate::run::{cases, seed};
use crate::support::{Random, Server, http2, process, raw, set_of};
use bytes::Bytes;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const MIB: usize = 1 << 20;
/// Memory that may come and go: the allocator's own, connections that are not closed yet.
const SLACK: usize = 48 * MIB;
const METHODS: [&str; 8] = [
    "Set", "Get", "Delete", "Exists", "List", "Count", "Admin", "Nothing",
];

/// A frame that is valid, or nearly, or not at all.
fn frame(random: &mut Random, stream: u32) -> Vec<u8> {
    let method = METHODS[random.within(0..8) as usize];
    let valid = match random.within(0..6) {
        0 => http2::call_headers(stream, method, &[]),
        1 => {
            let size = random.within(0..2_000) as usize;
            let message = http2::grpc_message(&set_of("k", vec![7; size]));
            http2::frame(http2::DATA, http2::END_STREAM, stream, &message)
        }
        2 => http2::frame(http2::SETTINGS, 0, 0, &garbage(random, 36)),
        3 => http2::frame(http2::WINDOW_UPDATE, 0, stream, &garbage(random, 4)),
        4 => http2::frame(http2::RST_STREAM, 0, stream, &garbage(random, 4)),
        _ => {
            let kind = random.next() as u8;
            let payload = garbage(random, 64);
            http2::frame(kind, random.next() as u8, stream, &payload)
        }
    };
    broken(random, valid)
}

fn garbage(random: &mut Random, max: u64) -> Vec<u8> {
    let len = random.within(0..max + 1);
    (0..len).map(|_| random.next() as u8).collect()
}

/// The same bytes, most of the time with a fault.
fn broken(random: &mut Random, mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.is_empty() {
        return bytes;
    }
    let len = bytes.len() as u64;
    match random.within(0..8) {
        0 => {}
        1 => bytes.truncate(random.within(0..len) as usize),
        2 => bytes.extend(garbage(random, 40)),
        3 => {
            let at = random.within(0..len.min(9)) as usize;
            bytes[at] = random.next() as u8;
        }
        _ => {
            for _ in 0..random.within(1..4) {
                let bit = random.within(0..len * 8);
                bytes[bit as usize / 8] ^= 1 << (bit % 8);
            }
        }
    }
    bytes
}

/// Sends up to so many frames on a connection of its own; how many went out before it ended.
async fn connection(address: SocketAddr, mut random: Random, frames: u64) -> u64 {
    // A server under attack may be slow to take connections; it must take them.
    let mut stream = TcpStream::connect(address).await.unwrap();
    let preface = match random.percent(95) {
        true => http2::PREFACE.to_vec(),
        false => broken(&mut random, http2::PREFACE.to_vec()),
    };
    let settings = http2::frame(http2::SETTINGS, 0, 0, &[]);
    let mut sent = 0;
    if stream
        .write_all(&[preface, settings].concat())
        .await
        .is_err()
    {
        return sent;
    }
    let mut buffer = vec![0; 16 * 1024];
    for number in 0..frames {
        let stream_id = 1 + 2 * (number as u32 / 2);
        if stream
            .write_all(&frame(&mut random, stream_id))
            .await
            .is_err()
        {
            break;
        }
        sent += 1;
        // What is answered is read, so that nothing is owed; an end is seen.
        match stream.try_read(&mut buffer) {
            Ok(0) => break,
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => break,
            _ => {}
        }
    }
    let _ends_or_not = stream.shutdown().await;
    let drain = async { while let Ok(1..) = stream.read(&mut buffer).await {} };
    // A half frame is waited for, as long as the connection is; that is not waited for here.
    let _left = tokio::time::timeout(Duration::from_millis(50), drain).await;
    sent
}

/// Sends so many broken frames and messages from so many connections at once. What the server
/// made of it that it should not.
async fn attack(server: &mut Server, mut random: Random, frames: u64) -> Result<String, String> {
    let address = server.address();
    let channel = server.channel().await;
    let (mut sent, mut connections, mut messages) = (0, 0, 0);
    let mut before = None;
    while sent + messages < frames {
        // The first tenth warms up: buffers, threads, the allocator.
        if before.is_none() && (sent + messages) * 10 >= frames {
            before = Some(process::resident(server.pid()));
        }
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..16 {
            tasks.spawn(connection(address, random.fork(), 64));
            connections += 1;
        }
        sent += tasks.join_all().await.iter().sum::<u64>();
        for _ in 0..64 {
            let method = METHODS[random.within(0..7) as usize];
            let message = http2::grpc_message(&set_of("k", garbage(&mut random, 200)));
            let message = broken(&mut random, message[5..].to_vec());
            // An answer or an error; either comes.
            let call = raw::call(&channel, method, Bytes::from(message));
            let answer = tokio::time::timeout(crate::support::PATIENCE, call).await;
            let _any = answer.map_err(|_| format!("no answer to a broken {method}"))?;
            messages += 1;
        }
    }
    if !server.is_running() {
        return Err(format!("the server is gone:\n{}", server.log()));
    }
    server.assert_answers().await;
    let before = before.unwrap_or_else(|| process::resident(server.pid()));
    let after = flat_since(before, server.pid())?;
    if server.log().contains("panicked") {
        return Err(format!("something panicked:\n{}", server.log()));
    }
    Ok(format!(
        "{sent} frames on {connections} connections and {messages} messages, {} MiB then {} MiB",
        before / MIB,
        after / MIB
    ))
}

/// The memory of a process, if it is not much more than before.
fn flat_since(before: usize, pid: u32) -> Result<usize, String> {
    let after = process::resident(pid);
    match after <= before + SLACK {
        true => Ok(after),
        false => Err(format!("memory grew from {before} to {after}")),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_frames_harm_nobody() {
    let random = Random::seeded(seed("frames"));
    let builder = Server::builder().flag("--allow-user-key");
    let mut server = builder.start().await;
    let said = attack(&mut server, random, cases(20_000)).await.unwrap();
    eprintln!("{said}");
    server.stop().await;
}

/// Planted: a shard that panics at what it is sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_panics_at_a_frame_is_found() {
    let builder = Server::builder().flags(["--allow-user-key", "--allow-overwrite"]);
    let builder = builder.set("supervise.restart_budget", "100000");
    let mut server = builder.fail_points("shard::commit=1*panic").start().await;
    let mut client = server.client().await;
    let _refused = client.set(set_of("k", "v")).await;
    let outcome = attack(&mut server, Random::seeded(1), 500).await;
    assert!(outcome.is_err(), "{outcome:?}");
}

/// Planted: memory that is not given back.
#[test]
fn memory_that_grows_is_found() {
    let pid = std::process::id();
    let before = process::resident(pid);
    let kept = vec![7_u8; 8 * SLACK];
    flat_since(before, pid).unwrap_err();
    drop(std::hint::black_box(kept));
}
