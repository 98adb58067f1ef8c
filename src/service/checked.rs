//! What a value and its key must be before they are stored: the sums that the client names, the size
//! that the server takes.

use super::Service;
use super::put::{Put, PutRule};
use crate::codec::{digest_of, sum64_of};
use crate::model::{Digest, Error, Key, Namespace, NamespaceId, Result, ValueInfo};
use bytes::Bytes;

/// A value whose checksum matched, with what its storing needs to know.
#[derive(Debug, Clone)]
pub(super) struct Checked {
    pub data: Bytes,
    pub info: ValueInfo,
    /// BLAKE3, where the value's name or home needs it.
    pub digest: Option<Digest>,
    /// Whether it may be compressed.
    pub compress: bool,
}

impl Service {
    /// Checksum and, where it is needed, digest; then the size.
    pub(super) async fn check(&self, put: &Put<'_>, is_named_by_digest: bool) -> Result<Checked> {
        let raw = put.data.clone();
        let want_digest = is_named_by_digest || put.digest.is_some() || put.rule != PutRule::Quiet;
        let hash = move || (sum64_of(&raw), want_digest.then(|| digest_of(&raw)));
        let (sum64, digest) = if put.data.len() < self.rules().offload_size {
            hash()
        } else {
            self.0.cpu.run(hash).await?
        };
        self.checked(put, (sum64, digest))
    }

    /// The value of a put whose sums were computed, if it is what the client says and not too large.
    pub(super) fn checked(
        &self,
        put: &Put<'_>,
        (sum64, digest): (u64, Option<Digest>),
    ) -> Result<Checked> {
        let size = put.data.len() as u64;
        check_sums(put, size, (sum64, digest))?;
        let server = (self.rules().value_size_max, "server.max_upload_size");
        check_size(size, size_max(put.namespace, server))?;
        Ok(Checked {
            info: ValueInfo {
                raw_len: size,
                sum64,
            },
            data: put.data.clone(),
            digest,
            compress: put.namespace.options.compress,
        })
    }
}

/// The largest value of a namespace, and what says so: it, or the server.
pub(super) fn size_max(namespace: &Namespace, (server, setting): (u64, &str)) -> (u64, String) {
    match namespace.options.value_size_max.filter(|max| *max < server) {
        Some(max) => (
            max,
            format!("value_size_max of namespace {}", namespace.name),
        ),
        None => (server, setting.to_owned()),
    }
}

/// Whether a value is not too large.
pub(super) fn check_size(size: u64, (max, limit): (u64, String)) -> Result<()> {
    if size <= max {
        return Ok(());
    }
    let message = format!("value too large: size={size}, max={max} ({limit})");
    Err(Error::too_large("VALUE_TOO_LARGE", message).at("value"))
}

/// A key that a client sent, in its namespace.
pub(super) fn key_in(namespace: &Namespace, key: &[u8]) -> Result<Key> {
    Key::in_namespace(namespace.id, key).map_err(|error| error.at("key"))
}

/// Whether a value of `size` bytes has the sums that its put names.
pub(super) fn check_sums(
    put: &Put<'_>,
    size: u64,
    (sum64, digest): (u64, Option<Digest>),
) -> Result<()> {
    if let Some(expected) = put.sum64
        && expected != sum64
    {
        let message = format!(
            "data sum64 does not match: xxh64 of the {size} bytes received is {sum64}, the request says {expected}"
        );
        return Err(Error::invalid("SUM64_MISMATCH", message).at("sum64"));
    }
    if let (Some(expected), Some(digest)) = (put.digest, digest)
        && expected != digest
    {
        let message = format!(
            "digest does not match: BLAKE3 of the {size} bytes received is {digest}, the request says {expected}"
        );
        return Err(Error::invalid("DIGEST_MISMATCH", message).at("digest"));
    }
    Ok(())
}

/// The key under which a value stands, by its digest in content mode.
pub(super) fn key_of(namespace: &Namespace, sent: &[u8], by_digest: Option<Digest>) -> Result<Key> {
    match by_digest {
        Some(digest) => content_key(namespace.id, sent, digest),
        None => key_in(namespace, sent),
    }
}

/// The key of a content; the one that was sent may only be the same.
fn content_key(namespace: NamespaceId, sent: &[u8], digest: Digest) -> Result<Key> {
    if sent.is_empty() || Digest::parse_hex(sent) == Some(digest) {
        return Key::in_namespace(namespace, &digest.to_hex());
    }
    let message = format!(
        "key is not the content's digest: values stand under their BLAKE3 digest here (keys.mode), which is {digest}; send that key or none"
    );
    Err(Error::invalid("KEY_NOT_DIGEST", message).at("key"))
}
