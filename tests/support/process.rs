//! What the kernel knows of a process.

use std::fs;

/// Open file descriptors.
pub fn open_files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// What each open file descriptor stands for, sorted.
pub fn open_paths(pid: u32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    // One may be closed while it is looked at.
    let target = |entry: std::io::Result<fs::DirEntry>| fs::read_link(entry.unwrap().path()).ok();
    let paths = entries.filter_map(target);
    let mut paths: Vec<_> = paths.map(|path| path.display().to_string()).collect();
    paths.sort();
    paths
}

/// Threads.
pub fn threads(pid: u32) -> usize {
    status_number(pid, "Threads:")
}

/// The threads whose name begins so.
pub fn threads_named(pid: u32, beginning: &str) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let mut found = Vec::new();
    for thread in threads {
        let path = thread.unwrap().path();
        // A thread may end while it is looked at.
        let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
        if name.starts_with(beginning) {
            let number = path.file_name().unwrap().to_str().unwrap();
            found.push(number.parse().unwrap());
        }
    }
    found
}

/// Resident memory in bytes.
pub fn resident(pid: u32) -> usize {
    status_number(pid, "VmRSS:") * 1024
}

/// The most resident memory there ever was, in bytes.
pub fn resident_peak(pid: u32) -> usize {
    status_number(pid, "VmHWM:") * 1024
}

/// Lets [`resident_peak`] begin anew.
pub fn forget_peak(pid: u32) {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
}

fn status_number(pid: u32, name: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap()
}
