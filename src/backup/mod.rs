//! Room: backup.
