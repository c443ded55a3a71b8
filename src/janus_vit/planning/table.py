"""All candidate plans as one table: a row is a schedule, a column is a split point with a payload format.

Everything that does not depend on the link is computed once, so that a decision takes a few vector operations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from janus_vit.errors import InputError
from janus_vit.planning.latency import Floats, PlatformProfile
from janus_vit.planning.payloads import LOCAL, PLACE_BYTES, parse_payload, tensor_bytes
from janus_vit.planning.plan import ModelShape, Plan
from janus_vit.planning.rescue import Rescue, plan_rescue
from janus_vit.planning.schedules import Schedule

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Option:
    """One column of the table.

    Attributes:
        split: number of blocks that run on the device.
        payload: format of what crosses the network.
    """

    split: int
    payload: str


@dataclass(frozen=True)
class PlanTable:
    """All candidate plans with everything that does not depend on the link. Arrays have shape [levels, options].

    Attributes:
        shape: shape of the model.
        schedules: schedule of each row, ascending in level within a family.
        options: split point and payload of each column.
        device_s: compute on the device.
        encode_s: encoding the payload on the device.
        cloud_s: compute in the cloud.
        decode_s: decoding the payload in the cloud.
        finish_s: finishing the frame on the device from the split, with the rescue schedule.
        size_bytes: size of the payload; 0 for a local plan.
        rescue: rescue schedules.
        reply_bytes: size of the maps in a reply of a model with a dense head.
    """

    shape: ModelShape
    schedules: tuple[Schedule, ...]
    options: tuple[Option, ...]
    device_s: Floats
    encode_s: Floats
    cloud_s: Floats
    decode_s: Floats
    finish_s: Floats
    size_bytes: Floats
    rescue: Rescue
    reply_bytes: float = 0.0
    _made: dict[tuple[int, int], Plan] = field(init=False, repr=False, compare=False, default_factory=dict)

    @property
    def link_bytes(self) -> Floats:
        """Bytes that cross the link both ways. The downlink counts as if it had the rate of the uplink."""
        return np.asarray(self.size_bytes + self.reply_bytes * (self.size_bytes > 0))

    def plan(self, row: int, column: int) -> Plan:
        """Return the plan in one cell; always the same object."""
        if (row, column) not in self._made:
            self._made[row, column] = self._make(row, column)
        return self._made[row, column]

    def _make(self, row: int, column: int) -> Plan:
        schedule, option = self.schedules[row], self.options[column]
        rescue = None if option.payload == LOCAL else self.rescue.merges(row, option.split)
        return Plan(
            family=schedule.family,
            level=schedule.level,
            merges=schedule.applied,
            split=option.split,
            payload=option.payload,
            rescue=rescue,
        )

    def only(self, columns: list[int]) -> PlanTable:
        """Return a table of only these columns."""
        return replace(
            self,
            options=tuple(self.options[column] for column in columns),
            device_s=self.device_s[:, columns],
            encode_s=self.encode_s[:, columns],
            cloud_s=self.cloud_s[:, columns],
            decode_s=self.decode_s[:, columns],
            finish_s=self.finish_s[:, columns],
            size_bytes=self.size_bytes[:, columns],
        )


def make_options(
    shape: ModelShape, splits: Sequence[int], tokens: Sequence[str], images: Sequence[str]
) -> tuple[Option, ...]:
    """Combine split points with payload formats.

    Args:
        shape: shape of the model.
        splits: split points. Split 0 sends an image, blocks + 1 sends nothing, all others send tokens.
        tokens: formats for tokens.
        images: formats for images.
    """
    options: list[Option] = []
    for split in splits:
        if split == 0:
            options += [Option(0, payload) for payload in images]
        elif split > shape.blocks:
            options.append(Option(shape.blocks + 1, LOCAL))
        else:
            options += [Option(split, payload) for payload in tokens]
    return tuple(options)


def build_table(
    shape: ModelShape,
    schedules: Sequence[Schedule],
    options: Sequence[Option],
    device: PlatformProfile,
    cloud: PlatformProfile,
    curve: str = "quadratic",
    targets: Sequence[bool] | None = None,
) -> PlanTable:
    """Compute the table of all plans.

    Args:
        shape: shape of the model.
        schedules: one per row.
        options: one per column.
        device: latency profile of the device.
        cloud: latency profile of the cloud.
        curve: which block latency to use, see `PlatformProfile.block_seconds`.
        targets: which schedules a rescue schedule may aim at, see `plan_rescue`; None: all.

    Raises:
        InputError: there are no schedules or options, the model cannot run an option, or a profile lacks a format.
    """
    if not schedules or not options:
        raise InputError("a plan table needs at least one schedule and one option: allow more of them")
    for option in options:
        _check(option, shape)
    tokens = np.array([schedule.tokens for schedule in schedules], float)  # [levels, blocks + 1]
    device_before = _time_before(tokens, shape, device, curve)
    cloud_before = _time_before(tokens, shape, cloud, curve)
    sent = _sent_tokens(tokens, shape)
    places = _sent_places(tokens, shape)
    splits = np.array([option.split for option in options])
    local = splits > shape.blocks
    device_s = device_before[:, splits]
    rescue = plan_rescue(tokens, shape, device, device_before_s=device_before, curve=curve, targets=targets)
    cloud_s = np.where(local, 0.0, cloud_before[:, -1:] - cloud_before[:, splits])
    values = np.where(splits == 0, shape.input_values, sent[:, np.minimum(splits, shape.blocks)] * shape.width)
    encode_s = np.zeros_like(device_s)
    decode_s = np.zeros_like(device_s)
    size_bytes = np.zeros_like(device_s)
    for column, option in enumerate(options):
        if option.payload == LOCAL:
            continue
        encode_s[:, column] = _known(device.encode, option.payload, "encode cost").seconds(values[:, column])
        decode_s[:, column] = _known(cloud.decode, option.payload, "decode cost").seconds(values[:, column])
        size_bytes[:, column] = _sizes(option, sent, shape, device)
        if option.split:
            size_bytes[:, column] += PLACE_BYTES * places[:, option.split]
    return PlanTable(
        shape=shape,
        schedules=tuple(schedules),
        options=tuple(options),
        device_s=device_s,
        encode_s=encode_s,
        cloud_s=cloud_s,
        decode_s=decode_s,
        finish_s=rescue.finish_s[:, splits],
        size_bytes=size_bytes,
        rescue=rescue,
        reply_bytes=device.reply_bytes,
    )


def _time_before(tokens: Floats, shape: ModelShape, profile: PlatformProfile, curve: str) -> Floats:
    """Compute before each split 0..blocks + 1: [levels, blocks + 2]."""
    blocks_s = profile.stack_seconds(tokens, curve, shape.head_tokens, shape.late_within)
    levels = len(tokens)
    after_stem = profile.stem_s + np.concatenate([np.zeros((levels, 1)), np.cumsum(blocks_s, axis=1)], axis=1)
    # Split 0 sends the input itself: not even the stem runs before it.
    return np.concatenate([np.zeros((levels, 1)), after_stem[:, 1:], after_stem[:, -1:] + profile.head_s], axis=1)


def _sent_tokens(tokens: Floats, shape: ModelShape) -> Floats:
    """Number of tokens sent at each split point, those of taps included: [levels, blocks + 1]."""
    sent = tokens + shape.joined_counts
    sent[:, -1] = shape.tokens_at(shape.blocks, sent[:, -1])
    return _with_taps(sent, shape)


def _with_taps(counts: Floats, shape: ModelShape) -> Floats:
    """Add what the taps before each split point have, [levels, blocks + 1]."""
    found = counts.copy()
    for tap in shape.taps:
        found[:, tap + 1 :] += counts[:, tap, None]
    return found


def _sent_places(tokens: Floats, shape: ModelShape) -> Floats:
    """Number of patches whose token is sent at each split point: [levels, blocks + 1]."""
    places = np.where(tokens < shape.tokens, shape.tokens - shape.protected, 0.0)
    crosses = [shape.sends_places(split) for split in range(shape.blocks + 1)]
    return np.where(crosses, _with_taps(places, shape), 0.0)


def _sizes(option: Option, tokens: Floats, shape: ModelShape, device: PlatformProfile) -> Floats:
    payload = parse_payload(option.payload)
    if payload.of_tokens:
        one = payload.token_bytes(2, shape.width) - payload.token_bytes(1, shape.width)
        plain = tokens[:, option.split] * one
    elif payload.base == "tensor":
        plain = np.full(len(tokens), float(tensor_bytes(shape.input_values)))
    else:
        return np.full(len(tokens), _known(device.image_bytes, option.payload, "image_bytes"))
    if payload.lossless_stage:
        plain = plain * _known(device.lossless_ratio, option.payload, "lossless_ratio")
    return plain


def _known(values: Mapping[str, _Value], payload: str, kind: str) -> _Value:
    if payload not in values:
        raise InputError(
            f"the profile has no {kind} for payload {payload!r}: profile this machine again, or use one of "
            f"{', '.join(values) or 'none'}"
        )
    return values[payload]


def _check(option: Option, shape: ModelShape) -> None:
    if option.split not in shape.splits:
        raise InputError(f"split {option.split} is outside 0..{shape.blocks + 1} of model {shape.name}")
    if (option.payload == LOCAL) != (option.split > shape.blocks):
        raise InputError(f"payload {option.payload!r} does not fit split {option.split} of model {shape.name}")
    if option.payload != LOCAL and parse_payload(option.payload).of_tokens != (option.split > 0):
        kind = "an image" if option.split == 0 else "a token"
        raise InputError(f"split {option.split} needs {kind} format, not {option.payload!r}")
