//! The native protocol over a real connection to the real program.

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod backups;
mod blobs;
mod call;
mod commits;
mod connections;
mod contention;
mod contents;
mod counters;
mod crowds;
mod delete_ranges;
mod errors;
mod fields;
mod lifetimes;
mod measures;
mod metadata;
mod namespaces;
mod puts;
mod reads;
mod reopening;
mod request_ids;
mod scans;
mod snapshots;
mod watch;
mod wholes;
