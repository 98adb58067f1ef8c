//! A real power loss: the server stands on an ext4 of its own, whose journal and pages are dropped
//! at any moment by the file system's own shutdown. It is mounted anew, the server started again:
//! what 64 clients were told is there, nothing else, and the offline check finds no fault.

use crate::crash::{Crashes, Ground};
use crate::run::{cases, quick_dir, seed};
use crate::support::SmallDisk;
use std::ffi::OsString;

const DISK_MIB: u64 = 1024;

fn crashes(flags: &'static [&'static str], by_content: bool, seed: u64) -> Option<Crashes> {
    let disk = SmallDisk::mount_in(quick_dir(), DISK_MIB)?;
    Some(Crashes::new(Ground::Disk(disk), by_content, flags, seed))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_power_loss() {
    let Some(crashes) = crashes(&["--shards", "3"], false, seed("power_loss")) else {
        return;
    };
    crashes.run(cases(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contents_survive_a_power_loss() {
    let Some(crashes) = crashes(&["--shards", "1"], true, seed("power_loss of contents")) else {
        return;
    };
    crashes.run(cases(5)).await;
}

/// The planted fault: syncs of the log that only say that they did something.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn syncs_that_do_nothing_are_found() {
    let mut words: Vec<OsString> = ["strace", "-D", "-f", "-q", "--seccomp-bpf"]
        .map(Into::into)
        .into();
    words.extend(["-e", "trace=fdatasync", "-o", "/dev/null"].map(Into::into));
    words.extend(["-e", "inject=fdatasync:retval=0", "-e", "signal=none"].map(Into::into));
    if std::process::Command::new("strace")
        .arg("-V")
        .output()
        .is_err()
    {
        eprintln!("SKIPPED: strace is not installed (apt-get install strace)");
        return;
    }
    let Some(crashes) = crashes(&["--shards", "1"], false, 5) else {
        return;
    };
    assert!(crashes.under(words).loses(5).await);
}
