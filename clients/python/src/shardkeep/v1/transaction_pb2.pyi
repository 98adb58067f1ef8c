from shardkeep.v1 import key_value_pb2 as _key_value_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CommitRequest(_message.Message):
    __slots__ = ("namespace", "conditions", "operations", "else_operations", "request_id", "only_run")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    ELSE_OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ONLY_RUN_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    conditions: _containers.RepeatedCompositeFieldContainer[KeyCondition]
    operations: _containers.RepeatedCompositeFieldContainer[Operation]
    else_operations: _containers.RepeatedCompositeFieldContainer[Operation]
    request_id: str
    only_run: int
    def __init__(self, namespace: _Optional[str] = ..., conditions: _Optional[_Iterable[_Union[KeyCondition, _Mapping]]] = ..., operations: _Optional[_Iterable[_Union[Operation, _Mapping]]] = ..., else_operations: _Optional[_Iterable[_Union[Operation, _Mapping]]] = ..., request_id: _Optional[str] = ..., only_run: _Optional[int] = ...) -> None: ...

class KeyCondition(_message.Message):
    __slots__ = ("key", "condition")
    KEY_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    condition: _key_value_pb2.Condition
    def __init__(self, key: _Optional[bytes] = ..., condition: _Optional[_Union[_key_value_pb2.Condition, _Mapping]] = ...) -> None: ...

class Operation(_message.Message):
    __slots__ = ("key", "put", "delete", "touch", "increment")
    KEY_FIELD_NUMBER: _ClassVar[int]
    PUT_FIELD_NUMBER: _ClassVar[int]
    DELETE_FIELD_NUMBER: _ClassVar[int]
    TOUCH_FIELD_NUMBER: _ClassVar[int]
    INCREMENT_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    put: PutOperation
    delete: DeleteOperation
    touch: TouchOperation
    increment: IncrementOperation
    def __init__(self, key: _Optional[bytes] = ..., put: _Optional[_Union[PutOperation, _Mapping]] = ..., delete: _Optional[_Union[DeleteOperation, _Mapping]] = ..., touch: _Optional[_Union[TouchOperation, _Mapping]] = ..., increment: _Optional[_Union[IncrementOperation, _Mapping]] = ...) -> None: ...

class PutOperation(_message.Message):
    __slots__ = ("value", "expiry", "sum64", "digest", "value_type", "metadata")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    VALUE_FIELD_NUMBER: _ClassVar[int]
    EXPIRY_FIELD_NUMBER: _ClassVar[int]
    SUM64_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    VALUE_TYPE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    value: bytes
    expiry: _key_value_pb2.Expiry
    sum64: int
    digest: bytes
    value_type: _key_value_pb2.ValueType
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, value: _Optional[bytes] = ..., expiry: _Optional[_Union[_key_value_pb2.Expiry, _Mapping]] = ..., sum64: _Optional[int] = ..., digest: _Optional[bytes] = ..., value_type: _Optional[_Union[_key_value_pb2.ValueType, str]] = ..., metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...

class DeleteOperation(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class TouchOperation(_message.Message):
    __slots__ = ("expiry",)
    EXPIRY_FIELD_NUMBER: _ClassVar[int]
    expiry: _key_value_pb2.Expiry
    def __init__(self, expiry: _Optional[_Union[_key_value_pb2.Expiry, _Mapping]] = ...) -> None: ...

class IncrementOperation(_message.Message):
    __slots__ = ("delta", "initial_value")
    DELTA_FIELD_NUMBER: _ClassVar[int]
    INITIAL_VALUE_FIELD_NUMBER: _ClassVar[int]
    delta: int
    initial_value: int
    def __init__(self, delta: _Optional[int] = ..., initial_value: _Optional[int] = ...) -> None: ...

class CommitResponse(_message.Message):
    __slots__ = ("succeeded", "version", "results", "run")
    SUCCEEDED_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    succeeded: bool
    version: int
    results: _containers.RepeatedCompositeFieldContainer[OperationResult]
    run: int
    def __init__(self, succeeded: bool = ..., version: _Optional[int] = ..., results: _Optional[_Iterable[_Union[OperationResult, _Mapping]]] = ..., run: _Optional[int] = ...) -> None: ...

class OperationResult(_message.Message):
    __slots__ = ("put", "delete", "touch", "increment")
    PUT_FIELD_NUMBER: _ClassVar[int]
    DELETE_FIELD_NUMBER: _ClassVar[int]
    TOUCH_FIELD_NUMBER: _ClassVar[int]
    INCREMENT_FIELD_NUMBER: _ClassVar[int]
    put: _key_value_pb2.PutResponse
    delete: _key_value_pb2.DeleteResponse
    touch: _key_value_pb2.TouchResponse
    increment: _key_value_pb2.IncrementResponse
    def __init__(self, put: _Optional[_Union[_key_value_pb2.PutResponse, _Mapping]] = ..., delete: _Optional[_Union[_key_value_pb2.DeleteResponse, _Mapping]] = ..., touch: _Optional[_Union[_key_value_pb2.TouchResponse, _Mapping]] = ..., increment: _Optional[_Union[_key_value_pb2.IncrementResponse, _Mapping]] = ...) -> None: ...
