//! Admission before the body: a request waits for the bytes it announces before anyone buffers them.
//!
//! tonic reads a whole message into memory before a service sees it. So this layer stands in front:
//! it reads the length prefix, takes that many bytes from the process-wide budget, and only then lets
//! tonic read on. Until then the peer is held back by HTTP/2's windows. The bytes are given back when
//! the answer is made.

use super::budget::ByteBudget;
use super::connection::Peer;
use super::deadline;
use super::delivery::Delivery;
use super::method::Method;
use super::opening::Opening;
use super::{native, zstdb};
use crate::model::{Error, ErrorKind};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

/// What all requests share.
#[derive(Debug)]
pub(super) struct Gate {
    /// Bytes of requests.
    pub(super) requests: Arc<ByteBudget>,
    /// Bytes of replies.
    pub(super) delivery: Delivery,
    /// The deadline of a request that brings none.
    pub(super) request_timeout: Duration,
    /// The largest raw value in bytes.
    pub(super) value_size_max: u64,
    /// The largest message in bytes: the largest value, its key and its framing.
    pub(super) message_size_max: usize,
}

/// A service behind the gate.
#[derive(Debug, Clone)]
pub(super) struct Admitted<S> {
    inner: S,
    gate: Arc<Gate>,
}

impl<S> Admitted<S> {
    /// Puts `inner` behind `gate`.
    pub(super) fn new(inner: S, gate: Arc<Gate>) -> Self {
        Self { inner, gate }
    }
}

impl<S: NamedService> NamedService for Admitted<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Admitted<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The instance that was polled ready serves; its clone stays for the next request.
        let fresh = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, fresh);
        let gate = Arc::clone(&self.gate);
        let timing = Timing::of(&request, &gate);
        Box::pin(async move {
            let reply = gate.pass(request, inner, timing).await;
            Ok(reply.unwrap_or_else(Status::into_http))
        })
    }
}

/// When a request must be admitted and when it must be answered.
#[derive(Debug, Clone, Copy)]
struct Timing {
    method: Method,
    started: Instant,
    read_within: Duration,
    answer_within: Option<Duration>,
}

impl Timing {
    fn of(request: &Request<Body>, gate: &Gate) -> Self {
        let method = Method::of_path(request.uri().path(), gate.message_size_max);
        let own = deadline::of_headers(request.headers());
        let within = own.unwrap_or(gate.request_timeout);
        Self {
            method,
            started: Instant::now(),
            read_within: within,
            answer_within: (own.is_some() || !method.takes_its_time()).then_some(within),
        }
    }
}

impl Gate {
    async fn pass<S>(
        &self,
        request: Request<Body>,
        inner: S,
        timing: Timing,
    ) -> Result<Response<Body>, Status>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    {
        // Pinned here: it is some KiB of state, which would be moved on its way into a timer.
        let served = std::pin::pin!(self.serve(request, inner, timing));
        match timing.answer_within {
            Some(within) => limited(timing.started, within, served).await?,
            None => served.await,
        }
    }

    async fn serve<S>(
        &self,
        mut request: Request<Body>,
        mut inner: S,
        timing: Timing,
    ) -> Result<Response<Body>, Status>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    {
        let method = timing.method;
        // Taken out of the request and put back: its other parts are large, and stay where they are.
        let opening = Opening::read(std::mem::take(request.body_mut()));
        let opening = limited(timing.started, timing.read_within, opening).await??;
        let announced = opening.message_len().unwrap_or(0);
        if announced > method.message_size_max {
            return self.refuse_size(request.uri().path(), announced, method);
        }
        let held = method.stream_held.unwrap_or(announced);
        let taken = self.requests.take(held, opening.head_len()).await;
        let in_flight = taken.map_err(|shed| {
            let kind = ErrorKind::Overloaded;
            native::status_of(&Error::new(kind, "TOO_MUCH_IN_FLIGHT", shed.to_string()))
        })?;
        let mut body = match method.stream_held {
            None => opening.into_body(),
            Some(_) => opening.into_stream(),
        };
        if method.unhurried {
            // Serving it may take hours; sending it may not.
            let whole = Limited::new(body, method.message_size_max + 1024).collect();
            let whole = limited(timing.started, timing.read_within, whole).await?;
            let whole = whole.map_err(Status::from_error)?;
            body = Body::new(Full::new(whole.to_bytes()));
        }
        *request.body_mut() = body;
        let peer = request.extensions().get::<Peer>().cloned();
        let Ok(reply) = inner.call(request).await;
        drop(in_flight);
        if method.bulk_reply {
            return self.delivery.charge(reply, peer).await;
        }
        Ok(reply)
    }

    /// Answers a message that is too large without reading it.
    fn refuse_size(
        &self,
        path: &str,
        announced: usize,
        method: Method,
    ) -> Result<Response<Body>, Status> {
        if path == zstdb::path::SET {
            return Ok(zstdb::set_too_large(announced, self.value_size_max));
        }
        let max = method.message_size_max;
        if path.starts_with(native::path::PREFIX) {
            let message = format!(
                "message too large: size={announced}, max={max}; send less at a time, and large values with Upload"
            );
            let error = Error::too_large("MESSAGE_TOO_LARGE", message);
            return Err(native::status_of(&error));
        }
        Err(Status::out_of_range(format!(
            "message too large: size={announced}, max={max} (server.max_upload_size)"
        )))
    }
}

/// The future's output, or `DEADLINE_EXCEEDED`. The clock starts at `started`, before tonic's own
/// timer, so that this clearer answer is the one given.
async fn limited<F: Future>(
    started: Instant,
    within: Duration,
    future: F,
) -> Result<F::Output, Status> {
    let Some(until) = started.checked_add(within) else {
        return Ok(future.await);
    };
    if Instant::now() >= until {
        let message = format!(
            "request came with a deadline of {within:?}, which passed before it was looked at"
        );
        return Err(too_late("DEADLINE_PASSED", message));
    }
    let answered = tokio::time::timeout_at(until, future).await;
    answered.map_err(|_elapsed| {
        let message = format!(
            "request not answered in {within:?}; the outcome of a write is unknown: read before you retry"
        );
        too_late("REQUEST_TIMEOUT", message)
    })
}

fn too_late(reason: &'static str, message: String) -> Status {
    native::status_of(&Error::new(ErrorKind::Timeout, reason, message))
}

#[cfg(test)]
#[path = "admission_tests.rs"]
mod tests;
