"""Every candidate plan as one table: rows are pruning levels, columns are ways to split and pack.

All that does not depend on the link is computed once; a decision is then a few vector operations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from janus_vit.errors import InputError
from janus_vit.planning.latency import Floats, PlatformProfile
from janus_vit.planning.payloads import LOCAL, parse_payload, tensor_bytes
from janus_vit.planning.plan import ModelShape, Plan
from janus_vit.planning.rescue import Rescue, plan_rescue
from janus_vit.planning.schedules import Schedule

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Option:
    """One column: a split point and what crosses the network there."""

    split: int
    payload: str


@dataclass(frozen=True)
class PlanTable:
    """All candidate plans with everything that is known before the link is.

    Arrays have shape [levels, options]; times in seconds.

    Attributes:
        shape: the model.
        schedules: one a row, ascending in level within a family.
        options: one a column.
        device_s: compute on the device. encode_s: packing there.
        cloud_s: compute in the cloud. decode_s: unpacking there.
        finish_s: what the device would take to finish the frame itself from the split point, if it hurries.
        rescue: how it hurries.
        size_bytes: what crosses the network, 0 for a local plan.
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

    def plan(self, row: int, column: int) -> Plan:
        """The plan in one cell."""
        schedule, option = self.schedules[row], self.options[column]
        rescue = None if option.payload == LOCAL else self.rescue.merges(row, option.split)
        return Plan(schedule.family, schedule.level, schedule.applied, option.split, option.payload, rescue)

    def only(self, columns: list[int]) -> PlanTable:
        """The same plans without all other options."""
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
    """Cross split points with formats: images at split 0, tokens between, nothing at blocks + 1."""
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
    """Lay out every plan.

    Args:
        curve: which block latency to use, see `PlatformProfile.block_seconds`.
        targets: schedules that a device may catch up with when it hurries; all if None.

    Raises:
        InputError: no schedules or options, an option that the model cannot run, or a format without a profile.
    """
    if not schedules or not options:
        raise InputError("a plan table needs at least one schedule and one option: allow more of them")
    for option in options:
        _check(option, shape)
    tokens = np.array([schedule.tokens for schedule in schedules], float)  # [levels, blocks + 1]
    device_before = _time_before(tokens, shape, device, curve)
    cloud_before = _time_before(tokens, shape, cloud, curve)
    crossing = tokens.copy()  # at each split point
    crossing[:, -1] = shape.tokens_at(shape.blocks, tokens[:, -1])
    splits = np.array([option.split for option in options])
    local = splits > shape.blocks
    device_s = device_before[:, splits]
    rescue = plan_rescue(tokens, shape, device, device_before, curve, targets)
    cloud_s = np.where(local, 0.0, cloud_before[:, -1:] - cloud_before[:, splits])
    values = np.where(splits == 0, shape.input_values, crossing[:, np.minimum(splits, shape.blocks)] * shape.width)
    encode_s = np.zeros_like(device_s)
    decode_s = np.zeros_like(device_s)
    size_bytes = np.zeros_like(device_s)
    for column, option in enumerate(options):
        if option.payload == LOCAL:
            continue
        encode_s[:, column] = _known(device.encode, option.payload, "encode cost").seconds(values[:, column])
        decode_s[:, column] = _known(cloud.decode, option.payload, "decode cost").seconds(values[:, column])
        size_bytes[:, column] = _sizes(option, crossing, shape, device)
    return PlanTable(
        shape,
        tuple(schedules),
        tuple(options),
        device_s,
        encode_s,
        cloud_s,
        decode_s,
        rescue.finish_s[:, splits],
        size_bytes,
        rescue,
    )


def _time_before(tokens: Floats, shape: ModelShape, profile: PlatformProfile, curve: str) -> Floats:
    """Compute before the hand-over at each split 0..blocks + 1: [levels, blocks + 2]."""
    blocks_s = profile.stack_seconds(tokens, curve, shape.head_tokens)
    levels = len(tokens)
    after_stem = profile.stem_s + np.concatenate([np.zeros((levels, 1)), np.cumsum(blocks_s, axis=1)], axis=1)
    # At split 0 the input itself is sent: not even the stem runs before.
    return np.concatenate([np.zeros((levels, 1)), after_stem[:, 1:], after_stem[:, -1:] + profile.head_s], axis=1)


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
