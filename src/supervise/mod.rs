//! Room: supervise.
pub mod disk;
