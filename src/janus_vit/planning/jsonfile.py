"""Read the small JSON files of this package strictly: errors name the file and the line or field."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from janus_vit.errors import InputError


def is_number(value: object) -> bool:
    """Whether a JSON value is a finite number that fits in a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= sys.float_info.max  # False for NaN and infinity too


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

    def number(self, key: str, low: float = -math.inf) -> float:
        """Return a finite number that is at least `low`."""
        value = self._get(key)
        if not is_number(value):
            raise self.wrong(key, f"must be a finite number, not {value!r}")
        if value < low:
            raise self.wrong(key, f"must be at least {low:g}, not {value!r}")
        return float(value)

    def integer(self, key: str, low: int = 0) -> int:
        """Return a whole number that is at least `low`."""
        value = self.number(key, low)
        if value != int(value):
            raise self.wrong(key, f"must be a whole number, not {value!r}")
        return int(value)

    def text(self, key: str) -> str:
        """Return a string."""
        value = self._get(key)
        if not isinstance(value, str):
            raise self.wrong(key, f"must be a string, not {value!r}")
        return value

    def section(self, key: str) -> Section:
        """Return a nested object."""
        value = self._get(key)
        if not isinstance(value, dict):
            raise self.wrong(key, f"must be an object, not {type(value).__name__}")
        return Section(self.source, self._name(key), value)

    def numbers(self, key: str, low: float = -math.inf) -> dict[str, float]:
        """Return a nested object of finite numbers."""
        inner = self.section(key)
        return {name: inner.number(name, low) for name in inner.values}

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
        return InputError(f"{self.source}: field {self._name(key)} {what}: make the file again")


def parse_json(text: str, source: str, schema: str | None) -> Section:
    """Parse the text of a file and check its schema.

    Args:
        text: content of the file.
        source: name of the text in error messages, usually its path.
        schema: value that the field "schema" must have; None for files of other programs, which have none.

    Raises:
        InputError: not JSON (with line and column), not an object, or another schema.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{source}: line {error.lineno}, column {error.colno}: not valid JSON ({error.msg}): make the file again"
        ) from error
    except (ValueError, RecursionError) as error:  # a number with thousands of digits, or very deep nesting
        raise InputError(
            f"{source}: holds a number or nesting that is too large ({error}): make the file again"
        ) from error
    if not isinstance(values, dict):
        raise InputError(f"{source}: must hold a JSON object, not {type(values).__name__}: make the file again")
    section = Section(source, "", values)
    if schema is not None and section.text("schema") != schema:
        raise InputError(
            f"{source}: field schema is {values['schema']!r} and {schema!r} is needed: make the file again "
            "with this version"
        )
    return section


def read_json(path: Path, schema: str | None) -> Section:
    """Read a JSON file and check its schema, see `parse_json`."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8 text: make the file again") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): check the path") from error
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
