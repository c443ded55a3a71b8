"""Tables and lists that a user gives: profiles, accuracy, costs, records, traces, fleets, labels, journals."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image

from fuzzing.live import make_profile
from fuzzing.mutation import mutate_bytes, mutate_json
from fuzzing.scratch import FOLDER, as_file
from fuzzing.target import Target
from janus_vit.calibration.journal import SCHEMA as JOURNAL_SCHEMA
from janus_vit.calibration.journal import Journal
from janus_vit.fleet.file import load_fleet
from janus_vit.links.trace_files import read_trace
from janus_vit.planning.accuracy.points import Point
from janus_vit.planning.accuracy.table import AccuracyTable, parse_accuracy
from janus_vit.planning.latency import parse_profile
from janus_vit.planning.outcome import Answer, Measured, Outcome, Prediction, Transfer
from janus_vit.planning.plan import Plan
from janus_vit.records.reader import read_records
from janus_vit.records.summary import summarise
from janus_vit.records.writer import to_record
from janus_vit.scheduling.config import CloudConfig
from janus_vit.scheduling.costs import constant_costs, parse_costs
from janus_vit.scheduling.job import Job
from janus_vit.scheduling.scheduler import Scheduler
from janus_vit.sources.labelled import open_labelled

_TEXT_S = 0.1
_FLEET = files("janus_vit") / "data" / "fleets" / "mixed.json"
_IDENTITY = {"model": "small", "command": "fuzz"}


def _points() -> tuple[Point, ...]:
    first = Point("none", 0.0, (0, 0, 0), 4, "local", 100, 100, 90)
    return (first, *(Point("exponential", 0.1 * n, (n, n, 0), 4, "local", 100, 90, 90 - n) for n in (1, 2, 3)))


def _use_accuracy(data: bytes) -> None:
    table = parse_accuracy(data.decode("utf-8", "replace"), "accuracy.json")
    assert 0 <= table.resolution <= 1
    for level in (0.0, 0.15, 0.3):
        table.of_plan(Plan("exponential", level, (1, 2, 0), 4, "local"))


def _use_costs(data: bytes) -> None:
    """Serve two frames by the table."""
    scheduler = Scheduler(parse_costs(data.decode("utf-8", "replace"), "costs.json"), 6, CloudConfig())
    for number in range(2):
        scheduler.add(Job(number, "device", 0.0, 1e9, 0, (17,) * 7), 0.0)
    while (batch := scheduler.next_batch(0.0)) is not None:
        assert math.isfinite(scheduler.load(0.0).expected_wait_s)
        scheduler.finish(batch, 0.0)


def _outcome() -> Outcome:
    plan = Plan("exponential", 0.12, (4, 2, 1), split=2, payload="float8", rescue=(3,))
    predicted = Prediction(0.01, 1e-3, 0.02, 0.0, 1e-3, 4e-3, 0.03, 512.0, 8.0, 0.05, 0.97, 0.95, 0.04)
    measured = Measured(device_s=0.011, send_s=0.01, rtt_s=0.012, total_s=0.05)
    transfers = (Transfer(12.53, 512, 0.01, 0.012), Transfer(12.55, 512, 0.5, None))
    return Outcome(3, 12.5, 0.1, plan, predicted, measured, 512, Answer((3, 1), (0.7, 0.2)), None, transfers)


def _use_records(path: Path) -> None:
    recording = read_records(path)
    summary = summarise(recording.outcomes, recording.truths)
    assert summary is not None
    for record in recording.records:
        json.dumps(to_record(record.outcome, (), record.name, record.truth), allow_nan=False).encode()


def _use_labels(path: Path) -> None:
    folder = FOLDER / "labelled"
    folder.mkdir(exist_ok=True)
    for name in ("0.png", "1.png"):
        if not (folder / name).exists():
            Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / name)
    source = open_labelled(str(folder), path, ("up", "down"))
    assert len(list(source)) == 2


def _journal() -> bytes:
    points = (json.dumps(asdict(point)) for point in _points())
    return "\n".join([json.dumps({"schema": JOURNAL_SCHEMA, **_IDENTITY}), *points, ""]).encode()


def _use_journal(path: Path) -> None:
    Journal(path, _IDENTITY)


def table_targets() -> list[Target]:
    """Every reader of JSON, JSON lines and CSV."""
    table = AccuracyTable("small", "abc", "eager", "right", _points(), {"command": "fuzz"})
    record = json.dumps(to_record(_outcome(), ("a", "b", "c", "d"), "frame", 3)).encode()
    costs = constant_costs(1e-3, 1e-3, 6)
    return [
        Target(
            "profile",
            lambda data: parse_profile(data.decode("utf-8", "replace"), "profile.json"),
            (make_profile().to_json().encode(),),
            mutate_json,
            _TEXT_S,
        ),
        Target("accuracy table", _use_accuracy, (table.to_json().encode(),), mutate_json, _TEXT_S),
        Target(
            "cost table",
            _use_costs,
            (costs.to_json().encode(),),
            mutate_json,
            _TEXT_S,
        ),
        Target("records", as_file("records.jsonl", _use_records), (record,), mutate_json, _TEXT_S),
        Target(
            "trace",
            as_file("trace.csv", read_trace),
            (b"# trace: t\n# interval_s: 0.1\ntime_s,mbps\n0,10\n0.1,12.5\n0.2,0\n", b"0\n3\n7\n20\n150\n"),
            mutate_bytes,
            _TEXT_S,
        ),
        Target("fleet", as_file("fleet.json", load_fleet), (_FLEET.read_bytes(),), mutate_json, 0.5),
        Target("labels", as_file("labels.csv", _use_labels), (b"file,label\n0.png,up\n1.png,1\n",), mutate_bytes, 0.5),
        Target("journal", as_file("journal.jsonl", _use_journal), (_journal(),), mutate_bytes, _TEXT_S),
    ]
