"""Load a user's policy: `FILE.py:NAME` instead of a built-in name.

NAME is a class with the two methods of `Policy`. It is constructed with the table of all plans and the platforms. Its
decisions are checked before they run, and its exceptions are reported with file and line.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from janus_vit.errors import InputError
from janus_vit.planning.jsonfile import is_number, shown
from janus_vit.planning.outcome import Outcome, Prediction
from janus_vit.planning.plan import Plan
from janus_vit.planning.policies.base import Decision, Policy, Situation
from janus_vit.planning.table import Option, PlanTable
from janus_vit.user_code import SUFFIX, guarded, user_class

_WHAT = "policy"  # in error messages
_LARGEST_PROBE = 1_000_000
_LARGEST = 1e12  # seconds, bytes: what records can hold
_SHARES = ("on_time", "accuracy")


def is_custom(name: str) -> bool:
    """Whether a policy's name is a file and a class in it."""
    return SUFFIX in name


def custom_policy(name: str, table: PlanTable, platforms: object) -> Policy:
    """Make a new policy of the user's class.

    Raises:
        InputError: there is no such file or class, or its constructor failed.
    """
    kind = policy_class(name)
    return _Checked(name, guarded(_WHAT, name, lambda: kind(table, platforms)), table)


def policy_class(name: str) -> type[Any]:
    """Load the user's class.

    Raises:
        InputError: there is no such file, it does not run, it has no such class, or the class lacks a method.
    """
    kind = user_class(_WHAT, name)
    missing = [method for method in ("observe", "choose") if not callable(getattr(kind, method, None))]
    if missing:
        raise InputError(f"policy {name!r}: class {kind.__name__} has no method {' and no '.join(missing)}: add it")
    return kind


class _Checked:
    """Wraps the user's policy: translates its errors and refuses plans that cannot run."""

    def __init__(self, name: str, policy: Policy, table: PlanTable) -> None:
        self._name = name
        self._policy = policy
        self._table = table
        self._rows = {(each.family, each.applied): row for row, each in enumerate(table.schedules)}
        self._columns = {option: column for column, option in enumerate(table.options)}

    def observe(self, outcome: Outcome) -> None:
        """See `Policy`."""
        guarded(_WHAT, self._name, lambda: self._policy.observe(outcome))

    def choose(self, situation: Situation) -> Decision:
        """See `Policy`.

        Raises:
            InputError: the result is not a Decision, or its plan cannot run.
        """
        decision = guarded(_WHAT, self._name, lambda: self._policy.choose(situation))
        if not isinstance(decision, Decision):
            raise InputError(f"policy {self._name!r}{self._place}: choose gave {shown(decision)}: give a Decision")
        wrong = guarded(_WHAT, self._name, lambda: self._impossible(decision))
        if wrong:
            raise InputError(f"policy {self._name!r}{self._place}: chose an impossible plan: {wrong}")
        return decision

    @property
    def _place(self) -> str:
        """First line of the user's `choose`, for error messages."""
        code = getattr(type(self._policy).choose, "__code__", None)
        return f", line {code.co_firstlineno}" if code else ""

    def _impossible(self, decision: Decision) -> str | None:
        plan, shape = decision.plan, self._table.shape
        if not isinstance(plan, Plan) or not isinstance(decision.predicted, Prediction):
            return "a Decision holds a Plan of the table and a Prediction, see 'predict'"
        if type(decision.probe_bytes) is not int or not 0 <= decision.probe_bytes <= _LARGEST_PROBE:
            return f"probe_bytes is {decision.probe_bytes!r}, not a whole number up to {_LARGEST_PROBE}"
        wrong = _wrong_share("by_cloud", decision.by_cloud) or _wrong_prediction(decision.predicted)
        if wrong:
            return wrong
        names_option = type(plan.split) is int and isinstance(plan.payload, str)
        column = self._columns.get(Option(plan.split, plan.payload)) if names_option else None
        if column is None:
            return (
                f"split {shown(plan.split)} with payload {shown(plan.payload)} is no option of model {shape.name} here"
            )
        is_listed = isinstance(plan.merges, tuple) and all(type(count) is int for count in plan.merges)
        row = self._rows.get((plan.family, plan.merges)) if is_listed else None
        if row is None:
            return f"family {shown(plan.family)} with merges {shown(plan.merges)} is no schedule of the table"
        own = self._table.plan(row, column)
        for name, value, usual in (("rescue", plan.rescue, (None, own.rescue)), ("level", plan.level, (own.level,))):
            if value not in usual:
                return f"{name} {shown(value)} is not the table's: take plans from table.plan(row, column)"
        return None


def _wrong_prediction(predicted: Prediction) -> str | None:
    for each in fields(Prediction):
        value = getattr(predicted, each.name)
        if each.name in _SHARES:
            wrong = _wrong_share(each.name, value)
            if wrong:
                return wrong
        elif not (value is None and each.default is None) and not (is_number(value) and 0 <= value <= _LARGEST):
            return f"{each.name} is {shown(value)}, not a number from 0 to {_LARGEST:g}"
    return None


def _wrong_share(name: str, value: object) -> str | None:
    if value is None or (is_number(value) and 0 <= value <= 1):  # type: ignore[operator]
        return None
    return f"{name} is {shown(value)}, not a share from 0 to 1"
