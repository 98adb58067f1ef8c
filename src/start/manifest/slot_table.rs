//! The table from slots to shards as text: one row for each stretch of slots that takes the same
//! shards in turn. A new store of four shards is the one row `0-1023: 0 1 2 3`.

use crate::model::{ShardId, Slot};
use crate::shard::Homes;

/// The most shards that one row names, so that a row of a table without any order stays readable.
const ROW_SHARDS_MAX: usize = 32;

/// Writes a table: each row takes in as many slots as it can.
pub(super) fn format_rows(homes: &Homes) -> Vec<String> {
    let table = homes.table();
    let mut rows = Vec::new();
    let mut first = 0;
    while first < table.len() {
        let rest = &table[first..];
        let periods = 1..=ROW_SHARDS_MAX.min(rest.len());
        // Of two that reach equally far, `max_by_key` takes the later: the shorter of them.
        let (period, len) = periods
            .rev()
            .map(|period| (period, reach(rest, period)))
            .max_by_key(|(_, len)| *len)
            .expect("the rest holds at least one slot");
        let shards: Vec<String> = rest[..period].iter().map(|it| it.0.to_string()).collect();
        rows.push(format!("{first}-{}: {}", first + len - 1, shards.join(" ")));
        first += len;
    }
    rows
}

/// How many slots at the start repeat their first `period` ones.
fn reach(slots: &[ShardId], period: usize) -> usize {
    let repeats = slots.iter().zip(&slots[period..]);
    period + repeats.take_while(|(slot, later)| slot == later).count()
}

/// Reads a table.
///
/// # Errors
/// What is wrong with which row.
pub(super) fn parse_rows(rows: &[String]) -> Result<Homes, String> {
    let mut table = Vec::with_capacity(Slot::COUNT);
    for row in rows {
        let (last, shards) = parse_row(row, table.len())
            .ok_or_else(|| format!("slots: {row:?} does not continue at slot {}", table.len()))?;
        let len = last + 1 - table.len();
        table.extend(shards.iter().cycle().take(len));
    }
    let len = table.len();
    Homes::from_table(table)
        .ok_or_else(|| format!("slots: they end at {len} instead of {}", Slot::COUNT))
}

/// The last slot of a row that starts at slot `first`, and the shards it names.
fn parse_row(row: &str, first: usize) -> Option<(usize, Vec<ShardId>)> {
    let (range, shards) = row.split_once(':')?;
    let (from, last) = range.split_once('-')?;
    let last: usize = last.parse().ok()?;
    let shards: Vec<ShardId> = shards
        .split_whitespace()
        .map(|shard| shard.parse().ok().map(ShardId))
        .collect::<Option<_>>()?;
    let is_known = |shard: &ShardId| usize::from(shard.0) < Slot::COUNT;
    let is_whole = from.parse() == Ok(first) && (first..Slot::COUNT).contains(&last);
    (is_whole && !shards.is_empty() && shards.iter().all(is_known)).then_some((last, shards))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rows(text: &[&str]) -> Vec<String> {
        text.iter().map(|row| (*row).to_owned()).collect()
    }

    #[test]
    fn a_new_stores_table_is_one_row() {
        assert_eq!(format_rows(&Homes::even(1)), ["0-1023: 0"]);
        assert_eq!(format_rows(&Homes::even(4)), ["0-1023: 0 1 2 3"]);
    }

    #[test]
    fn a_slot_that_moved_is_seen() {
        let mut table = Homes::even(2).table().to_vec();
        table[100] = ShardId(2);
        let homes = Homes::from_table(table).unwrap();
        let text = format_rows(&homes);
        assert_eq!(text[0], "0-99: 0 1");
        assert!(text.len() < 5, "{text:?}");
        assert_eq!(parse_rows(&text), Ok(homes));
    }

    #[test]
    fn a_table_with_a_hole_an_overlap_or_a_wrong_shard_is_refused() {
        for text in [
            &[][..],
            &["0-1022: 0"],
            &["0-1024: 0"],
            &["1-1023: 0"],
            &["0-9: 0", "11-1023: 0"],
            &["0-9: 0", "9-1023: 0"],
            &["0-9: 0", "10-5: 0", "6-1023: 0"],
            &["0-1023: 1024"],
            &["0-1023: x"],
            &["0-1023:"],
            &["0-1023"],
            &["0-1023: 0", "1024-1024: 0"],
        ] {
            assert!(parse_rows(&rows(text)).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            shards in 1_u16..1024,
            moved in prop::collection::vec((0..Slot::COUNT, 0_u16..1024), 0..600),
        ) {
            let mut table = Homes::even(shards).table().to_vec();
            for (slot, shard) in moved {
                table[slot] = ShardId(shard);
            }
            let homes = Homes::from_table(table).unwrap();
            prop_assert_eq!(parse_rows(&format_rows(&homes)), Ok(homes));
        }
    }
}
