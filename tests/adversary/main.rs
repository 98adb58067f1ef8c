//! Adversaries: what a disk, a kernel, a client or a killer may do, done on purpose and looked at
//! from outside. README.md lists the promises, the figures and what was found.
//!
//! Every one is bounded as it stands; `SHARDKEEP_ADVERSARY_CASES` makes a long run of it and
//! `SHARDKEEP_ADVERSARY_SEED` repeats one.

#[path = "../crash/mod.rs"]
mod crash;
#[path = "../support/mod.rs"]
mod support;

mod archives;
mod batches;
mod crash_images;
mod disk;
mod entries;
mod frames;
mod history;
mod hostile_clients;
mod index_cache;
mod index_harm;
mod index_merge;
mod memory;
mod mutations;
mod panics;
mod paths;
mod power_loss;
mod recording;
mod registers;
mod run;
mod server_images;
mod small_disk;
mod syscall_faults;
