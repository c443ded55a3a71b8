from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class HelloRequest(_message.Message):
    __slots__ = ("wire_version",)
    WIRE_VERSION_FIELD_NUMBER: _ClassVar[int]
    wire_version: int
    def __init__(self, wire_version: _Optional[int] = ...) -> None: ...

class HelloReply(_message.Message):
    __slots__ = ("wire_version", "model", "fingerprint", "profile_json", "entry_blocks", "checksum")
    WIRE_VERSION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    PROFILE_JSON_FIELD_NUMBER: _ClassVar[int]
    ENTRY_BLOCKS_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    wire_version: int
    model: str
    fingerprint: str
    profile_json: str
    entry_blocks: _containers.RepeatedScalarFieldContainer[int]
    checksum: int
    def __init__(self, wire_version: _Optional[int] = ..., model: _Optional[str] = ..., fingerprint: _Optional[str] = ..., profile_json: _Optional[str] = ..., entry_blocks: _Optional[_Iterable[int]] = ..., checksum: _Optional[int] = ...) -> None: ...

class InferRequest(_message.Message):
    __slots__ = ("wire_version", "fingerprint", "payload", "split", "merges", "tokens", "width", "time_left_s", "device", "body", "in_time_s", "tap_tokens", "number", "checksum")
    WIRE_VERSION_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    MERGES_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    TIME_LEFT_S_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    IN_TIME_S_FIELD_NUMBER: _ClassVar[int]
    TAP_TOKENS_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    wire_version: int
    fingerprint: str
    payload: str
    split: int
    merges: _containers.RepeatedScalarFieldContainer[int]
    tokens: int
    width: int
    time_left_s: float
    device: str
    body: bytes
    in_time_s: float
    tap_tokens: _containers.RepeatedScalarFieldContainer[int]
    number: int
    checksum: int
    def __init__(self, wire_version: _Optional[int] = ..., fingerprint: _Optional[str] = ..., payload: _Optional[str] = ..., split: _Optional[int] = ..., merges: _Optional[_Iterable[int]] = ..., tokens: _Optional[int] = ..., width: _Optional[int] = ..., time_left_s: _Optional[float] = ..., device: _Optional[str] = ..., body: _Optional[bytes] = ..., in_time_s: _Optional[float] = ..., tap_tokens: _Optional[_Iterable[int]] = ..., number: _Optional[int] = ..., checksum: _Optional[int] = ...) -> None: ...

class InferReply(_message.Message):
    __slots__ = ("classes", "probabilities", "receive_s", "decode_s", "queue_s", "compute_s", "expected_queue_s", "vector", "price", "map", "boxes", "keypoints", "number", "checksum")
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
    RECEIVE_S_FIELD_NUMBER: _ClassVar[int]
    DECODE_S_FIELD_NUMBER: _ClassVar[int]
    QUEUE_S_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_S_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_QUEUE_S_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    MAP_FIELD_NUMBER: _ClassVar[int]
    BOXES_FIELD_NUMBER: _ClassVar[int]
    KEYPOINTS_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    classes: _containers.RepeatedScalarFieldContainer[int]
    probabilities: _containers.RepeatedScalarFieldContainer[float]
    receive_s: float
    decode_s: float
    queue_s: float
    compute_s: float
    expected_queue_s: float
    vector: _containers.RepeatedScalarFieldContainer[float]
    price: Price
    map: DenseMap
    boxes: _containers.RepeatedCompositeFieldContainer[Box]
    keypoints: _containers.RepeatedCompositeFieldContainer[KeyPoint]
    number: int
    checksum: int
    def __init__(self, classes: _Optional[_Iterable[int]] = ..., probabilities: _Optional[_Iterable[float]] = ..., receive_s: _Optional[float] = ..., decode_s: _Optional[float] = ..., queue_s: _Optional[float] = ..., compute_s: _Optional[float] = ..., expected_queue_s: _Optional[float] = ..., vector: _Optional[_Iterable[float]] = ..., price: _Optional[_Union[Price, _Mapping]] = ..., map: _Optional[_Union[DenseMap, _Mapping]] = ..., boxes: _Optional[_Iterable[_Union[Box, _Mapping]]] = ..., keypoints: _Optional[_Iterable[_Union[KeyPoint, _Mapping]]] = ..., number: _Optional[int] = ..., checksum: _Optional[int] = ...) -> None: ...

class DenseMap(_message.Message):
    __slots__ = ("shape", "bits", "low", "step", "codes")
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    BITS_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    CODES_FIELD_NUMBER: _ClassVar[int]
    shape: _containers.RepeatedScalarFieldContainer[int]
    bits: int
    low: _containers.RepeatedScalarFieldContainer[float]
    step: _containers.RepeatedScalarFieldContainer[float]
    codes: bytes
    def __init__(self, shape: _Optional[_Iterable[int]] = ..., bits: _Optional[int] = ..., low: _Optional[_Iterable[float]] = ..., step: _Optional[_Iterable[float]] = ..., codes: _Optional[bytes] = ...) -> None: ...

class Box(_message.Message):
    __slots__ = ("label", "score", "left", "top", "right", "bottom")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    RIGHT_FIELD_NUMBER: _ClassVar[int]
    BOTTOM_FIELD_NUMBER: _ClassVar[int]
    label: int
    score: float
    left: float
    top: float
    right: float
    bottom: float
    def __init__(self, label: _Optional[int] = ..., score: _Optional[float] = ..., left: _Optional[float] = ..., top: _Optional[float] = ..., right: _Optional[float] = ..., bottom: _Optional[float] = ...) -> None: ...

class KeyPoint(_message.Message):
    __slots__ = ("x", "y", "score")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    x: float
    y: float
    score: float
    def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ..., score: _Optional[float] = ...) -> None: ...

class Price(_message.Message):
    __slots__ = ("stem_s", "head_s", "frame_s", "token_s", "answers_per_s")
    STEM_S_FIELD_NUMBER: _ClassVar[int]
    HEAD_S_FIELD_NUMBER: _ClassVar[int]
    FRAME_S_FIELD_NUMBER: _ClassVar[int]
    TOKEN_S_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_PER_S_FIELD_NUMBER: _ClassVar[int]
    stem_s: float
    head_s: float
    frame_s: float
    token_s: float
    answers_per_s: float
    def __init__(self, stem_s: _Optional[float] = ..., head_s: _Optional[float] = ..., frame_s: _Optional[float] = ..., token_s: _Optional[float] = ..., answers_per_s: _Optional[float] = ...) -> None: ...

class ProbeRequest(_message.Message):
    __slots__ = ("body", "number")
    BODY_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    body: bytes
    number: int
    def __init__(self, body: _Optional[bytes] = ..., number: _Optional[int] = ...) -> None: ...

class ProbeReply(_message.Message):
    __slots__ = ("receive_s", "expected_queue_s", "price", "number")
    RECEIVE_S_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_QUEUE_S_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    receive_s: float
    expected_queue_s: float
    price: Price
    number: int
    def __init__(self, receive_s: _Optional[float] = ..., expected_queue_s: _Optional[float] = ..., price: _Optional[_Union[Price, _Mapping]] = ..., number: _Optional[int] = ...) -> None: ...

class StreamReport(_message.Message):
    __slots__ = ("device", "plan", "sla_s", "rate_mbps", "frames", "in_time", "fallbacks", "refusals", "images", "tokens", "rated", "expected_right", "latency_s")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    SLA_S_FIELD_NUMBER: _ClassVar[int]
    RATE_MBPS_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    IN_TIME_FIELD_NUMBER: _ClassVar[int]
    FALLBACKS_FIELD_NUMBER: _ClassVar[int]
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    RATED_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_RIGHT_FIELD_NUMBER: _ClassVar[int]
    LATENCY_S_FIELD_NUMBER: _ClassVar[int]
    device: str
    plan: str
    sla_s: float
    rate_mbps: float
    frames: int
    in_time: int
    fallbacks: int
    refusals: int
    images: int
    tokens: int
    rated: int
    expected_right: float
    latency_s: float
    def __init__(self, device: _Optional[str] = ..., plan: _Optional[str] = ..., sla_s: _Optional[float] = ..., rate_mbps: _Optional[float] = ..., frames: _Optional[int] = ..., in_time: _Optional[int] = ..., fallbacks: _Optional[int] = ..., refusals: _Optional[int] = ..., images: _Optional[int] = ..., tokens: _Optional[int] = ..., rated: _Optional[int] = ..., expected_right: _Optional[float] = ..., latency_s: _Optional[float] = ...) -> None: ...
