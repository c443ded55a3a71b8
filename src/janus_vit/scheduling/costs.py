"""How long an engine takes for a batch: measured on its machine, interpolated for any other size, corrected online.

Knows no model and no engine, only their numbers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

from janus_vit.errors import InputError
from janus_vit.planning.jsonfile import Section, is_number, parse_json, read_json, write_text
from janus_vit.planning.latency import PlatformProfile
from janus_vit.planning.plan import ModelShape

SCHEMA = "janus-vit/costs/1"
_PROFILE_POINTS = 16  # of a profile's curve in a cost table


@dataclass(frozen=True, slots=True)
class CostTable:
    """Measured seconds of one engine running one model.

    Times that fall with more frames or tokens are noise: each is raised to the largest before it.

    Attributes:
        model: the model's name.
        frames: numbers of frames in a batch that were measured, from 1 on, rising.
        tokens: effective tokens of one frame that were measured, rising; see `planning.latency.effective_tokens`.
        block_s: seconds of one block without merging, [frames][tokens].
        stem_s: seconds before the first block, by frames.
        head_s: seconds after the last block, by frames.
        merge_s: seconds that merging adds to one block, by the frames that merge.
        about: provenance: hardware, versions, command, engine, time. Never read by the scheduler.

    Raises:
        InputError: axes that do not rise or begin late, or times that do not match them.
    """

    model: str
    frames: tuple[int, ...]
    tokens: tuple[float, ...]
    block_s: tuple[tuple[float, ...], ...]
    stem_s: tuple[float, ...]
    head_s: tuple[float, ...]
    merge_s: tuple[float, ...]
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_axis("frames", self.frames)
        _check_axis("tokens", self.tokens)
        if self.frames[0] != 1:
            raise InputError(f"frames of a cost table begin with {self.frames[0]} and must begin with 1: measure it")
        rows = [tuple(accumulate(row, max)) for row in self.block_s]
        _check_times("block_s", rows, len(self.frames), len(self.tokens))
        raised = accumulate(rows, lambda before, row: tuple(map(max, before, row)))
        object.__setattr__(self, "block_s", tuple(raised))
        for name in ("stem_s", "head_s", "merge_s"):
            times = tuple(getattr(self, name))
            _check_times(name, [times], 1, len(self.frames))
            object.__setattr__(self, name, tuple(accumulate(times, max)))

    def to_json(self) -> str:
        """The file's text."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1) + "\n"

    def save(self, path: Path) -> None:
        """Write the table to a JSON file."""
        write_text(path, self.to_json())


def load_costs(path: Path) -> CostTable:
    """Read a cost table from its file.

    Raises:
        InputError: unreadable or damaged; the message names file and line or field.
    """
    return _table(read_json(path, SCHEMA))


def parse_costs(text: str, source: str) -> CostTable:
    """Read a cost table from text; `source` names it in errors."""
    return _table(parse_json(text, source, SCHEMA))


def profile_costs(profile: PlatformProfile, shape: ModelShape) -> CostTable:
    """The table of a machine whose single frames were measured: a batch of n takes n times as long as one."""
    most = shape.tokens + shape.late_tokens
    tokens = [1 + (most - 1) * index / _PROFILE_POINTS for index in range(_PROFILE_POINTS + 1)]
    block_s = tuple(float(each) for each in profile.quadratic.seconds(tokens))
    merge_s = float(profile.merge.seconds(most))
    return CostTable(
        profile.model, (1,), tuple(tokens), (block_s,), (profile.stem_s,), (profile.head_s,), (merge_s,), profile.about
    )


def constant_costs(fixed_s: float, per_frame_s: float, blocks: int) -> CostTable:
    """The table of an engine that takes so long for a batch and for each of its frames, whatever their tokens."""
    frames = (1, 1_024)
    block_s = tuple(((fixed_s + count * per_frame_s) / blocks,) for count in frames)
    return CostTable("constant", frames, (1.0,), block_s, (0.0, 0.0), (0.0, 0.0), (0.0, 0.0))


def _check_axis(name: str, axis: Sequence[float]) -> None:
    if not axis or axis[0] < 1 or list(axis) != sorted(set(axis)):
        raise InputError(f"{name} of a cost table are {list(axis)} and must rise, from 1 on")


def _check_times(name: str, rows: Sequence[Sequence[float]], height: int, width: int) -> None:
    if len(rows) != height or any(len(row) != width for row in rows):
        raise InputError(f"{name} of a cost table must hold one time for each of its frames and tokens: measure again")
    if not all(is_number(value) and value >= 0 for row in rows for value in row):
        raise InputError(f"{name} of a cost table must hold finite seconds, at least 0: measure again")


def _table(section: Section) -> CostTable:
    try:
        return CostTable(
            section.text("model"),
            tuple(int(each) for each in _numbers(section, "frames", section.array("frames"))),
            _numbers(section, "tokens", section.array("tokens")),
            tuple(_numbers(section, f"block_s[{index}]", row) for index, row in enumerate(section.array("block_s"))),
            _numbers(section, "stem_s", section.array("stem_s")),
            _numbers(section, "head_s", section.array("head_s")),
            _numbers(section, "merge_s", section.array("merge_s")),
            dict(section.section("about").values),
        )
    except InputError as error:
        if str(error).startswith(section.source):
            raise
        raise InputError(f"{section.source}: {error}") from error


def _numbers(section: Section, key: str, row: object) -> tuple[float, ...]:
    if not isinstance(row, list) or not all(map(is_number, row)):
        raise section.wrong(key, "must be a list of finite numbers")
    return tuple(float(each) for each in row)
