//! README.md against the program: what it tells people to type exists.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

const README: &str = include_str!("../README.md");

/// How an error is made, and the status that its kind is sent as.
const STATUSES: [(&str, &str); 18] = [
    ("Error::invalid(", "INVALID_ARGUMENT"),
    ("Error::too_large(", "INVALID_ARGUMENT"),
    ("Error::unavailable(", "UNAVAILABLE"),
    ("Error::corrupt(", "DATA_LOSS"),
    ("Error::internal(", "INTERNAL"),
    ("ErrorKind::NotFound,", "NOT_FOUND"),
    ("ErrorKind::AlreadyExists,", "ALREADY_EXISTS"),
    ("ErrorKind::Conflict,", "ABORTED"),
    ("ErrorKind::Invalid,", "INVALID_ARGUMENT"),
    ("ErrorKind::TooLarge,", "INVALID_ARGUMENT"),
    ("ErrorKind::Denied,", "PERMISSION_DENIED"),
    ("ErrorKind::Disabled,", "FAILED_PRECONDITION"),
    ("ErrorKind::Overloaded,", "RESOURCE_EXHAUSTED"),
    ("ErrorKind::DiskFull,", "RESOURCE_EXHAUSTED"),
    ("ErrorKind::Unavailable,", "UNAVAILABLE"),
    ("ErrorKind::Timeout,", "DEADLINE_EXCEEDED"),
    ("ErrorKind::Corrupt,", "DATA_LOSS"),
    ("ErrorKind::Internal,", "INTERNAL"),
];

/// Reasons that no message brings to a client, and why.
const NOT_SENT: [(&str, &str); 18] = [
    ("BACKUP_RANGE", "the service makes ranges that run forwards"),
    ("CONDITION_FAILED", "of a transaction of the Rust client"),
    ("DATA_DIR", "the store does not open, and nobody is served"),
    (
        "EXPORT_DAMAGED",
        "of imports, which read their files themselves",
    ),
    ("EXPORT_FILE", "of a store inside a program"),
    (
        "JSON_MALFORMED",
        "zstdb's protocol has no reasons, only texts",
    ),
    ("KEY_NAMESPACE", "ids are of the namespaces that made them"),
    ("NOOP_FILE", "the server of benches does not start"),
    ("NOT_AN_EXPORT", "of a store inside a program"),
    ("PATH_EMPTY", "zstdb's protocol has no reasons, only texts"),
    ("READER_FAILED", "of a store inside a program"),
    ("SHARD_CLOSE", "it is logged when the server ends"),
    ("STORE_CLOSED", "of a store inside a program"),
    ("SWEEP_BUSY", "the server sweeps by itself, and logs"),
    ("SWEEP_FAILED", "the server sweeps by itself, and logs"),
    ("VALUE_CHANGED", "of a download of the Rust client"),
    ("VALUE_TYPE", "of a store inside a program"),
    ("WATCH_OVER", "of a store inside a program"),
];

/// What is written as reasons are and is none.
const NO_REASONS: [&str; 3] = ["CARGO_PKG_VERSION", "PER_SECOND", "XDG_STATE_HOME"];

/// Words in capitals that the README puts between backticks beside statuses and reasons.
const OTHER_WORDS: [&str; 1] = ["NOT_SERVING"];

/// Command lines behind a prompt in code blocks, the parts of a pipe apart.
fn typed() -> Vec<String> {
    let mut in_block = false;
    let mut typed = Vec::new();
    for line in README.lines() {
        if line.starts_with("```") {
            in_block = !in_block;
        } else if let Some(line) = line.strip_prefix("$ ").filter(|_| in_block) {
            typed.extend(
                line.split(" && ")
                    .flat_map(|it| it.split(" | "))
                    .map(str::to_owned),
            );
        }
    }
    typed
}

/// What stands between backticks outside of code blocks.
fn spans() -> Vec<&'static str> {
    let text = README.split("```").step_by(2);
    text.flat_map(|it| it.split('`').skip(1).step_by(2))
        .collect()
}

/// The arguments of a call of the program, however it is called; `None` for another command.
fn arguments(command: &str) -> Option<Vec<&str>> {
    let command = command.split(" > ").next()?;
    let words: Vec<&str> = command.split_whitespace().collect();
    let words = match words.iter().position(|word| *word == "--") {
        Some(end) if words[..end].starts_with(&["cargo", "run"]) => &words[end + 1..],
        _ => {
            let is_variable = |word: &&&str| word.contains('=') && !word.starts_with('-');
            let variables = words.iter().take_while(is_variable).count();
            words[variables..].strip_prefix(&["shardkeep"])?
        }
    };
    Some(words.to_vec())
}

/// The help of a command, or of the program; `None` when there is no such command.
fn help(command: &[&str]) -> Option<String> {
    let mut program = Command::new(env!("CARGO_BIN_EXE_shardkeep"));
    let output = program.args(command).arg("--help").output().unwrap();
    let known = output.status.success();
    known.then(|| String::from_utf8(output.stdout).unwrap())
}

/// The command that arguments name: some have commands of their own.
fn command_of<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    let length = match arguments.first() {
        Some(&"config" | &"ns" | &"snapshot") => 2,
        _ => 1,
    };
    arguments.iter().take(length).copied().collect()
}

/// The commands of the program, but clap's own `help`.
fn commands() -> BTreeSet<String> {
    let overview = help(&[]).unwrap();
    let listed = overview.split("Commands:").nth(1).unwrap().lines();
    let listed = listed.skip(1).take_while(|line| line.starts_with("  "));
    let names = listed.filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

/// Whether a help text lists an option.
fn lists(help: &str, option: &str) -> bool {
    help.split(|it: char| it.is_whitespace() || it == ',' || it == '[')
        .any(|word| word == option)
}

fn defaults() -> toml::Table {
    include_str!("../config/default.toml").parse().unwrap()
}

fn is_key(section: &str, key: &str) -> bool {
    let defaults = defaults();
    let section = defaults.get(section).and_then(toml::Value::as_table);
    section.is_some_and(|section| section.contains_key(key))
}

#[test]
fn every_command_that_is_typed_exists_with_its_options() {
    let mut helps: BTreeMap<Vec<&str>, Option<String>> = BTreeMap::new();
    let typed = typed();
    let calls: Vec<Vec<&str>> = typed.iter().filter_map(|it| arguments(it)).collect();
    assert!(calls.len() > 20, "the README's code blocks were not read");
    for call in calls {
        let command = command_of(&call);
        let help = helps
            .entry(command.clone())
            .or_insert_with_key(|it| help(it));
        let help = help
            .as_ref()
            .unwrap_or_else(|| panic!("no such command: {command:?}"));
        for word in call.iter().filter(|word| word.starts_with('-')) {
            let option = word.split('=').next().unwrap();
            let known = option == "-" || lists(help, option);
            assert!(known, "shardkeep {}: no {option}", command.join(" "));
        }
    }
}

#[test]
fn every_command_of_the_program_is_told_of_and_none_besides() {
    let calls = spans().into_iter().filter_map(arguments);
    let told: BTreeSet<String> = calls
        .filter_map(|words| words.first().map(ToString::to_string))
        // `shardkeep ready on ...` is what the server says, `shardkeep help` is clap's own.
        .filter(|word| !["ready", "help"].contains(&word.as_str()))
        .collect();
    assert_eq!(told, commands());
}

#[test]
fn every_option_that_is_named_exists() {
    let helps = commands().into_iter().filter_map(|it| help(&[&it]));
    let helps: Vec<String> = helps.collect();
    for span in spans() {
        let foreign = span.starts_with("cargo");
        let words = span.split(|it: char| it.is_whitespace() || it == '=');
        for option in words.filter(|word| word.starts_with("--") && word.len() > 2 && !foreign) {
            let known = helps.iter().any(|help| lists(help, option));
            assert!(known, "`{span}`: no {option}");
        }
    }
}

#[test]
fn every_configuration_key_that_is_named_exists() {
    let sections = defaults();
    let mut named = 0;
    for span in spans() {
        let Some((section, key)) = span.split_once('.') else {
            continue;
        };
        if sections.contains_key(section) {
            assert!(is_key(section, key), "no such key: {span}");
            named += 1;
        }
    }
    assert!(named > 20, "the README's keys were not read");
    for word in README.split(|it: char| !it.is_ascii_alphanumeric() && it != '_') {
        let Some(variable) = word.strip_prefix("SHARDKEEP__") else {
            continue;
        };
        let (section, key) = variable.split_once("__").unwrap();
        let known = is_key(&section.to_lowercase(), &key.to_lowercase());
        assert!(
            known || variable == "SECTION__KEY",
            "no such variable: {word}"
        );
    }
}

#[test]
fn every_section_of_the_configuration_is_told_of() {
    for section in defaults().keys() {
        let row = format!("| `{section}` |");
        assert!(README.contains(&row), "the README has no row {row}");
    }
}

#[test]
fn every_exit_code_is_told_in_the_programs_own_words() {
    let overview = help(&[]).unwrap();
    let codes = overview.split("Exit codes:").nth(1).unwrap().trim();
    assert!(codes.lines().count() > 5);
    for line in codes.lines() {
        let (code, meaning) = line.trim().split_once("  ").unwrap();
        let row = format!("| {code} | {} |", meaning.trim());
        assert!(README.contains(&row), "the README has no row {row}");
    }
}

#[test]
fn every_link_leads_somewhere() {
    let headings: BTreeSet<String> = README
        .lines()
        .filter(|line| line.starts_with("##"))
        .map(|line| line.trim_start_matches('#').trim().to_lowercase())
        .map(|it| it.replace(' ', "-").replace(',', ""))
        .collect();
    for target in README.split("](").skip(1) {
        let target = target.split(')').next().unwrap();
        if let Some(anchor) = target.strip_prefix('#') {
            assert!(headings.contains(anchor), "no heading for #{anchor}");
        } else if !target.starts_with("https://") {
            let there = Path::new(env!("CARGO_MANIFEST_DIR")).join(target).exists();
            assert!(there, "no file {target}");
        }
    }
}

/// Adds the text of each source below a folder, its tests aside.
fn sources(folder: PathBuf, texts: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(path, texts);
        } else if path.extension().is_some_and(|it| it == "rs") {
            let text = std::fs::read_to_string(path).unwrap();
            let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
            texts.push(code.to_owned());
        }
    }
}

/// Whether it is written as reasons are; `RANDOM` is the one that is a single word.
fn is_reason(word: &str) -> bool {
    let is_part = |it: u8| it.is_ascii_uppercase() || it.is_ascii_digit() || it == b'_';
    let is_variable = word.starts_with("SHARDKEEP_");
    let is_name = (word.contains('_') && !is_variable) || word == "RANDOM";
    is_name && word.starts_with(|it: char| it.is_ascii_uppercase()) && word.bytes().all(is_part)
}

/// Every reason in a source, and what stands before it.
fn reasons(code: &str) -> impl Iterator<Item = (&str, &str)> {
    let word = |(at, _)| {
        let rest: &str = &code[at + 1..];
        let word = &rest[..rest.find('"')?];
        let is_one = is_reason(word) && !NO_REASONS.contains(&word);
        is_one.then(|| (word, code[..at].trim_end()))
    };
    code.match_indices('"').filter_map(word)
}

/// Whether a row of the table of a status names a reason.
fn is_told(status: Option<&str>, reason: &str) -> bool {
    let row = format!("| `{}", status.unwrap_or_default());
    let mut rows = README.lines().filter(|line| line.starts_with(&row));
    rows.any(|line| line.contains(&format!("`{reason}`")))
}

#[test]
fn every_reason_is_told_under_its_status_and_none_besides() {
    let mut codes = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    sources(root.join("src"), &mut codes);
    let mut known = BTreeSet::new();
    let mut wrong = Vec::new();
    for (reason, before) in codes.iter().flat_map(|it| reasons(it)) {
        known.insert(reason);
        let status = STATUSES.iter().find(|(end, _)| before.ends_with(end));
        let status = status.map(|(_, status)| *status);
        let is_inside = NOT_SENT.iter().any(|(inside, _)| *inside == reason);
        let is_told = is_told(status, reason);
        if is_told == is_inside {
            wrong.push((reason, status, is_told));
        }
    }
    assert!(wrong.is_empty(), "reason, status, told: {wrong:?}");
    assert!(known.len() > 100, "the reasons were not found");
    let statuses = STATUSES.iter().map(|(_, status)| *status);
    known.extend(statuses.chain(OTHER_WORDS));
    for (inside, why) in NOT_SENT {
        assert!(known.contains(inside), "{inside} ({why}) is no more");
    }
    let unknown = |it: &&str| is_reason(it) && !known.contains(it);
    let told: Vec<&str> = spans().into_iter().filter(unknown).collect();
    assert!(told.is_empty(), "the README tells of {told:?}");
}

#[test]
fn a_reason_that_is_not_told_is_found() {
    let code = "Err(Error::corrupt(\n    \"NEW_REASON\", \"PER_SECOND\"))";
    let found: Vec<_> = reasons(code).collect();
    assert_eq!(found, [("NEW_REASON", "Err(Error::corrupt(")]);
    assert!(!is_told(None, "NEW_REASON"));
    assert!(is_told(Some("ALREADY_EXISTS"), "KEY_EXISTS"));
    assert!(!is_told(Some("DATA_LOSS"), "KEY_EXISTS"));
}
