"""A frame of a dense model from the device through the cloud and back: the same answer wherever it was computed."""

import json
from dataclasses import replace

import pytest
import torch
from conftest import refused, small_model
from patience import PATIENCE_S
from PIL import Image

from janus_vit.cli.main import main
from janus_vit.cloud.batch_runner import BatchRunner
from janus_vit.cloud.ingest import Ingest
from janus_vit.cloud.processes.shared_frames import SharedFrames, largest_frame_bytes, read_frame, slots_memory
from janus_vit.cloud.server import Cloud
from janus_vit.model import catalog
from janus_vit.model.engines.eager import EagerEngine
from janus_vit.model.heads.dpt import DptSegmentHead, DptSegmentLayers, DptSettings
from janus_vit.model.heads.simple import DetectionHead, FeatureHead, SimplePoseHead
from janus_vit.planning.plan import Plan
from janus_vit.planning.schedules import make_schedule
from janus_vit.runtime.connect import connect, expected_outputs
from janus_vit.runtime.local_worker import LocalWorker
from janus_vit.wire.messages import Reply, Request, parse_reply, parse_request, serialise_reply, serialise_request

LABELS = ("sky", "road", "tree")


def _with_head(task, make_head, **arch):
    model = small_model(classes=0, **arch)
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model.network.dense_head = make_head().eval().requires_grad_(False)
    labels = () if task in ("features", "depth") else LABELS
    return replace(model, task=task, labels=labels, preprocessing=replace(model.preprocessing, squash=True))


def _dpt():
    return DptSegmentHead(DptSettings(24, (6, 6, 6), (2, 1, 0.5), 8, "project"), DptSegmentLayers(8, len(LABELS)))


MODELS = {
    "features": lambda: _with_head("features", FeatureHead, pooling="grid", prefix=2),
    "segment": lambda: _with_head("segment", _dpt, pooling="grid", taps=(0, 3)),
    "pose": lambda: _with_head("pose", lambda: SimplePoseHead(24, 3, 2), pooling="grid", prefix=0, stem_padding=2),
    "detect": lambda: _with_head("detect", lambda: DetectionHead(24, 3, 5), pooling="prefix", prefix=6),
}


@pytest.fixture(params=MODELS)
def dense(request):
    return MODELS[request.param]()


def test_the_cloud_answers_as_the_device_does_at_every_split(dense, frames):
    engine, shape = EagerEngine(dense), dense.shape
    worker, runner = LocalWorker(dense, engine), BatchRunner(dense, engine)
    ingest, outputs = Ingest(shape, dense.fingerprint), expected_outputs(dense)
    memory = slots_memory(1, largest_frame_bytes(shape))
    schedule = make_schedule("fixed", 2.0, shape)
    prepared = worker.prepare(frames[0])
    for split in range(shape.blocks + 1):
        plan = Plan("fixed", 2.0, schedule.applied, split, "float32" if split else "png")
        state = worker.compute(prepared, plan)
        sent = worker.encode(state, plan)
        request = Request(
            dense.fingerprint, plan.payload, split, plan.merges[split:], sent.tokens, sent.width, 1.0, "test",
            sent.body, tap_tokens=sent.tap_tokens,
        )  # fmt: skip
        received = parse_request(serialise_request(request))
        assert len(received.body) <= ingest.largest_body_bytes
        start = ingest.decode(received, ingest.check(received))
        shared = SharedFrames(memory)
        there = read_frame(memory, shared.write(start))
        [answer] = runner.run([there], shape.blocks)
        reply = parse_reply(serialise_reply(Reply(answer, 0.0, 0.0, 0.0, 0.0, 0.0)), outputs)
        assert _close(reply.answer, worker.finish(state, plan))


def _close(one, other):
    """Equal but for the rounding of float32 on the wire."""
    assert one.map == other.map
    assert [box.label for box in one.boxes] == [box.label for box in other.boxes]
    for mine, theirs in zip((*one.boxes, *one.keypoints), (*other.boxes, *other.keypoints), strict=True):
        for name in ("score", *(("left", "bottom") if one.boxes else ("x", "y"))):
            assert abs(getattr(mine, name) - getattr(theirs, name)) < 1e-5
    return one.map is not None or one.boxes or one.keypoints


def test_a_dense_answer_comes_back_over_the_network(frames, make_profile):
    dense = MODELS["segment"]()
    profile = make_profile(1e-5, model="small")
    with Cloud(dense, profile, engine="eager") as cloud:
        address = f"127.0.0.1:{cloud.port}"
        with connect(dense, address, profile, sla_s=PATIENCE_S, policy="cloud-only", engine="eager") as device:
            outcome = device.infer(frames[0])
        with connect(dense, address, profile, sla_s=PATIENCE_S, policy="device-only", engine="eager") as device:
            alone = device.infer(frames[0])
    assert outcome.fallback is None
    assert outcome.answer.map == alone.answer.map
    assert outcome.answer.map.shape == (1, *dense.dense_shape)


def test_the_reply_counts_in_predictions(make_profile, make_platforms):
    from janus_vit.planning.policies.base import predict
    from janus_vit.planning.policies.presets import policy_table
    from janus_vit.runtime.measuring import round_trip_s

    platforms = make_platforms()
    heavy = replace(platforms, device=replace(platforms.device, reply_bytes=500_000.0))
    tables = [policy_table("adaptive", each) for each in (platforms, heavy)]
    column = next(index for index, option in enumerate(tables[0].options) if option.split == 1)
    plain, slower = (predict(table, 0, column, rate_mbps=10.0, rtt_s=0.02, queue_s=0.0) for table in tables)
    assert slower.transfer_s - plain.transfer_s == pytest.approx(0.4)
    assert round_trip_s(slower) == pytest.approx(0.02)


def test_show_writes_overlays_of_all_frames_or_the_newest(make_profile, tmp_path, monkeypatch, capsys, frames):
    dense = MODELS["detect"]()
    photos = tmp_path / "photos"
    photos.mkdir()
    for index, frame in enumerate(frames[:2]):
        Image.fromarray(frame).resize((80, 60)).save(photos / f"{index}.png")
    profile = make_profile(1e-5, model="small")
    profile.save(tmp_path / "small.json")
    monkeypatch.setattr(catalog, "load_model", lambda *_: dense)
    with Cloud(dense, profile, engine="eager") as cloud:
        here = ["device", "--cloud", f"127.0.0.1:{cloud.port}", "--profile", str(tmp_path / "small.json")]
        here += ["--source", str(photos), "--sla", "45s", "--engine", "eager", "--threads", "1", "--json"]
        assert main([*here, "--show", str(tmp_path / "all")]) == 0
        assert main([*here, "--show", str(tmp_path / "now.jpg")]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(records) == 4
    assert records[0]["answer"]["boxes"][0]["name"] in LABELS
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == ["00000-0.png", "00001-1.png"]
    for path in (*(tmp_path / "all").iterdir(), tmp_path / "now.jpg"):
        with Image.open(path) as picture:
            assert picture.size == (80, 60)


def test_a_stream_that_does_not_start_leaves_neither_pictures_folder_nor_records(
    make_profile, tmp_path, monkeypatch, capsys
):
    make_profile(1e-5, model="small").save(tmp_path / "small.json")
    monkeypatch.setattr(catalog, "load_model", lambda *_: MODELS["detect"]())
    here = ["device", "--cloud", "127.0.0.1:9", "--profile", str(tmp_path / "small.json"), "--engine", "eager"]
    outputs = ["--show", str(tmp_path / "all"), "--records", str(tmp_path / "records.jsonl")]
    assert "no janus-vit cloud answers" in refused(capsys, [*here, *outputs, "--require-cloud"])
    assert [path.name for path in tmp_path.iterdir()] == ["small.json"]


def test_show_in_a_file_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(catalog, "load_model", lambda *_: MODELS["detect"]())
    (tmp_path / "file").write_text("")
    shown = tmp_path / "file" / "now.png"
    err = refused(capsys, ["device", "--cloud", "127.0.0.1:9", "--engine", "eager", "--show", str(shown)])
    assert "file: cannot be created as a folder (Not a directory)" in err


def test_show_needs_a_model_with_something_to_draw(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(catalog, "load_model", lambda *_: model)
    err = refused(capsys, ["device", "--cloud", "127.0.0.1:9", "--show", str(tmp_path / "a.png"), "--engine", "eager"])
    assert "task classify, of which nothing can be drawn" in err
