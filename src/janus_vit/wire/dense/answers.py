"""Maps, boxes and key points of a reply: compact on the wire, and checked against what the model can give.

The codes of a map travel as the differences of neighbours in a row, in byte planes, compressed with zstd.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from janus_vit.errors import WireError
from janus_vit.planning.dense_answers.values import Box, DenseMap, KeyPoint, MapFormat
from janus_vit.planning.outcome import Answer
from janus_vit.wire import janus_pb2 as pb
from janus_vit.wire.fields import require_field
from janus_vit.wire.lossless import compress, join_planes, read_body, split_planes

MOST_BOXES = 100
_LARGEST = 1e9  # magnitude of a value of a map, and of a key point's score
_OUTSIDE = 1.0  # how far a box or a key point may be outside of the frame, in widths of the frame


@dataclass(frozen=True, slots=True)
class DenseOutputs:
    """What the dense answers of a model look like.

    Attributes:
        map: format of its map; None if it gives none.
        labels: number of classes of its boxes; 0 if it gives none.
        keypoints: number of its key points; 0 if it gives none.
    """

    map: MapFormat | None = None
    labels: int = 0
    keypoints: int = 0

    @property
    def largest_bytes(self) -> int:
        """Upper bound of the bytes in a reply."""
        if self.map is None:
            return 64 * (MOST_BOXES + self.keypoints)
        return self.map.code_bytes + self.map.code_bytes // 64 + 16 * self.map.shape[0] + 4096


NO_DENSE = DenseOutputs()


def write_dense(answer: Answer, message: pb.InferReply) -> None:
    """Write the dense parts of an answer into a reply."""
    message.boxes.extend(
        pb.Box(label=box.label, score=box.score, left=box.left, top=box.top, right=box.right, bottom=box.bottom)
        for box in answer.boxes
    )
    message.keypoints.extend(pb.KeyPoint(x=point.x, y=point.y, score=point.score) for point in answer.keypoints)
    if answer.map is not None:
        each = answer.map
        message.map.CopyFrom(
            pb.DenseMap(shape=each.shape, bits=each.bits, low=each.low, step=each.step, codes=compress_codes(each))
        )


def compress_codes(each: DenseMap) -> bytes:
    """Compress the codes of a map."""
    codes = each.code_array.reshape(-1, each.shape[-1])
    differences = np.diff(codes, axis=1, prepend=codes.dtype.type(0))  # wraps around, so that no value needs more bits
    planes = split_planes(np.ascontiguousarray(differences).view(np.uint8).reshape(-1), each.bits // 8)
    return compress(planes.tobytes())


def checked_dense(message: pb.InferReply, outputs: DenseOutputs) -> Answer:
    """Return the dense parts of a reply as an answer without classes and vector.

    Nothing larger than the model's own map is decompressed.

    Raises:
        WireError: a field does not fit the model; the message names it.
    """
    has_map = message.HasField("map")
    require_field(has_map == (outputs.map is not None), "map", "is missing, or the model gives no map")
    found = _checked_map(message.map, outputs.map) if outputs.map is not None else None
    most = MOST_BOXES if outputs.labels else 0
    require_field(len(message.boxes) <= most, "boxes", f"has {len(message.boxes)} entries, expected at most {most}")
    count = len(message.keypoints)
    require_field(count == outputs.keypoints, "keypoints", f"has {count} entries, expected {outputs.keypoints}")
    boxes = tuple(Box(box.label, box.score, box.left, box.top, box.right, box.bottom) for box in message.boxes)
    points = tuple(KeyPoint(point.x, point.y, point.score) for point in message.keypoints)
    _check_boxes(boxes, outputs.labels)
    for point in points:
        require_field(_in_reach(point.x) and _in_reach(point.y), "keypoints", "has a point far outside of the frame")
        require_field(abs(point.score) <= _LARGEST, "keypoints", "has a score that is not finite or too large")
    return Answer((), (), map=found, boxes=boxes, keypoints=points)


def _check_boxes(boxes: tuple[Box, ...], labels: int) -> None:
    for box in boxes:
        require_field(box.label < labels, "boxes", f"has label {box.label}, and the model has {labels}")
        require_field(0 <= box.score <= 1, "boxes", "has a score outside 0 to 1")
        sides = box.left, box.top, box.right, box.bottom
        require_field(all(map(_in_reach, sides)), "boxes", "has a box far outside of the frame")
        require_field(box.left <= box.right and box.top <= box.bottom, "boxes", "has a box whose sides are swapped")
    falling = all(one.score >= other.score for one, other in zip(boxes[:-1], boxes[1:], strict=True))
    require_field(falling, "boxes", "rises, expected the most probable object first")


def _checked_map(message: pb.DenseMap, expected: MapFormat) -> DenseMap:
    shape = tuple(message.shape[: len(expected.shape) + 1])
    require_field(shape == expected.shape, "map.shape", f"is {list(shape)}, expected {list(expected.shape)}")
    require_field(message.bits == expected.bits, "map.bits", f"is {message.bits}, expected {expected.bits}")
    for name in ("low", "step"):
        count = len(getattr(message, name))
        require_field(count == shape[0], f"map.{name}", f"has {count} values, expected {shape[0]}")
    low, step = (np.array(getattr(message, name), np.float64) for name in ("low", "step"))
    reach = np.abs(low) + np.abs(step) * (2**expected.bits - 1)
    require_field(bool((reach <= _LARGEST).all()), "map.low", "or map.step has a value that is not finite or too large")
    require_field(bool((step >= 0).all()), "map.step", "has a negative value")
    try:
        body = read_body(message.codes, expected.code_bytes, lossless_stage=True)
    except WireError as error:
        raise WireError(str(error).replace("field body", "field map.codes")) from error
    kind = np.dtype(f"<u{expected.bits // 8}")
    differences = join_planes(body, expected.bits // 8).view(kind).reshape(-1, shape[-1])
    codes = np.cumsum(differences, axis=1, dtype=kind)
    if expected.classes:
        require_field(int(codes.max()) < expected.classes, "map.codes", f"has a class beyond {expected.classes}")
        require_field(
            tuple(message.low) == (0.0,) and tuple(message.step) == (1.0,), "map.step", "is not that of classes"
        )
    return DenseMap(shape, expected.bits, tuple(message.low), tuple(message.step), codes.tobytes())


def _in_reach(share: float) -> bool:
    return math.isfinite(share) and -_OUTSIDE <= share <= 1 + _OUTSIDE
