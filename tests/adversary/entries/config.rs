//! A configuration file, and the same text as the value of single keys.

use super::with_scratch;
use shardkeep::config::{Layers, format_size, parse_size, parse_switch};

/// Keys of every type that there is.
const KEYS: [&str; 8] = [
    "SERVER__HOST",
    "SERVER__PORT",
    "SERVER__REQUEST_TIMEOUT",
    "STORAGE__SHARDS",
    "STORAGE__SEGMENT_SIZE",
    "COMPRESSION__MIN_GAIN",
    "ACCESS__DISABLE_SET",
    "BACKUP__AUTO_EVERY",
];

/// Reads these bytes as a configuration file, and as values of the environment.
pub fn config(data: &[u8]) {
    with_scratch(|dir| {
        let path = dir.join("config.toml");
        std::fs::write(&path, data).unwrap();
        loaded(Layers::new().file(Some(&path)));
        std::fs::remove_file(path).unwrap();
    });
    let text = String::from_utf8_lossy(data);
    for line in text.lines().take(4) {
        if let Ok(size) = parse_size(line) {
            assert_eq!(parse_size(&format_size(size)), Ok(size), "{line}");
        }
        let _any = parse_switch(line);
        let variables = KEYS.map(|key| (format!("SHARDKEEP__{key}"), line.to_owned()));
        loaded(Layers::new().environment(variables));
    }
}

/// A configuration is shown as it is; a refusal says of each fault where it stands and what to do.
fn loaded(layers: Layers) {
    match layers.load() {
        Ok(loaded) => assert!(!loaded.entries().is_empty()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
