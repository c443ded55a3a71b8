"""Policies of the user's own: loaded by file and class, checked, and mistakes reported by line."""

import textwrap
from pathlib import Path

import pytest

from janus_vit.errors import InputError
from janus_vit.planning.policies.base import Situation
from janus_vit.planning.policies.presets import check_policy, make_policy

EXAMPLE = Path(__file__).parents[2] / "examples" / "slowest_of_ten.py"

FIRST_CELL = """
    from janus_vit.planning.policies.base import Decision, predict

    class Mine:
        def __init__(self, table, platforms):
            self.table = table

        def observe(self, outcome):
            pass

        def choose(self, situation):
            {body}
            return Decision({plan}, predict(self.table, 0, 0, 1.0, 0.0, 0.0))
"""


@pytest.fixture
def write(tmp_path):
    def policy(text):
        path = tmp_path / f"policy_{len(list(tmp_path.iterdir()))}.py"
        path.write_text(textwrap.dedent(text))
        return f"{path}:Mine"

    return policy


def mine(write, plan="self.table.plan(0, 0)", body="pass"):
    return write(FIRST_CELL.format(plan=plan, body=body))


def test_class_in_a_file_is_a_policy(write, platforms):
    decision = make_policy(mine(write), platforms).choose(Situation(0.0, 0.1))
    assert decision.plan.split == 0


def test_documented_example_uses_the_link_while_it_is_up(platforms):
    policy = make_policy(check_policy(f"{EXAMPLE}:SlowestOfTen"), platforms)
    assert not policy.choose(Situation(0.0, 0.2)).plan.is_local


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("split=30", "split 30 with payload"),
        ("payload='morse'", "'morse' is no option"),
        ("merges=(1, 2)", "is no schedule of the table"),
        ("merges=[0] * 6", "is no schedule of the table"),
        ("family=None", "family None with merges"),
        ("rescue=(500,) * 6", "is not the table's"),
        ("rescue=()", "is not the table's"),
        ("level=float('nan')", "level nan is not the table's"),
        ("payload=[1]", r"split 0 with payload \[1\] is no option"),
        ("split=[0]", r"split \[0\] with payload"),
        ("merges=([1],) * 6", "is no schedule of the table"),
    ],
)
def test_impossible_plan_is_refused_with_the_reason(write, platforms, change, message):
    name = mine(write, f"__import__('dataclasses').replace(self.table.plan(0, 0), {change})")
    with pytest.raises(InputError, match=rf"Mine', line 11: chose an impossible plan.*{message}".replace("(", r"\(")):
        make_policy(name, platforms).choose(Situation(0.0, 0.1))


@pytest.mark.parametrize(
    ("decision", "message"),
    [
        ("Decision('plan', predict(self.table, 0, 0, 1.0, 0.0, 0.0))", "a Decision holds a Plan"),
        ("Decision(self.table.plan(0, 0), None)", "a Decision holds a Plan"),
        ("Decision(self.table.plan(0, 0), predict(self.table, 0, 0, 1.0, 0.0, 0.0), -5)", "probe_bytes is -5"),
    ],
)
def test_decision_with_wrong_parts_is_refused(write, platforms, decision, message):
    name = mine(write, body=f"return {decision}")
    with pytest.raises(InputError, match=message):
        make_policy(name, platforms).choose(Situation(0.0, 0.1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("device_s=float('nan')", "device_s is nan, not a number from 0"),
        ("transfer_s='x'", "transfer_s is 'x', not a number"),
        ("rate_mbps=-1.0", r"rate_mbps is -1\.0, not a number"),
        ("size_bytes=10**400", r"size_bytes is 1000+\.\.\.0+, not a number"),
        ("finish_s=None", "finish_s is None, not a number"),
        ("on_time='y'", "on_time is 'y', not a share"),
        ("accuracy=1.5", r"accuracy is 1\.5, not a share"),
    ],
)
def test_prediction_that_no_record_can_hold_is_refused(write, platforms, change, message):
    predicted = f"__import__('dataclasses').replace(predict(self.table, 0, 0, 1.0, 0.0, 0.0), {change})"
    name = mine(write, body=f"return Decision(self.table.plan(0, 0), {predicted})")
    with pytest.raises(InputError, match=f"Mine', line 11: chose an impossible plan: {message}"):
        make_policy(name, platforms).choose(Situation(0.0, 0.1))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return type('Odd', (), {'__repr__': lambda self: 1 / 0})()", "choose gave <Odd instance at"),
        ("raise GeneratorExit", "line 12: GeneratorExit"),
        ("raise BaseException('own')", "line 12: BaseException: own"),
    ],
)
def test_users_code_that_fails_in_unusual_ways_is_refused(write, platforms, body, message):
    with pytest.raises(InputError, match=message):
        make_policy(mine(write, body=body), platforms).choose(Situation(0.0, 0.1))


def test_error_in_the_users_code_names_its_line(write, platforms):
    policy = make_policy(mine(write, body="1 / 0"), platforms)
    with pytest.raises(InputError, match=r"Mine', line 12: ZeroDivisionError"):
        policy.choose(Situation(0.0, 0.1))


def test_result_that_is_not_a_decision_is_refused(write, platforms):
    name = mine(write, body="return 7")
    with pytest.raises(InputError, match="choose gave 7"):
        make_policy(name, platforms).choose(Situation(0.0, 0.1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1 +", "line 1: SyntaxError"),
        ("class Other: pass", "no class 'Mine': it has Other"),
        ("class Mine:\n    def choose(self, situation): pass", "no method observe"),
        ("import nothing_of_this_name", "line 1: ModuleNotFoundError"),
    ],
)
def test_file_without_a_policy_is_refused_before_anything_runs(write, text, message):
    with pytest.raises(InputError, match=message):
        check_policy(write(text))


def test_missing_file_is_named():
    with pytest.raises(InputError, match=r"nowhere\.py is no Python file"):
        check_policy("nowhere.py:Mine")


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(InputError, match=r"'best' is unknown.*adaptive.*FILE\.py:CLASS"):
        check_policy("best")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import sys\nsys.exit(3)", "line 2: SystemExit: 3"),
        (
            "class Odd(Exception):\n    def __str__(self):\n        raise OSError\nraise Odd",
            "line 4: Odd: an error",
        ),
        ("def __getattr__(name):\n    raise OSError(name)", "has no class 'Mine'"),
        ("# coding: nonsense", "SyntaxError"),
    ],
)
def test_a_file_that_ends_or_answers_oddly_is_refused(write, text, message):
    with pytest.raises(InputError, match=message):
        check_policy(write(text))
