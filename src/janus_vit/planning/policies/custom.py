"""Load a user's policy: `FILE.py:NAME` instead of a built-in name.

NAME is a class with the two methods of `Policy`. It is constructed with the table of all plans and the platforms. Its
decisions are checked before they run, and its exceptions are reported with file and line.
"""

from __future__ import annotations

from typing import Any

from janus_vit.errors import InputError
from janus_vit.planning.outcome import Outcome, Prediction
from janus_vit.planning.plan import Plan
from janus_vit.planning.policies.base import Decision, Policy, Situation
from janus_vit.planning.table import Option, PlanTable
from janus_vit.user_code import SUFFIX, guarded, user_class

_WHAT = "policy"  # in error messages
_LARGEST_PROBE = 1_000_000


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
            raise InputError(f"policy {self._name!r}{self._place}: choose gave {decision!r}: give a Decision")
        wrong = self._impossible(decision)
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
        if not isinstance(decision.probe_bytes, int) or not 0 <= decision.probe_bytes <= _LARGEST_PROBE:
            return f"probe_bytes is {decision.probe_bytes!r}, not a whole number up to {_LARGEST_PROBE}"
        column = self._columns.get(Option(plan.split, plan.payload))
        if column is None:
            return f"split {plan.split} with payload {plan.payload!r} is no option of model {shape.name} here"
        row = self._rows.get((plan.family, plan.merges)) if isinstance(plan.merges, tuple) else None
        if row is None:
            return f"family {plan.family!r} with merges {plan.merges} is no schedule of the table"
        if plan.rescue not in (None, self._table.plan(row, column).rescue):
            return f"rescue {plan.rescue} is not the table's: take plans from table.plan(row, column)"
        return None
