"""Load a class of the user's own, `FILE.py:CLASS`, and translate its exceptions, with file and line."""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from janus_vit.errors import InputError, JanusError

SUFFIX = ".py:"


def user_class(what: str, name: str) -> type[Any]:
    """Load the user's class.

    Args:
        what: what the class is, for error messages, such as "policy".
        name: FILE.py:CLASS.

    Raises:
        InputError: there is no such file, it does not run, or it has no such class.
    """
    file, _, wanted = name.rpartition(":")
    module = _module(what, name, Path(file).absolute())
    kind = vars(module).get(wanted)
    if not inspect.isclass(kind):
        own = [value for value in vars(module).values() if getattr(value, "__module__", "") == module.__name__]
        classes = [value.__name__ for value in own if inspect.isclass(value)]
        raise InputError(f"{what} {name!r}: {file} has no class {wanted!r}: it has {', '.join(classes) or 'none'}")
    return kind


def guarded(what: str, name: str, call: Callable[[], Any]) -> Any:
    """Run the user's code and translate its exceptions, with the line where they were raised."""
    try:
        return call()
    except (JanusError, KeyboardInterrupt):
        raise
    except BaseException as error:  # SystemExit too, and what else the user's code derives from no Exception
        where = _last_line(error, Path(name.rpartition(":")[0]).absolute())
        raise InputError(f"{what} {name!r}{where}: {type(error).__name__}: {_text(error)}") from error


@lru_cache
def _module(what: str, name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"janus_vit_{what}_{file.stem}", file)
    if spec is None or spec.loader is None or not os.path.isfile(file):
        raise InputError(f"{what} {name!r}: {file} is no Python file: give FILE.py:CLASS")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look up their module
    loader = spec.loader
    guarded(what, name, lambda: loader.exec_module(module))
    return module


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # its text is the user's code too
        return "an error without a text"


def _last_line(error: BaseException, file: Path) -> str:
    if isinstance(error, SyntaxError):
        return f", line {error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == file]
    return f", line {frames[-1].lineno}" if frames else ""
