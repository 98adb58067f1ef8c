//! The admission over bodies that a test drives, without a network.

use super::*;
use bytes::Bytes;
use http_body::Frame;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;

const MIB: usize = 1 << 20;
const LONG: Duration = Duration::from_secs(600);

fn gate(capacity: usize, wait_max: Duration, request_timeout: Duration) -> Arc<Gate> {
    let budget = || ByteBudget::new(capacity as u64, wait_max);
    Arc::new(Gate {
        requests: budget(),
        delivery: Delivery::new(budget(), LONG),
        request_timeout,
        value_size_max: 16 * MIB as u64,
        message_size_max: 17 * MIB,
    })
}

/// A service that reads its request whole, counts those it is serving, and holds each until it is
/// let go.
#[derive(Clone)]
struct Reader {
    serving: Arc<AtomicUsize>,
    let_go: Arc<tokio::sync::Semaphore>,
}

impl Reader {
    fn new(let_go: usize) -> Self {
        Self {
            serving: Arc::default(),
            let_go: Arc::new(tokio::sync::Semaphore::new(let_go)),
        }
    }
}

impl Service<Request<Body>> for Reader {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            this.serving.fetch_add(1, Ordering::SeqCst);
            let size = match request.into_body().collect().await {
                Ok(whole) => whole.to_bytes().len(),
                Err(status) => return Ok(status.into_http()),
            };
            this.let_go.acquire().await.unwrap().forget();
            Ok(Response::builder()
                .header("size", size)
                .body(Body::empty())
                .unwrap())
        })
    }
}

/// A body whose frames the test sends one by one.
fn driven() -> (mpsc::UnboundedSender<Result<Frame<Bytes>, Status>>, Body) {
    let (sender, frames) = mpsc::unbounded_channel();
    let frames = tokio_stream::wrappers::UnboundedReceiverStream::new(frames);
    (sender, Body::new(http_body_util::StreamBody::new(frames)))
}

fn prefix(len: usize) -> Result<Frame<Bytes>, Status> {
    let mut prefix = vec![0];
    prefix.extend_from_slice(&u32::try_from(len).unwrap().to_be_bytes());
    Ok(Frame::data(prefix.into()))
}

fn data(len: usize) -> Result<Frame<Bytes>, Status> {
    Ok(Frame::data(vec![7; len].into()))
}

fn request(path: &str, body: Body) -> Request<Body> {
    Request::builder().uri(path).body(body).unwrap()
}

fn status_of(reply: &Response<Body>) -> Status {
    Status::from_header_map(reply.headers()).expect("a failed call says so in its headers")
}

async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_second_of_two_messages_that_do_not_fit_together_waits_for_the_first() {
    let reader = Reader::new(0);
    let admitted = Admitted::new(reader.clone(), gate(16 * MIB, LONG, LONG));
    let mut replies = Vec::new();
    for _ in 0..2 {
        let (frames, body) = driven();
        let mut admitted = admitted.clone();
        replies.push(tokio::spawn(async move {
            admitted.call(request("/Badger/Set", body)).await.unwrap()
        }));
        frames.send(prefix(10 * MIB)).unwrap();
        frames.send(data(10 * MIB)).unwrap();
    }
    settle().await;
    assert_eq!(reader.serving.load(Ordering::SeqCst), 1);
    reader.let_go.add_permits(2);
    for reply in replies {
        assert_eq!(reply.await.unwrap().headers()["size"], "10485765");
    }
}

#[tokio::test]
async fn the_message_is_not_read_before_its_bytes_are_given() {
    let gate = gate(16 * MIB, LONG, LONG);
    let all = gate.requests.take(14 * MIB, 0).await.unwrap();
    let mut admitted = Admitted::new(Reader::new(1), Arc::clone(&gate));
    let (frames, body) = driven();
    let reply = tokio::spawn(async move { admitted.call(request("/Badger/Set", body)).await });
    frames.send(prefix(MIB)).unwrap();
    settle().await;
    let unread = Arc::new(());
    let held = Bytes::from_owner(Held(vec![7; MIB], Arc::clone(&unread)));
    frames.send(Ok(Frame::data(held))).unwrap();
    drop(frames);
    settle().await;
    assert_eq!(Arc::strong_count(&unread), 2, "the frame was read early");
    drop(all);
    let reply = reply.await.unwrap().unwrap();
    assert_eq!(reply.headers()["size"], "1048581");
}

struct Held(Vec<u8>, #[allow(dead_code)] Arc<()>);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[tokio::test]
async fn a_get_is_served_while_uploads_fill_the_budget() {
    let gate = gate(16 * MIB, LONG, LONG);
    let _all = gate.requests.take(14 * MIB, 0).await.unwrap();
    let mut admitted = Admitted::new(Reader::new(1), gate);
    let (frames, body) = driven();
    frames.send(prefix(3)).unwrap();
    frames.send(data(3)).unwrap();
    drop(frames);
    let reply = admitted.call(request("/Badger/Get", body)).await.unwrap();
    assert_eq!(reply.headers()["size"], "8");
}

#[tokio::test]
async fn who_gets_no_bytes_in_time_is_told_resource_exhausted() {
    let gate = gate(16 * MIB, Duration::from_millis(20), LONG);
    let _all = gate.requests.take(14 * MIB, 0).await.unwrap();
    let mut admitted = Admitted::new(Reader::new(1), gate);
    let (frames, body) = driven();
    frames.send(prefix(MIB)).unwrap();
    let reply = admitted.call(request("/Badger/Set", body)).await.unwrap();
    let status = status_of(&reply);
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    assert!(status.message().contains("admission.bytes_in_flight"));
}

#[tokio::test]
async fn a_client_that_stops_in_the_middle_of_its_message_gives_its_bytes_back_at_the_deadline() {
    let gate = gate(16 * MIB, LONG, Duration::from_millis(50));
    let mut admitted = Admitted::new(Reader::new(1), Arc::clone(&gate));
    let (frames, body) = driven();
    frames.send(prefix(14 * MIB)).unwrap();
    frames.send(data(100)).unwrap();
    let reply = admitted.call(request("/Badger/Set", body)).await.unwrap();
    assert_eq!(status_of(&reply).code(), tonic::Code::DeadlineExceeded);
    assert!(gate.requests.take(14 * MIB, 0).await.is_ok());
}

#[tokio::test]
async fn a_request_that_never_begins_its_message_ends_at_its_own_deadline() {
    for path in ["/Badger/Set", "/Badger/Admin"] {
        let mut admitted = Admitted::new(Reader::new(1), gate(16 * MIB, LONG, LONG));
        let (_frames, body) = driven();
        let mut request = request(path, body);
        let timeout = "20m".parse().unwrap();
        request.headers_mut().insert("grpc-timeout", timeout);
        let reply = admitted.call(request).await.unwrap();
        assert_eq!(status_of(&reply).code(), tonic::Code::DeadlineExceeded);
    }
}

#[tokio::test]
async fn an_admin_call_may_take_longer_than_the_default_deadline_once_it_is_read() {
    let reader = Reader::new(0);
    let mut admitted = Admitted::new(
        reader.clone(),
        gate(16 * MIB, LONG, Duration::from_millis(20)),
    );
    let (frames, body) = driven();
    frames.send(prefix(3)).unwrap();
    frames.send(data(3)).unwrap();
    drop(frames);
    let reply = tokio::spawn(admitted.call(request("/Badger/Admin", body)));
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert!(!reply.is_finished());
    reader.let_go.add_permits(1);
    assert_eq!(reply.await.unwrap().unwrap().headers()["size"], "8");
}

#[tokio::test]
async fn a_message_over_the_limit_is_answered_without_reading_it() {
    let reader = Reader::new(1);
    let mut admitted = Admitted::new(reader.clone(), gate(16 * MIB, LONG, LONG));
    let (frames, body) = driven();
    frames.send(prefix(17 * MIB + 1)).unwrap();
    let reply = admitted.call(request("/Badger/Set", body)).await.unwrap();
    let body = reply.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
    let message = body.to_bytes();
    let reply: crate::proto::zstdb::ItemReply = prost::Message::decode(&message[5..]).unwrap();
    assert_eq!(reply.errcode, 500);
    assert!(reply.key.is_empty());
    assert!(reply.status.starts_with(b"value too large: "));

    let (frames, body) = driven();
    frames.send(prefix(17 * MIB + 1)).unwrap();
    let reply = admitted.call(request("/Badger/Get", body)).await.unwrap();
    assert_eq!(status_of(&reply).code(), tonic::Code::OutOfRange);
    assert_eq!(reader.serving.load(Ordering::SeqCst), 0);
}
