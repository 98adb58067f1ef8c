import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from shardkeep.v1 import key_value_pb2 as _key_value_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WatchEventType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WATCH_EVENT_TYPE_UNSPECIFIED: _ClassVar[WatchEventType]
    WATCH_EVENT_TYPE_PUT: _ClassVar[WatchEventType]
    WATCH_EVENT_TYPE_DELETE: _ClassVar[WatchEventType]
    WATCH_EVENT_TYPE_EXPIRE: _ClassVar[WatchEventType]
WATCH_EVENT_TYPE_UNSPECIFIED: WatchEventType
WATCH_EVENT_TYPE_PUT: WatchEventType
WATCH_EVENT_TYPE_DELETE: WatchEventType
WATCH_EVENT_TYPE_EXPIRE: WatchEventType

class WatchRequest(_message.Message):
    __slots__ = ("namespace", "selection", "after_version", "include_values", "progress_interval")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    AFTER_VERSION_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_VALUES_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    selection: _key_value_pb2.KeySelection
    after_version: int
    include_values: bool
    progress_interval: _duration_pb2.Duration
    def __init__(self, namespace: _Optional[str] = ..., selection: _Optional[_Union[_key_value_pb2.KeySelection, _Mapping]] = ..., after_version: _Optional[int] = ..., include_values: bool = ..., progress_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class WatchResponse(_message.Message):
    __slots__ = ("events", "version")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[WatchEvent]
    version: int
    def __init__(self, events: _Optional[_Iterable[_Union[WatchEvent, _Mapping]]] = ..., version: _Optional[int] = ...) -> None: ...

class WatchEvent(_message.Message):
    __slots__ = ("type", "key", "version", "entry", "value", "value_included")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    VALUE_INCLUDED_FIELD_NUMBER: _ClassVar[int]
    type: WatchEventType
    key: bytes
    version: int
    entry: _key_value_pb2.Entry
    value: bytes
    value_included: bool
    def __init__(self, type: _Optional[_Union[WatchEventType, str]] = ..., key: _Optional[bytes] = ..., version: _Optional[int] = ..., entry: _Optional[_Union[_key_value_pb2.Entry, _Mapping]] = ..., value: _Optional[bytes] = ..., value_included: bool = ...) -> None: ...
