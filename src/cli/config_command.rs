//! `shardkeep config`: what `serve` with the same flags would run with, without running it.

use super::serve_flags::ServeFlags;
use crate::config::{ConfigError, Entry};
use clap::{Args, Subcommand};
use std::fmt::Write;

/// Check or show the configuration
#[derive(Debug, Clone, Args)]
pub struct ConfigCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Clone, Subcommand)]
enum Action {
    /// Say everything that is wrong with the configuration, without starting
    Check(Box<ServeFlags>),
    /// Print each value with where it came from
    Show(Box<ServeFlags>),
}

impl ConfigCommand {
    /// What to print on standard output, with its last newline.
    ///
    /// # Errors
    /// Everything that is wrong with the configuration, at once.
    pub fn run(&self, json: bool) -> Result<String, ConfigError> {
        match &self.action {
            Action::Check(flags) => {
                flags.load()?;
                let text = if json {
                    "{\"valid\":true}\n"
                } else {
                    "the configuration is valid\n"
                };
                Ok(text.to_owned())
            }
            Action::Show(flags) => {
                let entries = flags.load()?.entries();
                Ok(if json {
                    as_json(&entries)
                } else {
                    as_table(&entries)
                })
            }
        }
    }
}

fn as_json(entries: &[Entry]) -> String {
    let json = serde_json::to_string_pretty(entries).expect("entries are plain strings");
    json + "\n"
}

fn as_table(entries: &[Entry]) -> String {
    let value = |entry: &Entry| entry.value.clone().unwrap_or_else(|| "(none)".to_owned());
    let width = |text: &dyn Fn(&Entry) -> usize| entries.iter().map(text).max().unwrap_or(0);
    let key_width = width(&|entry| entry.key.chars().count());
    let value_width = width(&|entry| value(entry).chars().count());
    let mut table = String::new();
    for entry in entries {
        let (key, value, origin) = (&entry.key, value(entry), &entry.origin);
        writeln!(table, "{key:key_width$}  {value:value_width$}  {origin}")
            .expect("a string takes all that is written");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        let entry = |key: &str, value: Option<&str>, origin: &str| Entry {
            key: key.to_owned(),
            value: value.map(str::to_owned),
            origin: origin.to_owned(),
        };
        vec![
            entry("log.dir", None, "default"),
            entry("server.port", Some("8282"), "flag --port"),
        ]
    }

    #[derive(clap::Parser)]
    enum Program {
        Config(ConfigCommand),
    }

    fn run(arguments: &[&str]) -> Result<String, ConfigError> {
        let words = ["shardkeep", "config"].iter().chain(arguments);
        let Program::Config(command) = clap::Parser::try_parse_from(words).unwrap();
        command.run(false)
    }

    #[test]
    fn show_and_check_take_the_flags_of_serve() {
        let table = run(&["show", "--port", "9"]).unwrap();
        let line = table
            .lines()
            .find(|it| it.starts_with("server.port"))
            .unwrap();
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!(words, ["server.port", "9", "flag", "--port"]);
        assert_eq!(run(&["check"]).unwrap(), "the configuration is valid\n");
        assert!(run(&["check", "--shards", "0"]).is_err());
    }

    #[test]
    fn the_table_lines_up() {
        let lines = "log.dir      (none)  default\nserver.port  8282    flag --port\n";
        assert_eq!(as_table(&entries()), lines);
    }

    #[test]
    fn json_says_null_where_nothing_is_set() {
        let json: serde_json::Value = serde_json::from_str(&as_json(&entries())).unwrap();
        assert_eq!(json[0]["value"], serde_json::Value::Null);
        assert_eq!(json[1]["origin"], "flag --port");
    }
}
