//! What the kernel knows of a process.

use std::fs;

/// Open file descriptors.
pub fn open_files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Threads.
pub fn threads(pid: u32) -> usize {
    status_number(pid, "Threads:")
}

/// Resident memory in bytes.
pub fn resident(pid: u32) -> usize {
    status_number(pid, "VmRSS:") * 1024
}

/// The most resident memory there ever was, in bytes.
pub fn resident_peak(pid: u32) -> usize {
    status_number(pid, "VmHWM:") * 1024
}

fn status_number(pid: u32, name: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap()
}
