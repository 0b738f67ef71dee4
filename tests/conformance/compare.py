"""Answers to differences: of one case, and of all cases together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from tests.conformance.cases import PLAIN, Case, Task, task_of
from tests.conformance.quantities import QUANTITIES, Answers, Quantity

Ask = Callable[[Task], Answers]


@dataclass(frozen=True)
class Difference:
    """How far two answers to one question lie apart: the largest difference, or the number of rows that differ."""

    quantity: Quantity
    values: int = 0  # numbers or rows compared
    size: float = 0.0
    why: str = ""  # what kept them from being compared

    @property
    def allowed(self) -> bool:
        return not self.why and self.size <= self.quantity.allowed

    def __str__(self) -> str:
        if self.why:
            return f"{self.quantity.title}: {self.why}"
        size = f"{self.size:.1e}" if self.quantity.allowed else f"{self.size:,.0f} of {self.values:,} differ"
        return f"{self.quantity.title}: {size} (allowed: {self.quantity.allowed:g})"


@dataclass
class Outcome:
    """A case, the answers, and how far they lie apart; the plain loops answer where the case is small enough."""

    case: Case
    ours: Answers
    theirs: Answers
    plain: Answers | None = None
    from_theirs: list[Difference] = field(default_factory=list)
    from_plain: list[Difference] = field(default_factory=list)
    theirs_from_plain: list[Difference] = field(default_factory=list)

    def faults(self) -> list[str]:
        """Where dnuc is not what it must be: DADApy's number, and the plain loop's where there is one."""
        found = [f"{self.case.name}: from the plain loop: {d}" for d in self.from_plain if not d.allowed]
        if not self.case.trouble:
            found += [f"{self.case.name}: from DADApy: {d}" for d in self.from_theirs if not d.allowed]
        return found

    def without_answers(self) -> Outcome:
        """The differences alone: answers are large."""
        return replace(self, ours={}, theirs={}, plain=None)


def run_case(case: Case, ask_us: Ask, ask_them: Ask, ask_plain: Ask) -> Outcome:
    """Ask everybody, and compare."""
    task = task_of(case)
    outcome = Outcome(case, ask_us(task), ask_them(task))
    outcome.from_theirs = differences(outcome.ours, outcome.theirs)
    if case.n <= PLAIN:
        outcome.plain = ask_plain(task)
        outcome.from_plain = differences(outcome.ours, outcome.plain)
        outcome.theirs_from_plain = differences(outcome.theirs, outcome.plain)
    return outcome


def differences(a: Answers, b: Answers, quantities: Iterable[Quantity] = QUANTITIES) -> list[Difference]:
    """Of every quantity."""
    return [difference(q, a, b) for q in quantities]


def difference(quantity: Quantity, a: Answers, b: Answers) -> Difference:
    """How far apart two sides are in one quantity. Where neither has an answer they agree: there is none."""
    if quantity.name not in a or quantity.name not in b:
        missing = [side.get(f"{quantity.group}.failed", "no answer") for side in (a, b) if quantity.name not in side]
        return Difference(quantity, why="" if len(missing) == 2 else f"one side has no answer: {missing[0]}")
    first, second = a[quantity.name], b[quantity.name]
    if not quantity.allowed:
        return Difference(quantity, *rows_that_differ(first, second))
    if first.shape != second.shape:
        return Difference(quantity, why=f"{first.size} and {second.size} numbers")
    return Difference(quantity, second.size, largest(first, second))


def rows_that_differ(a: np.ndarray, b: np.ndarray) -> tuple[int, int]:
    """(rows in all, rows that are not the same); of lists of another length, those that only one of them has."""
    if a.shape == b.shape:
        return len(b), int((a != b).reshape(len(a), -1).any(axis=1).sum()) if a.size else 0
    first, second = ({tuple(row) for row in rows.tolist()} for rows in (a, b))
    return len(first | second), len(first ^ second)


def largest(a: np.ndarray, b: np.ndarray) -> float:
    """max |a - b| / max(1, |b|), infinite where only one is not a finite number or both are other ones."""
    a, b = np.atleast_1d(a).astype(float), np.atleast_1d(b).astype(float)
    finite = np.isfinite(a) & np.isfinite(b)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return float("inf")
    return float(np.max(np.abs(a[finite] - b[finite]) / np.maximum(1, np.abs(b[finite])), initial=0.0))
