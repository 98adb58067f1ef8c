//! Room: dedup.
