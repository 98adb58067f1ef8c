//! Requests that name themselves, so that sending one again does not do it again.

use crate::model::{Error, Result};
use crate::proto::v1;
use crate::proto::v1::operation::Change;
use crate::service::{Named, Service};
use bytes::Bytes;
use prost::Message;
use std::future::Future;
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64, xxh3_64_with_seed};

/// Bytes of a name.
const ID_SIZE_MAX: usize = 64;

/// A request that may name itself.
pub(super) trait Identified {
    /// Its name; empty for none.
    fn id(&self) -> &str;

    /// The run of the server that may do it, 0 for any. It is taken out, since it says nothing of what is
    /// to be done, and may be another when the request is sent again.
    fn take_only_run(&mut self) -> u64 {
        0
    }

    /// A fingerprint of all that it says of what is to be done.
    fn print(&self) -> u64;
}

impl Identified for v1::PutRequest {
    fn id(&self) -> &str {
        &self.request_id
    }

    fn take_only_run(&mut self) -> u64 {
        std::mem::take(&mut self.only_run)
    }

    /// The value is not copied for it.
    fn print(&self) -> u64 {
        let rest = Self {
            value: Bytes::new(),
            ..self.clone()
        };
        xxh3_64_with_seed(&self.value, print_of("Put", &rest))
    }
}

impl Identified for v1::DeleteRequest {
    fn id(&self) -> &str {
        &self.request_id
    }

    fn take_only_run(&mut self) -> u64 {
        std::mem::take(&mut self.only_run)
    }

    fn print(&self) -> u64 {
        print_of("Delete", self)
    }
}

impl Identified for v1::DeleteRangeRequest {
    fn id(&self) -> &str {
        &self.request_id
    }

    fn take_only_run(&mut self) -> u64 {
        std::mem::take(&mut self.only_run)
    }

    fn print(&self) -> u64 {
        print_of("DeleteRange", self)
    }
}

impl Identified for v1::TouchRequest {
    fn id(&self) -> &str {
        &self.request_id
    }

    fn take_only_run(&mut self) -> u64 {
        std::mem::take(&mut self.only_run)
    }

    fn print(&self) -> u64 {
        print_of("Touch", self)
    }
}

impl Identified for v1::IncrementRequest {
    fn id(&self) -> &str {
        &self.request_id
    }

    fn take_only_run(&mut self) -> u64 {
        std::mem::take(&mut self.only_run)
    }

    fn print(&self) -> u64 {
        print_of("Increment", self)
    }
}

impl Identified for v1::UploadHeader {
    fn id(&self) -> &str {
        &self.request_id
    }

    fn take_only_run(&mut self) -> u64 {
        std::mem::take(&mut self.only_run)
    }

    /// What the value is made of is not in it: see [`Content`].
    fn print(&self) -> u64 {
        print_of("Upload", self)
    }
}

impl Identified for v1::PutContentRequest {
    fn id(&self) -> &str {
        &self.request_id
    }

    fn take_only_run(&mut self) -> u64 {
        std::mem::take(&mut self.only_run)
    }

    /// A value is named by its digest, and its chunks are not needed again once it is there: a client
    /// that asks anew what is missing may well send the request without them.
    fn print(&self) -> u64 {
        let rest = Self {
            chunks: Vec::new(),
            ..self.clone()
        };
        print_of("PutContent", &rest)
    }
}

impl Identified for v1::CommitRequest {
    fn id(&self) -> &str {
        &self.request_id
    }

    fn take_only_run(&mut self) -> u64 {
        std::mem::take(&mut self.only_run)
    }

    /// The values are not copied for it.
    fn print(&self) -> u64 {
        let mut rest = self.clone();
        let steps = rest.operations.iter_mut().chain(&mut rest.else_operations);
        let values: Vec<Bytes> = steps
            .filter_map(|step| match &mut step.change {
                Some(Change::Put(put)) => Some(std::mem::take(&mut put.value)),
                _ => None,
            })
            .collect();
        let print = print_of("Commit", &rest);
        values
            .iter()
            .fold(print, |print, value| xxh3_64_with_seed(value, print))
    }
}

/// The fingerprint of a value that comes in pieces.
#[derive(Default)]
pub(super) struct Content(Xxh3Default);

impl Content {
    /// The next piece.
    pub fn push(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// A name with the print of the value too.
    pub fn of(&self, named: Named) -> Named {
        let print = self.0.digest() ^ named.print.rotate_left(1);
        Named { print, ..named }
    }
}

fn print_of(method: &str, request: &impl Message) -> u64 {
    xxh3_64_with_seed(&request.encode_to_vec(), xxh3_64(method.as_bytes()))
}

/// The name of a request, if it has one; which run of the server may do it is taken out.
///
/// # Errors
/// `Invalid` (`REQUEST_ID_SIZE`); `Unavailable` (`OUTCOME_UNKNOWN`) when another run of the server is
/// asked to do it.
pub(super) fn name_of(service: &Service, request: &mut impl Identified) -> Result<Option<Named>> {
    let only_run = request.take_only_run();
    if only_run != 0 && only_run != service.run_id() {
        let message = "the server was started anew since the request was sent first, and does not know whether it was done; read its keys before you retry";
        return Err(Error::unavailable("OUTCOME_UNKNOWN", message).at("only_run"));
    }
    let id = request.id();
    if id.is_empty() {
        return Ok(None);
    }
    if id.len() > ID_SIZE_MAX {
        let message = format!(
            "request_id too large: size={}, max={ID_SIZE_MAX}; a UUID will do",
            id.len()
        );
        return Err(Error::too_large("REQUEST_ID_SIZE", message).at("request_id"));
    }
    Ok(Some(Named {
        id: id.into(),
        print: request.print(),
    }))
}

/// Runs the work of a request with a name once.
///
/// # Errors
/// As [`Service::once`].
pub(super) async fn once<A: Message + Default>(
    service: &Service,
    named: Named,
    work: impl Future<Output = Result<A>> + Send + 'static,
) -> Result<A> {
    let work = async { work.await.map(|answer| answer.encode_to_vec().into()) };
    let answer = service.once(named, work).await?;
    let broken = |error| Error::internal("ANSWER_BROKEN", format!("a kept answer: {error}"));
    A::decode(answer).map_err(broken)
}
