"""Profiler's model: how long each part of a run takes on one platform. Measured elsewhere, predicted here.

A block's time is a curve over its effective tokens. The paper's curve is a straight line; a quadratic fitted on
relative error follows attention's square and the flat start of small inputs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from janus_vit.errors import InputError
from janus_vit.planning.jsonfile import Section, is_number, parse_json, read_json, write_text

SCHEMA = "janus-vit/profile/1"
Floats = NDArray[np.float64]


def effective_tokens(before: ArrayLike, after: ArrayLike) -> Floats:
    """Tokens that a block's time depends on: a third before its merge, two thirds after.

    Of the 12 width^2 multiplications a token needs, 4 (qkv and projection) come before the merge and 8 (MLP) after.
    """
    return np.asarray((np.asarray(before, float) + 2 * np.asarray(after, float)) / 3)


def last_effective_tokens(before: ArrayLike, head_tokens: int) -> Floats:
    """Effective tokens of a last block that computes only those which the head reads: qkv is that of all tokens."""
    return np.asarray((np.asarray(before, float) + 3 * head_tokens) / 4)


@dataclass(frozen=True, slots=True)
class Curve:
    """Block latency, a + b x + c x^2 seconds for x effective tokens, never below the least that was measured.

    `mean_error`, `max_error` are relative to the measurements; `correlation` is Pearson's (the paper reports > 0.85).
    """

    a_s: float
    b_s: float
    c_s: float
    least_s: float
    mean_error: float
    max_error: float
    correlation: float

    def seconds(self, tokens: ArrayLike) -> Floats:
        """Predicted seconds of one block for each entry of `tokens` (effective tokens)."""
        x = np.asarray(tokens, float)
        return np.asarray(np.maximum(self.a_s + x * (self.b_s + x * self.c_s), self.least_s))


def fit_line(tokens: ArrayLike, seconds: ArrayLike) -> Curve:
    """The paper's line: least squares on seconds."""
    return _fit(np.asarray(tokens, float), np.asarray(seconds, float), degree=1, relative=False)


def fit_quadratic(tokens: ArrayLike, seconds: ArrayLike) -> Curve:
    """A quadratic by least squares on relative error."""
    return _fit(np.asarray(tokens, float), np.asarray(seconds, float), degree=2, relative=True)


def _fit(x: Floats, y: Floats, degree: int, relative: bool) -> Curve:
    if len(x) <= degree or np.any(y <= 0):
        raise InputError(f"a latency curve needs more than {degree} points with positive times, got {len(x)} points")
    weights = 1 / y if relative else np.ones_like(y)
    powers = np.vander(x, degree + 1, increasing=True)
    coefficients = np.linalg.lstsq(powers * weights[:, None], y * weights, rcond=None)[0]
    a, b, c = (*coefficients, 0.0)[:3]
    least = float(y.min())
    errors = np.abs(np.maximum(powers @ coefficients, least) / y - 1)
    correlation = float(np.corrcoef(x, y)[0, 1]) if np.ptp(x) and np.ptp(y) else 0.0
    return Curve(float(a), float(b), float(c), least, float(errors.mean()), float(errors.max()), correlation)


@dataclass(frozen=True, slots=True)
class Cost:
    """A fixed time and a time for each value: of packing or unpacking a payload, or of merging tokens."""

    fixed_s: float
    per_value_s: float

    def seconds(self, values: ArrayLike) -> Floats:
        """Predicted seconds for each number of values."""
        return np.asarray(self.fixed_s + self.per_value_s * np.asarray(values, float))


def fit_cost(values: ArrayLike, seconds: ArrayLike) -> Cost:
    """Least squares with both parts at least 0."""
    x, y = np.asarray(values, float), np.asarray(seconds, float)
    slope, fixed = np.polyfit(x, y, 1) if np.ptp(x) else (0.0, float(y.mean()))
    if slope < 0:
        slope, fixed = 0.0, float(y.mean())
    elif fixed < 0:
        slope, fixed = float(x @ y) / float(x @ x), 0.0
    return Cost(max(float(fixed), 0.0), max(float(slope), 0.0))


@dataclass(frozen=True)
class PlatformProfile:
    """What one machine takes for each part of one model.

    Attributes:
        model: the model's name.
        stem_s, head_s: seconds before the first and after the last block.
        line, quadratic: latency of a block that does not merge, the paper's fit and ours.
        merge: what merging adds to a block, by the tokens before it.
        encode, decode: cost of each payload format by name.
        image_bytes: mean size of each image format on the measured frames.
        lossless_ratio: compressed by plain size of each format with a lossless stage.
        about: provenance: hardware, versions, command, engine, threads, time. Never read by the planner.
        samples: the block measurements: (tokens before, tokens after, seconds).
    """

    model: str
    stem_s: float
    head_s: float
    line: Curve
    quadratic: Curve
    merge: Cost = Cost(0.0, 0.0)
    encode: Mapping[str, Cost] = field(default_factory=dict)
    decode: Mapping[str, Cost] = field(default_factory=dict)
    image_bytes: Mapping[str, float] = field(default_factory=dict)
    lossless_ratio: Mapping[str, float] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    samples: tuple[tuple[int, int, float], ...] = ()

    def block_seconds(self, before: ArrayLike, after: ArrayLike, curve: str) -> Floats:
        """Seconds of one block for each entry of tokens before and after its merge.

        Args:
            curve: "line" (paper), "quadratic", or "measured": interpolated between the samples, for simulations.
        """
        merging_s = np.where(np.asarray(before) > np.asarray(after), self.merge.seconds(before), 0.0)
        return np.asarray(self._plain_seconds(effective_tokens(before, after), curve) + merging_s)

    def stack_seconds(self, tokens: ArrayLike, curve: str, head_tokens: int | None) -> Floats:
        """Seconds of each block of a run.

        Args:
            tokens: [..., blocks + 1] before the first block and after each one. curve: as in `block_seconds`.
            head_tokens: tokens that the last block computes (`ModelShape.head_tokens`).

        Returns:
            [..., blocks].
        """
        counts = np.asarray(tokens, float)
        seconds = self.block_seconds(counts[..., :-1], counts[..., 1:], curve)
        if head_tokens is not None:
            seconds[..., -1] = self._plain_seconds(last_effective_tokens(counts[..., -2], head_tokens), curve)
        return seconds

    def _plain_seconds(self, tokens: Floats, curve: str) -> Floats:
        if curve != "measured":
            fitted: Curve = getattr(self, curve)
            return fitted.seconds(tokens)
        points = sorted((before, seconds) for before, after, seconds in self.samples if before == after)
        return np.asarray(np.interp(tokens, *np.array(points).T)) if points else self.quadratic.seconds(tokens)

    def residuals(self) -> Floats:
        """How each sample lies to the curve: measured by predicted seconds of its block, one number a sample.

        The samples are medians, so this is how far the curve is wrong and a machine drifts within minutes, not how one
        frame differs from the next.
        """
        before, after, seconds = np.array(self.samples, float).reshape(-1, 3).T
        return np.asarray(seconds / self.block_seconds(before, after, "quadratic"))

    def slowed(self, factor: float) -> PlatformProfile:
        """The profile of a machine that takes `factor` times as long for everything."""
        return PlatformProfile(
            self.model,
            self.stem_s * factor,
            self.head_s * factor,
            _slow_curve(self.line, factor),
            _slow_curve(self.quadratic, factor),
            _slow_cost(self.merge, factor),
            {name: _slow_cost(cost, factor) for name, cost in self.encode.items()},
            {name: _slow_cost(cost, factor) for name, cost in self.decode.items()},
            self.image_bytes,
            self.lossless_ratio,
            {**self.about, "slowdown": factor},
            tuple((before, after, seconds * factor) for before, after, seconds in self.samples),
        )

    def to_json(self) -> str:
        """The file's text."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1) + "\n"

    def save(self, path: Path) -> None:
        """Write the profile to a JSON file."""
        write_text(path, self.to_json())


def load_profile(path: Path) -> PlatformProfile:
    """Read a profile from its file.

    Raises:
        InputError: unreadable or damaged; the message names file and line or field.
    """
    return _profile(read_json(path, SCHEMA))


def parse_profile(text: str, source: str) -> PlatformProfile:
    """Read a profile from text; `source` names it in errors."""
    return _profile(parse_json(text, source, SCHEMA))


def _profile(section: Section) -> PlatformProfile:
    return PlatformProfile(
        model=section.text("model"),
        stem_s=section.number("stem_s", 0),
        head_s=section.number("head_s", 0),
        line=_curve(section.section("line")),
        quadratic=_curve(section.section("quadratic")),
        merge=_cost(section.section("merge")),
        encode=_costs(section.section("encode")),
        decode=_costs(section.section("decode")),
        image_bytes=section.numbers("image_bytes", 0),
        lossless_ratio=section.numbers("lossless_ratio", 0),
        about=dict(section.section("about").values),
        samples=_samples(section),
    )


def _curve(section: Section) -> Curve:
    return Curve(
        section.number("a_s"),
        section.number("b_s"),
        section.number("c_s"),
        section.number("least_s", 0),
        section.number("mean_error", 0),
        section.number("max_error", 0),
        section.number("correlation", -1),
    )


def _costs(section: Section) -> dict[str, Cost]:
    return {name: _cost(section.section(name)) for name in section.values}


def _cost(section: Section) -> Cost:
    return Cost(section.number("fixed_s", 0), section.number("per_value_s"))


def _samples(section: Section) -> tuple[tuple[int, int, float], ...]:
    found = []
    for index, row in enumerate(section.array("samples")):
        if not isinstance(row, list) or len(row) != 3 or not all(map(is_number, row)):
            raise InputError(
                f"{section.source}: field samples[{index}] must be [tokens before, tokens after, seconds]: "
                "make the file again"
            )
        found.append((int(row[0]), int(row[1]), float(row[2])))
    return tuple(found)


def _slow_curve(curve: Curve, factor: float) -> Curve:
    scaled = (curve.a_s * factor, curve.b_s * factor, curve.c_s * factor, curve.least_s * factor)
    return Curve(*scaled, curve.mean_error, curve.max_error, curve.correlation)


def _slow_cost(cost: Cost, factor: float) -> Cost:
    return Cost(cost.fixed_s * factor, cost.per_value_s * factor)
