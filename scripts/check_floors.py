"""Check the structure of the package: imports go down only and never in a circle, rooms and files stay small.

python scripts/check_floors.py
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src/janus_vit"
FLOORS = (  # from the ground up; a room may import what stands before it
    "errors",
    "user_code",
    "planning",
    "planning/accuracy",
    "planning/dense_answers",
    "planning/policies",
    "scheduling",
    "records",
    "tracing",
    "model",
    "model/text",
    "model/heads",
    "model/checkpoints",
    "model/checkpoints/positions",
    "model/checkpoints/open_clip",
    "model/checkpoints/hugging_face",
    "model/checkpoints/dense",
    "model/checkpoints/timm",
    "model/checkpoints/training",
    "model/engines",
    "model/engines/gpu",
    "wire",
    "wire/dense",
    "sources",
    "runtime",
    "runtime/flights",
    "runtime/search",
    "cloud",
    "cloud/access",
    "cloud/processes",
    "cloud/ray",
    "cloud/rpc",
    "cloud/watching",
    "live_page",
    "links",
    "calibration",
    "simulation",
    "testbed",
    "reproduction",
    "fleet/shared_cloud",
    "fleet",
    "testbed/live_fleet",
    "testbed/chaos",
    "report",
    "cli",
    "cli/common",
    "cli/simulated",
)
ONE_FLOOR = (
    "planning",
    "model",
    "wire",
    "runtime",
    "cloud",
    "cli",
)  # rooms of these may import each other, as long as there is no circle
LARGEST_ROOM_LINES, LARGEST_FILE_LINES = 2_000, 300
HEAVY = (
    "torch",
    "grpc",
    "PIL",
    "safetensors",
    "google",
    "typer",
    "rich",
    "ray",
    "starlette",
    "uvicorn",
    "opentelemetry",
)
LIGHT = ("planning", "planning/accuracy", "planning/dense_answers", "planning/policies", "scheduling")  # numpy alone


def sources() -> Iterator[Path]:
    """Every Python file of the package that was written by hand."""
    return (path for path in sorted(PACKAGE.rglob("*.py")) if not path.name.endswith("_pb2.py"))


def module_name(path: Path) -> str:
    """A file's dotted name below the package, such as "planning.plan"."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path, modules: Mapping[str, Path]) -> Iterator[tuple[int, str]]:
    """Line and module of every import from this package, also inside functions; not those for type checkers alone."""
    tree = ast.parse(path.read_text("utf-8"))
    ignored = {id(inner) for node in ast.walk(tree) if _for_types(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in ignored or not isinstance(node, ast.ImportFrom) or not node.module:
            continue
        if node.module.startswith("janus_vit."):
            name = node.module.removeprefix("janus_vit.")
            inner = [f"{name}.{alias.name}" for alias in node.names if f"{name}.{alias.name}" in modules]
            yield from ((node.lineno, each) for each in inner or [name])


def _for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def room(name: str) -> str | None:
    """The room of a module, None for the package's own front door."""
    parts = name.split(".")
    return next(("/".join(parts[:end]) for end in (3, 2, 1) if "/".join(parts[:end]) in FLOORS), None)


def floor(name: str) -> int | None:
    """A module's floor; the parts of one large room share it."""
    home = room(name)
    if home is None:
        return None
    top = home.split("/")[0]
    return FLOORS.index(top if top in ONE_FLOOR else home)


def upward_imports(modules: Mapping[str, Path]) -> list[str]:
    """Every import that goes up, one line each."""
    found = []
    for name, path in modules.items():
        for line, other in imports(path, modules):
            here, there = floor(name), floor(other)
            if here is not None and there is not None and there > here:
                found.append(f"{path}:{line}: {room(name)} imports {other}, which is above it")
    return found


def circles(modules: Mapping[str, Path]) -> list[str]:
    """The first circle of imports, if there is one."""
    graph = {name: {other for _, other in imports(path, modules)} for name, path in modules.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [f"a circle of imports: {' -> '.join(error.args[1])}"]
    return []


def too_large(modules: Mapping[str, Path]) -> list[str]:
    """Files and rooms with too many lines."""
    lines = {name: len(path.read_text("utf-8").splitlines()) for name, path in modules.items()}
    rooms: Counter[str] = Counter()
    for name, count in lines.items():
        rooms[room(name) or ""] += count
    files = [f"{modules[name]}: {count} lines" for name, count in lines.items() if count > LARGEST_FILE_LINES]
    return files + [f"{name}/: {count} lines" for name, count in rooms.items() if count > LARGEST_ROOM_LINES]


def heavy_in_light_rooms(modules: Mapping[str, Path]) -> list[str]:
    """What importing all of the light rooms brings in beside numpy."""
    names = [f"janus_vit.{name}" for name in modules if room(name) in LIGHT]
    code = f"import sys, {', '.join(names)}\nprint(*[name for name in {HEAVY} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    return [f"importing {', '.join(LIGHT)} imports {name}" for name in loaded]


if __name__ == "__main__":
    found = {module_name(path): path for path in sources()}
    problems = upward_imports(found) + circles(found) + too_large(found) + heavy_in_light_rooms(found)
    sys.exit("\n".join(problems) or None)
