//! The layers in their order: defaults, file, environment, flags. Later ones win, key by key.

use super::error::{ConfigError, Problem, shown};
use super::layer::{Layer, PREFIX, suggestion, variable};
use super::raw::RawConfig;
use super::reader::Reader;
use super::sections;
use super::value::Config;
use std::path::{Path, PathBuf};

/// Every key with its default, as the binary carries it.
const DEFAULTS: &str = include_str!("../../config/default.toml");

/// zstdb's own environment variable for the data directory; ours wins over it.
const ZSTDB_DATA: &str = "zstdb_data";

/// Gathers what each source says; [`Layers::load`] makes a configuration of it.
#[derive(Debug, Default)]
pub struct Layers {
    file: Option<PathBuf>,
    environment: Vec<(String, String)>,
    flags: Vec<(&'static str, String, &'static str)>,
}

/// A valid configuration that remembers where each value came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    raw: RawConfig,
}

/// One line of `shardkeep config show`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Entry {
    /// The dotted key, such as `server.port`.
    pub key: String,
    /// The effective value as text, `None` where none is set; passwords are masked.
    pub value: Option<String>,
    /// `default`, `file PATH`, `environment variable NAME` or `flag --NAME`.
    pub origin: String,
}

/// The variables of this process that concern us. A part that is not UTF-8 is replaced, which the
/// checks notice.
pub fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .map(|(name, value)| {
            let text = |it: std::ffi::OsString| it.to_string_lossy().into_owned();
            (text(name), text(value))
        })
        .filter(|(name, _)| is_ours(name))
        .collect()
}

fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX) || name == ZSTDB_DATA
}

impl Layers {
    /// The defaults alone.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the file given with `--config`.
    #[must_use]
    pub fn file(mut self, path: Option<&Path>) -> Self {
        self.file = path.map(Path::to_owned);
        self
    }

    /// Adds environment variables; those that are not ours are passed over. See [`environment`].
    #[must_use]
    pub fn environment(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let ours = variables.into_iter().filter(|(name, _)| is_ours(name));
        self.environment.extend(ours);
        self
    }

    /// Adds flags as (dotted key, value, the flag as it is typed, such as `--port`).
    #[must_use]
    pub fn flags(mut self, flags: Vec<(&'static str, String, &'static str)>) -> Self {
        self.flags.extend(flags);
        self
    }

    /// Merges and checks.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn load(self) -> Result<Loaded, ConfigError> {
        let defaults = Layer::from_toml(DEFAULTS, "default")
            .expect("config/default.toml is embedded and read by every test");
        let default_config = merge([defaults.clone()]);
        let known: Vec<String> = default_config
            .iter()
            .map(|(key, _)| key.to_owned())
            .collect();

        let mut problems = Vec::new();
        let mut layers = vec![defaults];
        layers.extend(self.file.and_then(|path| read_file(&path, &mut problems)));
        layers.push(environment_layer(self.environment, &known, &mut problems));
        layers.push(flag_layer(self.flags, &mut problems));
        for layer in &mut layers {
            problems.extend(layer.take_faults(&known));
        }

        let raw = merge(layers);
        let mut reader = Reader::new(&raw, &default_config);
        let config = sections::read(&mut reader);
        problems.extend(reader.into_problems());
        if problems.is_empty() {
            Ok(Loaded { config, raw })
        } else {
            Err(ConfigError::new(problems))
        }
    }
}

impl Loaded {
    /// Every key with its effective value and where it came from, in the order of the keys.
    pub fn entries(&self) -> Vec<Entry> {
        let entry = |(key, setting): (&str, &super::raw::Setting)| {
            let text = match key {
                // The one default that rests on another key.
                "backup.dir" => self.config.backup.dir.display().to_string(),
                key => shown(key, &setting.text),
            };
            Entry {
                key: key.to_owned(),
                value: Some(text).filter(|it| !it.is_empty()),
                origin: setting.origin.clone(),
            }
        };
        self.raw.iter().map(entry).collect()
    }
}

fn merge(layers: impl IntoIterator<Item = Layer>) -> RawConfig {
    let builder = layers
        .into_iter()
        .fold(config::Config::builder(), |builder, layer| {
            builder.add_source(layer)
        });
    let merged = builder
        .build()
        .expect("our layers cannot fail to be collected");
    RawConfig::from_merged(&merged.cache)
}

fn read_file(path: &Path, problems: &mut Vec<Problem>) -> Option<Layer> {
    let origin = format!("file {}", path.display());
    let fault = |reason: String, remedy: &str| Problem {
        key: "configuration file".to_owned(),
        value: Some(path.display().to_string()),
        origin: "flag --config".to_owned(),
        reason,
        remedy: remedy.to_owned(),
    };
    let layer = std::fs::read_to_string(path)
        .map_err(|error| fault(format!("cannot be read: {error}"), "check the path"))
        .and_then(|text| {
            let remedy = "mend the syntax; config/default.toml is an example";
            Layer::from_toml(&text, &origin)
                .map_err(|error| fault(format!("not TOML: {}", error.trim_end()), remedy))
        });
    layer.map_err(|problem| problems.push(problem)).ok()
}

fn environment_layer(
    variables: Vec<(String, String)>,
    known: &[String],
    problems: &mut Vec<Problem>,
) -> Layer {
    let mut layer = Layer::default();
    let (zstdb, ours): (Vec<_>, Vec<_>) = variables
        .into_iter()
        .partition(|(name, _)| name == ZSTDB_DATA);
    for (name, value) in zstdb {
        layer.set("storage.data_dir", value, &origin_of(&name));
    }
    for (name, value) in ours {
        if let Some(key) = known.iter().find(|key| variable(key) == name) {
            layer.set(key, value, &origin_of(&name));
            continue;
        }
        let names: Vec<String> = known.iter().map(|key| variable(key)).collect();
        problems.push(Problem {
            value: None,
            origin: "environment".to_owned(),
            reason: "unknown variable".to_owned(),
            remedy: suggestion(&name, &names),
            key: name,
        });
    }
    layer
}

fn origin_of(variable: &str) -> String {
    format!("environment variable {variable}")
}

/// Two flags may mean one key (`--data-dir` and `--alt-data-dir`), but not two values.
fn flag_layer(
    flags: Vec<(&'static str, String, &'static str)>,
    problems: &mut Vec<Problem>,
) -> Layer {
    let mut layer = Layer::default();
    for (key, value, flag) in flags {
        if let Some((other, origin)) = layer.get(key).filter(|(other, _)| *other != value) {
            problems.push(Problem {
                key: key.to_owned(),
                value: Some(shown(key, &value)),
                origin: format!("flag {flag}"),
                reason: format!("contradicts {:?} ({origin})", shown(key, &other)),
                remedy: "give one of the two".to_owned(),
            });
        }
        layer.set(key, value, &format!("flag {flag}"));
    }
    layer
}
