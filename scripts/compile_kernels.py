"""Compile the Triton kernels, as the GPU engines launch them, for GPUs that need not be here; print what each uses.

    python scripts/compile_kernels.py [--capabilities 80,90] [--models vit-base-224,vit-large-384]

Fails if a kernel does not compile or keeps registers in memory for want of room.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.pop("TRITON_INTERPRET", None)  # before Triton is imported

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from janus_vit.model.catalog import load_model
from janus_vit.model.engines.gpu.layout import make_layout
from janus_vit.model.engines.gpu.operations import Branch, Norm
from janus_vit.model.engines.gpu.ragged import widened
from janus_vit.model.engines.gpu.triton_operations import TritonOperations
from janus_vit.model.vit import Architecture

_TYPES = {torch.bfloat16: "*bf16", torch.float32: "*fp32", torch.int32: "*i32"}
_OPTIONS = ("num_warps", "num_stages")
_PTXAS = Path(triton.__file__).parent / "backends/nvidia/bin/ptxas"


@contextmanager
def recorded() -> Iterator[list[tuple[Any, dict[str, Any]]]]:
    """Record the kernels that are launched, with their arguments, instead of launching them."""
    launches: list[tuple[Any, dict[str, Any]]] = []
    run = JITFunction.run

    def record(kernel: Any, *arguments: Any, grid: Any, warmup: bool, **named: Any) -> None:
        launches.append((kernel, {**dict(zip(kernel.arg_names, arguments, strict=False)), **named}))

    JITFunction.run = record
    try:
        yield launches
    finally:
        JITFunction.run = run


def launch_all(arch: Architecture, dtype: torch.dtype) -> None:
    """Launch every kernel once, for two frames of which one merges."""
    operations = TritonOperations(arch.prefix, arch.tokens, dtype)
    layout = make_layout(arch, (arch.tokens, arch.tokens), [(8,), (0,)], 0, 1, True, False)
    step = layout.steps(layout.table())[0]
    rows, head_width = step.rows.before, arch.width // arch.heads
    x, sizes = torch.empty(rows, arch.width, dtype=dtype), torch.ones(rows)
    qkv = torch.empty(rows, 3, arch.heads, widened(head_width), dtype=dtype)
    norm = Norm(torch.ones(arch.width), torch.zeros(arch.width), arch.norm_eps)
    branch = Branch(torch.empty_like(x), torch.zeros(arch.width))
    operations.add_norm(x, None, norm)
    operations.add_norm(x, branch, norm)
    operations.mark_sizes(qkv[:, 1], sizes, head_width)
    operations.merge_norm(x, branch, sizes, qkv[:, 1, :, :head_width], step, norm)


def compiled(kernel: Any, arguments: dict[str, Any], capability: int) -> Any:
    """Compile a recorded launch."""
    types, constants, attributes = {}, {}, {}
    for index, parameter in enumerate(kernel.params):
        value = arguments[parameter.name]
        if parameter.is_constexpr:
            types[parameter.name], constants[(index,)] = "constexpr", value
        elif isinstance(value, torch.Tensor):
            types[parameter.name] = _TYPES[value.dtype]
            if value.data_ptr() % 16 == 0:
                attributes[(index,)] = [["tt.divisibility", 16]]
        else:
            types[parameter.name] = "fp32" if isinstance(value, float) else "i32"
    options = {name: arguments[name] for name in _OPTIONS if name in arguments}
    source = ASTSource(kernel, types, constants, attributes)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


def resources(ptx: str, capability: int) -> tuple[int, int]:
    """Registers of a thread, and bytes that it spills."""
    target = f"sm_{capability}a" if capability >= 90 else f"sm_{capability}"
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(ptx)
        file.flush()
        command = [str(_PTXAS), "-v", f"-arch={target}", file.name, "-o", os.devnull]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    spilled = sum(int(number) for number in re.findall(r"(\d+) bytes spill", told))
    return max(int(number) for number in re.findall(r"Used (\d+) registers", told)), spilled


def main() -> None:
    """Print a line for each kernel, type, model and capability."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--capabilities", default="80,90", help="compute capabilities without the dot")
    parser.add_argument("--models", default="vit-base-224,vit-large-384")
    options = parser.parse_args()
    spills = 0
    for name in options.models.split(","):
        with torch.device("meta"):  # without weights
            arch = load_model(name).network.architecture
        for dtype in (torch.bfloat16, torch.float32):
            with recorded() as launches:
                launch_all(arch, dtype)
            for capability in map(int, options.capabilities.split(",")):
                for kernel, arguments in launches:
                    binary = compiled(kernel, arguments, capability)
                    registers, spilled = resources(binary.asm["ptx"], capability)
                    spills += spilled
                    used = (
                        f"{registers:>4} registers, {binary.metadata.shared:>6} bytes shared, {spilled} bytes spilled"
                    )
                    print(f"{name:<14} {dtype!s:<15} sm_{capability} {kernel.__name__:<11} {used}", flush=True)
    if spills:
        sys.exit("a kernel spills registers: give it more warps or a smaller tile")


if __name__ == "__main__":
    main()
