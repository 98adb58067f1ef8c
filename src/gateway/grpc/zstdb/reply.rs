//! Replies in their few shapes.

use super::errcode::{self, Echo};
use crate::model::Error;
use crate::proto::zstdb::ItemReply;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::{BodyExt as _, Full};
use prost::Message as _;
use tonic::body::Body;

/// Success with nothing but the key.
pub(super) fn key(key: Bytes) -> ItemReply {
    ItemReply {
        key,
        ..ItemReply::default()
    }
}

/// Success with nothing but data.
pub(super) fn data(data: impl Into<Bytes>) -> ItemReply {
    ItemReply {
        data: data.into(),
        ..ItemReply::default()
    }
}

/// Success with the key and data.
pub(super) fn key_data(key: Bytes, data: impl Into<Bytes>) -> ItemReply {
    ItemReply {
        key,
        ..self::data(data)
    }
}

/// A failed call, but not a Set.
pub(super) fn of_error(error: &Error, key: Bytes) -> ItemReply {
    let spelling = errcode::spell(error);
    let key = match spelling.echo {
        Echo::Key | Echo::KeyUnlessSet => key,
        Echo::Nothing => Bytes::new(),
    };
    failed(spelling.errcode, spelling.status, key)
}

/// A failed Set: its key is the name of what was stored, so a failure has none, but for a wrong
/// checksum.
pub(super) fn of_set_error(error: &Error, key: Bytes) -> ItemReply {
    let spelling = errcode::spell(error);
    let key = match spelling.echo {
        Echo::Key => key,
        Echo::KeyUnlessSet | Echo::Nothing => Bytes::new(),
    };
    failed(spelling.errcode, spelling.status, key)
}

/// A failure in this protocol's own terms.
pub(super) fn failed(errcode: i32, status: &str, key: Bytes) -> ItemReply {
    ItemReply {
        errcode,
        status: Bytes::copy_from_slice(status.as_bytes()),
        key,
        ..ItemReply::default()
    }
}

/// The answer to a Set so large that its message is not even read, as a whole HTTP response.
pub(in super::super) fn set_too_large(announced: usize, value_size_max: u64) -> Response<Body> {
    let error = Error::too_large(
        "VALUE_TOO_LARGE",
        format!(
            "value too large: message={announced} bytes, max={value_size_max} bytes (server.max_upload_size)"
        ),
    );
    let reply = of_set_error(&error, Bytes::new());
    let length = u32::try_from(reply.encoded_len()).expect("a status text is short");
    let mut message = BytesMut::new();
    message.put_u8(0);
    message.put_u32(length);
    message.extend_from_slice(&reply.encode_to_vec());
    let mut trailers = HeaderMap::new();
    trailers.insert(tonic::Status::GRPC_STATUS, HeaderValue::from_static("0"));
    let body = Full::new(message.freeze()).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        tonic::metadata::GRPC_CONTENT_TYPE,
    );
    response
}
