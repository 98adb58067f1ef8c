import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ValueType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VALUE_TYPE_UNSPECIFIED: _ClassVar[ValueType]
    VALUE_TYPE_BYTES: _ClassVar[ValueType]
    VALUE_TYPE_TEXT: _ClassVar[ValueType]
    VALUE_TYPE_INT64: _ClassVar[ValueType]
    VALUE_TYPE_DOUBLE: _ClassVar[ValueType]
    VALUE_TYPE_BOOL: _ClassVar[ValueType]
    VALUE_TYPE_JSON: _ClassVar[ValueType]
VALUE_TYPE_UNSPECIFIED: ValueType
VALUE_TYPE_BYTES: ValueType
VALUE_TYPE_TEXT: ValueType
VALUE_TYPE_INT64: ValueType
VALUE_TYPE_DOUBLE: ValueType
VALUE_TYPE_BOOL: ValueType
VALUE_TYPE_JSON: ValueType

class Condition(_message.Message):
    __slots__ = ("absent", "present", "version", "digest")
    ABSENT_FIELD_NUMBER: _ClassVar[int]
    PRESENT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    absent: bool
    present: bool
    version: int
    digest: bytes
    def __init__(self, absent: bool = ..., present: bool = ..., version: _Optional[int] = ..., digest: _Optional[bytes] = ...) -> None: ...

class Expiry(_message.Message):
    __slots__ = ("ttl", "expire_time", "keep")
    TTL_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    KEEP_FIELD_NUMBER: _ClassVar[int]
    ttl: _duration_pb2.Duration
    expire_time: _timestamp_pb2.Timestamp
    keep: bool
    def __init__(self, ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., keep: bool = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("key", "version", "size", "sum64", "digest", "expire_time", "value_type", "metadata")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    KEY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SUM64_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    VALUE_TYPE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    version: int
    size: int
    sum64: int
    digest: bytes
    expire_time: _timestamp_pb2.Timestamp
    value_type: ValueType
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, key: _Optional[bytes] = ..., version: _Optional[int] = ..., size: _Optional[int] = ..., sum64: _Optional[int] = ..., digest: _Optional[bytes] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., value_type: _Optional[_Union[ValueType, str]] = ..., metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...

class PutRequest(_message.Message):
    __slots__ = ("namespace", "key", "value", "condition", "expiry", "sum64", "digest", "value_type", "metadata", "request_id", "only_run")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    EXPIRY_FIELD_NUMBER: _ClassVar[int]
    SUM64_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    VALUE_TYPE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ONLY_RUN_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    key: bytes
    value: bytes
    condition: Condition
    expiry: Expiry
    sum64: int
    digest: bytes
    value_type: ValueType
    metadata: _containers.ScalarMap[str, str]
    request_id: str
    only_run: int
    def __init__(self, namespace: _Optional[str] = ..., key: _Optional[bytes] = ..., value: _Optional[bytes] = ..., condition: _Optional[_Union[Condition, _Mapping]] = ..., expiry: _Optional[_Union[Expiry, _Mapping]] = ..., sum64: _Optional[int] = ..., digest: _Optional[bytes] = ..., value_type: _Optional[_Union[ValueType, str]] = ..., metadata: _Optional[_Mapping[str, str]] = ..., request_id: _Optional[str] = ..., only_run: _Optional[int] = ...) -> None: ...

class PutResponse(_message.Message):
    __slots__ = ("key", "version", "digest", "created", "deduplicated", "previous_version", "run")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    DEDUPLICATED_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_VERSION_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    version: int
    digest: bytes
    created: bool
    deduplicated: bool
    previous_version: int
    run: int
    def __init__(self, key: _Optional[bytes] = ..., version: _Optional[int] = ..., digest: _Optional[bytes] = ..., created: bool = ..., deduplicated: bool = ..., previous_version: _Optional[int] = ..., run: _Optional[int] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("namespace", "key", "range", "snapshot")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    key: bytes
    range: ByteRange
    snapshot: str
    def __init__(self, namespace: _Optional[str] = ..., key: _Optional[bytes] = ..., range: _Optional[_Union[ByteRange, _Mapping]] = ..., snapshot: _Optional[str] = ...) -> None: ...

class ByteRange(_message.Message):
    __slots__ = ("offset", "length")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    offset: int
    length: int
    def __init__(self, offset: _Optional[int] = ..., length: _Optional[int] = ...) -> None: ...

class GetResponse(_message.Message):
    __slots__ = ("entry", "value")
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    entry: Entry
    value: bytes
    def __init__(self, entry: _Optional[_Union[Entry, _Mapping]] = ..., value: _Optional[bytes] = ...) -> None: ...

class HeadRequest(_message.Message):
    __slots__ = ("namespace", "key", "snapshot")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    key: bytes
    snapshot: str
    def __init__(self, namespace: _Optional[str] = ..., key: _Optional[bytes] = ..., snapshot: _Optional[str] = ...) -> None: ...

class HeadResponse(_message.Message):
    __slots__ = ("entry",)
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    entry: Entry
    def __init__(self, entry: _Optional[_Union[Entry, _Mapping]] = ...) -> None: ...

class BatchGetRequest(_message.Message):
    __slots__ = ("namespace", "keys", "entries_only", "snapshot", "range")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_ONLY_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    keys: _containers.RepeatedScalarFieldContainer[bytes]
    entries_only: bool
    snapshot: str
    range: ByteRange
    def __init__(self, namespace: _Optional[str] = ..., keys: _Optional[_Iterable[bytes]] = ..., entries_only: bool = ..., snapshot: _Optional[str] = ..., range: _Optional[_Union[ByteRange, _Mapping]] = ...) -> None: ...

class BatchGetResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[BatchGetResult]
    def __init__(self, results: _Optional[_Iterable[_Union[BatchGetResult, _Mapping]]] = ...) -> None: ...

class BatchGetResult(_message.Message):
    __slots__ = ("entry", "value")
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    entry: Entry
    value: bytes
    def __init__(self, entry: _Optional[_Union[Entry, _Mapping]] = ..., value: _Optional[bytes] = ...) -> None: ...

class DeleteRequest(_message.Message):
    __slots__ = ("namespace", "key", "condition", "request_id", "only_run")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ONLY_RUN_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    key: bytes
    condition: Condition
    request_id: str
    only_run: int
    def __init__(self, namespace: _Optional[str] = ..., key: _Optional[bytes] = ..., condition: _Optional[_Union[Condition, _Mapping]] = ..., request_id: _Optional[str] = ..., only_run: _Optional[int] = ...) -> None: ...

class DeleteResponse(_message.Message):
    __slots__ = ("deleted", "version", "previous_version", "run")
    DELETED_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_VERSION_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    deleted: bool
    version: int
    previous_version: int
    run: int
    def __init__(self, deleted: bool = ..., version: _Optional[int] = ..., previous_version: _Optional[int] = ..., run: _Optional[int] = ...) -> None: ...

class DeleteRangeRequest(_message.Message):
    __slots__ = ("namespace", "selection", "limit", "page_token", "request_id", "only_run")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ONLY_RUN_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    selection: KeySelection
    limit: int
    page_token: str
    request_id: str
    only_run: int
    def __init__(self, namespace: _Optional[str] = ..., selection: _Optional[_Union[KeySelection, _Mapping]] = ..., limit: _Optional[int] = ..., page_token: _Optional[str] = ..., request_id: _Optional[str] = ..., only_run: _Optional[int] = ...) -> None: ...

class DeleteRangeResponse(_message.Message):
    __slots__ = ("deleted_count", "next_page_token", "run")
    DELETED_COUNT_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    deleted_count: int
    next_page_token: str
    run: int
    def __init__(self, deleted_count: _Optional[int] = ..., next_page_token: _Optional[str] = ..., run: _Optional[int] = ...) -> None: ...

class TouchRequest(_message.Message):
    __slots__ = ("namespace", "key", "expiry", "condition", "request_id", "only_run")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    EXPIRY_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ONLY_RUN_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    key: bytes
    expiry: Expiry
    condition: Condition
    request_id: str
    only_run: int
    def __init__(self, namespace: _Optional[str] = ..., key: _Optional[bytes] = ..., expiry: _Optional[_Union[Expiry, _Mapping]] = ..., condition: _Optional[_Union[Condition, _Mapping]] = ..., request_id: _Optional[str] = ..., only_run: _Optional[int] = ...) -> None: ...

class TouchResponse(_message.Message):
    __slots__ = ("entry", "run")
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    entry: Entry
    run: int
    def __init__(self, entry: _Optional[_Union[Entry, _Mapping]] = ..., run: _Optional[int] = ...) -> None: ...

class IncrementRequest(_message.Message):
    __slots__ = ("namespace", "key", "delta", "initial_value", "condition", "request_id", "only_run")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    INITIAL_VALUE_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ONLY_RUN_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    key: bytes
    delta: int
    initial_value: int
    condition: Condition
    request_id: str
    only_run: int
    def __init__(self, namespace: _Optional[str] = ..., key: _Optional[bytes] = ..., delta: _Optional[int] = ..., initial_value: _Optional[int] = ..., condition: _Optional[_Union[Condition, _Mapping]] = ..., request_id: _Optional[str] = ..., only_run: _Optional[int] = ...) -> None: ...

class IncrementResponse(_message.Message):
    __slots__ = ("value", "version", "run")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    value: int
    version: int
    run: int
    def __init__(self, value: _Optional[int] = ..., version: _Optional[int] = ..., run: _Optional[int] = ...) -> None: ...

class KeySelection(_message.Message):
    __slots__ = ("start_key", "end_key", "prefix")
    START_KEY_FIELD_NUMBER: _ClassVar[int]
    END_KEY_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    start_key: bytes
    end_key: bytes
    prefix: bytes
    def __init__(self, start_key: _Optional[bytes] = ..., end_key: _Optional[bytes] = ..., prefix: _Optional[bytes] = ...) -> None: ...

class ScanRequest(_message.Message):
    __slots__ = ("namespace", "selection", "reverse", "keys_only", "page_size", "page_token", "snapshot")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    REVERSE_FIELD_NUMBER: _ClassVar[int]
    KEYS_ONLY_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    selection: KeySelection
    reverse: bool
    keys_only: bool
    page_size: int
    page_token: str
    snapshot: str
    def __init__(self, namespace: _Optional[str] = ..., selection: _Optional[_Union[KeySelection, _Mapping]] = ..., reverse: bool = ..., keys_only: bool = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., snapshot: _Optional[str] = ...) -> None: ...

class ScanResponse(_message.Message):
    __slots__ = ("results", "next_page_token")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[ScanResult]
    next_page_token: str
    def __init__(self, results: _Optional[_Iterable[_Union[ScanResult, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ScanResult(_message.Message):
    __slots__ = ("entry", "value")
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    entry: Entry
    value: bytes
    def __init__(self, entry: _Optional[_Union[Entry, _Mapping]] = ..., value: _Optional[bytes] = ...) -> None: ...

class StreamScanRequest(_message.Message):
    __slots__ = ("namespace", "selection", "reverse", "keys_only", "limit", "snapshot")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    REVERSE_FIELD_NUMBER: _ClassVar[int]
    KEYS_ONLY_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    selection: KeySelection
    reverse: bool
    keys_only: bool
    limit: int
    snapshot: str
    def __init__(self, namespace: _Optional[str] = ..., selection: _Optional[_Union[KeySelection, _Mapping]] = ..., reverse: bool = ..., keys_only: bool = ..., limit: _Optional[int] = ..., snapshot: _Optional[str] = ...) -> None: ...

class StreamScanResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[ScanResult]
    def __init__(self, results: _Optional[_Iterable[_Union[ScanResult, _Mapping]]] = ...) -> None: ...

class MeasureRequest(_message.Message):
    __slots__ = ("namespace", "selection", "snapshot")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    selection: KeySelection
    snapshot: str
    def __init__(self, namespace: _Optional[str] = ..., selection: _Optional[_Union[KeySelection, _Mapping]] = ..., snapshot: _Optional[str] = ...) -> None: ...

class MeasureResponse(_message.Message):
    __slots__ = ("key_count", "logical_bytes", "stored_bytes", "freed_bytes", "whole")
    KEY_COUNT_FIELD_NUMBER: _ClassVar[int]
    LOGICAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    STORED_BYTES_FIELD_NUMBER: _ClassVar[int]
    FREED_BYTES_FIELD_NUMBER: _ClassVar[int]
    WHOLE_FIELD_NUMBER: _ClassVar[int]
    key_count: int
    logical_bytes: int
    stored_bytes: int
    freed_bytes: int
    whole: bool
    def __init__(self, key_count: _Optional[int] = ..., logical_bytes: _Optional[int] = ..., stored_bytes: _Optional[int] = ..., freed_bytes: _Optional[int] = ..., whole: bool = ...) -> None: ...
