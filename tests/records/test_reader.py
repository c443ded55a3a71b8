"""Records are read as they were written; damage is named."""

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from janus_vit.errors import InputError
from janus_vit.links.traces import Trace
from janus_vit.planning.outcome import Answer, Measured, Outcome, Prediction, Transfer
from janus_vit.planning.plan import Plan
from janus_vit.planning.policies.presets import POLICIES, make_policy
from janus_vit.records.reader import names_of, read_records
from janus_vit.records.writer import RecordWriter, to_record
from janus_vit.simulation.simulate import simulate

OUTCOME = Outcome(
    frame=0,
    at_s=12.5,
    sla_s=0.1,
    plan=Plan("exponential", 0.12, (4, 2, 1), split=2, payload="float8"),
    predicted=Prediction(
        device_s=0.01,
        encode_s=0.001,
        transfer_s=0.02,
        queue_s=0.0,
        decode_s=0.001,
        cloud_s=0.004,
        finish_s=0.03,
        size_bytes=512.0,
        rate_mbps=8.0,
        spread=0.05,
        on_time=0.97,
        accuracy=0.95,
    ),
    measured=Measured(device_s=0.011, send_s=0.01, rtt_s=0.012, total_s=0.05),
    size_bytes=512,
    answer=Answer((3, 1), (0.7, 0.2)),
    fallback=None,
    transfers=(Transfer(12.53, 512, 0.01, 0.012), Transfer(12.55, 512, 0.5, None)),
)


TOLD = replace(OUTCOME, impossible=("load: price of 1e+300, but none is above 10000",))


def write(path: Path, *outcomes: Outcome, truth: int | None = None) -> Path:
    writer = RecordWriter(path, ("a", "b", "c", "d"))
    for index, outcome in enumerate(outcomes):
        writer.write(outcome, f"frame {index}", truth)
    writer.close()
    return path


def changed(path: Path, change) -> Path:
    """Write a file with one record, changed."""
    record = to_record(OUTCOME, name="x")
    change(record)
    path.write_text(json.dumps(to_record(OUTCOME)) + "\n" + json.dumps(record) + "\n")
    return path


def test_record_is_read_as_written(tmp_path):
    (record,) = read_records(write(tmp_path / "one.jsonl", OUTCOME, truth=3)).records
    assert record.outcome == OUTCOME
    assert (record.name, record.truth, record.label) == ("frame 0", 3, "d")


def test_what_a_cloud_told_that_cannot_be_right_is_read_as_written_and_older_records_have_none(tmp_path):
    assert read_records(write(tmp_path / "one.jsonl", TOLD)).outcomes == (TOLD,)
    older = changed(tmp_path / "older.jsonl", lambda record: record.pop("impossible"))
    assert read_records(older).outcomes[1] == OUTCOME


@pytest.mark.parametrize("name", POLICIES)
def test_simulated_streams_are_read_as_written(name, platforms, tmp_path):
    trace = Trace("steps", 1.0, [20.0, 0.5, 0.0, 8.0], {})
    outcomes = tuple(simulate(make_policy(name, platforms), platforms, trace, 0.08, 6.0))
    recording = read_records(write(tmp_path / "run.jsonl", *outcomes))
    assert recording.outcomes == outcomes
    assert set(recording.truths) == {None}
    assert recording.cut_bytes == 0


def test_records_of_an_embedding_have_no_classes(tmp_path):
    record = to_record(OUTCOME)
    record["answer"] = {"classes": [], "probabilities": [], "vector": [0.6, 0.8]}
    (tmp_path / "embed.jsonl").write_text(json.dumps(record) + "\n")
    (read,) = read_records(tmp_path / "embed.jsonl").outcomes
    assert read.answer == Answer((), (), (0.6, 0.8))


@pytest.mark.parametrize("kept", [0.01, 0.3, 0.999])
def test_line_cut_off_by_a_crash_is_left_out_and_reported(tmp_path, kept):
    path = write(tmp_path / "cut.jsonl", OUTCOME, OUTCOME)
    data = path.read_bytes()
    line = len(data) // 2
    cut = max(1, int(kept * (line - 1)))
    path.write_bytes(data[: line + cut])
    recording = read_records(path)
    assert recording.outcomes == (OUTCOME,)
    assert recording.cut_bytes == cut


def test_line_that_lacks_only_its_line_break_is_complete(tmp_path):
    path = write(tmp_path / "cut.jsonl", OUTCOME, OUTCOME)
    path.write_bytes(path.read_bytes()[:-1])
    recording = read_records(path)
    assert (len(recording.records), recording.cut_bytes) == (2, 0)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda record: record.pop("plan"), "field plan is missing"),
        (lambda record: record.update(schema="janus-vit/record/9"), "field schema"),
        (lambda record: record.update(sla_s=0), "field sla_s must be above zero"),
        (lambda record: record.update(at_s="noon"), "field at_s must be a finite number"),
        (lambda record: record.update(truth=1.5), "field truth must be a whole number"),
        (lambda record: record.update(fallback=3), "field fallback must be a string"),
        (lambda record: record.update(impossible=[3]), "field impossible must be a list of sentences"),
        (lambda record: record["measured"].pop("rtt_s"), "field measured.rtt_s is missing"),
        (lambda record: record["measured"].update(total_s=-1), "field measured.total_s must be at least 0"),
        (lambda record: record["predicted"].update(accuracy=97), "field predicted.accuracy must be a share"),
        (lambda record: record["predicted"].update(total_s=float("nan"), device_s=float("nan")), "predicted.device_s"),
        (lambda record: record["plan"].update(payload="float7"), "field plan.payload cannot be used"),
        (lambda record: record["plan"].update(payload="jpeg90"), "field plan.payload cannot be 'jpeg90' at split 2"),
        (lambda record: record["plan"].update(payload="local"), "field plan.payload must be 'local' for split 4"),
        (lambda record: record["plan"].update(split=5), "field plan.split must be at most"),
        (lambda record: record["plan"].update(merges=[1, -1]), "field plan.merges must be whole numbers"),
        (lambda record: record["answer"].update(classes=["cat"]), "field answer.classes must be whole numbers"),
        (lambda record: record["answer"].update(classes=[10**400, 1]), "field answer.classes must be whole numbers"),
        (lambda record: record["plan"].update(merges=[10**400, 0, 0]), "field plan.merges must be whole numbers"),
        (lambda record: record["plan"].update(rescue=[10**400]), "field plan.rescue must be whole numbers"),
        (lambda record: record.update(frame=10**400), "field frame must be a finite number"),
        (lambda record: record.update(sla_s=1e-300), "field sla_s must be above zero"),
        (lambda record: record.update(name="\ud800"), "field name holds half of a character"),
        (lambda record: record.update(about={"a": [0, {"b": 1e13}]}), r"field about.a\[1\].b must be at most 1e\+12"),
        (lambda record: record["answer"].update(probabilities=[1]), "field answer.probabilities must be as many"),
        (
            lambda record: record["transfers"][1].update(rtt_s="-"),
            r"field transfers\[1\].rtt_s must be a finite number",
        ),
    ],
)
def test_damaged_record_is_named_by_file_line_and_field(tmp_path, change, named):
    with pytest.raises(InputError, match=rf"bad\.jsonl: line 2: .*{named}"):
        read_records(changed(tmp_path / "bad.jsonl", change))


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "has no complete record"),
        (b'{"schema": "janus', "has no complete record"),
        (b"{}\n", "line 1: field schema is missing"),
        (b"[]", "line 1: must hold a JSON object"),
        (b'{"schema": \n{}\n', "line 1, column 12: not valid JSON"),
        (b"\xff\n", "line 1: byte 0 is not UTF-8"),
        (b"\n\n", "line 1, column 1: "),
    ],
)
def test_other_files_are_refused(tmp_path, data, named):
    path = tmp_path / "bad.jsonl"
    path.write_bytes(data)
    with pytest.raises(InputError, match=rf"bad\.jsonl: {named}"):
        read_records(path)


def test_a_number_deep_below_long_keys_needs_no_memory_for_their_paths(tmp_path):
    record = to_record(OUTCOME)
    record["x" * 100_000] = [[1] * 1_000] * 50
    record["y"] = deep = {}
    for _ in range(60):
        deep["z" * 10_000] = deep = {"w": [1]}
    path = tmp_path / "deep.jsonl"
    path.write_text(json.dumps(record) + "\n")
    tracemalloc.start()
    read_records(path)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 8 * path.stat().st_size


@pytest.mark.parametrize("depth", [65, 900, 100_000])
@pytest.mark.parametrize(("opens", "closes"), [('{"a23456789012345678":', "}"), ("[", "]")])
def test_values_nested_deeply_are_refused(tmp_path, depth, opens, closes):
    path = tmp_path / "deep.jsonl"
    path.write_text('{"schema": "janus-vit/record/1", "x": ' + opens * depth + "1" + closes * depth + "}\n")
    with pytest.raises(InputError, match=r"deep\.jsonl: line 1: (nests values|holds a number or nesting)"):
        read_records(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.jsonl: cannot be read"):
        read_records(tmp_path / "none.jsonl")


def test_names_are_as_short_as_possible_and_different():
    assert names_of([Path("runs/janus.jsonl"), Path("mixed.jsonl")]) == ["janus", "mixed"]
    assert names_of([Path("lte/janus.jsonl"), Path("5g/janus.jsonl")]) == ["lte/janus", "5g/janus"]
    assert names_of([Path("1/a/x.jsonl"), Path("2/a/x.jsonl")]) == ["1/a/x.jsonl", "2/a/x.jsonl"]
    assert names_of([Path("bell\x07.jsonl")]) == ["bell\ufffd"]
