from shardkeep.v1 import key_value_pb2 as _key_value_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class UploadRequest(_message.Message):
    __slots__ = ("header", "data")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    header: UploadHeader
    data: bytes
    def __init__(self, header: _Optional[_Union[UploadHeader, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class UploadHeader(_message.Message):
    __slots__ = ("namespace", "key", "condition", "expiry", "size", "sum64", "digest", "value_type", "metadata", "request_id", "only_run")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    EXPIRY_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SUM64_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    VALUE_TYPE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ONLY_RUN_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    key: bytes
    condition: _key_value_pb2.Condition
    expiry: _key_value_pb2.Expiry
    size: int
    sum64: int
    digest: bytes
    value_type: _key_value_pb2.ValueType
    metadata: _containers.ScalarMap[str, str]
    request_id: str
    only_run: int
    def __init__(self, namespace: _Optional[str] = ..., key: _Optional[bytes] = ..., condition: _Optional[_Union[_key_value_pb2.Condition, _Mapping]] = ..., expiry: _Optional[_Union[_key_value_pb2.Expiry, _Mapping]] = ..., size: _Optional[int] = ..., sum64: _Optional[int] = ..., digest: _Optional[bytes] = ..., value_type: _Optional[_Union[_key_value_pb2.ValueType, str]] = ..., metadata: _Optional[_Mapping[str, str]] = ..., request_id: _Optional[str] = ..., only_run: _Optional[int] = ...) -> None: ...

class UploadResponse(_message.Message):
    __slots__ = ("put", "size", "sum64", "new_bytes")
    PUT_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SUM64_FIELD_NUMBER: _ClassVar[int]
    NEW_BYTES_FIELD_NUMBER: _ClassVar[int]
    put: _key_value_pb2.PutResponse
    size: int
    sum64: int
    new_bytes: int
    def __init__(self, put: _Optional[_Union[_key_value_pb2.PutResponse, _Mapping]] = ..., size: _Optional[int] = ..., sum64: _Optional[int] = ..., new_bytes: _Optional[int] = ...) -> None: ...

class DownloadRequest(_message.Message):
    __slots__ = ("namespace", "key", "range", "snapshot")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    key: bytes
    range: _key_value_pb2.ByteRange
    snapshot: str
    def __init__(self, namespace: _Optional[str] = ..., key: _Optional[bytes] = ..., range: _Optional[_Union[_key_value_pb2.ByteRange, _Mapping]] = ..., snapshot: _Optional[str] = ...) -> None: ...

class DownloadResponse(_message.Message):
    __slots__ = ("entry", "data")
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    entry: _key_value_pb2.Entry
    data: bytes
    def __init__(self, entry: _Optional[_Union[_key_value_pb2.Entry, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class FindMissingRequest(_message.Message):
    __slots__ = ("digests",)
    DIGESTS_FIELD_NUMBER: _ClassVar[int]
    digests: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, digests: _Optional[_Iterable[bytes]] = ...) -> None: ...

class FindMissingResponse(_message.Message):
    __slots__ = ("missing_digests",)
    MISSING_DIGESTS_FIELD_NUMBER: _ClassVar[int]
    missing_digests: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, missing_digests: _Optional[_Iterable[bytes]] = ...) -> None: ...

class UploadChunksRequest(_message.Message):
    __slots__ = ("data", "digest")
    DATA_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    digest: bytes
    def __init__(self, data: _Optional[bytes] = ..., digest: _Optional[bytes] = ...) -> None: ...

class UploadChunksResponse(_message.Message):
    __slots__ = ("chunk_count", "new_bytes")
    CHUNK_COUNT_FIELD_NUMBER: _ClassVar[int]
    NEW_BYTES_FIELD_NUMBER: _ClassVar[int]
    chunk_count: int
    new_bytes: int
    def __init__(self, chunk_count: _Optional[int] = ..., new_bytes: _Optional[int] = ...) -> None: ...

class PutContentRequest(_message.Message):
    __slots__ = ("namespace", "key", "condition", "expiry", "digest", "chunks", "size", "sum64", "value_type", "metadata", "request_id", "only_run")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    EXPIRY_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SUM64_FIELD_NUMBER: _ClassVar[int]
    VALUE_TYPE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ONLY_RUN_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    key: bytes
    condition: _key_value_pb2.Condition
    expiry: _key_value_pb2.Expiry
    digest: bytes
    chunks: _containers.RepeatedCompositeFieldContainer[Chunk]
    size: int
    sum64: int
    value_type: _key_value_pb2.ValueType
    metadata: _containers.ScalarMap[str, str]
    request_id: str
    only_run: int
    def __init__(self, namespace: _Optional[str] = ..., key: _Optional[bytes] = ..., condition: _Optional[_Union[_key_value_pb2.Condition, _Mapping]] = ..., expiry: _Optional[_Union[_key_value_pb2.Expiry, _Mapping]] = ..., digest: _Optional[bytes] = ..., chunks: _Optional[_Iterable[_Union[Chunk, _Mapping]]] = ..., size: _Optional[int] = ..., sum64: _Optional[int] = ..., value_type: _Optional[_Union[_key_value_pb2.ValueType, str]] = ..., metadata: _Optional[_Mapping[str, str]] = ..., request_id: _Optional[str] = ..., only_run: _Optional[int] = ...) -> None: ...

class Chunk(_message.Message):
    __slots__ = ("digest", "size")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    digest: bytes
    size: int
    def __init__(self, digest: _Optional[bytes] = ..., size: _Optional[int] = ...) -> None: ...

class PutContentResponse(_message.Message):
    __slots__ = ("put", "size", "sum64")
    PUT_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SUM64_FIELD_NUMBER: _ClassVar[int]
    put: _key_value_pb2.PutResponse
    size: int
    sum64: int
    def __init__(self, put: _Optional[_Union[_key_value_pb2.PutResponse, _Mapping]] = ..., size: _Optional[int] = ..., sum64: _Optional[int] = ...) -> None: ...
