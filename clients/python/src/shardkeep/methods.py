"""The calls of the protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from .v1 import key_value_pb2 as pb

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


PUT = _key_value("Put", pb.PutRequest, pb.PutResponse)
GET = _key_value("Get", pb.GetRequest, pb.GetResponse)
HEAD = _key_value("Head", pb.HeadRequest, pb.HeadResponse)
BATCH_GET = _key_value("BatchGet", pb.BatchGetRequest, pb.BatchGetResponse)
DELETE = _key_value("Delete", pb.DeleteRequest, pb.DeleteResponse)
TOUCH = _key_value("Touch", pb.TouchRequest, pb.TouchResponse)
INCREMENT = _key_value("Increment", pb.IncrementRequest, pb.IncrementResponse)
SCAN = _key_value("Scan", pb.ScanRequest, pb.ScanResponse)
STREAM_SCAN = _key_value("StreamScan", pb.StreamScanRequest, pb.StreamScanResponse)
