//! From defaults, file, environment and flags to one [`Config`] that is valid by construction.
//!
//! Two steps. [`Layers`] merges what was written, key by key, into raw text that remembers where it
//! came from. Then every key is read once into its type and checked against the others. All that is
//! wrong is reported in one [`ConfigError`], each [`Problem`] with the key, the value, where it
//! stands and the remedy. A derived deserializer would be shorter, but it stops at the first fault
//! and forgets the origin, and a start that fails five times for five typing errors is no kindness.
//!
//! `config/default.toml` is the list of the keys there are: a key that is not in it is unknown. The
//! room knows no other room, touches no file but the one it is given, and is the only one that names
//! the `config` crate.

mod error;
mod layer;
mod layers;
mod raw;
mod reader;
mod relations;
mod schedule;
mod sections;
mod units;
mod value;

pub use error::{ConfigError, Problem};
pub use layers::{Entry, Layers, Loaded, environment};
pub use units::{format_size, parse_size, parse_switch};
pub use value::*;
