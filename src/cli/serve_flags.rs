//! The flags of `serve`: ours, and all of zstdb's, so that a script that starts zstdb starts us.
//!
//! A flag is only a name for a key of the configuration. What a value may be is decided there, once,
//! for files, variables and flags alike; here a flag becomes a layer and nothing is checked.

use crate::config::{self, ConfigError, Layers, Loaded};
use clap::{ArgAction, Args, Command};
use std::ffi::OsString;
use std::path::PathBuf;

/// A flag that was given: the key it sets, the value, and its name as it is typed.
type Setting = (&'static str, String, &'static str);

/// What can be given to `serve` and to `config`.
#[derive(Debug, Clone, Default, Args)]
#[command(args_override_self = true)]
pub struct ServeFlags {
    /// Configuration file (TOML); only the keys that differ from the defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data directory [default: ./data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// The same as --data-dir (zstdb's name)
    #[arg(long, value_name = "DIR")]
    alt_data_dir: Option<String>,
    /// Listen address [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    host: Option<String>,
    /// Listen port; 0 takes a free one [default: 8282]
    #[arg(long, value_name = "PORT")]
    port: Option<String>,
    /// Directory that holds all backups [default: backups, in the data directory]
    #[arg(long, value_name = "DIR")]
    backup_dir: Option<String>,
    /// Shards of a new store, 1 to 1024, or auto [default: auto]
    #[arg(long, value_name = "N")]
    shards: Option<String>,
    /// When a write is acknowledged: sync (on the disk) or os (written) [default: sync]
    #[arg(long, value_name = "MODE")]
    durability: Option<String>,
    /// Log more of what this program does
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    debug: Option<String>,
    /// Largest value in MiB, at most 1024 [default: 16]
    #[arg(long, value_name = "MIB")]
    max_upload_size_mb: Option<String>,
    /// Refuse writes when less than this is free, in MiB [default: 4096]
    #[arg(long, value_name = "MIB")]
    min_free_disk_space_mb: Option<String>,
    /// Let a Set replace what is there
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    allow_overwrite: Option<String>,
    /// Let callers name the keys; otherwise a key is the BLAKE3 of its value
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    allow_user_key: Option<String>,
    /// Refuse Delete
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    disable_delete: Option<String>,
    /// Refuse Set
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    disable_set: Option<String>,
    /// Password of admin calls; without one they are answered to this machine only
    #[arg(long, value_name = "PASSWORD", allow_hyphen_values = true)]
    admin_password: Option<String>,
    /// Directory of scheduled backups, inside --backup-dir
    #[arg(long, value_name = "DIR")]
    auto_backup_dir: Option<String>,
    /// When to back up: "@every 1h30m", "@daily" or a cron expression
    #[arg(long, value_name = "SCHEDULE")]
    auto_backup_every: Option<String>,
    /// Also log to files in this directory
    #[arg(long, value_name = "DIR")]
    log_dir: Option<String>,
    /// Start a new log file at this size in MiB [default: 100]
    #[arg(long, value_name = "MIB")]
    log_max_size_mb: Option<String>,
}

impl ServeFlags {
    /// The whole configuration: defaults, `--config`, this process's environment, these flags.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        self.load_with(config::environment())
    }

    /// [`ServeFlags::load`] with another environment.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn load_with(
        &self,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Loaded, ConfigError> {
        Layers::new()
            .file(self.config.as_deref())
            .environment(environment)
            .flags(self.settings())
            .load()
    }

    fn settings(&self) -> Vec<Setting> {
        let given = [
            ("storage.data_dir", &self.data_dir, "--data-dir"),
            ("storage.data_dir", &self.alt_data_dir, "--alt-data-dir"),
            ("server.host", &self.host, "--host"),
            ("server.port", &self.port, "--port"),
            ("backup.dir", &self.backup_dir, "--backup-dir"),
            ("storage.shards", &self.shards, "--shards"),
            ("storage.durability", &self.durability, "--durability"),
            ("keys.overwrite", &self.allow_overwrite, "--allow-overwrite"),
            (
                "access.disable_delete",
                &self.disable_delete,
                "--disable-delete",
            ),
            ("access.disable_set", &self.disable_set, "--disable-set"),
            ("admin.password", &self.admin_password, "--admin-password"),
            (
                "backup.auto_dir",
                &self.auto_backup_dir,
                "--auto-backup-dir",
            ),
            (
                "backup.auto_every",
                &self.auto_backup_every,
                "--auto-backup-every",
            ),
            ("log.dir", &self.log_dir, "--log-dir"),
        ];
        let plain = given
            .into_iter()
            .filter_map(|(key, value, flag)| Some((key, value.clone()?, flag)));
        plain.chain(self.mebibytes()).chain(self.words()).collect()
    }

    /// zstdb's sizes are whole numbers of MiB.
    fn mebibytes(&self) -> impl Iterator<Item = Setting> {
        [
            (
                "server.max_upload_size",
                &self.max_upload_size_mb,
                "--max-upload-size-mb",
            ),
            (
                "disk.min_free",
                &self.min_free_disk_space_mb,
                "--min-free-disk-space-mb",
            ),
            ("log.max_size", &self.log_max_size_mb, "--log-max-size-mb"),
        ]
        .into_iter()
        .filter_map(|(key, value, flag)| Some((key, format!("{} MiB", value.as_deref()?), flag)))
    }

    /// zstdb's switches that stand for a word of ours. What is no switch is passed on as it is, and
    /// the configuration refuses it with a message of its own.
    fn words(&self) -> impl Iterator<Item = Setting> {
        // Debug lines of the libraries below would bury ours. `--debug=false` asks for nothing.
        let debug = (None, "info,shardkeep=debug");
        [
            ("log.level", &self.debug, "--debug", debug),
            (
                "keys.mode",
                &self.allow_user_key,
                "--allow-user-key",
                (Some("content"), "user"),
            ),
        ]
        .into_iter()
        .filter_map(|(key, value, flag, (off, on))| {
            let value = value.as_deref()?;
            let word = match config::parse_switch(value) {
                Some(true) => on,
                Some(false) => off?,
                None => value,
            };
            Some((key, word.to_owned(), flag))
        })
    }
}

/// Rewrites the arguments of the whole program so that `serve` takes long flags with one dash, as
/// Go's programs do: `serve -port 8282` becomes `serve --port 8282`. Other commands, values, and
/// what comes after `--` are left alone.
pub fn normalize(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let is_option = |it: &OsString| it.as_encoded_bytes().starts_with(b"-");
    let command = arguments.iter().skip(1).position(|it| !is_option(it));
    let Some(serve) = command
        .map(|at| at + 1)
        .filter(|at| arguments[*at] == "serve")
    else {
        return arguments;
    };
    let flags = ServeFlags::augment_args(Command::new("serve"));
    let mut is_value = false;
    for argument in &mut arguments[serve + 1..] {
        if std::mem::take(&mut is_value) {
            continue;
        }
        let Some(text) = argument.to_str() else {
            continue;
        };
        if text == "--" {
            break;
        }
        let (name, value) = text
            .split_once('=')
            .map_or((text, None), |(n, v)| (n, Some(v)));
        let Some(name) = name.strip_prefix("--").or_else(|| name.strip_prefix('-')) else {
            continue;
        };
        let Some(flag) = flags.get_arguments().find(|it| it.get_long() == Some(name)) else {
            continue;
        };
        let takes_next =
            matches!(flag.get_action(), ArgAction::Set) && !flag.is_require_equals_set();
        is_value = value.is_none() && takes_next;
        let value = value.map_or(String::new(), |value| format!("={value}"));
        *argument = format!("--{name}{value}").into();
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Durability, KeyMode, Schedule};
    use clap::Parser;
    use std::path::Path;

    #[derive(Parser)]
    enum Program {
        Serve(ServeFlags),
    }

    fn loaded(arguments: &str) -> Result<Config, String> {
        let words = ["shardkeep", "serve"]
            .into_iter()
            .chain(arguments.split('|'));
        let words = words.filter(|it| !it.is_empty()).map(OsString::from);
        let program = Program::try_parse_from(normalize(words)).map_err(|it| it.to_string())?;
        let Program::Serve(flags) = program;
        let loaded = flags.load_with([]).map_err(|it| it.to_string())?;
        Ok(loaded.config)
    }

    #[test]
    fn our_own_flags_set_their_keys() {
        let config = loaded(
            "--data-dir|/d|--host|0.0.0.0|--port=0|--backup-dir|/b|--shards|4|--durability|os",
        )
        .unwrap();
        assert_eq!(config.storage.data_dir, Path::new("/d"));
        assert_eq!(config.server.host.to_string(), "0.0.0.0");
        assert_eq!(config.server.port, 0);
        assert_eq!(config.backup.dir, Path::new("/b"));
        assert_eq!(config.storage.shards, Some(4));
        assert_eq!(config.storage.durability, Durability::Os);
    }

    #[test]
    fn all_of_zstdbs_flags_are_accepted() {
        let config = loaded(
            "--host|localhost|--port|9|--debug|--max-upload-size-mb|32|--min-free-disk-space-mb|1\
             |--allow-overwrite|--allow-user-key|--disable-delete|--disable-set|--alt-data-dir|/z\
             |--admin-password|123|--auto-backup-dir|auto|--auto-backup-every|@every 1h30m\
             |--log-dir|/l|--log-max-size-mb|5",
        )
        .unwrap();
        assert_eq!(config.log.level, "info,shardkeep=debug");
        assert_eq!(config.server.max_upload_size, 32 << 20);
        assert_eq!(config.disk.min_free, 1 << 20);
        assert_eq!(config.keys.mode, KeyMode::User);
        assert!(config.keys.overwrite);
        assert!(config.access.disable_delete && config.access.disable_set);
        assert_eq!(config.storage.data_dir, Path::new("/z"));
        assert_eq!(config.admin.password.as_deref(), Some("123"));
        assert_eq!(config.backup.auto_dir.as_deref(), Some(Path::new("auto")));
        assert!(matches!(config.backup.auto_every, Some(Schedule::Every(_))));
        assert_eq!(config.log.max_size, 5 << 20);
    }

    #[test]
    fn gos_spellings_of_flags_are_accepted() {
        let config =
            loaded("-port|7|-disable-set|-disable-delete=false|-allow-user-key=T").unwrap();
        assert_eq!(config.server.port, 7);
        assert!(config.access.disable_set && !config.access.disable_delete);
        assert_eq!(config.keys.mode, KeyMode::User);
        assert_eq!(
            loaded("--port|1|--port|2").unwrap().server.port,
            2,
            "the last one wins"
        );
    }

    #[test]
    fn a_value_that_looks_like_a_flag_stays_as_it_is() {
        let config = loaded("-admin-password|-port").unwrap();
        assert_eq!(config.admin.password.as_deref(), Some("-port"));
    }

    #[test]
    fn other_commands_keep_their_arguments() {
        let arguments = ["shardkeep", "put", "-port", "serve"].map(OsString::from);
        assert_eq!(normalize(arguments.clone()), arguments);
    }

    #[test]
    fn a_wrong_value_is_refused_in_the_words_of_the_configuration() {
        let message = loaded("--allow-user-key=maybe").unwrap_err();
        assert!(
            message.contains("keys.mode = \"maybe\" (flag --allow-user-key)"),
            "{message}"
        );
        let message = loaded("--data-dir|/a|--alt-data-dir|/b").unwrap_err();
        assert!(
            message.contains("contradicts \"/a\" (flag --data-dir)"),
            "{message}"
        );
        let message = loaded("--max-upload-size-mb|1025").unwrap_err();
        assert!(message.contains("flag --max-upload-size-mb"), "{message}");
    }
}
