"""Texts of options, as users write them."""

import pytest

from janus_vit.cli.common.options import parse_duration
from janus_vit.errors import InputError


@pytest.mark.parametrize(
    ("text", "seconds"), [("300ms", 0.3), ("0.3s", 0.3), ("2s", 2), ("1.5 S", 1.5), (".5s", 0.5), ("3600s", 3600)]
)
def test_durations_have_a_unit(text, seconds):
    assert parse_duration(text, "--sla") == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "ms", "nan", "inf s", "1e3ms", "3601s", "0.00001ms", "2m", "1,5s", "0s", "--5ms"])
def test_anything_else_is_no_duration(text):
    with pytest.raises(InputError, match="--sla"):
        parse_duration(text, "--sla")
