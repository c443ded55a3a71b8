"""Pages of a checkpoint's file go back to the system and their values stay; an engine never holds weights twice."""

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
    """A tensor that lies in a mapped file, read once."""
    save_file({"x": torch.arange(ROWS * 1024, dtype=torch.float32).view(ROWS, 1024)}, tmp_path / "x.safetensors")
    with safe_open(tmp_path / "x.safetensors", framework="pt") as file:
        tensor = file.get_tensor("x")
    tensor.sum()
    return tensor


def test_pages_of_a_file_go_and_their_values_stay(mapped):
    before_kb = resident_kb("RssFile") if LINUX else 0
    release_pages(mapped)
    if LINUX:
        assert before_kb - resident_kb("RssFile") > 0.9 * 4 * ROWS
    assert torch.equal(mapped.flatten(), torch.arange(ROWS * 1024, dtype=torch.float32))


def test_pages_that_were_written_to_stay(mapped):
    mapped[ROWS // 2] = -1.0
    release_pages(mapped)
    assert (mapped[ROWS // 2] == -1.0).all()
    assert mapped[0, 5] == 5.0


def test_memory_that_is_no_files_stays():
    plain = torch.arange(ROWS * 1024, dtype=torch.float32)
    release_pages(plain)
    assert torch.equal(plain, torch.arange(ROWS * 1024, dtype=torch.float32))


@pytest.fixture
def advised(monkeypatch):
    """What the system is asked to drop; nothing is."""
    calls = []
    monkeypatch.setattr(memory, "_LIBC", SimpleNamespace(madvise=lambda *arguments: calls.append(arguments)))
    return calls


@pytest.mark.parametrize(("entry", "times"), [(0, 0), (1 << 63, 0), (1 << 62, 0), (1 << 63 | 1 << 61, 1)])
def test_only_pages_that_the_system_calls_a_files_go(monkeypatch, advised, entry, times):
    """Where /proc is another machine's, or hides what it knows, none do."""

    class Pagemap(io.BytesIO):
        def read(self, size=-1):
            return entry.to_bytes(8, "little") * (size // 8)

    monkeypatch.setattr("builtins.open", lambda *_, **__: Pagemap())
    release_pages(torch.ones(ROWS * 1024))
    assert len(advised) == times


def test_without_a_page_map_pages_stay(monkeypatch, advised):
    def missing(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", missing)
    release_pages(torch.ones(ROWS * 1024))
    assert advised == []


def test_what_has_no_whole_page_or_no_memory_is_left_alone(mapped):
    for tensor in (torch.ones(3), torch.empty(0), torch.empty(4096, 4096, device="meta"), mapped.t(), mapped[3]):
        release_pages(tensor)
    trim()
    assert mapped[3, 0] == 3 * 1024


class Malloc:
    """Stands in for glibc; records what it is told."""

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


def test_large_pieces_are_apart_inside_and_kept_afterwards(malloc):
    with memory.separate_large_allocations():
        assert malloc.told == [(memory._MMAP_THRESHOLD, 1 << 20)]
    assert malloc.told[1:] == [(memory._MMAP_THRESHOLD, 32 << 20), (memory._TRIM_THRESHOLD, 64 << 20)]


@pytest.mark.parametrize("name", memory._MALLOC_SETTINGS)
def test_what_the_environment_says_of_malloc_holds(malloc, monkeypatch, name):
    monkeypatch.setenv(name, "1")
    with memory.separate_large_allocations():
        pass
    assert malloc.told == []


MEASURE = """
import sys, torch
from pathlib import Path
from janus_vit.model.catalog import load_model
from janus_vit.model.engines.factory import make_engine
from janus_vit.model.engines.registry import ENGINES

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

torch.set_num_threads(1)
make_engine(load_model(), sys.argv[2])  # what an engine brings along
before = peak()
make_engine(load_model(sys.argv[1]), sys.argv[2], keep_model=False)
print(peak() - before)
"""


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A checkpoint of 151 MB, and the size of its weights in bytes."""
    arch = Architecture(64, 16, 512, 12, 8, 2048, classes=10)
    network = VisionTransformer(arch)
    file = tmp_path_factory.mktemp("wide") / "wide.safetensors"
    save_file(dict(network.state_dict()), file, checkpoint_metadata(arch, Preprocessing(64), (), {}))
    return file, sum(parameter.nbytes for parameter in network.parameters())


@pytest.mark.parametrize("name", [name for name in ENGINES if name != "cuda"])
def test_making_an_engine_takes_a_quarter_more_than_the_weights_at_most(wide, name):
    file, size_bytes = wide
    command = [sys.executable, "-c", MEASURE, str(file), name]
    if LINUX and ENGINES[name].installed:
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert int(printed) < 1.25 * size_bytes + 20e6
    assert size_bytes > 140e6
