//! How long an adversary runs, and from which seed.

/// A number from the environment.
pub fn number_from(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().expect("a number"))
}

/// How many cases a test tries: what is asked for, or what is quick.
pub fn cases(quick: u64) -> u64 {
    number_from("SHARDKEEP_ADVERSARY_CASES").unwrap_or(quick)
}

/// The seed of this run, said so that it can be repeated.
pub fn seed(test: &str) -> u64 {
    let seed = number_from("SHARDKEEP_ADVERSARY_SEED");
    let seed = seed.unwrap_or_else(|| getrandom::u64().unwrap() >> 16);
    eprintln!("{test}: SHARDKEEP_ADVERSARY_SEED={seed}");
    seed
}

/// A folder in memory where there is one: these tests write and sync much that nobody keeps.
pub fn quick_dir() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    let made = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    made.unwrap()
}
