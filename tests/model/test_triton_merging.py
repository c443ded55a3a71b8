"""Triton kernels against plain PyTorch on ragged rows: norms, sizes in keys, merging.

Without a GPU they run in Triton's interpreter (`conftest`).
"""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import triton
from hypothesis import given, settings
from hypothesis import strategies as st
from triton_interpreter import patched_once_a_launch

from janus_vit.model.engines.gpu.layout import make_layout
from janus_vit.model.engines.gpu.operations import Branch, Norm, TorchOperations
from janus_vit.model.engines.gpu.ragged import size_channels
from janus_vit.model.engines.gpu.triton_operations import TritonOperations
from janus_vit.model.vit import Architecture

WIDTH, HEADS, HEAD_WIDTH = 24, 3, 8
LONGEST = 41
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
ARCH = Architecture(32, 8, WIDTH, 6, HEADS, 48, 7)


@pytest.fixture(autouse=True, scope="module")
def _quick_interpreter():
    with patched_once_a_launch():
        yield


def random(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE, dtype)


def random_sizes(count, seed=0):
    return torch.randint(1, 400, (count,), generator=torch.Generator().manual_seed(seed)).float().to(DEVICE)


def norm():
    return Norm(random(WIDTH, seed=1), random(WIDTH, seed=2), 1e-6)


def branch(rows, dtype=torch.float32):
    return Branch(random(rows, WIDTH, seed=3, dtype=dtype), random(WIDTH, seed=4))


def step_of(counts, merges, rounded=False):
    layout = make_layout(ARCH, tuple(counts), [(number,) for number in merges], 0, 1, rounded, False)
    return layout.steps(layout.table().to(DEVICE))[0]


def both(protected, dtype=torch.float32):
    return TorchOperations(protected, dtype), TritonOperations(protected, LONGEST, dtype)


def merged(operations, step, sizes, keys, dtype=torch.float32):
    """What an implementation makes of the same rows; of rows that belong to no frame, nothing."""
    rows = step.rows.before
    x = random(rows, WIDTH, seed=5, dtype=dtype)
    found = operations.merge_norm(x, branch(rows, dtype), sizes, keys, step, norm())
    return [part[: sum(step.counts_after)] for part in found]


@settings(deadline=None, max_examples=15)
@given(
    st.lists(st.integers(0, 25), min_size=1, max_size=3),
    st.integers(0, 4),
    st.integers(0, 10**6),
    st.sampled_from([0.0, 0.5, 1.0]),
)
def test_merging_is_that_of_plain_torch(mergeable, protected, seed, share):
    """Frames of any length, none to as many merges as there can be."""
    counts = [protected + number for number in mergeable]
    merges = [int(share * (number // 2)) for number in mergeable]
    step = step_of(counts, merges)
    sizes = random_sizes(sum(counts), seed)
    keys = random(sum(counts), HEADS, HEAD_WIDTH, seed=seed)
    plain, kernels = (merged(operations, step, sizes, keys) for operations in both(protected))
    assert torch.equal(plain[1], kernels[1])
    torch.testing.assert_close(kernels[0], plain[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(kernels[2], plain[2], rtol=1e-4, atol=1e-4)


def with_ties(count, seed):
    """Keys of one head whose similarities are exact and often equal, sums in any order included."""
    choices = torch.randint(0, 6, (count,), generator=torch.Generator().manual_seed(seed))
    signs = torch.tensor([[1, 1, 1, 1], [1, 1, 1, -1], [1, 1, -1, -1], [1, -1, 1, 1], [-1, -1, 1, 1], [0, 0, 0, 0]])
    return (signs[choices] / 2.0).float()[:, None].to(DEVICE)


@settings(deadline=None, max_examples=15)
@given(st.lists(st.integers(2, 25), min_size=1, max_size=2), st.integers(0, 2), st.integers(0, 10**6), st.data())
def test_ties_go_to_the_lower_index(mergeable, protected, seed, data):
    counts = [protected + number for number in mergeable]
    merges = [data.draw(st.integers(0, number // 2)) for number in mergeable]
    keys = with_ties(sum(counts), seed)
    step = step_of(counts, merges)
    sizes = torch.ones(sum(counts), device=DEVICE)
    rows, found, _ = merged(TritonOperations(protected, LONGEST, torch.float32), step, sizes, keys)
    values = random(sum(counts), WIDTH, seed=5)
    values = values + branch(sum(counts)).values + branch(sum(counts)).bias
    wanted, wanted_sizes = [], []
    for part, key, number in zip(torch.split(values, counts), torch.split(keys[:, 0], counts), merges, strict=True):
        groups = groups_of(key, number, protected)
        wanted += [torch.stack([part[index] for index in group]).mean(dim=0) for group in groups]
        wanted_sizes += [float(len(group)) for group in groups]
    assert found.tolist() == wanted_sizes
    torch.testing.assert_close(rows, torch.stack(wanted), rtol=1e-5, atol=1e-5)


def groups_of(keys, merges, protected):
    """Tokens that become one, by sorting and loops: the lower index wins, of both sets."""
    count = len(keys)
    similarity = keys @ keys.T
    proposals = []
    for a in range(protected, count, 2):
        others = range(protected + 1, count, 2)
        b = max(others, key=lambda b: (similarity[a, b].item(), -b), default=None)
        if b is not None:
            proposals.append((-similarity[a, b].item(), a, b))
    groups = {index: [index] for index in range(count)}
    for _, a, b in sorted(proposals)[:merges]:
        groups[b] += groups.pop(a)
    return [groups[index] for index in sorted(groups)]


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of numpy, in which the interpreter computes
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
def test_a_frame_that_is_not_finite_merges_as_many_and_leaves_the_others_alone(poison):
    counts, merges = (21, 33, 16), (10, 7, 0)
    step, sizes = step_of(counts, merges), torch.ones(sum(counts), device=DEVICE)
    keys = random(sum(counts), HEADS, HEAD_WIDTH)
    operations = TritonOperations(1, LONGEST, torch.float32)
    wanted = merged(operations, step, sizes, keys)
    keys[21:54] = poison
    found = merged(operations, step, sizes, keys)
    assert found[1][11:37].sum() == 33
    for part, right in zip(found, wanted, strict=True):
        assert torch.equal(part[:11], right[:11])
        assert torch.equal(part[37:], right[37:])


def test_rows_and_frames_that_round_a_batch_up_change_nothing():
    counts, merges = (21, 33, 16), (10, 7, 0)
    operations = TritonOperations(1, LONGEST, torch.bfloat16)
    exact, rounded = step_of(counts, merges), step_of(counts, merges, rounded=True)
    assert (rounded.rows.before, len(rounded.before)) == (72, 5)
    found = []
    for step in (exact, rounded):
        sizes = torch.ones(step.rows.before, device=DEVICE)
        keys = random(72, HEADS, HEAD_WIDTH)[: step.rows.before]
        found.append(merged(operations, step, sizes, keys, torch.bfloat16))
    assert all(map(torch.equal, *found))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("added", [False, True])
def test_a_residual_and_its_norm_are_those_of_plain_torch(dtype, added):
    rows = 19
    plain, kernels = both(1, dtype)
    extra = branch(rows, dtype) if added else None
    wanted, wanted_norm = plain.add_norm(random(rows, WIDTH, dtype=dtype), extra, norm())
    found, found_norm = kernels.add_norm(random(rows, WIDTH, dtype=dtype), extra, norm())
    assert found_norm.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2  # the interpreter cuts bfloat16 off where a GPU rounds
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(found_norm, wanted_norm, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sizes_go_into_two_channels_of_each_key_and_nowhere_else(dtype):
    rows, wide = 301, HEAD_WIDTH + 8
    qkv = random(rows, 3, HEADS, wide, dtype=dtype)
    sizes = random_sizes(rows)
    wanted = qkv.clone()
    wanted[:, 1, :, HEAD_WIDTH : HEAD_WIDTH + 2] = size_channels(sizes, dtype)[:, None]
    for operations in both(1):
        found = qkv.clone()
        operations.mark_sizes(found[:, 1], sizes, HEAD_WIDTH)
        assert torch.equal(found[:, ::2], wanted[:, ::2])
        pair = slice(HEAD_WIDTH, HEAD_WIDTH + 2)
        logs = found[:, 1, :, pair].float().sum(dim=-1)
        torch.testing.assert_close(logs, sizes.log()[:, None].expand(-1, HEADS), rtol=1e-4, atol=1e-4)
        found[:, 1, :, pair] = wanted[:, 1, :, pair]
        assert torch.equal(found, wanted)


def test_all_kernels_compile_for_a_gpu_that_is_not_here_without_spilling():
    script = Path(__file__).parents[2] / "scripts/compile_kernels.py"
    if sys.platform != "linux" or not (Path(triton.__file__).parent / "backends/nvidia/bin/ptxas").exists():
        return  # Triton brings the assembler for Linux alone
    options = "--capabilities", "90", "--models", "vit-large-384"
    found = subprocess.run([sys.executable, script, *options], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert found.stdout.count(" 0 bytes spilled") == 12
