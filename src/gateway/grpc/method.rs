//! What the admission must know of a method before its message is there.

use super::{native, zstdb};

/// How a method is admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Method {
    /// Whether it runs as long as it takes (a backup) when the request brings no deadline.
    pub(super) unhurried: bool,
    /// Whether its reply can be large.
    pub(super) bulk_reply: bool,
    /// The largest message it takes in bytes.
    pub(super) message_size_max: usize,
    /// Of a request that is a stream: the bytes that it holds in memory, however long it is. It runs
    /// as long as its messages come when the request brings no deadline.
    pub(super) stream_held: Option<usize>,
}

impl Method {
    /// Whether it has no deadline but the one that a request brings.
    pub(super) fn takes_its_time(self) -> bool {
        self.unhurried || self.stream_held.is_some()
    }

    /// The method at an HTTP path. Unknown paths get the narrow rules; the router refuses them.
    pub(super) fn of_path(path: &str, value_message_size_max: usize) -> Self {
        let narrow = Self {
            unhurried: false,
            bulk_reply: false,
            message_size_max: value_message_size_max,
            stream_held: None,
        };
        match path {
            zstdb::path::GET
            | zstdb::path::LIST
            | native::path::GET
            | native::path::BATCH_GET
            | native::path::SCAN => Self {
                bulk_reply: true,
                ..narrow
            },
            zstdb::path::ADMIN | zstdb::path::STATUS => Self {
                unhurried: true,
                message_size_max: zstdb::ADMIN_MESSAGE_SIZE_MAX,
                ..narrow
            },
            native::path::COMPACT => Self {
                unhurried: true,
                message_size_max: zstdb::ADMIN_MESSAGE_SIZE_MAX,
                ..narrow
            },
            native::path::UPLOAD | native::path::UPLOAD_CHUNKS => Self {
                message_size_max: native::BLOB_MESSAGE_SIZE_MAX,
                stream_held: Some(native::UPLOAD_HELD),
                ..narrow
            },
            native::path::COMMIT => Self {
                message_size_max: native::COMMIT_MESSAGE_SIZE_MAX,
                ..narrow
            },
            _ => narrow,
        }
    }
}
