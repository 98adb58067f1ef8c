//! Helpers of the black-box tests: a real server process and clients to talk to it.
//!
//! On ready the server prints one line to standard output: `shardkeep ready on HOST:PORT pid=PID`.

// Each test binary uses its own part of these.
#![allow(dead_code, unused_imports)]

pub mod bare_shard;
pub mod files;
pub mod http2;
mod plain;
pub mod process;
pub mod program;
pub mod proxy;
mod random;
pub mod raw;
mod server;
mod small_disk;
mod trace;

pub use random::Random;
pub use server::{ADMIN_PASSWORD, Builder, Server, Starting};
pub use small_disk::SmallDisk;
pub use trace::Trace;

use bytes::Bytes;
use shardkeep::proto::zstdb::Item;
use std::time::Duration;
use tonic::Request;
use tonic::metadata::MetadataValue;
use xxhash_rust::xxh64::xxh64;

/// How long a test waits for something that must happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A Set of `data` under `key`, with its right checksum.
pub fn set_of(key: impl Into<Bytes>, data: impl Into<Bytes>) -> Item {
    let data = data.into();
    Item {
        key: key.into(),
        sum64: xxh64(&data, 0),
        data,
        ..Item::default()
    }
}

/// A request for `key`.
pub fn key_of(key: impl Into<Bytes>) -> Item {
    Item {
        key: key.into(),
        ..Item::default()
    }
}

/// An administrator's command.
pub fn command_of(command: &str, data: &str) -> Item {
    Item {
        key: Bytes::copy_from_slice(command.as_bytes()),
        data: Bytes::copy_from_slice(data.as_bytes()),
        sum64: xxh64(ADMIN_PASSWORD.as_bytes(), 0),
        ..Item::default()
    }
}

/// A request of the native protocol that brings a password.
pub fn with_password<T>(message: T, password: &str) -> Request<T> {
    let mut request = Request::new(message);
    let password = MetadataValue::from_bytes(password.as_bytes());
    let metadata = request.metadata_mut();
    metadata.insert_bin("admin-password-bin", password);
    request
}

/// An administrator's request of the native protocol.
pub fn admin<T>(message: T) -> Request<T> {
    with_password(message, ADMIN_PASSWORD)
}

/// `len` bytes that do not compress and differ for each `seed`.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state ^ (state >> 29)).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Waits until `condition` gives a value; fails the test when it does not within [`PATIENCE`].
pub async fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(tokio::time::Instant::now() < deadline, "never came: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
