//! The README's console examples, typed into a real shell against a real server: what they print is
//! what the README shows, numbers, sizes and times aside.
//!
//! A block is named by its first command. What it rests on is made before it, and what the README
//! calls otherwise than here (a server's folder, a version) is given by name.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use support::{Builder, Server};
use tempfile::TempDir;

const README: &str = include_str!("../README.md");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A command, and the lines that it shows.
#[derive(Debug)]
struct Step {
    command: String,
    shown: Vec<String>,
}

/// The steps of the console block that begins with this command.
fn block(first: &str) -> Vec<Step> {
    let blocks = README.split("```console\n").skip(1);
    let mut blocks = blocks.filter_map(|rest| rest.split("\n```").next());
    let begins = |block: &&str| {
        block
            .strip_prefix("$ ")
            .is_some_and(|it| it.starts_with(first))
    };
    let block = blocks.find(begins);
    let block = block.unwrap_or_else(|| panic!("no block of the README begins with {first:?}"));
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

/// What a line says, without its numbers, digests, units and spaces.
fn shape(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let of = |is: fn(char) -> bool| rest.find(|it| !is(it)).unwrap_or(rest.len());
        let hex = of(|it| it.is_ascii_digit() || ('a'..='f').contains(&it));
        let number = of(|it| it.is_ascii_digit() || it == ',' || it == '.');
        let len = match first {
            _ if hex >= 16 => {
                out.push('H');
                hex
            }
            '0'..='9' => {
                out.push('N');
                rest[..number].trim_end_matches([',', '.']).len()
            }
            other => {
                out.push(other);
                other.len_utf8()
            }
        };
        rest = &rest[len..];
    }
    let unit = |word: &str| match word {
        "B" | "KiB" | "MiB" | "GiB" | "us" | "ms" | "s" => "U".to_owned(),
        word => word
            .replace("KiB/s", "U")
            .replace("MiB/s", "U")
            .replace("GiB/s", "U"),
    };
    let words: Vec<String> = out.split_whitespace().map(unit).collect();
    words.join(" ")
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

    /// Types the commands of a block, but those that begin so, and compares. One of which nothing is
    /// shown must succeed.
    fn check(&mut self, first: &str, left_out: &[&str]) {
        for step in block(first) {
            if left_out.iter().any(|it| step.command.starts_with(it)) {
                continue;
            }
            let command = self.here(&step.command);
            let (succeeded, printed) = self.run(&command);
            if step.shown.is_empty() {
                assert!(succeeded, "{command}\n{printed}");
                continue;
            }
            let mut lines = printed.lines();
            let mut may_skip = false;
            for shown in &step.shown {
                if shown == "..." {
                    may_skip = true;
                    continue;
                }
                let expected = shape(&self.here(shown));
                let found = lines.find(|line| shape(line) == expected || !may_skip);
                let found = found.unwrap_or_default();
                assert_eq!(shape(found), expected, "{command}\n{printed}");
                may_skip = false;
                // A key, a version or an id is what later commands name.
                let (found, shown) = (found.trim(), shown.trim());
                if found != shown && ["H", "N"].contains(&expected.as_str()) {
                    self.names.push((shown.to_owned(), found.to_owned()));
                }
            }
            let rest: Vec<&str> = lines.collect();
            assert!(
                may_skip || rest.is_empty(),
                "{command}: more than is shown: {rest:?}"
            );
        }
    }
}

fn user_keys() -> Builder {
    Server::builder().flags(["--allow-user-key", "--allow-overwrite"])
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), &target).unwrap()),
        }
    }
}

#[tokio::test]
async fn quick_start_and_the_command_line() {
    let mut desk = Desk::new(Some(Server::builder())).await;
    let root = Path::new(ROOT);
    copy(&root.join("src"), &desk.folder.path().join("src"));
    fs::copy(
        root.join("LICENSE-MIT"),
        desk.folder.path().join("LICENSE-MIT"),
    )
    .unwrap();
    desk.check("PATH=", &["PATH="]);
    desk.check("shardkeep put -r src > src.list", &[]);
    desk.check("shardkeep get -r src.list", &[]);
    desk.check("echo \"one more\"", &[]);
}

#[tokio::test]
async fn changes_moments_and_what_keys_hold() {
    let mut desk = Desk::new(Some(user_keys())).await;
    desk.check("shardkeep cas leader", &[]);
    let version = desk.typed("shardkeep cas before --if-absent --value x");
    for value in ["open", "paid"] {
        desk.typed(&format!("shardkeep put --key orders/1001 --value {value}"));
    }
    let mut desk = desk.call("--after 209", format!("--after {}", version.trim()));
    desk.check("shardkeep watch orders/", &[]);
    desk.check("shardkeep snapshot create", &[]);
    desk.typed("shardkeep put --key photos/1 --value one");
    desk.check("shardkeep du photos/", &[]);
}

#[tokio::test]
async fn keys_of_ones_own() {
    let mut desk = Desk::new(Some(user_keys())).await;
    copy(
        &Path::new(ROOT).join("src"),
        &desk.folder.path().join("src"),
    );
    desk.check("shardkeep serve --allow-user-key", &["shardkeep serve"]);
}

#[tokio::test]
async fn namespaces_and_exports() {
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
    desk.check("shardkeep export --namespace orders", &[]);
    let there = "shardkeep scan --server other:8282";
    assert_eq!(desk.typed(&desk.here(there)), "photos/1001\nphotos/1002\n");
    desk.typed("shardkeep ns drop orders --yes");
    desk.check("shardkeep ns create orders", &[]);
}

#[tokio::test]
async fn settings_and_backups() {
    let mut desk = Desk::new(Some(user_keys())).await;
    fs::write(
        desk.folder.path().join("my.toml"),
        "[keys]\nmode = \"user\"\n",
    )
    .unwrap();
    desk.check("cat my.toml", &[]);
    desk.check("SHARDKEEP__COMPRESSION__LEVEL=60", &[]);
    desk.typed("shardkeep put --key k --value v");
    desk.check("shardkeep backup monday", &[]);
}
