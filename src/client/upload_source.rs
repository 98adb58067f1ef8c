//! Values that are read from where they can be read again, such as files: an upload of one that is cut
//! off begins again by itself, and the server stores only what it lacks.

use super::again::{Named, Twice};
use super::entry::PutOptions;
use super::keyspace::request_id;
use super::large::{PIECE_SIZE_MAX, Uploaded, send};
use super::{ClientError, Keyspace, Result, cause_of};
use crate::proto::v1;
use bytes::Bytes;
use std::io::{self, SeekFrom};
use std::pin::pin;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncSeek, AsyncSeekExt as _};
use tokio::sync::{Mutex, mpsc};
use tonic::transport::Channel;
use tonic::{Response, Status};

/// Pieces that are read ahead of what is sent.
const READ_AHEAD: usize = 4;

impl Keyspace {
    /// Stores what a source holds, from its beginning to its end, such as a `tokio::fs::File`. When the
    /// connection breaks it is sent again by itself, as long as the server comes back within a few
    /// seconds; on a condition only to the same run of the server, which remembers it.
    ///
    /// # Errors
    /// [`ClientError::Source`] when it cannot be read, and as [`Keyspace::upload`].
    pub async fn upload_from(
        &self,
        key: impl Into<Bytes>,
        mut source: impl AsyncRead + AsyncSeek + Unpin,
        options: PutOptions,
    ) -> Result<Uploaded> {
        let size = source.seek(SeekFrom::End(0)).await;
        let size = size.map_err(|error| unreadable(&error))?;
        let twice = Twice::on_condition(options.only_if.is_some());
        let header = v1::UploadHeader {
            request_id: request_id(),
            ..self.upload_header(key.into(), size, options)
        };
        let source = Mutex::new(source);
        let sent = self
            .pool
            .write("upload", (header, twice), |channel, header| {
                let source = &source;
                async move { Ok(Response::new(attempt(channel, header, source).await?)) }
            });
        let sent = sent.await?;
        let sent = sent.map_err(|status| self.pool.failed("upload", &status))?;
        sent.map(Uploaded::of).map_err(|error| unreadable(&error))
    }
}

/// With its value, which may not be read.
impl Named for v1::UploadHeader {
    type Answer = io::Result<v1::UploadResponse>;

    fn request_id(&self) -> &str {
        &self.request_id
    }

    fn rename(&mut self, request_id: String) {
        self.request_id = request_id;
    }

    fn only(&mut self, run: u64) {
        self.only_run = run;
    }

    fn run_of(answer: &Self::Answer) -> u64 {
        let put = answer.as_ref().ok().and_then(|sent| sent.put.as_ref());
        put.map_or(0, |put| put.run)
    }
}

/// Sends a source once, as a whole. That it cannot be read is no reason to try again.
async fn attempt(
    channel: Channel,
    header: v1::UploadHeader,
    source: &Mutex<impl AsyncRead + AsyncSeek + Unpin>,
) -> Result<io::Result<v1::UploadResponse>, Status> {
    let mut source = source.lock().await;
    let (sender, pieces) = mpsc::channel(READ_AHEAD);
    let mut sending = pin!(send(channel, header, pieces));
    tokio::select! {
        // An upload that is refused ends before its pieces.
        sent = &mut sending => return sent.map(|sent| Ok(sent.into_inner())),
        read = read_from(&mut *source, sender) => {
            if let Err(error) = read {
                return Ok(Err(error));
            }
        }
    }
    sending.await.map(|sent| Ok(sent.into_inner()))
}

/// Reads a source in pieces, until nobody takes them.
async fn read_from(
    source: &mut (impl AsyncRead + AsyncSeek + Unpin),
    pieces: mpsc::Sender<Bytes>,
) -> io::Result<()> {
    source.rewind().await?;
    loop {
        let piece = piece_of(source).await?;
        if piece.is_empty() || pieces.send(piece).await.is_err() {
            return Ok(());
        }
    }
}

/// What comes next, in a piece of [`PIECE_SIZE_MAX`], or of all that is left; empty at the end.
pub(crate) async fn piece_of(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<Bytes> {
    let mut piece = Vec::with_capacity(PIECE_SIZE_MAX);
    let mut part = reader.take(PIECE_SIZE_MAX as u64);
    part.read_to_end(&mut piece).await?;
    Ok(piece.into())
}

fn unreadable(error: &io::Error) -> ClientError {
    let cause = cause_of(error);
    ClientError::Source { cause }
}
