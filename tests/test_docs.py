"""What the documentation quotes exists: error messages, file names, and the pages of the site."""

import ast
import re
from pathlib import Path

import pytest

import janus_vit
import janus_vit.errors

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
ANY = "…"  # stands for a name or a number, as on the page
ROOMS = "calibration|cli|cloud|links|model|planning|records|report|reproduction|runtime|simulation|sources|testbed|wire"


def texts():
    """Every text in the package, with ANY for what is filled in."""
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else ANY for part in node.values)
                yield "".join(parts)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def quoted_messages():
    """First column of the tables under Troubleshooting that quotes a message."""
    page = (DOCS / "troubleshooting.md").read_text("utf-8")
    return [match[1] for match in re.finditer(r"^\| `([^`]+)` \|", page, re.MULTILINE)]


@pytest.fixture(scope="module")
def sources():
    return list(texts())


@pytest.mark.parametrize("message", quoted_messages())
def test_a_quoted_message_is_one_of_ours(message, sources):
    problem = re.sub(r"^field \w+ ", "", message)  # the wire's checks put the field before the problem
    pieces = [re.escape(piece) for piece in problem.split(ANY)]
    wanted = re.compile(".*".join(pieces), re.DOTALL)
    assert any(wanted.search(text) for text in sources), message


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)  # decisions may be out of date
def test_files_that_a_page_names_exist(page):
    text = page.read_text("utf-8")
    own = re.findall(rf"`((?:{ROOMS})/[\w/]*(?:\.\w+)?)`", text)
    others = re.findall(r"`((?:benchmarks|scripts|examples|docker|tests)/[\w/.]+)`", text)
    others += re.findall(r"python ((?:benchmarks|scripts|examples)/[\w/.]+)", text)
    missing = [name for name in own if not (ROOT / "src" / "janus_vit" / name).exists()]
    missing += [name for name in others if not (ROOT / name).exists()]
    assert not missing


def rows(text, columns):
    """Rows of the first Markdown table in a text as dictionaries by these columns."""
    table = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)[0]
    header, _, *lines = ([cell.strip() for cell in line.strip("|\n").split("|")] for line in table.splitlines())
    return [[cells[header.index(column)] for column in columns] for cells in lines]


def test_the_readme_has_the_figures_of_fleets_that_their_page_has():
    shown = ("device alone", "janus", "adaptive", "adaptive-fleet", "bound of any policy")
    readme = (ROOT / "README.md").read_text("utf-8").partition("**Many devices on one cloud**")[2]
    page = (DOCS / "fleet.md").read_text("utf-8").partition("**mixed on v100**")[2]
    own = rows(readme, ("devices on one V100", "JPEG, batched", *shown))
    measured = ("devices", "jpeg-batches", "device-alone", "janus", "adaptive", "adaptive-fleet", "bound")
    assert own
    assert all(row in rows(page, measured) for row in own)


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8")
    pages = [page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")]
    assert [page for page in pages if page not in navigation] == []


def test_every_public_name_is_in_the_reference():
    page = (DOCS / "api.md").read_text("utf-8")
    errors = {name for name in janus_vit.__all__ if name in vars(janus_vit.errors)}
    names = set(janus_vit.__all__) - errors - {"__version__"}
    assert [name for name in sorted(names) if f".{name}\n" not in page] == []
    assert "::: janus_vit.errors\n" in page
