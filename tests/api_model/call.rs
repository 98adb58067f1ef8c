//! Calls of the API, and their answers, over a real connection.

use crate::client::now;
use crate::held::LEASE;
use crate::large;
use crate::model::millis;
use crate::support::Server;
use crate::switches::Switches;
use bytes::Bytes;
use shardkeep::proto::v1;
use shardkeep::proto::v1::blob_service_client::BlobServiceClient;
use shardkeep::proto::v1::expiry::Expiry;
use shardkeep::proto::v1::key_value_service_client::KeyValueServiceClient;
use shardkeep::proto::v1::namespace_service_client::NamespaceServiceClient;
use shardkeep::proto::v1::operation::Change;
use shardkeep::proto::v1::snapshot_service_client::SnapshotServiceClient;
use shardkeep::proto::v1::transaction_service_client::TransactionServiceClient;
use shardkeep::proto::zstdb::badger_client::BadgerClient;
use shardkeep::proto::zstdb::{Item, ItemReply};
use tonic::transport::Channel;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt as _;

/// What a client can ask for.
#[derive(Debug, Clone)]
pub enum Call {
    Put(v1::PutRequest),
    Get(v1::GetRequest),
    Head(v1::HeadRequest),
    BatchGet(v1::BatchGetRequest),
    Delete(v1::DeleteRequest),
    DeleteRange(v1::DeleteRangeRequest),
    Touch(v1::TouchRequest),
    Increment(v1::IncrementRequest),
    /// Page after page.
    Scan(v1::ScanRequest),
    StreamScan(v1::StreamScanRequest),
    Commit(v1::CommitRequest),
    Upload(v1::UploadHeader, Bytes),
    /// The beginning of a value, and the client goes away.
    UploadInPart(v1::UploadHeader, Bytes),
    /// Of so many of the large values: what is missing of it, then the put.
    PutContent(v1::PutContentRequest, usize),
    Download(v1::DownloadRequest),
    TakeSnapshot,
    RenewSnapshot(String),
    DropSnapshot(String),
    ListSnapshots,
    Measure(v1::MeasureRequest),
    UpdateNamespace(v1::UpdateNamespaceRequest),
    GetNamespace(String),
    /// Page after page of this size.
    ListNamespaces(i32),
    ZstdbSet(Item),
    ZstdbGet(Item),
    ZstdbDelete(Item),
}

/// What came back.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Put(v1::PutResponse),
    Get(v1::GetResponse),
    Head(v1::HeadResponse),
    BatchGet(v1::BatchGetResponse),
    Delete(v1::DeleteResponse),
    DeleteRange(v1::DeleteRangeResponse),
    Touch(v1::Entry),
    Increment(v1::IncrementResponse),
    Scan(Vec<v1::ScanResult>),
    Commit(v1::CommitResponse),
    Upload(v1::UploadResponse),
    /// Nobody waited for an answer.
    WentAway,
    PutContent(v1::PutContentResponse),
    Download(Option<v1::Entry>, Bytes),
    Snapshot(v1::Snapshot),
    Renewed(v1::Snapshot),
    Dropped,
    Snapshots(Vec<v1::Snapshot>),
    Measure(v1::MeasureResponse),
    Namespace(v1::Namespace),
    Namespaces(Vec<v1::Namespace>),
    ZstdbSet(ItemReply),
    ZstdbGet(ItemReply),
    ZstdbDelete(ItemReply),
    Failed(Failure),
}

/// A call without an answer of its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// For a reason; nothing has changed.
    Refused(String),
    /// The server is gone, or may be; what was said instead of an answer.
    Unknown(String),
}

/// A client's stubs, on one connection.
#[derive(Clone)]
pub struct Connection {
    pub keys: KeyValueServiceClient<Channel>,
    blobs: BlobServiceClient<Channel>,
    commits: TransactionServiceClient<Channel>,
    snapshots: SnapshotServiceClient<Channel>,
    namespaces: NamespaceServiceClient<Channel>,
    zstdb: BadgerClient<Channel>,
    /// Of this life of the server.
    pub switches: Switches,
}

impl Connection {
    pub async fn to(server: &Server) -> Self {
        let channel = server.channel().await;
        let size_max = 1 << 30;
        Self {
            keys: KeyValueServiceClient::new(channel.clone()).max_decoding_message_size(size_max),
            blobs: BlobServiceClient::new(channel.clone()).max_decoding_message_size(size_max),
            commits: TransactionServiceClient::new(channel.clone()),
            snapshots: SnapshotServiceClient::new(channel.clone()),
            namespaces: NamespaceServiceClient::new(channel.clone()),
            zstdb: BadgerClient::new(channel).max_decoding_message_size(size_max),
            switches: Switches::default(),
        }
    }

    /// The same, beside somebody who switches.
    pub fn beside(self, switches: &Switches) -> Self {
        Self {
            switches: switches.clone(),
            ..self
        }
    }

    /// Asks, and asks again under the same request id if there is one: the answer must be the same.
    pub async fn ask(&mut self, call: &Call) -> Result<Answer, String> {
        let first = self.answer(call).await;
        if !call.is_named() || matches!(first, Answer::Failed(_)) {
            return Ok(first);
        }
        let begun = now();
        match self.answer(call).await {
            Answer::Failed(Failure::Unknown(_)) => Ok(first),
            again if again == first => Ok(first),
            again if self.switches.explain(call, &again, (begun, now())) => Ok(first),
            again => Err(format!("{first:?}, and then {again:?}")),
        }
    }

    pub async fn answer(&mut self, call: &Call) -> Answer {
        self.try_answer(call)
            .await
            .unwrap_or_else(|status| Answer::Failed(failure(&status)))
    }

    async fn try_answer(&mut self, call: &Call) -> Result<Answer, Status> {
        let into = Response::into_inner;
        let (keys, blobs, zstdb) = (&mut self.keys, &mut self.blobs, &mut self.zstdb);
        Ok(match call.clone() {
            Call::Put(it) => Answer::Put(keys.put(it).await.map(into)?),
            Call::Get(it) => Answer::Get(keys.get(it).await?.into_inner()),
            Call::Head(it) => Answer::Head(keys.head(it).await?.into_inner()),
            Call::BatchGet(it) => Answer::BatchGet(keys.batch_get(it).await?.into_inner()),
            Call::Delete(it) => Answer::Delete(keys.delete(it).await?.into_inner()),
            Call::DeleteRange(it) => Answer::DeleteRange(keys.delete_range(it).await?.into_inner()),
            Call::Touch(it) => {
                let touched = keys.touch(it).await?.into_inner();
                Answer::Touch(touched.entry.unwrap_or_default())
            }
            Call::Increment(it) => Answer::Increment(keys.increment(it).await?.into_inner()),
            Call::Scan(it) => Answer::Scan(self.pages(it).await?),
            Call::StreamScan(it) => {
                let mut stream = keys.stream_scan(it).await?.into_inner();
                let mut results = Vec::new();
                while let Some(message) = stream.message().await? {
                    results.extend(message.results);
                }
                Answer::Scan(results)
            }
            Call::Commit(it) => Answer::Commit(self.commits.commit(it).await?.into_inner()),
            Call::Upload(header, value) => large::upload(blobs, header, &value).await?,
            Call::UploadInPart(header, part) => large::upload_in_part(blobs, header, part).await?,
            Call::PutContent(it, which) => {
                large::put_content(blobs, it, &large::LARGE[which].chunks).await?
            }
            Call::Download(it) => large::download(blobs, it).await?,
            Call::TakeSnapshot
            | Call::RenewSnapshot(_)
            | Call::DropSnapshot(_)
            | Call::ListSnapshots => self.of_snapshots(call).await?,
            Call::Measure(it) => Answer::Measure(self.measured(it).await?),
            Call::UpdateNamespace(it) => {
                Answer::Namespace(self.namespaces.update_namespace(it).await?.into_inner())
            }
            Call::GetNamespace(name) => {
                let request = v1::GetNamespaceRequest { name };
                Answer::Namespace(self.namespaces.get_namespace(request).await?.into_inner())
            }
            Call::ListNamespaces(page_size) => {
                Answer::Namespaces(self.all_namespaces(page_size).await?)
            }
            Call::ZstdbSet(it) => Answer::ZstdbSet(zstdb.set(it).await?.into_inner()),
            Call::ZstdbGet(it) => Answer::ZstdbGet(zstdb.get(it).await?.into_inner()),
            Call::ZstdbDelete(it) => Answer::ZstdbDelete(zstdb.delete(it).await?.into_inner()),
        })
    }

    async fn of_snapshots(&mut self, call: &Call) -> Result<Answer, Status> {
        let lease = Some(prost_types::Duration {
            seconds: (LEASE / 1000) as i64,
            nanos: 0,
        });
        let snapshots = &mut self.snapshots;
        Ok(match call.clone() {
            Call::RenewSnapshot(id) => {
                let request = v1::RenewSnapshotRequest { id, lease };
                Answer::Renewed(snapshots.renew_snapshot(request).await?.into_inner())
            }
            Call::DropSnapshot(id) => {
                let request = v1::DeleteSnapshotRequest { id };
                snapshots.delete_snapshot(request).await?;
                Answer::Dropped
            }
            Call::ListSnapshots => {
                let request = v1::ListSnapshotsRequest {};
                let listed = snapshots.list_snapshots(request).await?;
                Answer::Snapshots(listed.into_inner().snapshots)
            }
            _ => {
                let request = v1::CreateSnapshotRequest { lease };
                Answer::Snapshot(snapshots.create_snapshot(request).await?.into_inner())
            }
        })
    }

    /// What is told at the end of a measurement, which only grows until then.
    async fn measured(
        &mut self,
        request: v1::MeasureRequest,
    ) -> Result<v1::MeasureResponse, Status> {
        let mut told = self.keys.measure(request).await?.into_inner();
        let mut last = v1::MeasureResponse::default();
        while let Some(now) = told.message().await? {
            if last.whole || now.key_count < last.key_count {
                return Err(Status::internal(format!("{now:?} after {last:?}")));
            }
            last = now;
        }
        Ok(last)
    }

    async fn all_namespaces(&mut self, page_size: i32) -> Result<Vec<v1::Namespace>, Status> {
        let mut request = v1::ListNamespacesRequest {
            page_size,
            page_token: String::new(),
        };
        let mut all = Vec::new();
        loop {
            let page = self.namespaces.list_namespaces(request.clone()).await?;
            let page = page.into_inner();
            if page.namespaces.len() as i32 > page_size {
                return Err(Status::internal(format!("a page of {page:?}")));
            }
            all.extend(page.namespaces);
            if page.next_page_token.is_empty() {
                return Ok(all);
            }
            request.page_token = page.next_page_token;
        }
    }

    async fn pages(&mut self, mut request: v1::ScanRequest) -> Result<Vec<v1::ScanResult>, Status> {
        let mut results = Vec::new();
        loop {
            let page = self.keys.scan(request.clone()).await?.into_inner();
            let count = page.results.len() as i32;
            if count > request.page_size || count == 0 && !page.next_page_token.is_empty() {
                return Err(Status::internal(format!("a page of {count} keys")));
            }
            results.extend(page.results);
            if page.next_page_token.is_empty() {
                return Ok(results);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// What is there now under some keys of a namespace.
    pub async fn entries(
        &mut self,
        namespace: &str,
        keys: Vec<Bytes>,
    ) -> Result<Vec<v1::Entry>, Status> {
        let request = v1::BatchGetRequest {
            namespace: namespace.to_owned(),
            keys,
            entries_only: true,
            snapshot: String::new(),
            range: None,
        };
        let found = self.keys.batch_get(request).await?.into_inner();
        Ok(found
            .results
            .into_iter()
            .filter_map(|it| it.entry)
            .collect())
    }
}

impl Call {
    /// The put that it is, whatever way its value goes.
    pub fn as_put(&self) -> Option<v1::PutRequest> {
        match self {
            Self::Put(put) => Some(put.clone()),
            Self::Upload(header, value) => Some(large::put_of_upload(header, value)),
            Self::PutContent(request, which) => Some(large::put_of_content(request, *which)),
            _ => None,
        }
    }

    /// The first moment, in milliseconds since 1970, at which something of it is to expire: from
    /// then on it may be refused.
    pub fn first_expiry(&self) -> Option<u64> {
        let expiries: Vec<&Option<v1::Expiry>> = match self {
            Self::Put(it) => vec![&it.expiry],
            Self::Upload(it, _) | Self::UploadInPart(it, _) => vec![&it.expiry],
            Self::PutContent(it, _) => vec![&it.expiry],
            Self::Touch(it) => vec![&it.expiry],
            Self::Commit(it) => {
                let all = it.operations.iter().chain(&it.else_operations);
                let expiries = all.filter_map(|it| match &it.change {
                    Some(Change::Put(put)) => Some(&put.expiry),
                    Some(Change::Touch(touch)) => Some(&touch.expiry),
                    _ => None,
                });
                expiries.collect()
            }
            _ => Vec::new(),
        };
        let moments = expiries
            .into_iter()
            .flatten()
            .filter_map(|it| match &it.expiry {
                Some(Expiry::ExpireTime(time)) => Some(millis(time)),
                _ => None,
            });
        moments.min()
    }

    fn request_id(&self) -> Option<&str> {
        match self {
            Self::Put(it) => Some(&it.request_id),
            Self::PutContent(it, _) => Some(&it.request_id),
            Self::Upload(it, _) => Some(&it.request_id),
            Self::DeleteRange(it) => Some(&it.request_id),
            Self::Delete(it) => Some(&it.request_id),
            Self::Touch(it) => Some(&it.request_id),
            Self::Increment(it) => Some(&it.request_id),
            Self::Commit(it) => Some(&it.request_id),
            _ => None,
        }
    }

    /// Whether it is done once however often it is sent, as long as the server runs.
    pub fn is_named(&self) -> bool {
        self.request_id().is_some_and(|id| !id.is_empty())
    }

    /// The same, for one run of the server only; `None` where that cannot be asked for.
    pub fn only(&self, run: u64) -> Option<Self> {
        let mut call = self.clone();
        match &mut call {
            Self::Put(it) => it.only_run = run,
            Self::PutContent(it, _) => it.only_run = run,
            Self::Upload(it, _) => it.only_run = run,
            Self::Delete(it) => it.only_run = run,
            Self::DeleteRange(it) => it.only_run = run,
            Self::Touch(it) => it.only_run = run,
            Self::Increment(it) => it.only_run = run,
            Self::Commit(it) => it.only_run = run,
            _ => return None,
        }
        Some(call)
    }
}

impl Answer {
    /// The run of the server that gave it, where it tells.
    pub fn run(&self) -> Option<u64> {
        match self {
            Self::Put(it) => Some(it.run),
            Self::Upload(it) => it.put.as_ref().map(|put| put.run),
            Self::PutContent(it) => it.put.as_ref().map(|put| put.run),
            Self::Delete(it) => Some(it.run),
            Self::DeleteRange(it) => Some(it.run),
            Self::Increment(it) => Some(it.run),
            Self::Commit(it) => Some(it.run),
            _ => None,
        }
    }
}

/// A refusal has a reason; whatever else ends a call leaves its outcome open.
fn failure(status: &Status) -> Failure {
    let details = status.get_error_details();
    match (status.code(), details.error_info()) {
        (Code::Unavailable | Code::Unknown | Code::Cancelled, _) | (_, None) => {
            Failure::Unknown(format!("{status:?}"))
        }
        (_, Some(info)) => Failure::Refused(info.reason.clone()),
    }
}
