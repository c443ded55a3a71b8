"""`janus-vit device` with a camera: time of capture, newest frames, skipped frames in the summary."""

import json
import re
import signal
import threading
import time
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from janus_vit.cli import device as command
from janus_vit.cli.main import main
from janus_vit.cloud.server import Cloud
from janus_vit.model import catalog
from janus_vit.runtime.device import Device
from janus_vit.sources.frames import Sample, Source

AGE_S = 0.05  # of a camera's frames when they are read


@pytest.fixture
def arguments(model, make_profile, tmp_path, monkeypatch):
    """A device with a camera that has given its first frames before they are read, and a running cloud."""

    def frames():
        for index in range(6):
            picture = np.full((32, 32, 3), 40 * index, np.uint8)
            yield Sample(f"frame {index}", picture, None, time.perf_counter() - AGE_S)

    profile = make_profile(1e-6, 1e-5, "small")
    profile.save(tmp_path / "small.json")
    monkeypatch.setattr(catalog, "load_model", lambda *_: model)
    monkeypatch.setattr(command, "check_source", lambda spec: None)
    monkeypatch.setattr(command, "stream_for", lambda *_: Source(frames, None, live=True))
    with Cloud(model, profile, engine="eager") as cloud:
        here = ["device", "--cloud", f"127.0.0.1:{cloud.port}", "--profile", str(tmp_path / "small.json")]
        yield [*here, "--sla", "45s", "--engine", "eager", "--threads", "1", "--json"]


def run(capsys, arguments):
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    return [json.loads(line) for line in out.splitlines()], err


@pytest.mark.parametrize("options", [[], ["--fps", "200"]])
def test_sla_of_a_camera_counts_from_the_capture(capsys, arguments, options):
    records, _ = run(capsys, [*arguments, *options])
    assert records
    assert all(record["measured"]["total_s"] > AGE_S for record in records)


def test_every_frame_runs_back_to_back_without_a_frame_rate(capsys, arguments, monkeypatch):
    monkeypatch.setattr(Device, "skip_if_hopeless", lambda device, captured_s: True)
    records, err = run(capsys, arguments)
    assert [record["name"] for record in records] == [f"frame {index}" for index in range(6)]
    assert "dropped or skipped" not in err


def test_hopeless_frames_are_skipped_and_counted_with_a_frame_rate(capsys, arguments, monkeypatch):
    asked = iter([False, True, True, False, False, True])
    monkeypatch.setattr(Device, "skip_if_hopeless", lambda device, captured_s: next(asked))
    monkeypatch.setattr(command.StopFlag, "wait", lambda stop, seconds: None)  # every frame is due at once
    records, err = run(capsys, [*arguments, "--fps", "5"])
    assert [record["name"] for record in records] == ["frame 0", "frame 3", "frame 4"]
    assert [record["frame"] for record in records] == [0, 1, 2]
    assert re.search(r"frames +3 *\n", err)
    assert re.search(r"frames dropped or skipped +3 *\n", err)
    assert re.search(r"over the SLA +50.0% *\n", err)


def test_files_are_run_in_full_at_any_frame_rate(capsys, arguments, monkeypatch):
    live = command.stream_for()
    monkeypatch.setattr(command, "stream_for", lambda *_: replace(live, live=False))
    monkeypatch.setattr(Device, "skip_if_hopeless", lambda device, captured_s: True)
    records, err = run(capsys, [*arguments, "--fps", "200"])
    assert len(records) == 6
    assert "dropped or skipped" not in err


@pytest.mark.parametrize("options", [[], ["--fps", "200"], ["--in-flight", "1"]])
def test_ctrl_c_ends_the_stream_of_a_camera_that_gives_no_more_frames(
    capsys, arguments, monkeypatch, tmp_path, options
):
    live, stuck = command.stream_for(), threading.Event()

    def frames():
        yield from islice(live.start(), 2)
        signal.raise_signal(signal.SIGINT)
        stuck.wait()

    monkeypatch.setattr(command, "stream_for", lambda *_: replace(live, start=frames))
    written = tmp_path / "records.jsonl"
    records, err = run(capsys, [*arguments, *options, "--records", str(written)])
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "janus-camera")  # ends with us
    stuck.set()
    assert [json.loads(line) for line in written.read_text().splitlines()] == records
    assert re.search(rf"frames +{len(records)} *\n", err)
    assert len(records) in (1, 2)  # the newest of them
