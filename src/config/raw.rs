//! The merged but unchecked configuration: a text and an origin for every key.

use config::{Value, ValueKind};
use std::collections::BTreeMap;

/// What is given for one key, and where.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub text: String,
    pub origin: String,
}

/// A setting for every known key, by dotted name.
#[derive(Debug, Clone)]
pub(super) struct RawConfig {
    settings: BTreeMap<String, Setting>,
}

impl RawConfig {
    /// Reads what the `config` crate merged out of layers that hold single values only.
    pub(super) fn from_merged(root: &Value) -> Self {
        let mut settings = BTreeMap::new();
        collect("", root, &mut settings);
        Self { settings }
    }

    /// The setting of a key of `config/default.toml`.
    pub(super) fn get(&self, key: &str) -> &Setting {
        self.settings
            .get(key)
            .expect("keys are read by the names of config/default.toml, which a test compares")
    }

    /// All settings in the order of their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.settings.iter().map(|(key, it)| (key.as_str(), it))
    }
}

fn collect(prefix: &str, value: &Value, settings: &mut BTreeMap<String, Setting>) {
    let ValueKind::Table(table) = &value.kind else {
        let setting = Setting {
            text: value.clone().into_string().unwrap_or_default(),
            origin: value.origin().unwrap_or_default().to_owned(),
        };
        settings.insert(prefix.to_owned(), setting);
        return;
    };
    for (name, value) in table {
        let separator = if prefix.is_empty() { "" } else { "." };
        collect(&format!("{prefix}{separator}{name}"), value, settings);
    }
}
