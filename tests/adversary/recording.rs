//! What a process did to the files below a folder, in the order in which it happened, as `strace`
//! saw it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// The calls that change files, and those that are needed to know which file a change is of.
pub const CALLS: &str = "openat,openat2,open,creat,close,fcntl,dup,dup2,dup3,read,lseek,write,writev,pwrite64,\
    pwritev,pwritev2,ftruncate,truncate,fallocate,fsync,fdatasync,sync_file_range,rename,renameat,\
    renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,link,linkat,symlink,copy_file_range,sendfile";

/// A thing that happened below the folder.
#[derive(Debug, Clone)]
pub enum Event {
    /// A file or folder is opened under its name; what happens to it later names this.
    Open(Name),
    /// A new file or folder.
    Create { path: PathBuf, folder: bool },
    /// Bytes of a file.
    Write {
        path: Name,
        offset: u64,
        bytes: Arc<[u8]>,
    },
    /// A file ends here.
    Truncate { path: Name, len: u64 },
    /// A file is at least so long.
    Extend { path: Name, len: u64 },
    /// Everything of the file or folder that happened before the event `begun` is on the disk.
    Sync { path: Name, begun: usize },
    /// A new name, which may replace what had it.
    Rename { from: PathBuf, to: PathBuf },
    /// A name less.
    Remove { path: PathBuf },
}

/// A file as it was called when it was opened, at the event with this number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    pub path: PathBuf,
    pub at: usize,
}

#[derive(Debug, Clone)]
struct Open {
    name: Name,
    /// Shared by the descriptor's duplicates.
    offset: Arc<std::sync::Mutex<u64>>,
    appends: bool,
}

/// Runs a command under `strace` and gives what it wrote down; `None`, with a word on standard
/// error, where that cannot be done.
pub fn record(command: &Command, output: &Path) -> Option<String> {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-xx", "-s", "16777216"]);
    strace.args(["-e", &format!("trace={CALLS}"), "-e", "raw=read"]);
    strace.args(["-e", "signal=none"]);
    strace.arg("-o").arg(output);
    strace.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        strace.env(name, value.unwrap_or_default());
    }
    let Ok(ran) = strace.output() else {
        eprintln!("SKIPPED: strace is not installed (apt-get install strace)");
        return None;
    };
    let said = String::from_utf8_lossy(&ran.stderr);
    if said.contains("Operation not permitted") {
        eprintln!("SKIPPED: strace may not trace here: {said}");
        return None;
    }
    assert!(
        ran.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&ran.stdout)
    );
    Some(std::fs::read_to_string(output).unwrap())
}

/// The events below `root`.
pub fn events(text: &str, root: &Path) -> Vec<Event> {
    let timed = timed_events(&[text], root);
    timed.into_iter().map(|(_, event)| event).collect()
}

/// The events below `root` that several processes made one after the other, each with the moment
/// at which it was seen, if `strace -ttt` said it, in microseconds.
pub fn timed_events(texts: &[&str], root: &Path) -> Vec<(u64, Event)> {
    let mut reading = Reading {
        root: root.to_owned(),
        open: HashMap::new(),
        events: Vec::new(),
    };
    let mut times = Vec::new();
    for text in texts {
        reading.open.clear();
        let mut unfinished: HashMap<&str, (String, usize)> = HashMap::new();
        for line in text.lines() {
            let (thread, rest) = line.split_once(' ').unwrap();
            let (time, rest) = moment(rest.trim_start());
            if rest.starts_with("+++") || rest.starts_with("---") {
                continue;
            }
            let begun = reading.events.len();
            if let Some(part) = rest.strip_suffix("<unfinished ...>") {
                reading.closing(part);
                unfinished.insert(thread, (part.trim_end().to_owned(), begun));
            } else if let Some(rest) = rest.strip_prefix("<... ") {
                let (_, tail) = rest.split_once("resumed>").unwrap();
                let (head, begun) = unfinished.remove(thread).unwrap();
                reading.call(&format!("{head}{tail}"), begun);
            } else {
                reading.closing(rest);
                reading.call(rest, begun);
            }
            times.resize(reading.events.len(), time);
        }
    }
    times.into_iter().zip(reading.events).collect()
}

/// `1700000000.123456 call(...`, or without the number.
fn moment(rest: &str) -> (u64, &str) {
    let parts = rest.split_once(' ');
    let number = parts.and_then(|(number, call)| Some((number.split_once('.')?, call)));
    match number {
        Some(((seconds, micros), call)) if seconds.bytes().all(|it| it.is_ascii_digit()) => {
            let number: u64 = format!("{seconds}{micros}").parse().unwrap();
            (number, call.trim_start())
        }
        _ => (0, rest),
    }
}

struct Reading {
    root: PathBuf,
    open: HashMap<i64, Open>,
    events: Vec<Event>,
}

impl Reading {
    fn call(&mut self, line: &str, begun: usize) {
        let (name, rest) = line.split_once('(').unwrap();
        let (arguments, result) = rest.rsplit_once(" = ").unwrap_or((rest, "?"));
        let result = result.split(' ').next().unwrap();
        let Some(result) = signed(result) else {
            return; // The process ended in it.
        };
        if result < 0 {
            return;
        }
        let arguments = arguments.trim_end().strip_suffix(')').unwrap();
        let arguments = split(arguments);
        let at = |place: usize| arguments[place];
        match name {
            "openat" | "openat2" => self.opened(at(0), at(1), at(2), result),
            "open" => self.opened("AT_FDCWD", at(0), at(1), result),
            // See `closing`.
            "close" => {}
            "fcntl" if at(1).starts_with("F_DUPFD") => self.duplicated(at(0), result),
            "fcntl" => {}
            "dup" | "dup2" | "dup3" => self.duplicated(at(0), result),
            "read" => self.advance(at(0), result as u64),
            "lseek" => {
                if let Some(open) = self.file(at(0)) {
                    *open.offset.lock().unwrap() = result as u64;
                }
            }
            "write" => self.written(at(0), bytes_of(at(1)), None, result),
            "writev" => self.written(at(0), slices_of(at(1)), None, result),
            "pwrite64" => self.written(at(0), bytes_of(at(1)), Some(at(3)), result),
            "pwritev" | "pwritev2" => self.written(at(0), slices_of(at(1)), Some(at(3)), result),
            "ftruncate" => self.note(at(0), |path| Event::Truncate {
                path,
                len: unsigned(at(1)),
            }),
            "fallocate" => {
                let len = unsigned(at(2)) + unsigned(at(3));
                match at(1) {
                    "0" => self.note(at(0), |path| Event::Extend { path, len }),
                    // Room for later: no byte of the file changes.
                    "FALLOC_FL_KEEP_SIZE" => {}
                    _ => assert!(self.file(at(0)).is_none(), "{line}"),
                }
            }
            "fsync" | "fdatasync" => self.note(at(0), |path| Event::Sync { path, begun }),
            "mkdir" => self.made("AT_FDCWD", at(0)),
            "mkdirat" => self.made(at(0), at(1)),
            "rename" => self.renamed(("AT_FDCWD", at(0)), ("AT_FDCWD", at(1))),
            "renameat" | "renameat2" => self.renamed((at(0), at(1)), (at(2), at(3))),
            "unlink" | "rmdir" => self.removed("AT_FDCWD", at(0)),
            "unlinkat" => self.removed(at(0), at(1)),
            _ => assert!(
                !arguments
                    .iter()
                    .any(|it| self.below(it).is_some() || self.file(it).is_some()),
                "not understood: {}",
                &line[..line.len().min(300)]
            ),
        }
    }

    /// A descriptor is free from the beginning of its `close` on: another thread may be given its
    /// number before the end of that call is seen.
    fn closing(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix("close(") {
            let digits = rest.split(|it: char| !it.is_ascii_digit()).next().unwrap();
            self.open.remove(&signed(digits).unwrap());
        }
    }

    fn file(&self, descriptor: &str) -> Option<&Open> {
        self.open.get(&signed(descriptor)?)
    }

    /// A path below the root, without the root; `None` for every other.
    fn below(&self, argument: &str) -> Option<PathBuf> {
        let quoted = argument.strip_prefix('"')?.strip_suffix('"')?;
        let path = String::from_utf8(unescape(quoted)).ok()?;
        let below = Path::new(&path).strip_prefix(&self.root).ok()?;
        Some(below.to_owned())
    }

    /// As [`Reading::below`], for a path that may be relative to an open folder.
    fn below_at(&self, folder: &str, argument: &str) -> Option<PathBuf> {
        let Some(open) = self.file(folder) else {
            return self.below(argument);
        };
        let quoted = argument.strip_prefix('"')?.strip_suffix('"')?;
        let name = String::from_utf8(unescape(quoted)).ok()?;
        Some(open.name.path.join(name))
    }

    fn opened(&mut self, folder: &str, path: &str, flags: &str, result: i64) {
        self.open.remove(&result);
        let Some(path) = self.below_at(folder, path) else {
            return;
        };
        if flags.contains("O_CREAT") {
            let folder = false;
            let path = path.clone();
            // Whether it is new is the disk's to know.
            self.events.push(Event::Create { path, folder });
        }
        let name = Name {
            path,
            at: self.events.len(),
        };
        self.events.push(Event::Open(name.clone()));
        if flags.contains("O_TRUNC") {
            let path = name.clone();
            self.events.push(Event::Truncate { path, len: 0 });
        }
        let open = Open {
            name,
            offset: Arc::default(),
            appends: flags.contains("O_APPEND"),
        };
        self.open.insert(result, open);
    }

    fn duplicated(&mut self, from: &str, result: i64) {
        if let Some(open) = self.file(from).cloned() {
            self.open.insert(result, open);
        }
    }

    fn advance(&mut self, descriptor: &str, by: u64) {
        if let Some(open) = self.file(descriptor) {
            *open.offset.lock().unwrap() += by;
        }
    }

    fn written(&mut self, descriptor: &str, bytes: Vec<u8>, at: Option<&str>, result: i64) {
        let Some(open) = self.file(descriptor) else {
            return;
        };
        let offset = match at {
            Some(at) => unsigned(at),
            // The end is the disk's to know.
            None if open.appends => u64::MAX,
            None => *open.offset.lock().unwrap(),
        };
        let path = open.name.clone();
        if at.is_none() {
            *open.offset.lock().unwrap() += result as u64;
        }
        let bytes = bytes[..result as usize].into();
        self.events.push(Event::Write {
            path,
            offset,
            bytes,
        });
    }

    fn note(&mut self, descriptor: &str, event: impl FnOnce(Name) -> Event) {
        if let Some(open) = self.file(descriptor) {
            let event = event(open.name.clone());
            self.events.push(event);
        }
    }

    fn made(&mut self, folder: &str, path: &str) {
        if let Some(path) = self.below_at(folder, path) {
            let folder = true;
            self.events.push(Event::Create { path, folder });
        }
    }

    fn renamed(&mut self, from: (&str, &str), to: (&str, &str)) {
        let from = self.below_at(from.0, from.1);
        if let (Some(from), Some(to)) = (from, self.below_at(to.0, to.1)) {
            self.events.push(Event::Rename { from, to });
        }
    }

    fn removed(&mut self, folder: &str, path: &str) {
        if let Some(path) = self.below_at(folder, path) {
            self.events.push(Event::Remove { path });
        }
    }
}

/// Arguments at their commas; strings are all escapes, and so hold none.
fn split(arguments: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut from) = (0, 0);
    for (at, byte) in arguments.bytes().enumerate() {
        match byte {
            b'[' | b'{' | b'(' => depth += 1,
            b']' | b'}' | b')' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(arguments[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(arguments[from..].trim());
    parts
}

fn signed(text: &str) -> Option<i64> {
    match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

fn unsigned(text: &str) -> u64 {
    signed(text).unwrap_or_else(|| panic!("not a number: {text}")) as u64
}

/// `"\x61\x62"`.
fn bytes_of(argument: &str) -> Vec<u8> {
    let quoted = argument
        .strip_prefix('"')
        .and_then(|it| it.strip_suffix('"'));
    unescape(quoted.unwrap_or_else(|| panic!("not whole: {}", &argument[argument.len() - 20..])))
}

/// `[{iov_base="\x61", iov_len=1}, ...]`.
fn slices_of(argument: &str) -> Vec<u8> {
    let strings = argument.split("iov_base=\"").skip(1);
    let quoted = strings.map(|rest| rest.split_once('"').unwrap().0);
    quoted.flat_map(unescape).collect()
}

fn unescape(quoted: &str) -> Vec<u8> {
    let hex = |digit: u8| (digit as char).to_digit(16).unwrap() as u8;
    let escapes = quoted.as_bytes().chunks(4);
    escapes
        .map(|escape| {
            assert_eq!(&escape[..2], b"\\x", "{quoted}");
            hex(escape[2]) << 4 | hex(escape[3])
        })
        .collect()
}

#[test]
fn a_number_that_another_thread_is_given_during_a_close_is_followed() {
    let hex = |text: &str| -> String { text.bytes().map(|it| format!("\\x{it:02x}")).collect() };
    let open = |path: &str, end: &str| format!("openat(AT_FDCWD, \"{}\", O_RDONLY{end}", hex(path));
    let text = [
        format!("1 {}", open("/r/one", ") = 7")),
        "1 close(7 <unfinished ...>".into(),
        format!("2 {}", open("/r/two", ") = 7")),
        "1 <... close resumed>) = 0".into(),
        "2 fsync(7) = 0".into(),
    ];
    let events = events(&text.join("\n"), Path::new("/r"));
    let Some(Event::Sync { path, .. }) = events.last() else {
        panic!("the sync is not seen: {events:?}");
    };
    assert_eq!(path.path, Path::new("two"));
}
