"""Read the small JSON files of this package strictly: errors name the file and the line or field."""

from __future__ import annotations

import json
import math
import reprlib
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from janus_vit.errors import InputError
from janus_vit.input_files import read_file

_LARGEST_FILE_BYTES = 1 << 24  # in memory, values can be thirty times as large
_MAX_DEPTH = 64  # objects and lists inside each other
_LONGEST_NAME = 200  # of a field in an error message, and of what a short text names
_SHOWN = reprlib.Repr()
_SHOWN.maxstring, _SHOWN.maxlong, _SHOWN.maxother = 80, 40, 80


def shown(value: object) -> str:
    """Describe a value in an error message, however long or deeply nested it is."""
    return _SHOWN.repr(value)


def is_number(value: object) -> bool:
    """Whether a JSON value is a finite number that fits in a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= sys.float_info.max  # False for NaN and infinity too


def is_text(value: str) -> bool:
    """Whether a string can be written as UTF-8. JSON can also escape one half of a surrogate pair."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def printable(text: str) -> str:
    """Replace characters that would control a terminal, and halves of characters, which no file can hold."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


@dataclass(frozen=True)
class Section:
    """One JSON object of a file, with its place for error messages.

    Attributes:
        source: name of the file.
        path: path of the object inside the file, such as "plan"; empty for the whole file.
        values: fields of the object.
    """

    source: str
    path: str
    values: Mapping[str, Any]

    def number(self, key: str, low: float = -math.inf, high: float = math.inf) -> float:
        """Return a finite number from `low` to `high`."""
        value = self._get(key)
        if not is_number(value):
            raise self.wrong(key, f"must be a finite number, not {shown(value)}")
        if value < low:
            raise self.wrong(key, f"must be at least {low:g}, not {shown(value)}")
        if value > high:
            raise self.wrong(key, f"must be at most {high:g}, not {shown(value)}")
        return float(value)

    def integer(self, key: str, low: int = 0, high: float = math.inf) -> int:
        """Return a whole number from `low` to `high`."""
        value = self.number(key, low, high)
        if value != int(value):
            raise self.wrong(key, f"must be a whole number, not {shown(value)}")
        return int(value)

    def text(self, key: str) -> str:
        """Return a string."""
        value = self._get(key)
        if not isinstance(value, str):
            raise self.wrong(key, f"must be a string, not {shown(value)}")
        if not is_text(value):
            raise self.wrong(key, "holds half of a character, which no file can hold")
        return value

    def short_text(self, key: str) -> str:
        """Return a string that names something: of at most 200 characters, which a terminal can show."""
        value = self.text(key)
        if len(value) > _LONGEST_NAME or not value.isprintable():
            raise self.wrong(key, f"must be at most {_LONGEST_NAME} characters that can be shown, not {shown(value)}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false; `default` if the field is missing or null. The numbers 0 and 1 will do."""
        value = self.values.get(key)
        if value is None:
            return default
        if value not in (True, False):
            raise self.wrong(key, f"must be true or false, not {shown(value)}")
        return bool(value)

    def section(self, key: str) -> Section:
        """Return a nested object."""
        value = self._get(key)
        if not isinstance(value, dict):
            raise self.wrong(key, f"must be an object, not {type(value).__name__}")
        return Section(self.source, self._name(key), value)

    def numbers(self, key: str, low: float = -math.inf, high: float = math.inf) -> dict[str, float]:
        """Return a nested object of finite numbers from `low` to `high`."""
        inner = self.section(key)
        return {name: inner.number(name, low, high) for name in inner.values}

    def array(self, key: str) -> list[Any]:
        """Return a list."""
        value = self._get(key)
        if not isinstance(value, list):
            raise self.wrong(key, f"must be a list, not {type(value).__name__}")
        return value

    def sections(self, key: str) -> list[Section]:
        """Return a list of objects."""
        values = self.array(key)
        for index, value in enumerate(values):
            if not isinstance(value, dict):
                raise self.wrong(f"{key}[{index}]", f"must be an object, not {type(value).__name__}")
        return [Section(self.source, f"{self._name(key)}[{index}]", value) for index, value in enumerate(values)]

    def _name(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def _get(self, key: str) -> Any:
        if key not in self.values:
            raise self.wrong(key, "is missing")
        return self.values[key]

    def wrong(self, key: str, what: str) -> InputError:
        """Make the error for a field of this object that cannot be used."""
        name = self._name(key)
        short = name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}..."
        return InputError(f"{self.source}: field {short} {what}: make the file again")


def parse_json(text: str, source: str, schema: str | None, line: int | None = None) -> Section:
    """Parse the text of a file and check its schema.

    Args:
        text: content of the file.
        source: name of the text in error messages, usually its path.
        schema: value that the field "schema" must have; None for files of other programs, which have none, and whose
            last of equal keys counts, as for those programs.
        line: number of the line that the text is; None if it is the whole file.

    Raises:
        InputError: not JSON (with line and column), not an object, another schema, or a key that is there twice.
    """
    file, source = source, source if line is None else f"{source}: line {line}"
    try:
        values = json.loads(text, object_pairs_hook=None if schema is None else _unique)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{file}: line {line or error.lineno}, column {error.colno}: not valid JSON ({error.msg}): make the file "
            "again"
        ) from error
    except _RepeatedKey as error:
        raise InputError(f"{source}: field {shown(str(error))} is there twice: keep one of the two") from error
    except (ValueError, RecursionError) as error:  # a number with thousands of digits, or very deep nesting
        raise InputError(
            f"{source}: holds a number or nesting that is too large ({error}): make the file again"
        ) from error
    _check_depth(values, source)
    if not isinstance(values, dict):
        raise InputError(f"{source}: must hold a JSON object, not {type(values).__name__}: make the file again")
    section = Section(source, "", values)
    if schema is not None and section.text("schema") != schema:
        raise InputError(
            f"{source}: field schema is {shown(values['schema'])} and {schema!r} is needed: make the file again "
            "with this version"
        )
    return section


class _RepeatedKey(Exception):
    """A key that an object has more than once."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise _RepeatedKey(Counter(key for key, _ in pairs).most_common(1)[0][0])
    return values


def _check_depth(values: object, source: str) -> None:
    """Refuse values that are nested deeper than any file of ours, because a walk through them needs memory."""
    level = [values]
    for _ in range(_MAX_DEPTH):
        level = [inner for value in level for inner in _items(value) if isinstance(inner, dict | list)]
        if not level:
            return
    raise InputError(f"{source}: nests values more than {_MAX_DEPTH} levels deep: make the file again")


def _items(value: object) -> Iterable[object]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def read_json(path: Path, schema: str | None) -> Section:
    """Read a JSON file and check its schema, see `parse_json`."""
    data = read_file(path, _LARGEST_FILE_BYTES)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8 text: make the file again") from error
    return parse_json(text, str(path), schema)


def write_text(path: Path, text: str) -> None:
    """Write a small file.

    Raises:
        InputError: the path cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}): choose another path") from error
