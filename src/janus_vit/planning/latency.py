"""Latency model: predicts how long each part of a run takes on one machine. `calibration` measures the profiles.

The time of a block is a curve over its effective tokens. The paper's curve is a straight line. A quadratic fitted on
relative error also follows the quadratic cost of attention and the flat start at few tokens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from janus_vit.errors import InputError
from janus_vit.planning.jsonfile import Section, is_number, parse_json, read_json, write_text

SCHEMA = "janus-vit/profile/1"
_LONGEST_S = 3600.0  # of one step, or per token
_SHORTEST_S = 1e-9  # of one block: policies divide by predicted times
Floats = NDArray[np.float64]


def effective_tokens(before: ArrayLike, after: ArrayLike) -> Floats:
    """Return the token count that predicts a block's time: 1/3 of the tokens before its merge + 2/3 of those after it.

    A token needs 12 width^2 multiplications: 4 (qkv and projection) before the merge and 8 (MLP) after it.
    """
    return np.asarray((np.asarray(before, float) + 2 * np.asarray(after, float)) / 3)


def last_effective_tokens(before: ArrayLike, head_tokens: int) -> Floats:
    """Return the effective tokens of the last block, which after qkv computes only the tokens that the head reads."""
    return np.asarray((np.asarray(before, float) + 3 * head_tokens) / 4)


@dataclass(frozen=True, slots=True)
class Curve:
    """Block latency: a + b x + c x^2 seconds for x effective tokens, at least `least_s`.

    Attributes:
        a_s: constant term a.
        b_s: linear coefficient b.
        c_s: quadratic coefficient c.
        least_s: smallest time that was measured.
        mean_error: mean relative error against the measurements.
        max_error: largest relative error against the measurements.
        correlation: Pearson's correlation of tokens and time (the paper reports > 0.85).
    """

    a_s: float
    b_s: float
    c_s: float
    least_s: float
    mean_error: float
    max_error: float
    correlation: float

    def seconds(self, tokens: ArrayLike) -> Floats:
        """Predict the seconds of one block for each number of effective tokens."""
        x = np.asarray(tokens, float)
        return np.asarray(np.maximum(self.a_s + x * (self.b_s + x * self.c_s), max(self.least_s, _SHORTEST_S)))


def fit_line(tokens: ArrayLike, seconds: ArrayLike) -> Curve:
    """Fit the paper's line by least squares on seconds."""
    return _fit(np.asarray(tokens, float), np.asarray(seconds, float), degree=1, relative=False)


def fit_quadratic(tokens: ArrayLike, seconds: ArrayLike) -> Curve:
    """Fit a quadratic by least squares on relative error."""
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
    return Curve(
        a_s=float(a),
        b_s=float(b),
        c_s=float(c),
        least_s=least,
        mean_error=float(errors.mean()),
        max_error=float(errors.max()),
        correlation=correlation,
    )


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of encoding or decoding a payload, or of merging tokens.

    Attributes:
        fixed_s: time that does not depend on the size.
        per_value_s: time per value, or per token when merging.
    """

    fixed_s: float
    per_value_s: float

    def seconds(self, values: ArrayLike) -> Floats:
        """Predict the seconds for each number of values."""
        return np.asarray(self.fixed_s + self.per_value_s * np.asarray(values, float))


def fit_cost(values: ArrayLike, seconds: ArrayLike) -> Cost:
    """Fit by least squares, with both parts at least 0."""
    x, y = np.asarray(values, float), np.asarray(seconds, float)
    slope, fixed = np.polyfit(x, y, 1) if np.ptp(x) else (0.0, float(y.mean()))
    if slope < 0:
        slope, fixed = 0.0, float(y.mean())
    elif fixed < 0:
        slope, fixed = float(x @ y) / float(x @ x), 0.0
    return Cost(max(float(fixed), 0.0), max(float(slope), 0.0))


@dataclass(frozen=True)
class PlatformProfile:
    """How long one machine takes for each part of one model.

    Attributes:
        model: name of the model.
        stem_s: time before the first block.
        head_s: time after the last block.
        line: latency of a block that does not merge, the paper's fit.
        quadratic: latency of a block that does not merge, fitted with a quadratic.
        merge: time that merging adds to a block, by the number of tokens before the merge.
        encode: cost of encoding each payload format, by name.
        decode: cost of decoding each payload format, by name.
        image_bytes: mean size of each image format on the measured frames.
        lossless_ratio: compressed size / plain size of each format with a lossless stage.
        reply_bytes: mean size of the maps in a reply of a model with a dense head.
        about: hardware, versions, command, engine, threads and time of the measurement. The planner does not read it.
        samples: block measurements: (tokens before the merge, tokens after it, seconds).
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
    reply_bytes: float = 0.0
    about: Mapping[str, Any] = field(default_factory=dict)
    samples: tuple[tuple[int, int, float], ...] = ()

    def block_seconds(self, before: ArrayLike, after: ArrayLike, curve: str) -> Floats:
        """Predict the seconds of one block.

        Args:
            before: number of tokens before its merge; any shape.
            after: number of tokens after its merge, same shape.
            curve: "line" (the paper's), "quadratic", or "measured" (interpolates the samples, for simulations).
        """
        merging_s = np.where(np.asarray(before) > np.asarray(after), self.merge.seconds(before), 0.0)
        return np.asarray(self._plain_seconds(effective_tokens(before, after), curve) + merging_s)

    def stack_seconds(self, tokens: ArrayLike, curve: str, head_tokens: int | None, late: ArrayLike = 0) -> Floats:
        """Predict the seconds of each block of a run, [..., blocks].

        Args:
            tokens: tokens before the first block, then after each, without late ones, [..., blocks + 1].
            curve: as in `block_seconds`.
            head_tokens: number of tokens that the last block computes, see `ModelShape.head_tokens`.
            late: number of late tokens that each block computes, see `ModelShape.late_within`.
        """
        counts = np.asarray(tokens, float)
        before = counts[..., :-1] + late
        seconds = self.block_seconds(before, counts[..., 1:] + late, curve)
        if head_tokens is not None:
            seconds[..., -1] = self._plain_seconds(last_effective_tokens(before[..., -1], head_tokens), curve)
        return seconds

    def _plain_seconds(self, tokens: Floats, curve: str) -> Floats:
        if curve != "measured":
            fitted: Curve = getattr(self, curve)
            return fitted.seconds(tokens)
        points = sorted((before, seconds) for before, after, seconds in self.samples if before == after)
        return np.asarray(np.interp(tokens, *np.array(points).T)) if points else self.quadratic.seconds(tokens)

    def residuals(self) -> Floats:
        """Measured / predicted seconds of each sample's block.

        The samples are medians. The ratios therefore show the error of the curve and the machine's drift within
        minutes, not the difference from one frame to the next.
        """
        before, after, seconds = np.array(self.samples, float).reshape(-1, 3).T
        return np.asarray(seconds / self.block_seconds(before, after, "quadratic"))

    def slowed(self, factor: float) -> PlatformProfile:
        """Return the profile of a machine that takes `factor` times as long for everything."""
        return replace(
            self,
            stem_s=self.stem_s * factor,
            head_s=self.head_s * factor,
            line=_slow_curve(self.line, factor),
            quadratic=_slow_curve(self.quadratic, factor),
            merge=_slow_cost(self.merge, factor),
            encode={name: _slow_cost(cost, factor) for name, cost in self.encode.items()},
            decode={name: _slow_cost(cost, factor) for name, cost in self.decode.items()},
            about={**self.about, "slowdown": factor},
            samples=tuple((before, after, seconds * factor) for before, after, seconds in self.samples),
        )

    def to_json(self) -> str:
        """Return the text of the file."""
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
    """Read a profile from text.

    Args:
        text: content of a profile's file.
        source: name of the text in error messages.

    Raises:
        InputError: damaged; the message names line or field.
    """
    return _profile(parse_json(text, source, SCHEMA))


def _profile(section: Section) -> PlatformProfile:
    return PlatformProfile(
        model=section.short_text("model"),
        stem_s=section.number("stem_s", 0, _LONGEST_S),
        head_s=section.number("head_s", 0, _LONGEST_S),
        line=_curve(section.section("line")),
        quadratic=_curve(section.section("quadratic")),
        merge=_cost(section.section("merge")),
        encode=_costs(section.section("encode")),
        decode=_costs(section.section("decode")),
        image_bytes=section.numbers("image_bytes", 0, 1e12),
        lossless_ratio=section.numbers("lossless_ratio", 0, 1e3),
        reply_bytes=section.number("reply_bytes", 0, 1e12) if "reply_bytes" in section.values else 0.0,
        about=dict(section.section("about").values),
        samples=_samples(section),
    )


def _curve(section: Section) -> Curve:
    bounds = dict.fromkeys(("a_s", "b_s", "c_s"), (-_LONGEST_S, _LONGEST_S)) | {"correlation": (-1.0, 1.0)}
    usual = 0.0, _LONGEST_S  # errors too: they are ratios
    return Curve(**{each.name: section.number(each.name, *bounds.get(each.name, usual)) for each in fields(Curve)})


def _costs(section: Section) -> dict[str, Cost]:
    return {name: _cost(section.section(name)) for name in section.values}


def _cost(section: Section) -> Cost:
    return Cost(section.number("fixed_s", 0, _LONGEST_S), section.number("per_value_s", 0, _LONGEST_S))


def _samples(section: Section) -> tuple[tuple[int, int, float], ...]:
    found = []
    for index, row in enumerate(section.array("samples")):
        numbers = isinstance(row, list) and len(row) == 3 and all(map(is_number, row))
        if not numbers or min(row) < 0 or max(row[:2]) > 1e6 or row[2] > _LONGEST_S:
            raise section.wrong(f"samples[{index}]", "must be [tokens before, tokens after, seconds]")
        found.append((int(row[0]), int(row[1]), float(row[2])))
    return tuple(found)


def _slow_curve(curve: Curve, factor: float) -> Curve:
    return replace(
        curve, a_s=curve.a_s * factor, b_s=curve.b_s * factor, c_s=curve.c_s * factor, least_s=curve.least_s * factor
    )


def _slow_cost(cost: Cost, factor: float) -> Cost:
    return Cost(cost.fixed_s * factor, cost.per_value_s * factor)
