"""Tables on terminals of any width: every cell stays whole."""

import io

import pytest
from rich.console import Console

from janus_vit.cli.common.console import plain_table
from janus_vit.cli.common.tables import print_table

ROWS = [("adaptive", "100.00\n99.20–100.00", "0 / 100 / 0"), ("best-fixed", "86.72\n80.00–90.11", "74 / 0 / 26")]
HEADERS = ("policy", "right and\nin time %", "sent: nothing / image / tokens %")


def printed(width, headers=HEADERS, rows=ROWS):
    table = plain_table(*headers)
    for row in rows:
        table.add_row(*row)
    out = io.StringIO()
    print_table(Console(file=out, width=width, markup=False), table)
    return out.getvalue()


@pytest.mark.parametrize("width", [160, *range(66, 32, -1)])
def test_no_number_and_no_word_of_a_header_is_cut(width):
    text = printed(width)
    assert all(len(line) <= width for line in text.splitlines())
    for line in "\n".join(cell for row in ROWS for cell in row).split("\n"):
        assert line in text
    assert all(word in text for header in HEADERS for word in header.split())
    assert "…" not in text


def test_rows_become_columns_only_where_they_do_not_fit():
    (first,) = (line for line in printed(160).splitlines() if "adaptive" in line)
    assert "100.00" in first
    assert [line.split() for line in printed(38).splitlines() if "policy" in line] == [
        ["policy", "adaptive"],
        ["policy", "best-fixed"],
    ]


def test_texts_wrap_before_rows_become_columns():
    rows = [("vit-tiny", "a text of many words that no terminal of forty columns has room for")]
    text = printed(40, ("name", "summary"), rows)
    assert all(word in text for word in rows[0][1].split())
    assert "name" in text.splitlines()[1]
