//! gRPC over HTTP/2: one listener, a runtime per core, their limits, and the services behind it.
//!
//! A request passes, in this order: a connection slot, HTTP/2's own limits, its deadline, the byte
//! budget (from the length prefix, before the message is buffered), the service; and its reply, when
//! it is large, the byte budget of replies. A large value leaves as it lies in memory (`parted`).
#![doc = include_str!("LIMITS.md")]

mod accept;
mod access;
mod admission;
mod budget;
mod calls;
mod connection;
mod deadline;
mod delivery;
mod health;
mod idle;
mod line;
mod method;
pub mod native;
pub mod noop;
mod opening;
mod parted;
mod received;
mod server;
mod serving;
mod turn;
pub mod zstdb;

pub use server::{Gateway, GatewayHandle};
