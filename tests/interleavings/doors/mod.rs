//! The primitives that the sources get instead of the real ones, and what stands beside them.

pub mod actor;
pub mod arcs;
pub mod fault;
pub mod maps;
pub mod sync;
pub mod time;
