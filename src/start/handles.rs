//! File handles: the process takes as many as the system gives it, and connections leave enough of
//! them for the store.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Connections take at most this share of the handles; the rest is for segments, indexes, backups.
const CONNECTIONS_SHARE: u64 = 2;

/// Raises the limit of open files as far as the system allows, and returns how many connections may
/// be open: `wanted`, or less where the handles would not suffice.
pub(super) fn connections_max(wanted: usize) -> usize {
    let Some(limit) = raised() else {
        return wanted; // Without a limit.
    };
    let affordable = usize::try_from(limit / CONNECTIONS_SHARE).unwrap_or(usize::MAX);
    if affordable < wanted {
        tracing::warn!(
            wanted,
            allowed = affordable,
            open_files_max = limit,
            "server.max_connections is more than half of the open files that the system allows; fewer are let in. Raise `ulimit -n`, or LimitNOFILE of the service"
        );
    }
    affordable.min(wanted)
}

/// The soft limit of open files after it was raised to the hard one; `None` for no limit.
fn raised() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: limit.maximum,
        ..limit
    };
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}
