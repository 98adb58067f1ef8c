//! shardkeep: an actor-based, sharded storage server that keeps every value once, compressed, and
//! never loses what it has acknowledged.
//!
//! # The idea
//! The log is the database; fjall is its index. Every shard has one writer, an actor on a thread of
//! its own that commits in groups (plan, append, one `fdatasync`, index, acknowledge), and many
//! readers that never pass through its mailbox. Large values are stored once, under their BLAKE3
//! digest, in the shard that the digest selects. What a command does is decided without I/O and
//! executed elsewhere.
//!
//! # The rooms
//! Imports only go down; `tests/tidy.rs` fails on one that climbs.
//!
//! | layer | room | knows |
//! |---|---|---|
//! | 0 | [`model`] | keys, versions, digests, commands, replies, errors, the clock: no I/O |
//! | 0 | [`config`] | raw settings in, a [`config::Config`] that is valid by construction out |
//! | 0 | [`telemetry`] | the program's own log |
//! | 0 | [`proto`] | what the wire speaks |
//! | 1 | [`codec`] | bytes at rest: segment, frame, record, sealed values, checksums |
//! | 1 | [`log`] | segments, append, recovery of the tail, free space |
//! | 1 | [`index`] | fjall: rows, batches, snapshots |
//! | 1 | [`actor`] | the threads that actors live on |
//! | 2 | [`shard`] | handle, actor, plan, store, reader, replay, segment GC |
//! | 2 | [`dedup`] | one upload of equal content at a time; the sweep of references |
//! | 3 | [`router`] | from key to shard; scans and cuts over all of them |
//! | 3 | [`backup`] | archives: format, chain, confinement; zstdb's own files |
//! | 4 | [`service`] | the one door: limits, sealing, puts over two shards, backup and restore |
//! | 5 | [`gateway`] | protocol fronts |
//! | 5 | [`supervise`] | what looks after a running store |
//! | 6 | [`start`] | the composition root |
//! | 6 | [`client`] | a client of the wire |
//! | 7 | [`exchange`] | keys as one checked file, and back, wherever they are |
//! | 8 | [`embedded`] | a store inside a program, without a server |
//! | 8 | [`cli`] | the command line |
//!
//! # The path of a Set
//! [`gateway`] admits its bytes before its body is read; [`service`] checks, hashes, looks whether
//! it is there, seals; [`router`] finds the shard; the shard's actor plans it with the group it
//! falls into, reserves space, writes, syncs, indexes and answers.
//!
//! # The path of a Get
//! [`router`] finds the shard's reader; the reader pins the segments, looks up the row, and reads
//! the payload from the row, the page cache or, on a blocking thread, the disk; checksum, decompress,
//! answer.
#![forbid(unsafe_code)]

pub mod actor;
pub mod backup;
pub mod cli;
pub mod client;
pub mod codec;
pub mod config;
pub mod dedup;
pub mod embedded;
pub mod exchange;
pub mod gateway;
pub mod index;
pub mod log;
pub mod model;
pub mod proto;
pub mod router;
pub mod service;
pub mod shard;
pub mod start;
pub mod supervise;
pub mod telemetry;

pub use embedded::{Options, Store, blocking};
