//! Damage of every kind to copies of a store: flipped bits, blocks in each other's place, cut and
//! zeroed tails, files that are missing or older than they should be. What is read is right, or an
//! error that names the place; never wrong bytes, never a panic. The offline check finds every
//! damage in the log.
//!
//! `SHARDKEEP_DAMAGE_CASES` sets how many cases there are, `SHARDKEEP_DAMAGE_SEED` which.

#[allow(dead_code, reason = "each test file uses its own part")]
#[path = "damage/store.rs"]
mod store;

use shardkeep::index::IndexError;
use shardkeep::log::LogError;
use shardkeep::shard::{ShardError, ShardStore, verify_shard};
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use store::{Base, Image, options, read};

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// What is done to one file of a copy.
#[derive(Debug, Clone, Copy)]
enum Damage {
    Flip {
        bit: usize,
    },
    Cut {
        len: usize,
    },
    Zero {
        from: usize,
    },
    /// Two blocks stand in each other's place.
    Swap {
        size: usize,
        one: usize,
        other: usize,
    },
    Remove,
    /// The file as it was at an earlier moment.
    Older {
        moment: usize,
    },
}

struct Case {
    base: usize,
    file: PathBuf,
    damage: Damage,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "base {}, {}: {:?}",
            self.base,
            self.file.display(),
            self.damage
        )
    }
}

/// What came of a case.
#[derive(Debug, Default)]
struct Outcome {
    refused: bool,
    rebuilt: bool,
    errors: usize,
    found_by_check: bool,
}

fn draw(random: &mut Random, bases: &[Base]) -> Case {
    let base = random.below(bases.len());
    let files: Vec<&PathBuf> = bases[base].now.files.keys().collect();
    let in_log = random.below(10) < 6;
    let files: Vec<_> = files
        .into_iter()
        .filter(|file| file.starts_with("log") == in_log)
        .collect();
    let file = files[random.below(files.len())].clone();
    let image = &bases[base].now.files[&file];
    let bits = image.bytes.len() * 8;
    let damage = match random.below(20) {
        0 | 1 => Damage::Cut {
            len: random.below(image.bytes.len()),
        },
        2 | 3 => Damage::Zero {
            from: random.below(image.bytes.len()),
        },
        4 => Damage::Remove,
        5 => Damage::Older {
            moment: random.below(bases[base].before.len()),
        },
        7 | 8 => {
            let size = [512, 4096][random.below(2)];
            let blocks = image.bytes.len() / size;
            Damage::Swap {
                size,
                one: random.below(blocks),
                other: random.below(blocks),
            }
        }
        _ if bits == 0 => Damage::Remove,
        // Headers of segments are small and would hardly ever be met.
        6 if in_log => Damage::Flip {
            bit: random.below(4096 * 8),
        },
        _ => Damage::Flip {
            bit: random.below(bits),
        },
    };
    Case { base, file, damage }
}

/// The damaged files; `None` when nothing was changed.
fn damaged(case: &Case, base: &Base) -> Option<BTreeMap<PathBuf, Image>> {
    let mut files = base.now.files.clone();
    let image = files.get_mut(&case.file)?;
    match case.damage {
        Damage::Flip { bit } => *image.bytes.get_mut(bit / 8)? ^= 1 << (bit % 8),
        Damage::Cut { len } => {
            image.bytes.truncate(len);
            image.len = len;
        }
        Damage::Zero { from } => image.bytes[from..].fill(0),
        Damage::Swap { size, one, other } => {
            let (low, high) = (one.min(other) * size, one.max(other) * size);
            if low == high {
                return None;
            }
            let (before, after) = image.bytes.split_at_mut(high);
            before[low..low + size].swap_with_slice(&mut after[..size]);
        }
        Damage::Remove => {
            files.remove(&case.file);
        }
        Damage::Older { moment } => {
            *image = base.before[moment].files.get(&case.file)?.clone();
        }
    }
    (files != base.now.files).then_some(files)
}

/// Whether the case changed a byte that belongs to the log.
fn touches_log(case: &Case, base: &Base, files: &BTreeMap<PathBuf, Image>) -> bool {
    let Some(end) = base.ends.get(&case.file).copied() else {
        return false;
    };
    let was = &base.now.files[&case.file];
    files
        .get(&case.file)
        .is_none_or(|is| is.prefix(end) != was.prefix(end))
}

fn run(case: &Case, base: &Base) -> Option<Outcome> {
    let files = damaged(case, base)?;
    let dir = tempfile::tempdir().unwrap();
    store::write(&files, dir.path());
    let mut outcome = Outcome::default();
    let verdict = verify_shard(&options(dir.path()), false, &mut |_, _| {});
    outcome.found_by_check = verdict.problems.total > 0;
    if touches_log(case, base, &files) {
        assert!(
            outcome.found_by_check,
            "the check has not found it; notes {:?}",
            verdict.notes
        );
    }
    drop(verdict);
    assert!(
        store::log_is(&files, dir.path()),
        "the check has changed the log"
    );
    open_and_read(dir.path(), base, &mut outcome);
    if !outcome.found_by_check {
        assert!(
            !outcome.refused,
            "the check found nothing, but the shard does not open"
        );
        assert_eq!(
            outcome.errors, 0,
            "the check found nothing, but reading fails"
        );
    }
    Some(outcome)
}

fn open_and_read(dir: &Path, base: &Base, outcome: &mut Outcome) {
    let mut rebuild = None;
    for _ in 0..2 {
        let (store, report) = match ShardStore::open(options(dir), rebuild) {
            Ok(opened) => opened,
            Err(error) => {
                assert!(
                    names_a_place(&error),
                    "an error that names no place: {error}"
                );
                outcome.refused = true;
                return;
            }
        };
        outcome.rebuilt |= report.rebuilt.is_some();
        let mut contradicted = false;
        let reader = store.reader();
        for (key, expected) in &base.model {
            match read(&reader, key) {
                Ok(found) => assert!(found == *expected, "{key}: {}", compare(&found, expected)),
                Err(error) if error.needs_rebuild() => contradicted = true,
                Err(error) => {
                    assert!(
                        names_a_place(&error),
                        "an error that names no place: {error}"
                    );
                    outcome.errors += 1;
                }
            }
        }
        if !contradicted {
            return;
        }
        assert!(rebuild.is_none(), "a new index contradicts the log");
        rebuild = Some("a row contradicts the log");
    }
}

fn compare(found: &Option<Vec<u8>>, expected: &Option<Vec<u8>>) -> String {
    let show = |value: &Option<Vec<u8>>| match value {
        None => "nothing".to_owned(),
        Some(bytes) => format!("{} bytes {:?}", bytes.len(), &bytes[..bytes.len().min(12)]),
    };
    format!("read {}, but {} was stored", show(found), show(expected))
}

fn names_a_place(error: &ShardError) -> bool {
    match error {
        ShardError::Log(LogError::Damaged { path, .. } | LogError::Io { path, .. }) => {
            path.is_absolute()
        }
        ShardError::Index(IndexError::Locked) => false,
        _ => false,
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    let set = std::env::var(name).ok().and_then(|text| text.parse().ok());
    set.unwrap_or(otherwise)
}

/// Fail points belong to the whole process: who plants one has it alone.
static PROCESS: RwLock<()> = RwLock::new(());

fn calm() -> RwLockReadGuard<'static, ()> {
    PROCESS.read().unwrap_or_else(PoisonError::into_inner)
}

/// One case, drawn from `seed`; what was wrong with it, and how to see it again.
fn try_case(seed: u64, bases: &[Base]) -> Result<Option<Outcome>, String> {
    let case = draw(&mut Random(seed), bases);
    let ran = catch_unwind(AssertUnwindSafe(|| run(&case, &bases[case.base])));
    ran.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        let text = text.unwrap_or_default();
        format!("SHARDKEEP_DAMAGE_SEED={seed} SHARDKEEP_DAMAGE_CASES=1: {case}: {text}")
    })
}

#[test]
fn damage_is_never_read_as_a_value() {
    let _calm = calm();
    let cases = number("SHARDKEEP_DAMAGE_CASES", 300);
    let seed = number("SHARDKEEP_DAMAGE_SEED", 1);
    let bases = store::bases();
    let mut failures = Vec::new();
    let mut sum: BTreeMap<&str, usize> = BTreeMap::new();
    for number in 0..cases {
        match try_case(seed.wrapping_add(number), &bases) {
            Ok(None) => *sum.entry("nothing changed").or_default() += 1,
            Ok(Some(outcome)) => {
                *sum.entry("cases").or_default() += 1;
                *sum.entry("found by the check").or_default() +=
                    usize::from(outcome.found_by_check);
                *sum.entry("refused to open").or_default() += usize::from(outcome.refused);
                *sum.entry("index rebuilt").or_default() += usize::from(outcome.rebuilt);
                *sum.entry("reads refused").or_default() += outcome.errors;
            }
            Err(failure) => failures.push(failure),
        }
    }
    println!("seed {seed}: {sum:?}");
    assert!(
        failures.is_empty(),
        "{} failures:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// The planted fault: checksums that are there, and that no reader looks at.
#[test]
fn a_reader_that_skips_its_checksum_is_found() {
    let _alone = PROCESS.write().unwrap_or_else(PoisonError::into_inner);
    let _scenario = fail::FailScenario::setup();
    fail::cfg("reader::unchecked", "return").unwrap();
    let bases = store::bases();
    let wrong = |seed| {
        let failure = try_case(seed, &bases).err();
        failure.is_some_and(|text| text.contains("was stored"))
    };
    assert!((1..300).any(wrong));
}

#[test]
fn the_check_finds_nothing_in_a_sound_store() {
    let _calm = calm();
    for base in store::bases() {
        let dir = tempfile::tempdir().unwrap();
        store::write(&base.now.files, dir.path());
        let verdict = verify_shard(&options(dir.path()), false, &mut |_, _| {});
        assert!(
            verdict.problems.listed.is_empty(),
            "{:?}",
            verdict.problems.listed
        );
        assert!(verdict.counts.values > 100 && verdict.counts.blobs > 10);
        drop(verdict);
        let mut outcome = Outcome::default();
        open_and_read(dir.path(), &base, &mut outcome);
        assert!(!outcome.refused && outcome.errors == 0);
    }
}

/// fjall's checksum of a batch does not cover the number that orders it, so random flips, which
/// hardly ever meet one, are helped here.
#[test]
fn a_flipped_bit_in_the_order_of_the_journal_brings_no_old_value_back() {
    let _calm = calm();
    const TRAILER: &[u8] = b"FJL\x03";
    const START: u8 = 1;
    let mut random = Random(5);
    for (number, base) in store::bases().iter().enumerate() {
        let journals = base
            .now
            .files
            .iter()
            .filter(|(file, _)| file.extension().is_some_and(|ext| ext == "jnl"));
        for (file, image) in journals {
            let ends = image
                .bytes
                .windows(5)
                .enumerate()
                .filter(|(_, at)| at.starts_with(TRAILER) && at[4] == START);
            let starts: Vec<usize> = ends.map(|(at, _)| at + 4).collect();
            assert!(starts.len() > 10, "the journal is not as expected");
            for _ in 0..8 {
                let seqno = starts[random.below(starts.len())] + 5;
                let bit = seqno * 8 + random.below(12);
                let case = Case {
                    base: number,
                    file: file.clone(),
                    damage: Damage::Flip { bit },
                };
                let outcome = run(&case, base).unwrap();
                assert_eq!(outcome.errors, 0, "{case}");
            }
        }
    }
}
