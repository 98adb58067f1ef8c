//! What an administrator changes while the server runs. The configuration says how it starts.

use super::Service;
use crate::config;
use crate::model::{Error, ErrorKind, Result};
use crate::telemetry::Level;
use std::sync::atomic::{AtomicBool, Ordering};

/// The settings as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whether what stores is refused.
    pub set_disabled: bool,
    /// Whether deletes are refused.
    pub delete_disabled: bool,
    /// The level of the program's log; empty where there is no log.
    pub log_level: String,
}

/// Settings to be changed; `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SettingsChange {
    /// Whether what stores is refused.
    pub set_disabled: Option<bool>,
    /// Whether deletes are refused.
    pub delete_disabled: Option<bool>,
    /// The level of the program's log.
    pub log_level: Option<String>,
}

/// The operator's switches.
#[derive(Debug)]
pub(super) struct Switches {
    set_disabled: AtomicBool,
    delete_disabled: AtomicBool,
}

impl Switches {
    /// As the configuration says.
    pub fn new(access: &config::Access) -> Self {
        Self {
            set_disabled: AtomicBool::new(access.disable_set),
            delete_disabled: AtomicBool::new(access.disable_delete),
        }
    }
}

impl Service {
    /// Whether a Set may come in at all; asked before anything else of it.
    ///
    /// # Errors
    /// `Disabled` (`SET_DISABLED`) by the operator's switch, which the disk watchdog never lifts;
    /// `DiskFull` (`DISK_FULL`).
    pub fn check_set_allowed(&self) -> Result<()> {
        if self.0.switches.set_disabled.load(Ordering::Relaxed) {
            let message = "set is switched off by the operator (access.disable_set)";
            return Err(Error::new(ErrorKind::Disabled, "SET_DISABLED", message));
        }
        self.0.parts.disk.check()
    }

    /// Whether a Delete may come in at all; asked before anything else of it.
    ///
    /// # Errors
    /// `Disabled` (`DELETE_DISABLED`).
    pub fn check_delete_allowed(&self) -> Result<()> {
        if self.0.switches.delete_disabled.load(Ordering::Relaxed) {
            let message = "delete is switched off by the operator (access.disable_delete)";
            return Err(Error::new(ErrorKind::Disabled, "DELETE_DISABLED", message));
        }
        Ok(())
    }

    /// The settings as they are.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let switches = &self.0.switches;
        let level = self.0.parts.log_level.as_ref();
        Settings {
            set_disabled: switches.set_disabled.load(Ordering::Relaxed),
            delete_disabled: switches.delete_disabled.load(Ordering::Relaxed),
            log_level: level.map(Level::text).unwrap_or_default(),
        }
    }

    /// Changes settings until the server stops: all that are named, or none.
    ///
    /// # Errors
    /// `Invalid` (`LOG_LEVEL`), for any level where there is no log.
    pub fn change_settings(&self, change: SettingsChange) -> Result<Settings> {
        if let Some(text) = &change.log_level {
            let set = self.set_log_level(text);
            set.map_err(|message| Error::invalid("LOG_LEVEL", message).at("log_level"))?;
        }
        let switches = &self.0.switches;
        if let Some(disabled) = change.set_disabled {
            switches.set_disabled.store(disabled, Ordering::Relaxed);
        }
        if let Some(disabled) = change.delete_disabled {
            switches.delete_disabled.store(disabled, Ordering::Relaxed);
        }
        let now = self.settings();
        tracing::info!(
            set_disabled = now.set_disabled,
            delete_disabled = now.delete_disabled,
            log_level = now.log_level,
            "settings changed by an administrator"
        );
        Ok(now)
    }

    fn set_log_level(&self, text: &str) -> Result<(), String> {
        let Some(level) = &self.0.parts.log_level else {
            return Err("this store has no log of its own: set the level of its program's".into());
        };
        level.set(text).map_err(|error| error.to_string())
    }
}
