"""Check that imports go down only: planning < model < wire < runtime < lab < cli; planning needs numpy alone.

python scripts/check_floors.py
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src/janus_vit"
FLOORS = ("errors", "planning", "model", "wire", "runtime", "lab", "cli")
HEAVY = ("torch", "grpc", "PIL", "safetensors", "google", "typer", "rich")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module


def floor(parts: tuple[str, ...]) -> int | None:
    """A module's floor, None for the package's own front door."""
    return FLOORS.index(parts[0].removesuffix(".py")) if parts and parts[0] != "__init__.py" else None


def upward_imports() -> list[str]:
    """Every import that goes up, one line each."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        here = floor(path.relative_to(PACKAGE).parts)
        for line, name in imports(path):
            there = floor(tuple(name.split(".")[1:])) if name.startswith("janus_vit.") else None
            if here is not None and there is not None and there > here:
                found.append(f"{path}:{line}: {FLOORS[here]} imports {name}, which is above it")
    return found


def heavy_in_planning() -> list[str]:
    """What importing all of planning brings in beside numpy."""
    modules = [f"janus_vit.planning.{path.stem}" for path in sorted((PACKAGE / "planning").glob("[a-z]*.py"))]
    code = f"import sys, {', '.join(modules)}\nprint(*[name for name in {HEAVY} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    return [f"importing janus_vit.planning imports {name}" for name in loaded]


if __name__ == "__main__":
    problems = upward_imports() + heavy_in_planning()
    sys.exit("\n".join(problems) or None)
