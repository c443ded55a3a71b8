"""The short form of `make fuzz`: the same data each time, a few seconds for all targets."""

import resource
import time
from random import Random

import pytest

from fuzzing.all_targets import GROUPS, targets_of
from fuzzing.mutation import mutate_bytes, mutate_json, mutate_png
from fuzzing.target import Target, Violation, check
from janus_vit.errors import InputError

RUNS = {"network": 40, "files": 20, "live": 30}


@pytest.mark.parametrize("group", GROUPS)
def test_changed_data_is_taken_or_refused_with_our_own_errors(group):
    for target in targets_of(group):
        assert all(check(target, seed) for seed in target.seeds), f"{target.name} refuses valid data"
        taken = [check(target, target.example(f"test {run}")) for run in range(RUNS[group])]
        assert target.name == "device" or not all(taken), f"{target.name} takes everything"


def raise_foreign(data):
    raise KeyError("x")


def raise_ours(data):
    raise InputError("refused")


def waste_time(data):
    until_s = time.thread_time() + 0.05
    while time.thread_time() < until_s:
        pass


def waste_memory(data):
    """Take more than this process ever had."""
    peak_bytes = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return bytearray(b"x") * (peak_bytes + (200 << 20))


@pytest.mark.parametrize(
    ("run", "problem"),
    [(raise_foreign, "KeyError: 'x'"), (waste_time, "took 5. ms"), (waste_memory, r"needed \d+ MiB")],
)
def test_what_must_not_happen_is_found(run, problem):
    with pytest.raises(Violation, match=problem):
        check(Target("bad", run, (b"",), limit_s=0.02 if run is waste_time else 10.0), b"")


def test_our_own_errors_are_refusals():
    assert not check(Target("good", raise_ours, (b"",)), b"")
    assert check(Target("good", len, (b"",)), b"data")


@pytest.mark.parametrize("mutate", [mutate_bytes, mutate_json, mutate_png])
def test_the_same_seed_changes_data_in_the_same_way(mutate):
    data = b'{"a": [1, 2, {"b": 3}]}'
    target = Target("same", len, (data,), mutate)
    examples = [target.example(str(index)) for index in range(50)]
    assert examples == [target.example(str(index)) for index in range(50)]
    assert len(set(examples)) > 20
    assert mutate(data, Random(1)) == mutate(data, Random(1))
