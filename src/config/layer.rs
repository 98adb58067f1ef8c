//! One layer: what one source says, flattened to dotted keys, each value with its origin.

use super::error::Problem;
use config::{Map, Source, Value, ValueKind};

/// The environment variables of this program start so.
pub(super) const PREFIX: &str = "SHARDKEEP__";

/// Values under their dotted keys. Merging layers is the `config` crate's work.
#[derive(Debug, Clone, Default)]
pub(super) struct Layer {
    values: Map<String, Value>,
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.values.clone())
    }
}

impl Layer {
    /// Reads TOML.
    ///
    /// # Errors
    /// The parser's message, which points at the place.
    pub(super) fn from_toml(text: &str, origin: &str) -> Result<Self, String> {
        let tables = config::File::from_str(text, config::FileFormat::Toml)
            .collect()
            .map_err(|error| error.to_string())?;
        let mut layer = Self::default();
        layer.flatten("", tables, origin);
        Ok(layer)
    }

    /// Adds one value given as text.
    pub(super) fn set(&mut self, key: &str, text: String, origin: &str) {
        let value = Value::new(Some(&origin.to_owned()), ValueKind::String(text));
        self.values.insert(key.to_owned(), value);
    }

    /// The text that is given for `key`, and its origin.
    pub(super) fn get(&self, key: &str) -> Option<(String, &str)> {
        let value = self.values.get(key)?;
        let text = value.clone().into_string().unwrap_or_default();
        Some((text, value.origin().unwrap_or_default()))
    }

    fn flatten(&mut self, prefix: &str, tables: Map<String, Value>, origin: &str) {
        for (name, value) in tables {
            let key = format!("{prefix}{name}");
            match value.kind {
                // An empty table stays as a leaf, so that an empty unknown section is noticed.
                ValueKind::Table(table) if !table.is_empty() => {
                    self.flatten(&format!("{key}."), table, origin);
                }
                kind => {
                    let value = Value::new(Some(&origin.to_owned()), kind);
                    self.values.insert(key, value);
                }
            }
        }
    }

    /// Takes out what is not a known key with a single value, and says what was wrong with each.
    pub(super) fn take_faults(&mut self, known: &[String]) -> Vec<Problem> {
        let mut problems = Vec::new();
        self.values.retain(|key, value| {
            let problem = fault(key, value, known);
            let keep = problem.is_none() && !matches!(value.kind, ValueKind::Table(_));
            problems.extend(problem);
            keep
        });
        problems.sort_by(|a, b| a.key.cmp(&b.key));
        problems
    }
}

/// What is wrong with the shape of a value, its meaning aside.
fn fault(key: &str, value: &Value, known: &[String]) -> Option<Problem> {
    let section = format!("{key}.");
    let is_section = known.iter().any(|it| it.starts_with(&section));
    let is_known = known.iter().any(|it| it == key);
    let (reason, remedy) = match (&value.kind, is_section, is_known) {
        (ValueKind::Table(_), true, _) => return None,
        (ValueKind::Table(_) | ValueKind::Array(_), _, true) => {
            ("a list or table", "give one value".to_owned())
        }
        (_, true, _) => (
            "a section, not a key",
            format!("write [{key}] and its keys under it"),
        ),
        (_, _, true) => return None,
        (_, _, false) => ("unknown key", suggestion(key, known)),
    };
    Some(Problem {
        key: key.to_owned(),
        value: None,
        origin: value.origin().unwrap_or_default().to_owned(),
        reason: reason.to_owned(),
        remedy,
    })
}

/// The remedy for an unknown name: the nearest known one.
pub(super) fn suggestion(name: &str, known: &[String]) -> String {
    let nearest = known.iter().min_by_key(|it| distance(name, it));
    format!(
        "did you mean {}? (`shardkeep config show` lists all keys)",
        nearest.map_or("another", String::as_str)
    )
}

/// Levenshtein's distance: how many letters must be put in, left out or changed.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// The environment variable of a key: `server.port` is `SHARDKEEP__SERVER__PORT`.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase().replace('.', "__"))
}
