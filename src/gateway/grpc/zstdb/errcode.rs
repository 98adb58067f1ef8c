//! The one table from our errors to zstdb's error codes, and to gRPC's for List.

use crate::model::{Error, ErrorKind};
use tonic::{Code, Status};

/// The texts that zstdb's own server sends.
pub(super) mod text {
    pub(in super::super) const GET_MISS: &str = "cannot get from bgrdb";
    pub(in super::super) const EXISTS_MISS: &str = "Not Found";
    pub(in super::super) const GC_NOTHING: &str =
        "Value log GC attempt didn't result in any cleanup";
    pub(super) const SUM64_MISMATCH: &str = "data sum64 does not match";
    pub(super) const SET_DISABLED: &str = "server disabled the set action";
    pub(super) const DELETE_DISABLED: &str = "server disabled the delete action";
    pub(super) const FORBIDDEN: &str = "Forbidden";
}

/// Whether a failed call's reply carries the request's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Echo {
    /// In every call.
    Key,
    /// In every call but Set.
    KeyUnlessSet,
    /// In none.
    Nothing,
}

/// How an error is spelled.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Spelling<'a> {
    /// `errcode` of the reply.
    pub(super) errcode: i32,
    /// `status` of the reply.
    pub(super) status: &'a str,
    /// Whether the reply has a key.
    pub(super) echo: Echo,
    /// The code where only a gRPC status can be sent.
    pub(super) code: Code,
}

/// How `error` is spelled in this protocol.
pub(super) fn spell(error: &Error) -> Spelling<'_> {
    use Echo::{Key, KeyUnlessSet, Nothing};
    let (errcode, echo, code) = match error.kind() {
        ErrorKind::NotFound => (500, KeyUnlessSet, Code::NotFound),
        ErrorKind::AlreadyExists => (500, KeyUnlessSet, Code::AlreadyExists),
        ErrorKind::Conflict => (500, KeyUnlessSet, Code::Aborted),
        ErrorKind::Invalid if error.reason() == "SUM64_MISMATCH" => (501, Key, Code::DataLoss),
        ErrorKind::Invalid => (500, KeyUnlessSet, Code::InvalidArgument),
        ErrorKind::TooLarge => (500, KeyUnlessSet, Code::OutOfRange),
        ErrorKind::Denied => (403, Key, Code::PermissionDenied),
        ErrorKind::Disabled => (501, Nothing, Code::FailedPrecondition),
        ErrorKind::DiskFull => (501, Nothing, Code::ResourceExhausted),
        ErrorKind::Overloaded => (500, KeyUnlessSet, Code::ResourceExhausted),
        ErrorKind::Unavailable => (500, KeyUnlessSet, Code::Unavailable),
        ErrorKind::Timeout => (500, KeyUnlessSet, Code::DeadlineExceeded),
        ErrorKind::Corrupt => (500, KeyUnlessSet, Code::DataLoss),
        ErrorKind::Internal => (500, KeyUnlessSet, Code::Internal),
    };
    Spelling {
        errcode,
        status: known_text(error.reason()).unwrap_or(error.message()),
        echo,
        code,
    }
}

/// The error as a gRPC status, for List, whose reply has no room for one.
pub(super) fn status_of(error: &Error) -> Status {
    Status::new(spell(error).code, error.message())
}

/// zstdb's own text where programs may match it; elsewhere our message says more.
fn known_text(reason: &str) -> Option<&'static str> {
    match reason {
        "SUM64_MISMATCH" => Some(text::SUM64_MISMATCH),
        "SET_DISABLED" => Some(text::SET_DISABLED),
        "DELETE_DISABLED" => Some(text::DELETE_DISABLED),
        "PASSWORD_MISMATCH" => Some(text::FORBIDDEN),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_checksum_is_501_in_zstdbs_words_with_the_key() {
        let error = Error::invalid("SUM64_MISMATCH", "sum64 mismatch: got=1, want=2");
        let spelling = spell(&error);
        assert_eq!(spelling.errcode, 501);
        assert_eq!(spelling.status, "data sum64 does not match");
        assert_eq!(spelling.echo, Echo::Key);
    }

    #[test]
    fn a_switched_off_call_is_501_without_a_key() {
        for reason in ["SET_DISABLED", "DELETE_DISABLED"] {
            let error = Error::new(ErrorKind::Disabled, reason, "switched off");
            let spelling = spell(&error);
            assert_eq!(spelling.errcode, 501);
            assert_eq!(spelling.echo, Echo::Nothing);
            assert!(spelling.status.starts_with("server disabled the "));
        }
        let full = Error::new(ErrorKind::DiskFull, "DISK_FULL", "disk is full: free=1");
        assert_eq!(
            (spell(&full).errcode, spell(&full).status),
            (501, "disk is full: free=1")
        );
    }

    #[test]
    fn anything_else_is_500_with_our_message() {
        let error = Error::corrupt("RECORD_CHECKSUM", "record damaged: 00000001.seg at 4096");
        let spelling = spell(&error);
        assert_eq!(spelling.errcode, 500);
        assert_eq!(spelling.status, "record damaged: 00000001.seg at 4096");
        assert_eq!(spelling.echo, Echo::KeyUnlessSet);
        assert_eq!(status_of(&error).code(), Code::DataLoss);
    }
}
