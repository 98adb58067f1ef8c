//! An archive of ours.
#![no_main]

#[path = "../../tests/adversary/entries/mod.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|data: &[u8]| entries::archive(data));
