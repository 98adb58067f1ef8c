//! raw file -> validated `Config`.
mod value;
pub use value::*;
