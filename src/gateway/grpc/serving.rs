//! The connections of one core, each served by a task of its own until it ends, is asked to leave and
//! does, or is cut.

use super::calls::Call;
use super::connection::{Connection, Incoming, Peer};
use super::idle::Row;
use super::parted;
use super::received::Received;
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use hyper::body;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::Service as _;

/// How often it is looked for idle connections while too many are open.
const TRIM_INTERVAL: Duration = Duration::from_secs(1);
/// A connection that was asked to leave is cut when nothing happens on it for this long.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// How HTTP/2 is spoken.
pub(super) type Http = http2::Builder<TokioExecutor>;

/// How far the server is on its way to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// It takes connections.
    Serving,
    /// It finishes what was begun.
    Draining,
    /// Nothing is waited for.
    Cut,
}

/// What one core serves connections with.
pub(super) struct Core {
    http: Http,
    routes: Routes,
    row: Row,
    phase: watch::Receiver<Phase>,
}

impl Core {
    /// Serves `routes` by the rules of `http`; too many idle connections of `row` leave.
    pub(super) fn new(http: Http, routes: Routes, row: Row, phase: watch::Receiver<Phase>) -> Self {
        Self {
            http,
            routes: routes.prepare(),
            row,
            phase,
        }
    }

    /// Serves what comes until the server drains, and then until all of it has ended.
    pub(super) async fn run(mut self, mut incoming: Incoming) {
        let (open, mut all_ended) = mpsc::channel::<Infallible>(1);
        let mut phase = self.phase.clone();
        loop {
            tokio::select! {
                connection = incoming.next() => {
                    let Some(connection) = connection else { break };
                    self.row.add(connection.peer());
                    tokio::spawn(self.serve(connection, open.clone()));
                }
                () = tokio::time::sleep(TRIM_INTERVAL), if self.row.is_over() => self.row.trim(),
                () = reached(&mut phase, Phase::Draining) => break,
            }
        }
        drop((incoming, open));
        let _none = all_ended.recv().await;
    }

    /// Serves a connection to its end; `open` is held until then.
    fn serve(
        &self,
        connection: Connection,
        open: mpsc::Sender<Infallible>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let http = self.http.clone();
        let front = Front {
            peer: connection.peer().clone(),
            routes: self.routes.clone(),
        };
        let mut phase = self.phase.clone();
        async move {
            let _open = open;
            let peer = front.peer.clone();
            let _turns = EndOfTurns(&peer);
            // Made where it stays: a future that is moved into another takes its room twice.
            let mut served = pin!(http.serve_connection(TokioIo::new(connection), front));
            let is_asked = tokio::select! {
                outcome = peer.turns().run(served.as_mut()) => return told(outcome),
                () = peer.is_cut() => return,
                () = peer.is_leaving() => true,
                () = reached(&mut phase, Phase::Draining) => false,
            };
            served.as_mut().graceful_shutdown();
            tokio::select! {
                outcome = peer.turns().run(served) => told(outcome),
                () = peer.is_cut() => {}
                () = stands_still(&peer), if is_asked => {}
                () = reached(&mut phase, Phase::Cut) => {}
            }
        }
    }
}

/// A connection that has ended, however that came, has no turns that its calls could wait for.
struct EndOfTurns<'a>(&'a Peer);

impl Drop for EndOfTurns<'_> {
    fn drop(&mut self) {
        self.0.turns().end();
    }
}

fn told(outcome: Result<(), hyper::Error>) {
    if let Err(error) = outcome {
        tracing::debug!(%error, "a connection failed");
    }
}

async fn reached(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    // An error means that the server is gone, which is as good as being told.
    let _ = phase.wait_for(|phase| *phase >= wanted).await;
}

/// Resolves when no call is open, and nothing was begun or taken for a while.
async fn stands_still(peer: &Peer) {
    let mut before = None;
    loop {
        let now = Some((peer.calls(), peer.written()));
        if peer.is_idle() && before == now {
            return;
        }
        before = now;
        tokio::time::sleep(LEAVE_TIMEOUT).await;
    }
}

/// What answers the calls of one connection: the routes, which learn whose call it is.
struct Front {
    peer: Peer,
    routes: Routes,
}

impl hyper::service::Service<Request<body::Incoming>> for Front {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<body::Incoming>) -> Self::Future {
        let call = self.peer.begin_call();
        let mut request = request.map(|body| Body::new(Received::new(body)));
        request.extensions_mut().insert(self.peer.clone());
        // Routes are always ready, and never fail.
        let peer = self.peer.clone();
        let answer = self.routes.clone().call(request);
        Box::pin(async move {
            let Ok(answer) = peer.turns().call(answer).await;
            let answer = parted::put_in_place(answer);
            Ok(answer.map(|body| Answer { body, _call: call }))
        })
    }
}

/// The body of an answer: as long as it is on its way, its call is open.
struct Answer {
    body: Body,
    _call: Call,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Keepalive and deadlines of HTTP/2 run on tokio's clock.
pub(super) fn http() -> Http {
    let mut http = Http::new(TokioExecutor::new());
    http.timer(TokioTimer::new());
    http
}
