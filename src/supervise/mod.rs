//! Room: supervise.
