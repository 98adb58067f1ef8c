//! The README's console examples, typed into a real shell against a real server: what they print is
//! what the README shows. `transcript/shown.rs` says what may differ.
//!
//! A block is named by its first command, and by its number where several begin so. What it rests on
//! is made before it, and what the README calls otherwise than here (a server's folder and address)
//! is given by name. Blocks that are not typed are listed with the reason.

#[path = "transcript/shown.rs"]
mod shown;
mod support;

use shown::Figures::{self, Aside, Exact};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;
use support::{Builder, PATIENCE, Server};
use tempfile::TempDir;

const README: &str = include_str!("../README.md");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// How a call of [`Desk::check`] is written, in this file.
const CHECK: &str = ".check(\"";

/// Blocks that no test types, by their first lines, and why.
const NOT_TYPED: [(&str, &str); 2] = [
    (
        "cargo run --release -- serve\nshardkeep ready",
        "it builds the program; the tests start it, and wait for the line that it shows",
    ),
    (
        "cargo run --release -- serve\n$ cargo test",
        "it builds the program and runs these tests",
    ),
];

/// A command, and the lines that it shows.
#[derive(Debug)]
struct Step {
    command: String,
    shown: Vec<String>,
}

/// All console blocks, without their first prompt.
fn blocks() -> impl Iterator<Item = &'static str> {
    let blocks = README.split("```console\n").skip(1);
    let blocks = blocks.filter_map(|rest| rest.split("\n```").next());
    blocks.map(|block| block.strip_prefix("$ ").expect("it begins with a command"))
}

/// The steps of the console block of this number, of those that begin with this command.
fn block(first: &str, number: usize) -> Vec<Step> {
    let mut such = blocks().filter(|block| block.starts_with(first));
    let block = such.nth(number);
    let block = block.unwrap_or_else(|| panic!("no block {number} of the README: {first:?}"));
    let block = format!("$ {block}");
    let mut steps = Vec::new();
    for line in block.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => steps.push(Step {
                command: command.to_owned(),
                shown: Vec::new(),
            }),
            None => steps.last_mut().unwrap().shown.push(line.to_owned()),
        }
    }
    steps
}

/// Where the examples are typed.
struct Desk {
    folder: TempDir,
    server: Option<Server>,
    /// What the README writes, and what it is here.
    names: Vec<(String, String)>,
}

impl Desk {
    async fn new(server: Option<Builder>) -> Self {
        let folder = TempDir::new().unwrap();
        let mut names = vec![("/tmp/".to_owned(), format!("{}/", folder.path().display()))];
        let server = match server {
            Some(builder) => Some(builder.start().await),
            None => None,
        };
        if let Some(server) = &server {
            names.push(("127.0.0.1:8282".to_owned(), server.address().to_string()));
            let data = server.data_dir().display().to_string();
            names.push(("/srv/shardkeep/data".to_owned(), data));
        }
        Self {
            folder,
            server,
            names,
        }
    }

    fn call(mut self, written: &str, here: impl ToString) -> Self {
        self.names.push((written.to_owned(), here.to_string()));
        self
    }

    fn here(&self, text: &str) -> String {
        let names = self.names.iter();
        names.fold(text.to_owned(), |text, (written, here)| {
            text.replace(written, here)
        })
    }

    /// What a command that must succeed prints, on both streams.
    fn typed(&self, command: &str) -> String {
        let (succeeded, printed) = self.run(command);
        assert!(succeeded, "{command}\n{printed}");
        printed
    }

    /// Whether a command succeeds, and what it prints, on both streams.
    fn run(&self, command: &str) -> (bool, String) {
        let program = Path::new(env!("CARGO_BIN_EXE_shardkeep"));
        let path = std::env::var("PATH").unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{{ {command}\n}} 2>&1")]);
        shell.env(
            "PATH",
            format!("{}:{path}", program.parent().unwrap().display()),
        );
        if let Some(server) = &self.server {
            shell.env("SHARDKEEP_SERVER", server.address().to_string());
            shell.env("SHARDKEEP_ADMIN_PASSWORD", support::ADMIN_PASSWORD);
        }
        let output = shell.current_dir(self.folder.path()).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        (output.status.success(), printed)
    }

    /// Types the commands of a block, but those that begin so, and compares. All must succeed but those
    /// that show an error.
    fn check(&mut self, first: &str, number: usize, figures: Figures, left_out: &[&str]) {
        for step in block(first, number) {
            if left_out.iter().any(|it| step.command.starts_with(it)) {
                continue;
            }
            let command = self.here(&step.command);
            let (succeeded, printed) = self.run(&command);
            let shown: Vec<String> = step.shown.iter().map(|line| self.here(line)).collect();
            let fails = shown.iter().any(|line| line.starts_with("shardkeep: "));
            assert_eq!(succeeded, !fails, "{command}\n{printed}");
            match shown::compare(&shown, &printed, figures) {
                Ok(ids) => self.names.extend(ids),
                Err(differs) => panic!("{command}: {differs}\n{printed}"),
            }
        }
    }

    /// The README's own example of a folder.
    fn make_box(&mut self) {
        self.check("mkdir -p box/copies", 0, Exact, &[]);
    }
}

fn user_keys() -> Builder {
    Server::builder().flags(["--allow-user-key", "--allow-overwrite"])
}

#[tokio::test]
async fn quick_start_and_the_command_line() {
    let mut desk = Desk::new(Some(Server::builder())).await;
    let license = desk.folder.path().join("LICENSE-MIT");
    fs::copy(Path::new(ROOT).join("LICENSE-MIT"), license).unwrap();
    desk.check("PATH=", 0, Exact, &["PATH="]);
    desk.make_box();
    desk.check("shardkeep put -r box > box.list", 0, Exact, &[]);
    desk.check("shardkeep get -r box.list", 0, Exact, &[]);
    desk.check("shardkeep put -r box > box.list", 1, Exact, &[]);
    desk.check("shardkeep status", 0, Exact, &[]);
    desk.check("shardkeep status", 1, Aside, &[]);
    desk.check("echo \"one more\"", 0, Exact, &[]);
}

#[tokio::test]
async fn changes_moments_and_what_keys_hold() {
    let mut desk = Desk::new(Some(user_keys())).await;
    desk.check("shardkeep cas leader", 0, Exact, &[]);
    for value in ["open", "paid"] {
        desk.typed(&format!("shardkeep put --key orders/1001 --value {value}"));
    }
    desk.check("shardkeep watch orders/", 0, Exact, &[]);
    desk.check("shardkeep snapshot create", 0, Exact, &[]);
    desk.make_box();
    desk.check("shardkeep put -r box --user-keys", 0, Exact, &[]);
}

#[tokio::test]
async fn keys_of_ones_own() {
    let server = Server::builder().flag("--allow-user-key");
    let mut desk = Desk::new(Some(server)).await;
    desk.make_box();
    let serve = ["shardkeep serve"];
    desk.check("shardkeep serve --allow-user-key", 0, Exact, &serve);
}

#[tokio::test]
async fn exports_and_imports() {
    let other = user_keys().start().await;
    let desk = Desk::new(Some(user_keys())).await;
    let mut desk = desk.call("other:8282", other.address());
    desk.typed("shardkeep ns create orders");
    for key in ["1001", "1002"] {
        desk.typed(&format!(
            "shardkeep put --key {key} --value open --namespace orders"
        ));
        desk.typed(&format!("shardkeep put --key photos/{key} --value photo"));
    }
    desk.check("shardkeep export --namespace orders", 0, Exact, &[]);
    let there = "shardkeep scan --server other:8282";
    assert_eq!(desk.typed(&desk.here(there)), "photos/1001\nphotos/1002\n");
}

#[tokio::test]
async fn namespaces() {
    let mut desk = Desk::new(Some(user_keys())).await;
    desk.check("shardkeep ns create orders", 0, Exact, &[]);
}

#[tokio::test]
async fn settings() {
    let mut desk = Desk::new(None).await;
    let file = desk.folder.path().join("my.toml");
    fs::write(file, "[keys]\nmode = \"user\"\n").unwrap();
    desk.check("cat my.toml", 0, Exact, &[]);
    desk.check("SHARDKEEP__COMPRESSION__LEVEL=60", 0, Exact, &[]);
}

/// The store is what the quick start has left.
#[tokio::test]
async fn backups_and_a_restore() {
    let mut desk = Desk::new(Some(Server::builder())).await;
    let license = Path::new(ROOT).join("LICENSE-MIT");
    let key = desk.typed(&format!("shardkeep put {}", license.display()));
    desk.make_box();
    desk.typed("shardkeep put -r box --quiet");
    desk.check("shardkeep backup monday", 0, Exact, &[]);
    let data = desk.server.as_ref().unwrap().data_dir();
    std::os::unix::fs::symlink(data, desk.folder.path().join("data")).unwrap();
    desk.check("shardkeep restore", 0, Exact, &["shardkeep serve"]);
    let restored = Server::builder().data_dir(desk.folder.path().join("restored"));
    let restored = restored.start().await;
    let get = format!(
        "shardkeep get {} --server {}",
        key.trim(),
        restored.address()
    );
    assert_eq!(desk.typed(&get), fs::read_to_string(license).unwrap());
}

#[tokio::test]
async fn small_values_and_their_dictionary() {
    let mut desk = Desk::new(Some(user_keys())).await;
    let folder = desk.folder.path().join("many");
    fs::create_dir(&folder).unwrap();
    let deadline = Instant::now() + PATIENCE;
    // It is trained behind the scenes, and kept with the first values that need it.
    for round in 0.. {
        for number in 0..600 {
            let id = round * 600 + number;
            let value = format!(
                r#"{{"id":{id},"name":"customer {id}","state":"open","country":"Norway","total":{}}}"#,
                id * 7919 % 1000
            );
            fs::write(folder.join(id.to_string()), value).unwrap();
        }
        desk.typed("shardkeep put -r many --user-keys --quiet");
        let status = desk.typed("shardkeep status");
        if !status.contains("0 (0 B)") {
            break;
        }
        assert!(Instant::now() < deadline, "no dictionary comes: {status}");
    }
    desk.check("shardkeep status", 2, Aside, &[]);
}

#[tokio::test]
async fn backups_of_zstdb_and_a_check_of_what_came() {
    let mut desk = Desk::new(None).await;
    let samples = Path::new(ROOT).join("tests/data/zstdb");
    for sample in ["sample_[0_24].zstdb.bak", "sample_[24_27].zstdb.bak"] {
        fs::copy(samples.join(sample), desk.folder.path().join(sample)).unwrap();
    }
    desk.check("shardkeep import --data-dir data", 0, Exact, &[]);
    desk.check("shardkeep verify data", 0, Aside, &[]);
}

/// Behind a pipe it shows neither its prompts nor what it says at the beginning.
#[tokio::test]
async fn the_shell_line_by_line() {
    let desk = Desk::new(Some(user_keys())).await;
    desk.typed("shardkeep ns create orders");
    let [session, script] = &block("shardkeep shell", 0)[..] else {
        panic!("the shell is shown twice");
    };
    let [said, shown @ ..] = &session.shown[..] else {
        panic!("nothing is shown");
    };
    let source = fs::read_to_string(Path::new(ROOT).join("src/cli/shell.rs")).unwrap();
    let said = said.split_once("; ").unwrap().1;
    assert!(source.contains(said), "the shell does not say {said:?}");
    let (mut lines, mut expected) = (String::new(), String::new());
    for line in shown {
        match line
            .split_once("> ")
            .filter(|_| line.starts_with("shardkeep"))
        {
            Some((_, typed)) => lines += &format!("{typed}\n"),
            None => expected += &format!("{line}\n"),
        }
    }
    fs::write(desk.folder.path().join("script.txt"), lines).unwrap();
    let printed = desk.typed(&format!("{} < script.txt", session.command));
    assert_eq!(printed.trim(), expected.trim());
    desk.typed("shardkeep rm 1001 --namespace orders");
    assert_eq!(desk.typed(&script.command).trim(), expected.trim());
}

#[test]
fn every_block_is_typed_or_there_is_a_reason_why_not() {
    let source = include_str!("transcript.rs");
    // The shell's needs a way of its own.
    let typed = source.split(CHECK).skip(1).filter_map(|it| {
        let (first, rest) = it.split_once("\", ")?;
        let number: usize = rest.split(',').next()?.parse().ok()?;
        Some((first.replace("\\\"", "\""), number))
    });
    let typed: Vec<_> = typed.chain([("shardkeep shell".to_owned(), 0)]).collect();
    let mut of_each = vec![0; typed.len()];
    let mut not_typed = 0;
    for block in blocks() {
        if NOT_TYPED.iter().any(|(first, _)| block.starts_with(first)) {
            not_typed += 1;
            continue;
        }
        // Counted before it is compared: of blocks that begin alike, each has its number.
        let mut is_typed = false;
        for ((first, number), seen) in typed.iter().zip(&mut of_each) {
            if block.starts_with(first) {
                is_typed |= *seen == *number;
                *seen += 1;
            }
        }
        assert!(is_typed, "nobody types the block that begins with {block}");
    }
    assert_eq!(not_typed, NOT_TYPED.len());
    assert_eq!(
        blocks().count(),
        typed.len() + not_typed,
        "one is typed twice"
    );
}
