"""Read the records of a stream that `records.writer` wrote, on a device or in a simulation."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TypeVar

from janus_vit.errors import InputError
from janus_vit.input_files import open_file, unreadable
from janus_vit.planning.accuracy.points import parse_merges
from janus_vit.planning.jsonfile import Section, is_number, parse_json, printable
from janus_vit.planning.outcome import Answer, Measured, Outcome, Overlap, Prediction, Transfer
from janus_vit.planning.payloads import LOCAL, parse_payload
from janus_vit.planning.plan import Plan
from janus_vit.records.writer import SCHEMA

_Value = TypeVar("_Value")
_PREDICTED = ("device_s", "encode_s", "transfer_s", "queue_s", "decode_s", "cloud_s", "finish_s", "size_bytes")
_MEASURED = tuple(Measured.__dataclass_fields__)
_SHOW_EVERY = 500  # lines
_LONGEST_LINE_BYTES = 1 << 24
_SHORTEST_S = 1e-6  # of a time that others are divided by
_LARGEST = 1e12  # seconds, bytes, tokens: larger numbers are damage


@dataclass(frozen=True, slots=True)
class Record:
    """One line of a file.

    Attributes:
        outcome: what happened to the frame.
        name: where the frame came from; None if unknown.
        truth: its true class; None if unknown.
        label: name of the answered class; None if unknown.
    """

    outcome: Outcome
    name: str | None
    truth: int | None
    label: str | None


@dataclass(frozen=True, slots=True)
class Recording:
    """One file of records.

    Attributes:
        path: path of the file.
        records: records in the order of the file, at least one.
        cut_bytes: size of an unfinished last line, which is left out; 0 if every line is complete.
    """

    path: Path
    records: tuple[Record, ...]
    cut_bytes: int = 0

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """Outcomes of all records."""
        return tuple(record.outcome for record in self.records)

    @property
    def truths(self) -> tuple[int | None, ...]:
        """True classes of all records."""
        return tuple(record.truth for record in self.records)


def read_records(path: Path, progress: Callable[[float, str], None] = lambda share, step: None) -> Recording:
    """Read one file. A last line that a crash cut off is left out, see `Recording.cut_bytes`.

    Args:
        path: path of the file.
        progress: called with the share that is done and a short text.

    Raises:
        InputError: the file cannot be read, has no complete line, or a line is damaged; names line and field.
    """
    records: list[Record] = []
    cut_bytes = 0
    for number, (line, share) in enumerate(_read_lines(path), 1):
        if number % _SHOW_EVERY == 1:
            progress(share, path.name)
        if line.endswith(b"\n") or _is_json(line):
            records.append(parse_record(_parse_line(line.removesuffix(b"\n"), path, number)))
        else:
            cut_bytes = len(line)  # only the last line can lack its line break
    if not records:
        raise InputError(f"{path}: has no complete record: give a file that 'janus-vit device --records' wrote")
    return Recording(path, tuple(records), cut_bytes)


def parse_record(section: Section) -> Record:
    """Read one record. Fields that follow from others are ignored: `met`, `deviation`, `predicted.total_s`.

    Raises:
        InputError: a field is missing or impossible; the message names it.
    """
    _check_sizes(section)
    answer = section.section("answer")
    outcome = Outcome(
        frame=section.integer("frame"),
        at_s=section.number("at_s"),
        sla_s=_positive(section, "sla_s"),
        plan=_parse_plan(section.section("plan")),
        predicted=_parse_prediction(section.section("predicted")),
        measured=Measured(**{key: section.section("measured").number(key, 0.0) for key in _MEASURED}),
        size_bytes=section.integer("size_bytes"),
        answer=_parse_answer(answer),
        fallback=_optional(section, "fallback", section.text),
        transfers=tuple(_parse_transfer(transfer) for transfer in section.sections("transfers")),
        overlap=_parse_overlap(section.section("overlap")) if "overlap" in section.values else Overlap(),
        impossible=_parse_impossible(section),
        trace=_optional(section, "trace", section.text),
    )
    return Record(
        outcome=outcome,
        name=_optional(section, "name", section.text),
        truth=_optional(section, "truth", section.integer),
        label=answer.text("label") if "label" in answer.values else None,
    )


def names_of(paths: Sequence[Path]) -> list[str]:
    """Short names that tell files apart: the file's name, with its folder if needed, otherwise the whole path."""
    choices: tuple[Callable[[Path], str], ...] = (
        lambda path: path.stem,
        lambda path: f"{path.absolute().parent.name}/{path.stem}",
    )
    for choose in choices:
        names = [printable(choose(path)) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [printable(str(path)) for path in paths]


def _read_lines(path: Path) -> Iterator[tuple[bytes, float]]:
    """Yield each line with its line break, and the share of the file that is read then."""
    try:
        with open_file(path) as file:
            size, done = max(1, os.fstat(file.fileno()).st_size), 0
            for number in count(1):
                line = file.readline(_LONGEST_LINE_BYTES + 1)
                if len(line) > _LONGEST_LINE_BYTES:
                    raise InputError(
                        f"{path}: line {number}: has more than {_LONGEST_LINE_BYTES} bytes, the most that a record can "
                        "have: give a file that 'janus-vit device --records' wrote"
                    )
                if not line:
                    return
                done += len(line)
                yield line, min(1.0, done / size)
    except OSError as error:
        raise unreadable(path, error) from error


def _is_json(line: bytes) -> bool:
    """Whether a line without a line break is complete: an object that is cut off anywhere is not valid JSON."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _parse_line(line: bytes, path: Path, number: int) -> Section:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: line {number}: byte {error.start} is not UTF-8 text: make the file again") from error
    return parse_json(text, str(path), SCHEMA, number)


def _parse_plan(section: Section) -> Plan:
    merges = parse_merges(section)
    rescue = None if section.values.get("rescue") is None else parse_merges(section, "rescue")
    plan = Plan(
        family=section.text("family"),
        level=section.number("level", 0.0),
        merges=merges,
        split=section.integer("split"),
        payload=section.text("payload"),
        rescue=rescue,
    )
    if plan.split > len(merges) + 1:
        raise section.wrong("split", f"must be at most {len(merges) + 1} (blocks + 1), not {plan.split}")
    if rescue is not None and len(rescue) != max(0, len(merges) - plan.split):
        raise section.wrong("rescue", f"must have {max(0, len(merges) - plan.split)} numbers, one per remaining block")
    if plan.is_local != (plan.split == len(merges) + 1):
        raise section.wrong("payload", f"must be {LOCAL!r} for split {len(merges) + 1} and for no other split")
    if not plan.is_local:
        try:
            of_tokens = parse_payload(plan.payload).of_tokens
        except InputError as error:
            raise section.wrong("payload", f"cannot be used ({error})") from error
        if of_tokens != (plan.split > 0):
            raise section.wrong("payload", f"cannot be {plan.payload!r} at split {plan.split}")
    return plan


def _parse_prediction(section: Section) -> Prediction:
    on_time, accuracy = (_optional(section, key, section.number) for key in ("on_time", "accuracy"))
    for key, share in (("on_time", on_time), ("accuracy", accuracy)):
        if share is not None and not 0 <= share <= 1:
            raise section.wrong(key, f"must be a share from 0 to 1, not {share!r}")
    rate_mbps = _optional(section, "rate_mbps", lambda key: section.number(key, 0.0))
    times = {key: section.number(key, 0.0) for key in _PREDICTED}
    unhurried_s = None if section.values.get("unhurried_s") is None else section.number("unhurried_s", 0.0)
    spread = section.number("spread", 0.0)
    return Prediction(
        **times,
        rate_mbps=rate_mbps,
        spread=spread,
        on_time=on_time,
        accuracy=accuracy,
        unhurried_s=unhurried_s,
        uplink_wait_s=section.number("uplink_wait_s", 0.0) if "uplink_wait_s" in section.values else 0.0,
    )


def _parse_overlap(section: Section) -> Overlap:
    times = {key: section.number(key, 0.0) for key in ("held_s", "uplink_s", "compute_s", "order_s")}
    return Overlap(section.integer("others"), **times)


def _parse_impossible(section: Section) -> tuple[str, ...]:
    """Sentences about what the cloud told; records of older versions have none."""
    sentences = section.array("impossible") if "impossible" in section.values else ()
    if not all(isinstance(sentence, str) for sentence in sentences):
        raise section.wrong("impossible", "must be a list of sentences")
    return tuple(sentences)


def _parse_answer(section: Section) -> Answer:
    classes, probabilities, vector = (section.array(key) for key in ("classes", "probabilities", "vector"))
    if not all(isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST for value in classes):
        raise section.wrong("classes", f"must be whole numbers from 0 to {_LARGEST:g}")
    for key, values in (("probabilities", probabilities), ("vector", vector)):
        if not all(map(is_number, values)):
            raise section.wrong(key, "must be finite numbers")
    if len(classes) != len(probabilities):
        raise section.wrong("probabilities", f"must be as many as classes ({len(classes)}), not {len(probabilities)}")
    return Answer(tuple(classes), tuple(map(float, probabilities)), tuple(map(float, vector)))


def _parse_transfer(section: Section) -> Transfer:
    rtt_s = _optional(section, "rtt_s", lambda key: section.number(key, 0.0))
    return Transfer(
        at_s=section.number("at_s"),
        size_bytes=section.integer("size_bytes"),
        send_s=section.number("send_s", 0.0),
        rtt_s=rtt_s,
    )


def _optional(section: Section, key: str, read: Callable[[str], _Value]) -> _Value | None:
    return None if section.values.get(key) is None else read(key)


def _check_sizes(section: Section) -> None:
    """Require numbers that are small enough for sums to stay finite."""
    place = _too_large(section.values)
    if place is not None:
        raise section.wrong(place.lstrip("."), f"must be at most {_LARGEST:g}")


def _too_large(value: object) -> str | None:
    """Place of the first number that is too large, such as ".plan.merges[3]"; None if there is none.

    Only this place is written as text: of all places together, the text can be far longer than the file.
    """
    if isinstance(value, dict):
        for key, each in value.items():
            if (inner := _too_large(each)) is not None:
                return f".{key}{inner}"
    elif isinstance(value, list):
        for index, each in enumerate(value):
            if (inner := _too_large(each)) is not None:
                return f"[{index}]{inner}"
    elif is_number(value) and abs(float(value)) > _LARGEST:  # type: ignore[arg-type]
        return ""
    return None


def _positive(section: Section, key: str) -> float:
    value = section.number(key, 0.0)
    if value < _SHORTEST_S:
        raise section.wrong(key, f"must be above zero, at least {_SHORTEST_S:g}")
    return value
