//! Room: supervise.
pub mod disk;
pub mod schedule;
pub mod window;
