"""Compile src/janus_vit/wire/janus.proto to janus.desc and janus_pb2.pyi.

    python scripts/compile_proto.py [--check]

With --check nothing is written, and the exit code is 1 if the compiled files are out of date.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

WIRE = Path(__file__).parents[1] / "src/janus_vit/wire"
OUTPUTS = ("janus.desc", "janus_pb2.pyi")


def compile_into(folder: Path) -> None:
    """Run the protocol compiler and write its output to a folder."""
    options = [f"-I{WIRE}", f"--descriptor_set_out={folder / OUTPUTS[0]}", f"--pyi_out={folder}", "janus.proto"]
    if protoc.main(["protoc", *options]) != 0:
        sys.exit("janus.proto does not compile: fix the errors above")


def main() -> None:
    """Compile, or check the compiled files."""
    if "--check" not in sys.argv[1:]:
        compile_into(WIRE)
        return
    with tempfile.TemporaryDirectory() as name:
        compile_into(Path(name))
        for output in OUTPUTS:
            if (Path(name) / output).read_bytes() != (WIRE / output).read_bytes():
                sys.exit(f"{output} does not match janus.proto: run python scripts/compile_proto.py")


if __name__ == "__main__":
    main()
