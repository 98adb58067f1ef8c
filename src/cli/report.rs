//! How the reports of the commands on a data directory look.

use super::exit::Exit;
use super::status::table;
use crate::model::{RestoreReport, VerifyReport};
use indicatif::{HumanBytes, HumanCount};
use std::fmt;

/// Damage has its own exit code.
pub(super) fn exit_of(report: &VerifyReport) -> Exit {
    match report.problems.is_empty() {
        true => Exit::Ok,
        false => Exit::Damaged,
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = [
            ("segments", HumanCount(self.segments).to_string()),
            ("records", HumanCount(self.records).to_string()),
            ("blobs", HumanCount(self.blobs).to_string()),
            ("references", HumanCount(self.references).to_string()),
            ("read", HumanBytes(self.bytes).to_string()),
        ];
        writeln!(f, "{}", table(&rows))?;
        for problem in &self.problems {
            writeln!(f, "damaged: {problem}")?;
        }
        if self.repaired {
            writeln!(f, "the index was rebuilt from the log")?;
        }
        match self.problems.len() {
            0 => write!(f, "no problems"),
            1 => write!(f, "1 problem"),
            count => write!(f, "{count} problems"),
        }
    }
}

impl fmt::Display for RestoreReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} records from {} files ({}), up to version {}",
            HumanCount(self.records),
            HumanCount(self.files),
            HumanBytes(self.bytes),
            self.max_version
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Problem;

    fn report() -> VerifyReport {
        VerifyReport {
            segments: 2,
            records: 1200,
            blobs: 3,
            references: 4,
            bytes: 5 << 20,
            ..VerifyReport::default()
        }
    }

    #[test]
    fn a_sound_store_has_no_problems() {
        let text = report().to_string();
        assert!(
            text.contains("1,200") && text.contains("5.00 MiB"),
            "{text}"
        );
        assert!(text.ends_with("no problems"), "{text}");
        assert_eq!(exit_of(&report()), Exit::Ok);
    }

    #[test]
    fn a_problem_names_the_file_the_byte_and_the_remedy() {
        let mut report = report();
        report.problems.push(Problem {
            file: "shards/000/log/00000001.seg".into(),
            offset: Some(4096),
            what: "record checksum does not match".into(),
            remedy: "restore the key from a backup".into(),
        });
        let text = report.to_string();
        assert!(
            text.ends_with(
                "damaged: shards/000/log/00000001.seg at offset 4096: record checksum does not \
                 match; restore the key from a backup\n1 problem"
            ),
            "{text}"
        );
        assert_eq!(exit_of(&report), Exit::Damaged);
    }
}
