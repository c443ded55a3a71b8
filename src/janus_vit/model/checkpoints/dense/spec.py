"""What a dense checkpoint consists of, and small readers of its config."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from janus_vit.errors import InputError
from janus_vit.model.checkpoints.weights import Weights
from janus_vit.model.heads.base import DenseHead
from janus_vit.model.vit import GRID, Architecture
from janus_vit.planning.jsonfile import Section
from janus_vit.planning.plan import MOST_BLOCKS

Tensors = dict[str, Tensor]
Size = tuple[int, int]
MOST_CHANNELS = 1 << 14


def _unchanged(tensors: Tensors, config: Section, size: Size) -> tuple[Tensors, Section]:
    return tensors, config


@dataclass(frozen=True, slots=True)
class LateTokens:
    """Tokens of a backbone that join after its first block or later.

    Attributes:
        name: name of their tensor [count, C].
        count: number of tokens.
        block: number of blocks that run before they join.
    """

    name: str
    count: int
    block: int


@dataclass(frozen=True)
class DenseSpec:
    """How to take a dense checkpoint apart.

    Attributes:
        task: the model's task.
        backbone: prefix of the backbone's tensors.
        config: config of the backbone, under the model_type of transformers that computes the same.
        reads: after how many blocks the head reads tokens, ascending.
        make_head: makes the head for an architecture; its parameters have the checkpoint's names.
        pooling: what the head reads, as in `Architecture`.
        last_norm: whether tokens are normalised before the head reads them.
        stem_padding: as in `Architecture`.
        head: prefix of the head's tensors.
        unused: pattern of tensors that inference does not need.
        prepare: changes the backbone's tensors and config for an input size.
        fixed_size: whether the family's own code runs at the size of its config only.
        classes: number of labels; 0 if there are none.
        parts: beginnings of the names of the backbone's tensors, after its prefix.
        late: late tokens of the backbone, None if it has none.
        square_only: whether the family's processor does not squash frames that are not square.
    """

    task: str
    backbone: str
    config: Section
    reads: tuple[int, ...]
    make_head: Callable[[Architecture], DenseHead]
    pooling: str = GRID
    last_norm: bool = True
    stem_padding: int = 0
    head: str = ""
    unused: str = r"(?!)"
    prepare: Callable[[Tensors, Section, Size], tuple[Tensors, Section]] = _unchanged
    fixed_size: bool = False
    classes: int = 0
    parts: tuple[str, ...] = ("",)
    late: LateTokens | None = None
    square_only: bool = False

    def is_backbone(self, name: str) -> bool:
        """Whether a tensor belongs to the backbone."""
        return name.startswith(tuple(self.backbone + part for part in self.parts))


def read_stages(backbone: Section) -> tuple[int, ...]:
    """Read after how many blocks a backbone of transformers gives its features: stage N is the output of block N.

    Raises:
        InputError: the fields are missing or not such a list.
    """
    values = backbone.values.get("out_indices")
    if values is None:
        names = backbone.array("out_features")
        found = [re.fullmatch(r"stage(\d+)|stem", str(name)) for name in names]
        values = [int(match[1] or 0) for match in found if match]
    return checked_reads(backbone, "out_indices", values)


def checked_reads(section: Section, field: str, values: object) -> tuple[int, ...]:
    """Check that a field lists blocks, ascending.

    Raises:
        InputError: it does not.
    """
    whole = isinstance(values, list) and all(type(each) is int and 0 <= each <= MOST_BLOCKS for each in values)
    if not isinstance(values, list) or not whole or not values or values != sorted(set(values)):
        raise section.wrong(field, "must list numbers of blocks, ascending")
    return tuple(values)


def integers(section: Section, field: str) -> tuple[int, ...]:
    """Read a list of numbers of channels.

    Raises:
        InputError: it is none.
    """
    values = section.array(field)
    if not values or not all(type(each) is int and 1 <= each <= MOST_CHANNELS for each in values):
        raise section.wrong(field, f"must be whole numbers from 1 to {MOST_CHANNELS}")
    return tuple(values)


def outputs_of(weights: Weights, name: str) -> int:
    """Return the number of outputs of a layer, from the shape of its weight; 1 if it is missing or damaged."""
    weight = weights.tensors.get(name)
    return 1 if weight is None or weight.dim() == 0 else max(1, weight.shape[0])


def with_defaults(section: Section, **defaults: object) -> Section:
    """Return a section whose missing fields have defaults."""
    return Section(section.source, section.path, {**defaults, **section.values})


def refuse_if(section: Section, field: str, wrong: bool, supported: str) -> None:
    """Refuse a checkpoint whose field has a value that is not supported.

    Raises:
        InputError: `wrong` is true.
    """
    if wrong:
        value = section.values.get(field)
        raise InputError(f"{section.source}: field {field} is {value!r}, which is not supported: {supported}")
