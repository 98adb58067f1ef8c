//! What a `put` of many files did, in numbers.

use super::upload::{How, Stored};
use crate::client::Stats;
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// The numbers of one run. `files` counts what was stored or found; the failed are apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct PutSummary {
    /// Files that are on the server now.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files whose bytes were sent.
    pub sent_files: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Files that the server had.
    pub present_files: u64,
    /// Their bytes.
    pub present_bytes: u64,
    /// Files whose content came before in this run; with user keys, they were sent all the same.
    pub duplicate_files: u64,
    /// Their bytes.
    pub duplicate_bytes: u64,
    /// Empty files.
    pub empty_files: u64,
    /// Files that could not be stored.
    pub failed_files: u64,
    /// Symbolic links, not followed.
    pub skipped_links: u64,
    /// Sockets, pipes and devices.
    pub skipped_special: u64,
    /// Empty files left out on request.
    pub skipped_empty: u64,
    /// Milliseconds.
    pub elapsed_ms: u64,
    /// Bytes of stored and found files a second.
    pub bytes_per_second: u64,
    /// Bytes that did not have to be stored because their content was there.
    pub saved_by_dedup_bytes: u64,
    /// Bytes by which the server's files grew; `None` when it does not tell, or when there were
    /// fewer in the end.
    pub store_growth_bytes: Option<i64>,
    /// New bytes less the growth. What others stored at the same time is in it.
    pub saved_by_compression_bytes: Option<i64>,
    /// Whether the run was stopped before its end.
    pub interrupted: bool,
}

impl PutSummary {
    /// Counts a file.
    pub fn count(&mut self, stored: &Stored) {
        self.files += 1;
        self.bytes += stored.len;
        match stored.how {
            How::Sent => {
                self.sent_files += 1;
                self.sent_bytes += stored.len;
            }
            How::Present => {
                self.present_files += 1;
                self.present_bytes += stored.len;
            }
            How::Empty => self.empty_files += 1,
            How::Duplicate => {}
        }
        let is_duplicate = stored.repeated && matches!(stored.how, How::Duplicate | How::Sent);
        if is_duplicate {
            self.duplicate_files += 1;
            self.duplicate_bytes += stored.len;
        }
        if is_duplicate || stored.how == How::Present {
            self.saved_by_dedup_bytes += stored.len;
        }
    }

    /// Completes the numbers with the time and the store's size before and after.
    pub fn finish(&mut self, elapsed: Duration, sizes: Option<(Stats, Stats)>) {
        self.elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        self.bytes_per_second = self.bytes.saturating_mul(1000) / self.elapsed_ms.max(1);
        // Fewer bytes than before are not what these files did: a shard is down and is not counted,
        // or space was taken back meanwhile.
        self.store_growth_bytes = sizes.and_then(|(before, after)| {
            let growth = after.disk_bytes().checked_sub(before.disk_bytes())?;
            i64::try_from(growth).ok()
        });
        let new_bytes = (self.bytes - self.saved_by_dedup_bytes).cast_signed();
        self.saved_by_compression_bytes = self.store_growth_bytes.map(|growth| new_bytes - growth);
    }
}

impl fmt::Display for PutSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |f: &mut fmt::Formatter<'_>, name: &str, files: u64, bytes: u64| {
            let (files, bytes) = (HumanCount(files).to_string(), HumanBytes(bytes).to_string());
            writeln!(f, "  {name:<14}{files:>10} files {bytes:>12}")
        };
        let seconds = Duration::from_millis(self.elapsed_ms).as_secs_f64();
        writeln!(
            f,
            "{} files, {} in {seconds:.1} s ({}/s){}",
            HumanCount(self.files),
            HumanBytes(self.bytes),
            HumanBytes(self.bytes_per_second),
            if self.interrupted {
                ", interrupted"
            } else {
                ""
            },
        )?;
        row(f, "sent", self.sent_files, self.sent_bytes)?;
        row(f, "already there", self.present_files, self.present_bytes)?;
        row(f, "duplicates", self.duplicate_files, self.duplicate_bytes)?;
        for (name, files) in [("empty", self.empty_files), ("failed", self.failed_files)] {
            if files > 0 {
                writeln!(f, "  {name:<14}{:>10} files", HumanCount(files).to_string())?;
            }
        }
        self.fmt_skipped(f)?;
        self.fmt_saved(f)
    }
}

impl PutSummary {
    fn fmt_skipped(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            (self.skipped_links, "symbolic links"),
            (self.skipped_special, "special files"),
            (self.skipped_empty, "empty files"),
        ];
        let met = kinds.iter().filter(|(count, _)| *count > 0);
        let met: Vec<String> = met
            .map(|(count, kind)| format!("{kind} {}", HumanCount(*count)))
            .collect();
        if met.is_empty() {
            return Ok(());
        }
        writeln!(f, "  skipped: {}", met.join(", "))
    }

    fn fmt_saved(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dedup = HumanBytes(self.saved_by_dedup_bytes);
        write!(f, "  saved: {dedup} by deduplication, ")?;
        match (self.saved_by_compression_bytes, self.store_growth_bytes) {
            (Some(saved), Some(growth)) => write!(
                f,
                "{} by compression (the store grew by {})",
                signed(saved),
                signed(growth)
            ),
            _ => write!(
                f,
                "unknown by compression (the server does not tell by how much the store grew)"
            ),
        }
    }
}

fn signed(bytes: i64) -> String {
    let sign = if bytes < 0 { "-" } else { "" };
    format!("{sign}{}", HumanBytes(bytes.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(len: u64, how: How, repeated: bool) -> Stored {
        Stored {
            key: vec![],
            len,
            how,
            repeated,
        }
    }

    fn stats(log_bytes: u64) -> Stats {
        Stats {
            key_count: 0,
            max_version: 0,
            log_bytes,
            index_bytes: 0,
        }
    }

    fn counted() -> PutSummary {
        let mut summary = PutSummary::default();
        for (len, how, repeated) in [
            (3 << 20, How::Sent, false),
            (3 << 20, How::Duplicate, true),
            (1 << 20, How::Present, false),
            (0, How::Empty, false),
        ] {
            summary.count(&stored(len, how, repeated));
        }
        summary
    }

    #[test]
    fn a_summary_tells_what_was_sent_and_what_was_saved() {
        let mut summary = counted();
        summary.skipped_links = 2;
        summary.finish(
            Duration::from_millis(3500),
            Some((stats(1 << 20), stats(2 << 20))),
        );
        assert_eq!(
            summary.to_string(),
            "4 files, 7.00 MiB in 3.5 s (2.00 MiB/s)\n  \
             sent                   1 files     3.00 MiB\n  \
             already there          1 files     1.00 MiB\n  \
             duplicates             1 files     3.00 MiB\n  \
             empty                  1 files\n  \
             skipped: symbolic links 2\n  \
             saved: 4.00 MiB by deduplication, 2.00 MiB by compression \
             (the store grew by 1.00 MiB)"
        );
    }

    #[test]
    fn savings_are_unknown_when_the_server_does_not_tell_its_size() {
        let mut summary = counted();
        summary.finish(Duration::from_secs(1), None);
        assert!(summary.to_string().ends_with(
            "4.00 MiB by deduplication, unknown by compression \
             (the server does not tell by how much the store grew)"
        ));
    }

    #[test]
    fn savings_are_unknown_when_a_shard_went_down_meanwhile() {
        let mut summary = counted();
        let sizes = Some((stats(2 << 20), stats(1 << 20)));
        summary.finish(Duration::from_secs(1), sizes);
        assert_eq!(summary.store_growth_bytes, None);
        assert_eq!(summary.saved_by_compression_bytes, None);
        assert!(summary.to_string().contains("unknown by compression"));
    }
}
