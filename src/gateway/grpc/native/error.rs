//! The one table from our errors to gRPC statuses with `google.rpc` details.

use crate::model::{Error, ErrorKind};
use std::collections::HashMap;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The domain of every `ErrorInfo`.
const DOMAIN: &str = "shardkeep";
/// When a shard that restarts, or a full queue, is worth another try.
const RETRY_SOON: Duration = Duration::from_millis(100);
/// When a full disk is.
const RETRY_LATER: Duration = Duration::from_secs(5);

/// An error as the caller gets it.
pub(in super::super) fn status_of(error: &Error) -> Status {
    let mut details = ErrorDetails::with_error_info(error.reason(), DOMAIN, HashMap::new());
    let code = code_of(error.kind());
    if let Some(field) = error.field().filter(|_| code == Code::InvalidArgument) {
        details.add_bad_request_violation(field, error.message());
    }
    if let Some(delay) = retry_delay(error) {
        details.set_retry_info(Some(delay));
    }
    Status::with_error_details(code, error.message(), details)
}

fn code_of(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::AlreadyExists => Code::AlreadyExists,
        ErrorKind::Conflict => Code::Aborted,
        ErrorKind::Invalid | ErrorKind::TooLarge => Code::InvalidArgument,
        ErrorKind::Denied => Code::PermissionDenied,
        ErrorKind::Disabled => Code::FailedPrecondition,
        ErrorKind::Overloaded | ErrorKind::DiskFull => Code::ResourceExhausted,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::Timeout => Code::DeadlineExceeded,
        ErrorKind::Corrupt => Code::DataLoss,
        ErrorKind::Internal => Code::Internal,
    }
}

/// When the same request is worth another try; a write whose outcome is unknown is read first.
fn retry_delay(error: &Error) -> Option<Duration> {
    match error.kind() {
        ErrorKind::Unavailable if error.reason() == "OUTCOME_UNKNOWN" => None,
        ErrorKind::Unavailable | ErrorKind::Overloaded => Some(RETRY_SOON),
        ErrorKind::DiskFull => Some(RETRY_LATER),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_field_is_named_with_the_reason() {
        let error = Error::invalid("KEY_EMPTY", "key is empty").at("keys[3]");
        let status = status_of(&error);
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "KEY_EMPTY");
        assert_eq!(details.error_info().unwrap().domain, "shardkeep");
        let violations = &details.bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, "keys[3]");
        assert!(details.retry_info().is_none());
    }

    #[test]
    fn only_what_time_can_mend_says_when_to_retry() {
        let delay = |kind, reason| {
            let status = status_of(&Error::new(kind, reason, "text"));
            let details = status.get_error_details();
            details.retry_info().and_then(|info| info.retry_delay)
        };
        assert_eq!(delay(ErrorKind::DiskFull, "DISK_FULL"), Some(RETRY_LATER));
        assert_eq!(
            delay(ErrorKind::Unavailable, "SHARD_OPENING"),
            Some(RETRY_SOON)
        );
        assert_eq!(delay(ErrorKind::Unavailable, "OUTCOME_UNKNOWN"), None);
        assert_eq!(delay(ErrorKind::Conflict, "VERSION_MISMATCH"), None);
    }
}
