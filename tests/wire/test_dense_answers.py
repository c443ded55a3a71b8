"""Dense answers survive the wire, and a reply that does not fit the model is refused before it costs memory."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from janus_vit.errors import WireError
from janus_vit.planning.dense_answers.values import Box, KeyPoint, MapFormat, pack_classes, pack_map
from janus_vit.planning.outcome import Answer
from janus_vit.wire import janus_pb2 as pb
from janus_vit.wire.answer_check import Outputs
from janus_vit.wire.dense.answers import DenseOutputs
from janus_vit.wire.lossless import compress
from janus_vit.wire.messages import Reply, parse_reply, serialise_reply

DEPTH = Outputs(0, task="depth", dense=DenseOutputs(MapFormat((1, 6, 5), 16)))
SEGMENT = Outputs(0, task="segment", dense=DenseOutputs(MapFormat((1, 6, 5), 8, classes=7)))
DETECT = Outputs(0, task="detect", dense=DenseOutputs(labels=3))
POSE = Outputs(0, task="pose", dense=DenseOutputs(keypoints=2))
BOX = Box(2, 0.75, 0.25, 0.125, 0.5, 0.875)
ramp = np.linspace(-3, 9, 30, dtype=np.float32).reshape(1, 6, 5)


def received(answer, outputs):
    return parse_reply(serialise_reply(Reply(answer, 0.0, 0.0, 0.0, 0.0, 0.0)), outputs).answer


def message(answer):
    return pb.InferReply.FromString(serialise_reply(Reply(answer, 0.0, 0.0, 0.0, 0.0, 0.0)))


@given(arrays.arrays(np.float32, (3, 4, 5), elements=st.floats(-1e6, 1e6, width=32)), st.sampled_from([8, 16]))
def test_a_map_keeps_its_values_within_half_a_step(values, bits):
    packed = pack_map(values, bits)
    limit = np.ptp(values.reshape(3, -1), axis=1) / (2**bits - 1) / 2 + 1e-6 * np.abs(values).max()
    assert (np.abs(packed.values - values).reshape(3, -1).max(1) <= limit * 1.01 + 1e-6).all()
    outputs = Outputs(0, task="head", dense=DenseOutputs(MapFormat((3, 4, 5), bits)))
    assert received(Answer((), (), map=packed), outputs).map == packed


def test_boxes_key_points_and_classes_survive_the_wire():
    assert received(Answer((), (), boxes=(BOX,)), DETECT).boxes == (BOX,)
    point = KeyPoint(0.5, 0.25, 3.0)
    assert received(Answer((), (), keypoints=(point, point)), POSE).keypoints == (point, point)
    classes = np.arange(30).reshape(6, 5) % 7
    assert np.array_equal(received(Answer((), (), map=pack_classes(classes, 8)), SEGMENT).map.values[0], classes)


def test_a_map_compresses():
    smooth = np.fromfunction(lambda y, x: np.hypot(y - 90, x - 120), (200, 240)).astype(np.float32)[None]
    answer = Answer((), (), map=pack_map(smooth, 16))
    assert len(message(answer).map.codes) < 0.75 * len(answer.map.codes)


def change(field, value):
    def apply(reply):
        target = reply.map
        if field in ("shape", "low", "step"):
            del getattr(target, field)[:]
            getattr(target, field).extend(value)
        else:
            setattr(target, field, value)

    return apply


@pytest.mark.parametrize(
    "damage",
    [
        change("shape", (1, 5, 6)),
        change("shape", (1, 6, 5, 1)),
        change("bits", 8),
        change("low", (float("nan"),)),
        change("low", (1.0, 2.0)),
        change("step", (float("inf"),)),
        change("step", (-1.0,)),
        change("step", (1e9,)),
        change("codes", b"none"),
        change("codes", compress(bytes(61))),
        change("codes", compress(bytes(59))),
        change("codes", compress(bytes(1 << 24))),
        lambda reply: reply.ClearField("map"),
        lambda reply: reply.boxes.append(pb.Box(score=0.5)),
        lambda reply: reply.keypoints.append(pb.KeyPoint()),
        lambda reply: reply.classes.append(0),
        lambda reply: reply.vector.append(0.0),
    ],
)
def test_a_map_that_does_not_fit_the_model_is_refused(damage):
    reply = message(Answer((), (), map=pack_map(ramp, 16)))
    damage(reply)
    with pytest.raises(WireError, match="field"):
        parse_reply(reply.SerializeToString(), DEPTH)


def test_classes_that_the_model_does_not_have_are_refused():
    with pytest.raises(WireError, match=r"map.codes has a class beyond 7"):
        received(Answer((), (), map=pack_classes(np.full((6, 5), 7), 8)), SEGMENT)


@pytest.mark.parametrize(
    "boxes",
    [
        (Box(3, 0.5, 0, 0, 1, 1),),
        (Box(0, 1.5, 0, 0, 1, 1),),
        (Box(0, float("nan"), 0, 0, 1, 1),),
        (Box(0, 0.5, 0.5, 0, 0.25, 1),),
        (Box(0, 0.5, 0, 0, float("inf"), 1),),
        (Box(0, 0.5, 0, -9, 1, 1),),
        (Box(0, 0.25, 0, 0, 1, 1), Box(0, 0.5, 0, 0, 1, 1)),
        (BOX,) * 101,
    ],
)
def test_boxes_that_cannot_be_right_are_refused(boxes):
    with pytest.raises(WireError, match="field boxes"):
        received(Answer((), (), boxes=boxes), DETECT)


@pytest.mark.parametrize("points", [(), (KeyPoint(0, 0, 1),) * 3, (KeyPoint(0, float("nan"), 1), KeyPoint(0, 0, 1))])
def test_key_points_that_cannot_be_right_are_refused(points):
    with pytest.raises(WireError, match="field keypoints"):
        received(Answer((), (), keypoints=points), POSE)
