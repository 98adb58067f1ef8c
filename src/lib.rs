//! shardkeep: an actor-based, sharded storage server.
#![forbid(unsafe_code)]

pub mod actor;
pub mod backup;
pub mod cli;
pub mod client;
pub mod codec;
pub mod config;
pub mod dedup;
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
