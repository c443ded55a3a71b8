"""Compile src/janus_vit/wire/janus.proto to janus.desc and janus_pb2.pyi; `--check` only says whether they are current.

python scripts/compile_proto.py [--check]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

WIRE = Path(__file__).parents[1] / "src/janus_vit/wire"
MADE = ("janus.desc", "janus_pb2.pyi")


def compile_into(folder: Path) -> None:
    """Run the protocol compiler."""
    options = [f"-I{WIRE}", f"--descriptor_set_out={folder / MADE[0]}", f"--pyi_out={folder}", "janus.proto"]
    if protoc.main(["protoc", *options]) != 0:
        sys.exit("janus.proto does not compile: see the lines above")


def main() -> None:
    """Compile, or compare with what is there."""
    if "--check" not in sys.argv[1:]:
        compile_into(WIRE)
        return
    with tempfile.TemporaryDirectory() as name:
        compile_into(Path(name))
        for made in MADE:
            if (Path(name) / made).read_bytes() != (WIRE / made).read_bytes():
                sys.exit(f"{made} is older than janus.proto: run python scripts/compile_proto.py")


if __name__ == "__main__":
    main()
