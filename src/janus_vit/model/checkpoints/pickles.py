"""Check the pickles in files of PyTorch before torch reads them. Knows no tensor and no model.

torch runs no code from them (`weights_only`). But a hundred bytes could still call `bytearray(10**10)`, or hash a tuple
that holds another one twice, which holds another one twice, and so on.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterator
from io import BytesIO
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import IO, cast

import torch

from janus_vit.errors import InputError

_ARCHIVE = b"PK\3\4"
_LEGACY_PICKLES = 5  # of the old format: magic number, version, system, tensors, keys of their storages
_MOST_WORK = 10**6  # operations of one pickle, and the values that they take
_CALLED = frozenset({
    "collections OrderedDict",
    "collections Counter",
    "builtins complex",
    "builtins set",
    "torch Size",
    "torch device",
    "torch._utils _rebuild_meta_tensor_no_storage",
    "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_parameter_with_state",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_tensor_v3",
    "torch.storage UntypedStorage",
})  # fmt: skip
_PUTS, _GETS = ("PUT", "BINPUT", "LONG_BINPUT"), ("GET", "BINGET", "LONG_BINGET")
_EXTENDS = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "BUILD")  # what they extend stays the same object
_MARK = pickletools.markobject


class _Size:
    """Number of values in one object on the stack, each counted as often as the object is reached."""

    __slots__ = ("values",)

    def __init__(self, values: int) -> None:
        self.values = values


def check_pickles(path: Path) -> bool:
    """Check the pickles of a PyTorch file. Return whether the file is a zip archive, which torch can map.

    Raises:
        InputError: a pickle calls more than tensors need or makes too much work, or a part of an archive is packed:
            torch packs none, but would unpack what is packed to any size.
        ValueError, zipfile.BadZipFile, RuntimeError, OSError: the file is damaged.
    """
    with path.open("rb") as file:
        if file.read(len(_ARCHIVE)) != _ARCHIVE:
            with mmap(file.fileno(), 0, access=ACCESS_READ) as mapped:  # a pickle may state lengths beyond the file
                for _ in range(_LEGACY_PICKLES):
                    _check_pickle(path, cast(IO[bytes], mapped))
            return False
        archive = zipfile.ZipFile(file)
        if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
            raise InputError(f"{path}: is a compressed archive, which torch does not write: save it again")
        for part in archive.infolist():
            if part.filename.lower().endswith(".pkl"):
                _check_pickle(path, BytesIO(archive.read(part)))
    return True


def _check_pickle(path: Path, file: IO[bytes]) -> None:
    work = 0
    for name, values in _operations(path, file):
        work += 1 + values
        if work > _MOST_WORK:
            raise InputError(f"{path}: its pickle repeats values too often ({name}): save the model's state_dict()")


def _operations(path: Path, file: IO[bytes]) -> Iterator[tuple[str, int]]:
    """Follow the sizes of objects through one pickle; yield each operation with the number of values that it takes.

    Raises:
        InputError: it calls a function that tensors do not need.
        ValueError: it is damaged.
    """
    stack: list[_Size] = []
    marks: list[int] = []  # heights of the stack
    memo: dict[object, _Size] = {}
    for operation, argument, _ in pickletools.genops(file):
        name, before, after = operation.name, operation.stack_before, operation.stack_after
        if name == "GLOBAL":
            _check_global(path, str(argument))
        elif name in ("STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4"):  # other ways to name a function
            raise _more_than_weights(path, name)
        values = 0
        try:
            if name == "MARK":
                marks.append(len(stack))
            elif name in _PUTS:
                memo[argument] = stack[-1]
            elif name == "MEMOIZE":
                memo[len(memo)] = stack[-1]
            elif name in _GETS:
                stack.append(memo[argument])
            else:
                height = marks.pop() - before.index(_MARK) if _MARK in before else len(stack) - len(before)
                taken = _pop(stack, height)
                values = sum(each.values for each in taken)
                if name in _EXTENDS:
                    taken[0].values = 1 + values
                    stack.append(taken[0])
                else:
                    stack.extend(_Size(1 + values) for _ in after)
        except (IndexError, KeyError) as error:
            raise ValueError(f"operation {name} lacks what it takes") from error
        yield name, values


def _pop(stack: list[_Size], height: int) -> list[_Size]:
    if height < 0:
        raise IndexError("too few objects")
    taken = stack[height:]
    del stack[height:]
    return taken


def _check_global(path: Path, name: str) -> None:
    name = name.replace("__builtin__ ", "builtins ")  # as Python 2 called it, and torch still does
    module, _, own = name.partition(" ")
    is_type = module == "torch" and (own.endswith("Storage") or isinstance(getattr(torch, own, None), torch.dtype))
    if not is_type and name not in _CALLED:
        raise _more_than_weights(path, name.replace(" ", "."))


def _more_than_weights(path: Path, what: str) -> InputError:
    return InputError(
        f"{path}: holds more than weights ({what}), and code from a checkpoint is never run: save its state_dict()"
    )
