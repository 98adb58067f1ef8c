//! A server that does nothing, as fast as our gRPC stack lets it: the yardstick for what the real one
//! adds to it.
//!
//! It speaks both protocols through the same builder, listener and limits as the real front, answers
//! at once with as many bytes as the real one would, and keeps nothing. Of zstdb's protocol there are
//! Set, Get and Ping, of the native one those in `native`; other calls are not implemented.

mod native;

use super::admission::Admitted;
use super::budget::SMALL_MAX;
use super::health::Health;
use super::native::BLOB_MESSAGE_SIZE_MAX;
use super::parted::{self, Carrier};
use super::server::{Gateway, GatewayHandle, gate};
use crate::config;
use crate::model::Digest;
use crate::proto::v1::blob_service_server::BlobServiceServer;
use crate::proto::v1::key_value_service_server::KeyValueServiceServer;
use crate::proto::zstdb::badger_server::{self, BadgerServer};
use crate::proto::zstdb::{Item, ItemReply, ListFilter, ListFilterReply};
use bytes::Bytes;
use std::fs::File;
use std::future::Future;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// What stands around the service that does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stack {
    /// The real front's listener, HTTP/2 settings and limits, but no admission.
    Bare,
    /// The whole of the real front: the difference to `Bare` is what admission costs.
    Admitted,
    /// tonic as it comes, with its own defaults.
    Stock,
}

/// What is answered.
#[derive(Debug)]
pub struct Answers {
    /// Where the values of Get come from.
    pub values: Values,
    /// Bytes of a value in a stream.
    pub size: usize,
    /// Keys of a scan.
    pub keys: u64,
}

/// Where the values of Get come from.
#[derive(Debug)]
pub enum Values {
    /// The same value each time, of so many bytes, made for the first.
    Fixed(usize, OnceLock<Bytes>),
    /// Read from a file, one piece after the other, as plainly as a server can.
    File(Pieces),
}

impl Values {
    fn next(&self) -> io::Result<Bytes> {
        match self {
            Self::Fixed(size, value) => {
                let value = value.get_or_init(|| Bytes::from(vec![0xa5; *size]));
                Ok(value.clone())
            }
            Self::File(pieces) => pieces.next(),
        }
    }
}

/// Equal pieces of a file, read in turn.
#[derive(Debug)]
pub struct Pieces {
    file: File,
    size: usize,
    count: u64,
    turn: AtomicU64,
}

impl Pieces {
    /// Pieces of `size` bytes of an open file.
    ///
    /// # Errors
    /// When the file is shorter than one piece, or cannot be looked at.
    pub fn new(file: File, size: usize) -> io::Result<Self> {
        let count = file.metadata()?.len() / (size as u64).max(1);
        if size == 0 || count == 0 {
            let message = format!("the file is shorter than a value of {size} bytes");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        Ok(Self {
            file,
            size,
            count,
            turn: AtomicU64::new(0),
        })
    }

    fn next(&self) -> io::Result<Bytes> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.count;
        let mut piece = vec![0; self.size];
        self.file
            .read_exact_at(&mut piece, turn * self.size as u64)?;
        Ok(piece.into())
    }
}

/// The service that does nothing.
#[derive(Debug, Clone)]
struct Noop {
    answers: Arc<Answers>,
    /// What content mode answers to a Set: 64 digits.
    content_key: Bytes,
    /// Whether large values leave as the real front's do.
    parts_values: bool,
}

impl Noop {
    fn new(answers: Answers, stack: Stack) -> Self {
        Self {
            answers: Arc::new(answers),
            content_key: Bytes::copy_from_slice(&Digest([0xab; Digest::SIZE]).to_hex()),
            parts_values: stack != Stack::Stock,
        }
    }

    fn reply<M: Carrier>(&self, message: M, value: Bytes) -> Response<M> {
        match self.parts_values && value.len() > SMALL_MAX {
            true => parted::reply(&message, value),
            false => Response::new(message.with(value)),
        }
    }
}

/// As large on the wire as a real one.
const SUM64: u64 = 0xefcd_ab89_6745_2301;
const VERSION: u64 = 1_000_000;

impl Gateway {
    /// A front with these limits and nothing behind it, serving as soon as it listens.
    pub async fn noop(
        server: &config::Server,
        admission: &config::Admission,
        answers: Answers,
        stack: Stack,
    ) -> Self {
        let gate = Arc::new(gate(server, admission));
        let noop = Noop::new(answers, stack);
        let badger = BadgerServer::new(noop.clone());
        let badger = badger.max_decoding_message_size(gate.message_size_max);
        let key_value = KeyValueServiceServer::new(noop.clone());
        let key_value = key_value.max_decoding_message_size(gate.message_size_max);
        let blob = BlobServiceServer::new(noop);
        let blob = blob.max_decoding_message_size(BLOB_MESSAGE_SIZE_MAX);
        let (health, health_server) = Health::new().await;
        health.serving().await;
        let routes = match stack {
            Stack::Admitted => Routes::new(Admitted::new(badger, gate.clone()))
                .add_service(Admitted::new(key_value, gate.clone()))
                .add_service(Admitted::new(blob, gate)),
            Stack::Bare | Stack::Stock => {
                Routes::new(badger).add_service(key_value).add_service(blob)
            }
        };
        let handle = GatewayHandle {
            service: Arc::default(),
            health,
        };
        Self::of(server, admission, routes.add_service(health_server), handle)
    }
}

/// Serves with tonic's own defaults until `shutdown` resolves.
///
/// # Errors
/// What the transport says when it cannot serve at all.
pub async fn serve_stock(
    listener: TcpListener,
    answers: Answers,
    shutdown: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let noop = Noop::new(answers, Stack::Stock);
    Server::builder()
        .add_service(BadgerServer::new(noop.clone()))
        .add_service(KeyValueServiceServer::new(noop.clone()))
        .add_service(BlobServiceServer::new(noop))
        .serve_with_incoming_shutdown(incoming, shutdown)
        .await
}

type Answer = Result<Response<ItemReply>, Status>;

fn not_here() -> Status {
    Status::unimplemented("the no-op server does not answer this call")
}

#[tonic::async_trait]
impl badger_server::Badger for Noop {
    async fn set(&self, request: Request<Item>) -> Answer {
        let item = request.into_inner();
        let key = match item.key.is_empty() {
            true => self.content_key.clone(),
            false => item.key,
        };
        Ok(Response::new(ItemReply {
            key,
            ..ItemReply::default()
        }))
    }

    async fn get(&self, request: Request<Item>) -> Answer {
        let reply = ItemReply {
            key: request.into_inner().key,
            ver64: VERSION,
            sum64: SUM64,
            ..ItemReply::default()
        };
        Ok(self.reply(reply, self.answers.values.next()?))
    }

    async fn ping(&self, _request: Request<Item>) -> Answer {
        Ok(Response::new(ItemReply {
            data: Bytes::from_static(b"ok"),
            ..ItemReply::default()
        }))
    }

    async fn delete(&self, _request: Request<Item>) -> Answer {
        Err(not_here())
    }

    async fn exists(&self, _request: Request<Item>) -> Answer {
        Err(not_here())
    }

    async fn list(&self, _: Request<ListFilter>) -> Result<Response<ListFilterReply>, Status> {
        Err(not_here())
    }

    async fn status(&self, _request: Request<Item>) -> Answer {
        Err(not_here())
    }

    async fn count(&self, _request: Request<Item>) -> Answer {
        Err(not_here())
    }

    async fn admin(&self, _request: Request<Item>) -> Answer {
        Err(not_here())
    }
}
