//! Rows, changes and downloads as streams, for programs that combine streams.

use super::{Changes, Download, Result, Row, Rows, Step};
use bytes::Bytes;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio_stream::Stream;

/// A page of keys after the other, and what kept one from coming.
impl Stream for Rows {
    type Item = Result<Vec<Row>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let message = Pin::new(&mut self.messages).poll_next(context);
        Poll::Ready(self.page(ready!(message).transpose()))
    }
}

impl Changes {
    /// The same steps as a stream, which has no end but an error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Step>> + Send + Unpin {
        Turns(Some(self.turn()))
    }
}

impl Download {
    /// The same pieces as a stream, which has ended well when no error was in it.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes>> + Send + Unpin {
        Turns(Some(self.turn()))
    }
}

/// Who has something to tell, turn by turn.
trait Teller: Sized {
    type Told;

    /// One turn: the teller comes back with what it tells, if there is more.
    fn turn(self) -> Turn<Self>;
}

type Turn<T> = Pin<Box<dyn Future<Output = (T, Result<Option<<T as Teller>::Told>>)> + Send>>;

impl Teller for Changes {
    type Told = Step;

    fn turn(mut self) -> Turn<Self> {
        Box::pin(async {
            let told = self.next().await.map(Some);
            (self, told)
        })
    }
}

impl Teller for Download {
    type Told = Bytes;

    fn turn(mut self) -> Turn<Self> {
        Box::pin(async {
            let told = self.next().await;
            (self, told)
        })
    }
}

/// The turns of a teller; `None` behind its end or an error.
struct Turns<T: Teller>(Option<Turn<T>>);

impl<T: Teller> Stream for Turns<T> {
    type Item = Result<T::Told>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(turn) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let (teller, told) = ready!(turn.as_mut().poll(context));
        self.0 = matches!(told, Ok(Some(_))).then(|| teller.turn());
        Poll::Ready(told.transpose())
    }
}
