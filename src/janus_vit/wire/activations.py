"""Encode and decode an activation: its tokens, and for dense heads also the taps and the map from patches to tokens.

Layout of a body:

    places  uint16 [P]       index of the token that each patch is in, for each grid that has merged
    tokens                   tokens of all grids, as `tokens.encode_tokens` writes them

The grids are the taps, in order, and then the tokens of the present block. Without a dense head that reads a grid there
is one grid, and no places. An unmerged grid needs no places: each patch is in its own token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from janus_vit.errors import WireError
from janus_vit.model.stage import Activation, Tap
from janus_vit.planning.payloads import PLACE_BYTES, PayloadFormat
from janus_vit.planning.plan import ModelShape
from janus_vit.wire.tokens import LARGEST_VALUE, decode_tokens, encode_tokens


@dataclass(frozen=True, slots=True)
class SentTokens:
    """What says how to read a body of tokens.

    Attributes:
        split: number of blocks that have run.
        tokens: number of tokens of the present block.
        tap_tokens: number of tokens of each tap.
        payload: format of the tokens.
    """

    split: int
    tokens: int
    tap_tokens: tuple[int, ...]
    payload: PayloadFormat


def encode_activation(activation: Activation, payload: PayloadFormat) -> bytes:
    """Encode an activation of one frame.

    Raises:
        WireError: a value is not finite in float32, or the payload is an image format.
    """
    tokens, sizes = activation.tokens[0], activation.sizes[0]
    if activation.token_of_patch is None:
        return encode_tokens(tokens, sizes, payload)
    grids = (*activation.taps, Tap(activation.tokens, activation.token_of_patch))
    rows = torch.cat([tap.tokens[0] for tap in grids])
    all_sizes = torch.cat([_sizes(tap) for tap in grids[:-1]] + [sizes])
    places = [tap.token_of_patch[0].cpu().numpy().astype("<u2").tobytes() for tap in grids if _merged(tap)]
    return b"".join([*places, encode_tokens(rows, all_sizes, payload)])


def decode_activation(
    body: bytes | memoryview,
    sent: SentTokens,
    shape: ModelShape,
    merges: tuple[int, ...] = (),
    fingerprint: str = "",
    largest: float = LARGEST_VALUE,
) -> Activation:
    """Decode what `encode_activation` wrote. Allocates no more than the counts in `sent` say; the caller limits them.

    Args:
        body: bytes from the network.
        sent: how to read them.
        shape: shape of the model.
        merges: as in `Activation`.
        fingerprint: as in `Activation`.
        largest: largest magnitude of a value.

    Raises:
        WireError: the bytes are not such an activation, or the tokens do not stand for the model's patches.
    """
    counts = (*sent.tap_tokens, sent.tokens)
    patches = shape.tokens - shape.protected
    splits = (*shape.taps_before(sent.split), sent.split)
    merged = [
        count
        for count, split in zip(counts, splits, strict=True)
        if shape.sends_places(sent.split) and count < shape.tokens + shape.joined(split)
    ]
    places_at = len(merged) * patches * PLACE_BYTES
    data = memoryview(body)
    tokens, sizes = decode_tokens(data[places_at:], sent.payload, sum(counts), shape.width, largest)
    each_tokens, each_sizes = (torch.split(part[None], [*counts], dim=1) for part in (tokens, sizes))
    for number, split in zip(each_sizes, splits, strict=True):
        check_sizes(number[0], split, shape)
    last_tokens, last_sizes = each_tokens[-1], each_sizes[-1]
    if not shape.sends_places(sent.split):
        return Activation(last_tokens, last_sizes, sent.split, merges, fingerprint)
    places = _read_places(data[:places_at], each_sizes, splits, shape)
    taps = [Tap(rows, place) for rows, place in zip(each_tokens, places, strict=True)]
    return Activation(last_tokens, last_sizes, sent.split, merges, fingerprint, places[-1], tuple(taps[:-1]))


def check_sizes(sizes: Tensor, split: int, shape: ModelShape) -> None:
    """Check that decoded tokens stand for the model's patches: each patch for once, and protected tokens for one each.

    Args:
        sizes: [T] number of patches that each token stands for, on the CPU.
        split: number of blocks that have run.
        shape: shape of the model.

    Raises:
        WireError: they do not.
    """
    counts = sizes.numpy()  # four times as fast as torch here
    protected, total = shape.protected + shape.joined(split), int(counts.sum())
    if not (counts[:protected] == 1).all():
        raise WireError(f"field body has sizes other than 1 for the first {protected} tokens")
    expected = shape.tokens_at(split, shape.tokens + shape.joined(split))
    if total != expected:
        raise WireError(f"field body has sizes that add up to {total}, expected {expected}")


def _merged(tap: Tap) -> bool:
    """Whether a grid has fewer tokens than patches. The first token after the protected ones is in some patch."""
    places = tap.token_of_patch
    return tap.tokens.shape[1] - int(places.min()) < places.shape[1]


def _sizes(tap: Tap) -> Tensor:
    """Number of patches in each token of a grid, 1 for protected tokens: [T]."""
    count = torch.bincount(tap.token_of_patch[0], minlength=tap.tokens.shape[1])
    return count.clamp_min(1)


def _read_places(data: memoryview, sizes: Sequence[Tensor], splits: Sequence[int], shape: ModelShape) -> list[Tensor]:
    """Read the places of each grid, [1, P], and compare them with the sizes of its tokens [1, T]."""
    patches, found = shape.tokens - shape.protected, []
    for each, split in zip(sizes, splits, strict=True):
        count, protected = each.shape[1], shape.protected + shape.joined(split)
        if count == protected + patches:
            found.append(torch.arange(protected, count)[None])
            continue
        places, data = np.frombuffer(data[: patches * PLACE_BYTES], "<u2"), data[patches * PLACE_BYTES :]
        held = np.bincount(places, minlength=count)
        if len(held) > count or not np.array_equal(held[protected:], each[0, protected:].numpy()):
            raise WireError("field body has places that do not match the sizes of its tokens")
        found.append(torch.from_numpy(places.astype(np.int64))[None])
    return found
