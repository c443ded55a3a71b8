"""A head of the user's own: a module in a Python file, FILE.py:CLASS, that reads the patch grid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from janus_vit.errors import InputError
from janus_vit.model.heads.base import DenseHead, Features
from janus_vit.planning.jsonfile import shown
from janus_vit.user_code import SUFFIX, guarded, user_class

_WHAT = "head"  # in error messages
_MOST_VALUES = 1 << 26  # of one output


class OwnHead(DenseHead):
    """Runs the user's module on the patch grid of the last block.

    Args:
        name: FILE.py:CLASS. The class is a `torch.nn.Module` that is made with the width of the tokens and the numbers
            of rows and columns, and turns a grid [B, width, rows, columns] into one tensor [B, ...].
        width: number of values in a token.
        grid: rows and columns, before them the time of clips.

    Raises:
        InputError: the class cannot be loaded or made, or its output cannot be used; the message names file and line.
    """

    def __init__(self, name: str, width: int, grid: Sequence[int]) -> None:
        super().__init__()
        if SUFFIX not in name:
            raise InputError(
                f"head {name!r} is no class in a Python file and no weight file: give FILE.py:CLASS or FILE.pth"
            )
        kind = user_class(_WHAT, name)
        if not issubclass(kind, nn.Module):
            raise InputError(f"head {name!r}: class {kind.__name__} is no torch.nn.Module: derive it from that")
        self._name = name
        self.module: nn.Module = guarded(_WHAT, name, lambda: kind(width, *grid)).float().eval()
        self._require_finite()
        code = Path(name.rpartition(":")[0]).read_bytes()  # both sides of a split need the same file
        self.settings = code.decode("utf-8", "backslashreplace")
        self._shape = self._check(torch.zeros(1, width, *grid))

    def forward(self, features: Sequence[Features]) -> Tensor:
        """See `DenseHead`."""
        grid = features[-1].patches
        output = guarded(_WHAT, self._name, lambda: self.module(grid))
        if not isinstance(output, Tensor) or output.shape != (len(grid), *self._shape):
            raise InputError(
                f"head {self._name!r}: for {len(grid)} frames it returns {_described(output)}, and for one frame "
                f"{[1, *self._shape]}: return the same for each frame"
            )
        return output

    def _require_finite(self) -> None:
        for name, tensor in self.module.state_dict().items():
            if not torch.isfinite(tensor).all():
                raise InputError(
                    f"head {self._name!r}: its tensor {shown(name)} holds a value that is not finite: load others"
                )

    @torch.inference_mode()
    def _check(self, grid: Tensor) -> torch.Size:
        """Return the shape of the output for a frame."""
        output = guarded(_WHAT, self._name, lambda: self.module(grid))
        fits = isinstance(output, Tensor) and output.dtype == torch.float32 and 2 <= output.dim() <= 5
        if not fits or len(output) != 1 or not 0 < output.numel() <= _MOST_VALUES:
            raise InputError(
                f"head {self._name!r}: for one frame it returns {_described(output)}: return one float32 tensor "
                f"[1, ...] of at most {_MOST_VALUES} values in 2 to 5 dimensions"
            )
        shape: torch.Size = output.shape[1:]
        return shape


def _described(output: object) -> str:
    return f"{output.dtype} {list(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
