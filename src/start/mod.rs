//! Composition root.
pub mod data_dir;
pub mod manifest;
