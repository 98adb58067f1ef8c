//! Room: cli.
pub mod config_command;
pub mod serve_flags;
