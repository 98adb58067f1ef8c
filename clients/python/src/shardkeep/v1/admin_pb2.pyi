from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetStatsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Stats(_message.Message):
    __slots__ = ("store", "writes")
    STORE_FIELD_NUMBER: _ClassVar[int]
    WRITES_FIELD_NUMBER: _ClassVar[int]
    store: StoreStats
    writes: WriteStats
    def __init__(self, store: _Optional[_Union[StoreStats, _Mapping]] = ..., writes: _Optional[_Union[WriteStats, _Mapping]] = ...) -> None: ...

class StoreStats(_message.Message):
    __slots__ = ("key_count", "max_version", "index_bytes", "log_bytes", "logical_bytes", "unique_bytes", "stored_bytes", "dead_bytes", "blobs", "references", "segments", "dictionaries", "dictionary_bytes", "shards", "shards_down")
    KEY_COUNT_FIELD_NUMBER: _ClassVar[int]
    MAX_VERSION_FIELD_NUMBER: _ClassVar[int]
    INDEX_BYTES_FIELD_NUMBER: _ClassVar[int]
    LOG_BYTES_FIELD_NUMBER: _ClassVar[int]
    LOGICAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    UNIQUE_BYTES_FIELD_NUMBER: _ClassVar[int]
    STORED_BYTES_FIELD_NUMBER: _ClassVar[int]
    DEAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    BLOBS_FIELD_NUMBER: _ClassVar[int]
    REFERENCES_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    DICTIONARIES_FIELD_NUMBER: _ClassVar[int]
    DICTIONARY_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    SHARDS_DOWN_FIELD_NUMBER: _ClassVar[int]
    key_count: int
    max_version: int
    index_bytes: int
    log_bytes: int
    logical_bytes: int
    unique_bytes: int
    stored_bytes: int
    dead_bytes: int
    blobs: int
    references: int
    segments: int
    dictionaries: int
    dictionary_bytes: int
    shards: int
    shards_down: int
    def __init__(self, key_count: _Optional[int] = ..., max_version: _Optional[int] = ..., index_bytes: _Optional[int] = ..., log_bytes: _Optional[int] = ..., logical_bytes: _Optional[int] = ..., unique_bytes: _Optional[int] = ..., stored_bytes: _Optional[int] = ..., dead_bytes: _Optional[int] = ..., blobs: _Optional[int] = ..., references: _Optional[int] = ..., segments: _Optional[int] = ..., dictionaries: _Optional[int] = ..., dictionary_bytes: _Optional[int] = ..., shards: _Optional[int] = ..., shards_down: _Optional[int] = ...) -> None: ...

class WriteStats(_message.Message):
    __slots__ = ("total", "shards", "expired_keys")
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    EXPIRED_KEYS_FIELD_NUMBER: _ClassVar[int]
    total: GroupStats
    shards: _containers.RepeatedCompositeFieldContainer[ShardWriteStats]
    expired_keys: int
    def __init__(self, total: _Optional[_Union[GroupStats, _Mapping]] = ..., shards: _Optional[_Iterable[_Union[ShardWriteStats, _Mapping]]] = ..., expired_keys: _Optional[int] = ...) -> None: ...

class ShardWriteStats(_message.Message):
    __slots__ = ("shard", "groups")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    shard: int
    groups: GroupStats
    def __init__(self, shard: _Optional[int] = ..., groups: _Optional[_Union[GroupStats, _Mapping]] = ...) -> None: ...

class GroupStats(_message.Message):
    __slots__ = ("groups", "commands", "commands_per_group", "bytes_per_group", "sync_us", "index_us", "wait_us")
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    COMMANDS_FIELD_NUMBER: _ClassVar[int]
    COMMANDS_PER_GROUP_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_GROUP_FIELD_NUMBER: _ClassVar[int]
    SYNC_US_FIELD_NUMBER: _ClassVar[int]
    INDEX_US_FIELD_NUMBER: _ClassVar[int]
    WAIT_US_FIELD_NUMBER: _ClassVar[int]
    groups: int
    commands: int
    commands_per_group: Spread
    bytes_per_group: Spread
    sync_us: Spread
    index_us: Spread
    wait_us: Spread
    def __init__(self, groups: _Optional[int] = ..., commands: _Optional[int] = ..., commands_per_group: _Optional[_Union[Spread, _Mapping]] = ..., bytes_per_group: _Optional[_Union[Spread, _Mapping]] = ..., sync_us: _Optional[_Union[Spread, _Mapping]] = ..., index_us: _Optional[_Union[Spread, _Mapping]] = ..., wait_us: _Optional[_Union[Spread, _Mapping]] = ...) -> None: ...

class Spread(_message.Message):
    __slots__ = ("mean", "p50", "p99")
    MEAN_FIELD_NUMBER: _ClassVar[int]
    P50_FIELD_NUMBER: _ClassVar[int]
    P99_FIELD_NUMBER: _ClassVar[int]
    mean: float
    p50: int
    p99: int
    def __init__(self, mean: _Optional[float] = ..., p50: _Optional[int] = ..., p99: _Optional[int] = ...) -> None: ...

class GetSettingsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Settings(_message.Message):
    __slots__ = ("set_disabled", "delete_disabled", "log_level")
    SET_DISABLED_FIELD_NUMBER: _ClassVar[int]
    DELETE_DISABLED_FIELD_NUMBER: _ClassVar[int]
    LOG_LEVEL_FIELD_NUMBER: _ClassVar[int]
    set_disabled: bool
    delete_disabled: bool
    log_level: str
    def __init__(self, set_disabled: bool = ..., delete_disabled: bool = ..., log_level: _Optional[str] = ...) -> None: ...

class UpdateSettingsRequest(_message.Message):
    __slots__ = ("set_disabled", "delete_disabled", "log_level")
    SET_DISABLED_FIELD_NUMBER: _ClassVar[int]
    DELETE_DISABLED_FIELD_NUMBER: _ClassVar[int]
    LOG_LEVEL_FIELD_NUMBER: _ClassVar[int]
    set_disabled: bool
    delete_disabled: bool
    log_level: str
    def __init__(self, set_disabled: bool = ..., delete_disabled: bool = ..., log_level: _Optional[str] = ...) -> None: ...

class SyncRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SyncResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CompactRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CompactResponse(_message.Message):
    __slots__ = ("collected",)
    COLLECTED_FIELD_NUMBER: _ClassVar[int]
    collected: bool
    def __init__(self, collected: bool = ...) -> None: ...

class PurgeTombstonesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PurgeTombstonesResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class VerifyRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class VerifyResponse(_message.Message):
    __slots__ = ("done_bytes", "total_bytes", "problems")
    DONE_BYTES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    done_bytes: int
    total_bytes: int
    problems: _containers.RepeatedCompositeFieldContainer[Problem]
    def __init__(self, done_bytes: _Optional[int] = ..., total_bytes: _Optional[int] = ..., problems: _Optional[_Iterable[_Union[Problem, _Mapping]]] = ...) -> None: ...

class Problem(_message.Message):
    __slots__ = ("file", "offset", "what", "remedy")
    FILE_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    WHAT_FIELD_NUMBER: _ClassVar[int]
    REMEDY_FIELD_NUMBER: _ClassVar[int]
    file: str
    offset: int
    what: str
    remedy: str
    def __init__(self, file: _Optional[str] = ..., offset: _Optional[int] = ..., what: _Optional[str] = ..., remedy: _Optional[str] = ...) -> None: ...

class GetScrubReportRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ScrubReport(_message.Message):
    __slots__ = ("rounds", "bytes", "problems")
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    rounds: int
    bytes: int
    problems: _containers.RepeatedCompositeFieldContainer[Problem]
    def __init__(self, rounds: _Optional[int] = ..., bytes: _Optional[int] = ..., problems: _Optional[_Iterable[_Union[Problem, _Mapping]]] = ...) -> None: ...

class StopRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StopResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
