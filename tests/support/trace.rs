//! Faults that the kernel is made to answer, by `strace`.

use super::eventually;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

/// System calls of a running process that fail; dropped, it lets go of the process.
pub struct Trace {
    strace: Child,
}

impl Trace {
    /// Makes system calls of these threads fail, and of no others. `None`, with a word on standard
    /// error, where that cannot be done.
    pub async fn inject(threads: &[u32], faults: &str) -> Option<Self> {
        let mut command = Command::new("strace");
        for thread in threads {
            command.arg("-p").arg(thread.to_string());
        }
        Self::attach(command, threads.len(), faults).await
    }

    /// Makes system calls of all threads of a process fail, of those too that come later. Counts
    /// are per thread.
    pub async fn inject_everywhere(pid: u32, faults: &str) -> Option<Self> {
        let mut command = Command::new("strace");
        command.args(["-f", "-p", &pid.to_string()]);
        Self::attach(command, 1, faults).await
    }

    async fn attach(mut command: Command, attachments: usize, faults: &str) -> Option<Self> {
        let calls = faults.split(':').next().unwrap();
        command.args(["-e", &format!("trace={calls}")]);
        command.args(["-e", &format!("inject={faults}"), "-o", "/dev/null"]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let Ok(mut strace) = command.stderr(Stdio::piped()).spawn() else {
            eprintln!("SKIPPED: strace is not installed (apt-get install strace)");
            return None;
        };
        let said = Arc::new(Mutex::new(Vec::new()));
        let (output, saying) = (strace.stderr.take().unwrap(), Arc::clone(&said));
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                saying.lock().unwrap().push(line);
            }
        });
        let is_attached = eventually("strace at the process", || {
            let said = said.lock().unwrap();
            let attached = said.iter().filter(|line| line.contains(" attached"));
            if attached.count() >= attachments {
                return Some(true);
            }
            let has_ended = strace.try_wait().unwrap().is_some();
            has_ended.then_some(false)
        })
        .await;
        if !is_attached {
            eprintln!("SKIPPED: strace may not trace here: {:?}", said.lock());
            return None;
        }
        Some(Self { strace })
    }

    /// Lets go of the process.
    pub fn stop(self) {}
}

impl Drop for Trace {
    fn drop(&mut self) {
        // The kernel lets the traced threads go on when their tracer is gone.
        let _already_gone = self.strace.kill();
        let _reaped = self.strace.wait();
    }
}
