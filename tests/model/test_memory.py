"""File pages of a checkpoint are dropped and their values stay; an engine never holds weights twice."""

import io
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from janus_vit.model import memory
from janus_vit.model.checkpoints.reader import checkpoint_metadata
from janus_vit.model.engines.registry import ENGINES
from janus_vit.model.memory import release_pages, trim
from janus_vit.model.preprocessing import Preprocessing
from janus_vit.model.vit import Architecture, VisionTransformer

LINUX = sys.platform == "linux"
ROWS = 2000  # of 4 kB each


def resident_kb(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


@pytest.fixture
def mapped(tmp_path):
    """A tensor in a mapped file, read once."""
    save_file({"x": torch.arange(ROWS * 1024, dtype=torch.float32).view(ROWS, 1024)}, tmp_path / "x.safetensors")
    with safe_open(tmp_path / "x.safetensors", framework="pt") as file:
        tensor = file.get_tensor("x")
    tensor.sum()
    return tensor


def test_file_pages_are_dropped_and_their_values_stay(mapped):
    before_kb = resident_kb("RssFile") if LINUX else 0
    release_pages(mapped)
    if LINUX:
        assert before_kb - resident_kb("RssFile") > 0.9 * 4 * ROWS
    assert torch.equal(mapped.flatten(), torch.arange(ROWS * 1024, dtype=torch.float32))


def test_pages_that_were_written_to_are_kept(mapped):
    mapped[ROWS // 2] = -1.0
    release_pages(mapped)
    assert (mapped[ROWS // 2] == -1.0).all()
    assert mapped[0, 5] == 5.0


def test_memory_outside_of_files_is_kept():
    plain = torch.arange(ROWS * 1024, dtype=torch.float32)
    release_pages(plain)
    assert torch.equal(plain, torch.arange(ROWS * 1024, dtype=torch.float32))


@pytest.fixture
def advised(monkeypatch):
    """Record what the system is asked to drop, and drop nothing."""
    calls = []
    monkeypatch.setattr(memory, "_LIBC", SimpleNamespace(madvise=lambda *arguments: calls.append(arguments)))
    return calls


@pytest.mark.parametrize(("entry", "times"), [(0, 0), (1 << 63, 0), (1 << 62, 0), (1 << 63 | 1 << 61, 1)])
def test_only_pages_that_the_system_reports_as_a_files_are_dropped(monkeypatch, advised, entry, times):
    """If /proc belongs to another machine or hides its data, none are dropped."""

    class Pagemap(io.BytesIO):
        def read(self, size=-1):
            return entry.to_bytes(8, "little") * (size // 8)

    monkeypatch.setattr("builtins.open", lambda *_, **__: Pagemap())
    release_pages(torch.ones(ROWS * 1024))
    assert len(advised) == times


def test_without_a_page_map_pages_are_kept(monkeypatch, advised):
    def missing(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", missing)
    release_pages(torch.ones(ROWS * 1024))
    assert advised == []


def test_tensors_without_a_whole_page_or_without_memory_are_skipped(mapped):
    for tensor in (torch.ones(3), torch.empty(0), torch.empty(4096, 4096, device="meta"), mapped.t(), mapped[3]):
        release_pages(tensor)
    trim()
    assert mapped[3, 0] == 3 * 1024


class Malloc:
    """Replaces glibc and records its calls."""

    def __init__(self):
        self.told = []

    def mallopt(self, what, value):
        self.told.append((what, value))


@pytest.fixture
def malloc(monkeypatch):
    for name in memory._MALLOC_SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(memory, "_LIBC", Malloc())
    monkeypatch.setattr(memory, "_GLIBC", True)
    return memory._LIBC


def test_large_allocations_are_separate_inside_and_kept_afterwards(malloc):
    with memory.separate_large_allocations():
        assert malloc.told == [(memory._MMAP_THRESHOLD, 1 << 20)]
    assert malloc.told[1:] == [(memory._MMAP_THRESHOLD, 32 << 20), (memory._TRIM_THRESHOLD, 64 << 20)]


@pytest.mark.parametrize("name", memory._MALLOC_SETTINGS)
def test_malloc_settings_of_the_environment_are_kept(malloc, monkeypatch, name):
    monkeypatch.setenv(name, "1")
    with memory.separate_large_allocations():
        pass
    assert malloc.told == []


MEASURE = """
import os, sys, torch
from pathlib import Path
from janus_vit.model.catalog import load_model
from janus_vit.model.engines.factory import make_engine

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

def growth(name):
    make_engine(load_model(), name)  # loads what the engine needs besides weights
    before = peak()
    make_engine(load_model(sys.argv[1]), name, keep_model=False)
    return peak() - before

torch.set_num_threads(1)
for name in sys.argv[2:]:
    if os.fork() == 0:  # each engine starts from the same memory, and torch is imported once
        print(name, growth(name), flush=True)
        os._exit(0)
    assert os.wait()[1] == 0, name
"""
NAMES = [name for name, kind in ENGINES.items() if name != "cuda" and LINUX and kind.installed]


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A checkpoint of 77 MB, and the size of its weights in bytes."""
    arch = Architecture(64, 16, 512, 6, 8, 2048, classes=10)
    network = VisionTransformer(arch)
    file = tmp_path_factory.mktemp("wide") / "wide.safetensors"
    save_file(dict(network.state_dict()), file, checkpoint_metadata(arch, Preprocessing(64), (), {}))
    return file, sum(parameter.nbytes for parameter in network.parameters())


@pytest.fixture(scope="module")
def growths(wide):
    """Bytes by which the peak of a process's memory grows while it makes an engine, by the engine's name."""
    command = [sys.executable, "-c", MEASURE, str(wide[0]), *NAMES]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {name: int(size) for name, size in (line.split() for line in printed.splitlines())}


@pytest.mark.parametrize("name", [name for name in ENGINES if name != "cuda"])
def test_making_an_engine_takes_a_quarter_more_than_the_weights_at_most(wide, growths, name):
    _, size_bytes = wide
    assert size_bytes > 70e6
    if name in NAMES:
        assert growths[name] < 1.25 * size_bytes + 20e6  # and twice the weights are much more
