//! A server as a process of its own, and what the kernel knows of a process.

use super::super::exit::CliError;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long a server may take to get ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// So much of a server's log is shown when it does not.
const LOG_SHOWN: usize = 2000;

/// A folder that is removed with everything in it.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// A new folder in `dir`, on whose disk everything will be measured.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(dir: &Path) -> Result<Self, CliError> {
        let path = dir.join(format!("shardkeep-bench-{}", std::process::id()));
        fs::create_dir_all(&path).map_err(|error| CliError::file("create", &path, error))?;
        let path = fs::canonicalize(&path).map_err(|error| CliError::file("open", &path, error))?;
        Ok(Self { path })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing is lost when this fails but space, and nobody is left to be told.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Takes everything that is on the disk out of the system's page cache.
///
/// # Errors
/// When this process may not: it takes root.
pub fn drop_page_cache() -> Result<(), CliError> {
    let switch = Path::new("/proc/sys/vm/drop_caches");
    fs::write(switch, "3").map_err(|error| {
        let message = format!("--cold cannot drop the page cache: {error}; run it as root");
        CliError::Failed(message)
    })
}

/// A running server; dropped, it is killed, since nothing in it is worth keeping.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    address: String,
}

impl ServerProcess {
    /// Starts `program` and waits for its ready line. Its log goes to `log`.
    ///
    /// # Errors
    /// When it ends or does not get ready; what it logged last is in the message.
    pub fn start(program: &Path, arguments: &[OsString], log: &Path) -> Result<Self, CliError> {
        let log_file = File::create(log).map_err(|error| CliError::file("create", log, error))?;
        let spawned = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log_file)
            .spawn();
        let mut child = spawned.map_err(|error| CliError::file("start", program, error))?;
        let output = child.stdout.take().expect("it was asked for just above");
        let mut server = Self {
            child,
            address: String::new(),
        };
        server.address = ready_address(output).ok_or_else(|| not_ready(program, log))?;
        Ok(server)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _already_gone = self.child.wait();
    }
}

/// The address in the ready line, `shardkeep ready on HOST:PORT pid=PID`. Later lines are read and
/// thrown away, by a thread that ends with the process.
fn ready_address(output: ChildStdout) -> Option<String> {
    let (found, ready) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let Some(address) = parse_ready(&line) {
                // Nobody listens after the first.
                let _ = found.send(address.to_owned());
            }
        }
    });
    ready.recv_timeout(READY_TIMEOUT).ok()
}

fn parse_ready(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("shardkeep ready on ")?;
    rest.split_once(" pid=").map(|(address, _pid)| address)
}

fn not_ready(program: &Path, log: &Path) -> CliError {
    let said = fs::read_to_string(log).unwrap_or_default();
    let start = said.len().saturating_sub(LOG_SHOWN);
    let end = said.get(start..).unwrap_or(&said).trim();
    CliError::Failed(format!("{} did not get ready\n{end}", program.display()))
}

/// Lets the most that a process has had in memory be what it has now. Where that is not allowed, it
/// stays what it was.
pub fn forget_peak(pid: u32) {
    let _not_allowed = fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

/// What a process has used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Time on cores, user and system.
    pub cpu: Duration,
    /// Bytes it caused to be written to storage; unknown without the right to look.
    pub written: Option<u64>,
    /// Bytes of resident memory now.
    pub resident: u64,
    /// Bytes of resident memory at most so far.
    pub resident_max: u64,
}

impl Usage {
    /// What process `pid` has used, if it is there.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
        let written = read("io").and_then(|io| number_after(&io, "write_bytes:"));
        let status = read("status")?;
        let kibibytes = |name| number_after(&status, name).unwrap_or(0) * 1024;
        Some(Self {
            cpu: parse_cpu(&read("stat")?)?,
            written,
            resident: kibibytes("VmRSS:"),
            resident_max: kibibytes("VmHWM:"),
        })
    }
}

/// `utime` and `stime` (proc(5)). The name in front may hold spaces and parentheses.
fn parse_cpu(stat: &str) -> Option<Duration> {
    /// The kernel counts them in ticks of 10 ms for programs, whatever its own clock is.
    const TICK: Duration = Duration::from_millis(10);
    /// Fields of proc(5), less the two before the name's end and one to count from 0.
    const UTIME: usize = 14 - 3;
    let (_name, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(UTIME);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(TICK * user + TICK * system)
}

fn number_after(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 25 0 0 20 0 1 0 99";
        assert_eq!(parse_cpu(stat), Some(Duration::from_millis(1750)));
        assert_eq!(parse_cpu("7 (cut) S 1 2"), None);
    }

    #[test]
    fn this_process_uses_memory_and_a_missing_one_nothing() {
        let usage = Usage::of(std::process::id()).expect("this process is there");
        assert!(usage.resident > 0 && usage.resident <= usage.resident_max);
        assert_eq!(Usage::of(u32::MAX), None);
    }

    #[test]
    fn the_ready_line_names_the_address() {
        let line = "shardkeep ready on 127.0.0.1:8282 pid=12";
        assert_eq!(parse_ready(line), Some("127.0.0.1:8282"));
        assert_eq!(parse_ready("listening"), None);
    }

    #[test]
    fn a_server_that_does_not_start_is_told_with_what_it_said() {
        let scratch = tempfile::tempdir().expect("a folder");
        let log = scratch.path().join("log");
        let arguments = ["-c", "echo no such disk >&2"].map(OsString::from);
        let error = ServerProcess::start(Path::new("/bin/sh"), &arguments, &log);
        let message = error.expect_err("it ended").to_string();
        assert!(message.ends_with("no such disk"), "{message}");
    }
}
