"""JSON that is damaged or hostile gives one short sentence, and costs little more than its length."""

import json
import time

import pytest

from janus_vit.errors import InputError
from janus_vit.planning.jsonfile import Section, parse_json, read_json, shown


def section(**values):
    return Section("here.json", "", values)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 1_000_000,
        '{"a":' * 200_000,
        '{"a":' * 65 + "1" + "}" * 65,
        '{"a": ' + "[" * 64 + "]" * 64 + "}",
        '{"a": ' + "9" * 5_000 + "}",
        '{"a": "' + "\\" * 100_001,
        '"' * 100_000,
        "NaN",
        "",
    ],
)
def test_text_that_is_no_object_of_ours_is_refused_in_one_short_sentence(text):
    began_s = time.thread_time()
    with pytest.raises(InputError, match=r"^here\.json: ") as refused:
        parse_json(text, "here.json", None)
    assert time.thread_time() - began_s < 0.5
    assert len(str(refused.value)) < 300


def test_values_may_be_nested_as_deep_as_files_of_other_programs_nest_them():
    text = '{"a":' * 63 + "1" + "}" * 63
    assert parse_json(text, "here.json", None).values.keys() == {"a"}


@pytest.mark.parametrize(
    "value",
    [10**400, -(10**400), float("nan"), float("inf"), "x" * 1_000_000, [[0] * 1_000] * 1_000, True, None, {}],
)
def test_what_is_no_number_is_shown_shortly(value):
    with pytest.raises(InputError, match="field a must be a finite number, not") as refused:
        section(a=value).number("a")
    assert len(str(refused.value)) < 300


def test_the_name_of_a_field_is_shown_shortly():
    with pytest.raises(InputError, match=r"field x+\.\.\. must be a finite number") as refused:
        section(**{"x" * 1_000_000: None}).number("x" * 1_000_000)
    assert len(str(refused.value)) < 400


def test_numbers_have_bounds():
    assert section(a=3).integer("a", 1, 3) == 3
    with pytest.raises(InputError, match="field a must be at most 2, not 3"):
        section(a=3).integer("a", 1, 2)
    with pytest.raises(InputError, match=r"field a\.b must be at most 2, not 3"):
        section(a={"b": 3}).numbers("a", 0, 2)


def test_half_a_character_is_refused():
    values = parse_json('{"a": "\\ud800", "b": "\\ud83d\\ude00"}', "here.json", None)
    assert values.text("b") == "\U0001f600"
    with pytest.raises(InputError, match="field a holds half of a character"):
        values.text("a")


@pytest.mark.parametrize("text", ['{"schema": "s", "a": 1, "a": 2}', '{"schema": "s", "b": [{"a": 1, "a": 1}]}'])
def test_a_key_that_is_there_twice_is_refused_in_files_of_ours(text):
    with pytest.raises(InputError, match=r"^here\.json: field 'a' is there twice: keep one of the two"):
        parse_json(text, "here.json", "s")


def test_the_last_of_equal_keys_counts_in_files_of_other_programs():
    assert parse_json('{"a": 1, "a": 2}', "here.json", None).number("a") == 2


def test_a_file_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("janus_vit.planning.jsonfile._LARGEST_FILE_BYTES", 1_000)
    (tmp_path / "large.json").write_text("{" + " " * 1_000 + "}")
    with pytest.raises(InputError, match=r"large\.json: has more than 1000 bytes"):
        read_json(tmp_path / "large.json", None)


def test_short_values_are_shown_as_they_are():
    for value in (1, 2.5, "text", [1, 2], {"a": 1}, None, True):
        assert shown(value) == repr(value)
    assert shown(json.loads("[" * 500 + "]" * 500)).startswith("[[[")
