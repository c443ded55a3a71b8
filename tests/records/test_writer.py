"""Records are written whole, also while the disk is full for a time."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from full_disks import full_disk

from janus_vit.errors import InputError
from janus_vit.planning.outcome import Answer, Measured, Outcome, Prediction
from janus_vit.planning.plan import Plan
from janus_vit.records import writer
from janus_vit.records.reader import read_records
from janus_vit.records.writer import RecordWriter

OUTCOME = Outcome(
    frame=0,
    at_s=1.0,
    sla_s=0.1,
    plan=Plan("fixed", 1.0, (0, 0), split=3, payload="local"),
    predicted=Prediction(0.01, 0.0, 0.0, 0.0, 0.0, 0.0, 0.01, 0.0),
    measured=Measured(total_s=0.05),
    size_bytes=0,
    answer=Answer((3,), (0.7,)),
    fallback=None,
    transfers=(),
)


def write(records, numbers):
    for number in numbers:
        records.write(replace(OUTCOME, frame=number))


def test_no_record_is_lost_or_repeated_while_the_disk_is_full(tmp_path):
    path, told = tmp_path / "records.jsonl", []
    records = RecordWriter(path, notify=told.append)
    write(records, range(3))
    with full_disk(path.stat().st_size + 100):  # room for a part of a line
        write(records, range(3, 6))
        assert [outcome.frame for outcome in read_records(path).outcomes] == [0, 1, 2]
    write(records, range(6, 8))
    records.close()
    assert [outcome.frame for outcome in read_records(path).outcomes] == list(range(8))
    assert told == [
        f"{path}: cannot be written (File too large): records wait in memory",
        f"{path}: is written again",
    ]


def test_a_disk_that_stays_full_takes_a_bounded_part_of_the_memory(monkeypatch):
    monkeypatch.setattr(writer, "_MOST_WAITING_BYTES", 2_000)
    told = []
    records = RecordWriter(Path("/dev/full"), notify=told.append)
    write(records, range(50))
    assert records.left_out > 40
    records.close()
    assert records.left_out == 50
    assert told[-1] == "/dev/full: 50 records were left out, because the disk did not take them"


def test_a_file_that_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        RecordWriter(tmp_path / "no" / "records.jsonl")


def test_a_file_is_replaced_by_the_first_record_and_not_before(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text("the records of another day\n")
    records = RecordWriter(path)
    records.close()
    assert path.read_text() == "the records of another day\n"
    records = RecordWriter(path)
    write(records, range(2))
    records.close()
    assert [outcome.frame for outcome in read_records(path).outcomes] == [0, 1]


def test_a_file_that_is_emptied_meanwhile_goes_on_with_the_next_record(tmp_path):
    path = tmp_path / "records.jsonl"
    records = RecordWriter(path)
    write(records, range(3))
    os.truncate(path, 0)
    write(records, range(3, 5))
    records.close()
    assert [outcome.frame for outcome in read_records(path).outcomes] == [3, 4]


def test_records_may_go_to_a_pipe(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with open(os.open(path, os.O_RDWR), "rb", buffering=0) as pipe:
        records = RecordWriter(path)
        write(records, range(1))
        records.close()
        assert json.loads(pipe.read(10_000))["frame"] == 0
