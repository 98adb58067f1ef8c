//! What a server holds before it is measured.

use super::super::exit::CliError;
use super::contestant::{Arena, flawless};
use super::course::End;
use super::load::{Load, Sources, lock};
use super::piece::PieceRing;
use super::source::{Stock, Work};
use super::value::Ring;
use crate::cli::outline::Outline;
use crate::client::{Call, Lane, PIECE_SIZE_MAX};
use crate::proto::zstdb::Item;
use bytes::Bytes;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Connections, and requests in flight on each, while values are stored beforehand.
const STOCKING: (usize, usize) = (8, 16);

impl Arena<'_> {
    /// Stores what the work needs to find.
    ///
    /// # Errors
    /// When the server refuses it or cannot be reached.
    pub async fn stock(&self, load: &Load) -> Result<Arc<Stock>, CliError> {
        let (work, before) = match self.shape.work {
            Work::Set | Work::SetEach | Work::Upload => return Ok(Arc::default()),
            Work::Resend => return self.resent(load).await.map(Arc::new),
            Work::SetDuplicate => (Work::SetEach, self.duplicates()),
            Work::Download => (Work::Upload, Stock::default()),
            Work::Get | Work::BatchGet { .. } | Work::Scan | Work::Mixed { .. } => {
                (Work::Set, Stock::default())
            }
        };
        let before = Arc::new(before);
        let keys = self.store(load, work, &before).await?;
        if work == Work::SetEach {
            return Ok(before);
        }
        Ok(Arc::new(Stock {
            keys,
            ..Stock::default()
        }))
    }

    /// Stores as many values as the shape says, and gives their keys.
    async fn store(
        &self,
        load: &Load,
        work: Work,
        before: &Arc<Stock>,
    ) -> Result<Vec<Bytes>, CliError> {
        let shape = self.shape;
        let (connections, in_flight) = STOCKING;
        let stocking = Load {
            connections,
            values: 1,
            ..load.clone()
        };
        let at_once = in_flight.min(((1 << 30) / shape.size).max(1));
        let workers = match work {
            Work::Upload => connections,
            _ => connections * at_once,
        };
        let sources = self.sources(work, before, workers);
        let sources: Sources = Arc::new(sources.map(|it| Mutex::new(it.collecting())).collect());
        let label = format!("storing {} values", shape.keys);
        let end = End::Count(shape.keys);
        flawless(self.progress, &label, &stocking, &sources, end).await?;
        let keys = sources.iter().flat_map(|source| lock(source).take_keys());
        Ok(keys.collect())
    }

    fn duplicates(&self) -> Stock {
        let shape = self.shape;
        let values = (0..shape.keys).map(|_| {
            let mut one = Ring::new(shape.kind, shape.size, 1, self.stamps.clone());
            let (data, sum64) = one.fresh();
            Item {
                data,
                sum64,
                ..Item::default()
            }
        });
        Stock {
            duplicates: values.collect(),
            ..Stock::default()
        }
    }

    /// A large value of which the client knows digest and chunks, and which the server has.
    async fn resent(&self, load: &Load) -> Result<Stock, CliError> {
        self.progress.message("storing a large value".to_owned());
        let path = self.scratch.path().join("large");
        let file_error = |error| CliError::file("write", &path, error);
        self.write_large(&path).map_err(file_error)?;
        let outline = Outline::of(&path, self.progress)?;
        let file = File::open(&path).map_err(file_error)?;
        let size = self.shape.size as u64;
        let mut lane = Lane::connect(&load.address, load.protocol).await?;
        let key = match self.shape.user_keys {
            true => Bytes::from_static(b"bench-large"),
            false => Bytes::new(),
        };
        lane.call(Call::Upload(key, size, Box::new(pieces_of(file))))
            .await?;
        std::fs::remove_file(&path).map_err(file_error)?;
        Ok(Stock {
            resent: Arc::new((outline.digest, outline.chunks)),
            ..Stock::default()
        })
    }

    fn write_large(&self, path: &Path) -> io::Result<()> {
        let mut file = File::create(path)?;
        let ring = PieceRing::new(self.shape.kind, self.stamps.clone());
        for piece in ring.value(self.shape.size as u64) {
            file.write_all(&piece)?;
        }
        Ok(())
    }
}

/// The pieces of a file. One that cannot be read ends before its end, which the server notices.
fn pieces_of(mut file: File) -> impl Iterator<Item = Bytes> + Send {
    std::iter::from_fn(move || {
        let mut piece = Vec::with_capacity(PIECE_SIZE_MAX);
        let read = (&mut file).take(PIECE_SIZE_MAX as u64);
        let read = { read }.read_to_end(&mut piece).unwrap_or(0);
        (read > 0).then(|| Bytes::from(piece))
    })
}
