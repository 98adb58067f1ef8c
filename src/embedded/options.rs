//! How a store inside a program is opened.

use crate::config::{Config, Layers};
use crate::model::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// How a store is opened. The defaults are those of `config/default.toml`, but that keys are named by
/// the program and take another value.
#[derive(Debug, Clone, Default)]
pub struct Options {
    settings: BTreeMap<&'static str, String>,
}

impl Options {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key of the configuration, such as `storage.durability` to `os`; see
    /// `config/default.toml` for all of them. The last one wins.
    ///
    /// Some are about what a server does with its clients and mean nothing here: `admin`, `log`,
    /// `admission.bytes_in_flight`, and those of `server`, but for `server.max_upload_size`, which bounds
    /// values that are put or read at once, and `server.max_value_size` for those that come in a stream.
    #[must_use]
    pub fn set(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.settings.insert(key, value.into());
        self
    }

    /// Lets values stand under their digest, each content once (`keys.mode = "content"`).
    #[must_use]
    pub fn content(self) -> Self {
        self.set("keys.mode", "content")
    }

    /// Shards of a new store; by default one for two cores. A store that is there keeps its own.
    #[must_use]
    pub fn shards(self, count: u16) -> Self {
        self.set("storage.shards", count.to_string())
    }

    /// Acknowledges writes before they are on the disk: a crash of the process loses none, a power
    /// loss those of the last 100 ms.
    #[must_use]
    pub fn unsynced(self) -> Self {
        self.set("storage.durability", "os")
    }

    /// The configuration of a store at a path.
    pub(super) fn config(self, path: &Path) -> Result<Config> {
        let path = path.to_str().ok_or_else(|| {
            let message = format!("the path {} is not UTF-8; choose another", path.display());
            Error::invalid("DATA_DIR", message)
        })?;
        let own = [
            ("storage.data_dir", path.to_owned()),
            ("keys.mode", "user".to_owned()),
            ("keys.overwrite", "true".to_owned()),
        ];
        let mut all = BTreeMap::from(own);
        all.extend(self.settings);
        let flags = all
            .into_iter()
            .map(|(key, value)| (key, value, key))
            .collect();
        let loaded = Layers::new().flags(flags).load();
        let loaded = loaded.map_err(|error| Error::invalid("CONFIG", error.to_string()))?;
        Ok(loaded.config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KeyMode;

    #[test]
    fn what_is_set_wins_over_what_is_usual() {
        let config = |options: Options| options.config(Path::new("/x"));
        let usual = config(Options::new()).unwrap();
        assert_eq!(
            (usual.keys.mode, usual.keys.overwrite),
            (KeyMode::User, true)
        );
        let own = config(Options::new().content().shards(3)).unwrap();
        assert_eq!(
            (own.keys.mode, own.storage.shards),
            (KeyMode::Content, Some(3))
        );
        let wrong = config(Options::new().set("storage.durabillity", "os"));
        assert_eq!(wrong.unwrap_err().reason(), "CONFIG");
    }
}
