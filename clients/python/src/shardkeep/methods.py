"""The calls of the protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from .v1 import admin_pb2, backup_pb2, blob_pb2, snapshot_pb2, transaction_pb2, watch_pb2
from .v1 import key_value_pb2 as pb
from .v1 import namespace_pb2 as ns

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


@dataclass(frozen=True)
class Method(Generic[Request, Response]):
    """A call: where it goes, what it takes and what it gives."""

    path: str
    request: type[Request]
    response: type[Response]


def _key_value(
    name: str, request: type[Request], response: type[Response]
) -> Method[Request, Response]:
    return Method(f"/shardkeep.v1.KeyValueService/{name}", request, response)


def _snapshot(
    name: str, request: type[Request], response: type[Response]
) -> Method[Request, Response]:
    return Method(f"/shardkeep.v1.SnapshotService/{name}", request, response)


def _admin(
    name: str, request: type[Request], response: type[Response]
) -> Method[Request, Response]:
    return Method(f"/shardkeep.v1.AdminService/{name}", request, response)


def _backup(
    name: str, request: type[Request], response: type[Response]
) -> Method[Request, Response]:
    return Method(f"/shardkeep.v1.BackupService/{name}", request, response)


def _namespace(
    name: str, request: type[Request], response: type[Response]
) -> Method[Request, Response]:
    return Method(f"/shardkeep.v1.NamespaceService/{name}", request, response)


PUT = _key_value("Put", pb.PutRequest, pb.PutResponse)
GET = _key_value("Get", pb.GetRequest, pb.GetResponse)
HEAD = _key_value("Head", pb.HeadRequest, pb.HeadResponse)
BATCH_GET = _key_value("BatchGet", pb.BatchGetRequest, pb.BatchGetResponse)
DELETE = _key_value("Delete", pb.DeleteRequest, pb.DeleteResponse)
DELETE_RANGE = _key_value("DeleteRange", pb.DeleteRangeRequest, pb.DeleteRangeResponse)
TOUCH = _key_value("Touch", pb.TouchRequest, pb.TouchResponse)
INCREMENT = _key_value("Increment", pb.IncrementRequest, pb.IncrementResponse)
SCAN = _key_value("Scan", pb.ScanRequest, pb.ScanResponse)
STREAM_SCAN = _key_value("StreamScan", pb.StreamScanRequest, pb.StreamScanResponse)

CREATE_SNAPSHOT = _snapshot(
    "CreateSnapshot", snapshot_pb2.CreateSnapshotRequest, snapshot_pb2.Snapshot
)
RENEW_SNAPSHOT = _snapshot(
    "RenewSnapshot", snapshot_pb2.RenewSnapshotRequest, snapshot_pb2.Snapshot
)
DELETE_SNAPSHOT = _snapshot(
    "DeleteSnapshot", snapshot_pb2.DeleteSnapshotRequest, snapshot_pb2.DeleteSnapshotResponse
)

GET_STATS = _admin("GetStats", admin_pb2.GetStatsRequest, admin_pb2.Stats)
GET_SETTINGS = _admin("GetSettings", admin_pb2.GetSettingsRequest, admin_pb2.Settings)
UPDATE_SETTINGS = _admin("UpdateSettings", admin_pb2.UpdateSettingsRequest, admin_pb2.Settings)
SYNC = _admin("Sync", admin_pb2.SyncRequest, admin_pb2.SyncResponse)
COMPACT = _admin("Compact", admin_pb2.CompactRequest, admin_pb2.CompactResponse)
PURGE_TOMBSTONES = _admin(
    "PurgeTombstones", admin_pb2.PurgeTombstonesRequest, admin_pb2.PurgeTombstonesResponse
)
VERIFY = _admin("Verify", admin_pb2.VerifyRequest, admin_pb2.VerifyResponse)
GET_SCRUB_REPORT = _admin(
    "GetScrubReport", admin_pb2.GetScrubReportRequest, admin_pb2.ScrubReport
)
STOP = _admin("Stop", admin_pb2.StopRequest, admin_pb2.StopResponse)

CREATE_BACKUP = _backup(
    "CreateBackup", backup_pb2.CreateBackupRequest, backup_pb2.CreateBackupResponse
)
LIST_BACKUPS = _backup(
    "ListBackups", backup_pb2.ListBackupsRequest, backup_pb2.ListBackupsResponse
)
VERIFY_BACKUP = _backup(
    "VerifyBackup", backup_pb2.VerifyBackupRequest, backup_pb2.VerifyBackupResponse
)
DELETE_BACKUP = _backup(
    "DeleteBackup", backup_pb2.DeleteBackupRequest, backup_pb2.DeleteBackupResponse
)
PURGE_BACKUPS = _backup(
    "PurgeBackups", backup_pb2.PurgeBackupsRequest, backup_pb2.PurgeBackupsResponse
)
RESTORE_BACKUP = _backup(
    "RestoreBackup", backup_pb2.RestoreBackupRequest, backup_pb2.RestoreBackupResponse
)

CREATE_NAMESPACE = _namespace("CreateNamespace", ns.CreateNamespaceRequest, ns.Namespace)
GET_NAMESPACE = _namespace("GetNamespace", ns.GetNamespaceRequest, ns.Namespace)
LIST_NAMESPACES = _namespace(
    "ListNamespaces", ns.ListNamespacesRequest, ns.ListNamespacesResponse
)
UPDATE_NAMESPACE = _namespace("UpdateNamespace", ns.UpdateNamespaceRequest, ns.Namespace)
DROP_NAMESPACE = _namespace("DropNamespace", ns.DropNamespaceRequest, ns.DropNamespaceResponse)

COMMIT = Method(
    "/shardkeep.v1.TransactionService/Commit",
    transaction_pb2.CommitRequest,
    transaction_pb2.CommitResponse,
)

UPLOAD = Method(
    "/shardkeep.v1.BlobService/Upload", blob_pb2.UploadRequest, blob_pb2.UploadResponse
)
DOWNLOAD = Method(
    "/shardkeep.v1.BlobService/Download", blob_pb2.DownloadRequest, blob_pb2.DownloadResponse
)
FIND_MISSING = Method(
    "/shardkeep.v1.BlobService/FindMissing",
    blob_pb2.FindMissingRequest,
    blob_pb2.FindMissingResponse,
)
UPLOAD_CHUNKS = Method(
    "/shardkeep.v1.BlobService/UploadChunks",
    blob_pb2.UploadChunksRequest,
    blob_pb2.UploadChunksResponse,
)
PUT_CONTENT = Method(
    "/shardkeep.v1.BlobService/PutContent",
    blob_pb2.PutContentRequest,
    blob_pb2.PutContentResponse,
)

WATCH = Method("/shardkeep.v1.WatchService/Watch", watch_pb2.WatchRequest, watch_pb2.WatchResponse)
