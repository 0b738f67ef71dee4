"""Answers to differences: of one case, and of all cases together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from tests.conformance import plain
from tests.conformance.cases import PLAIN, Case, Task, task_of
from tests.conformance.quantities import QUANTITIES, Answers, Quantity
from tests.conformance.theirs import NO_PEAK

Ask = Callable[[Task, Answers], Answers]  # the second are DADApy's
DECIDED = 1000  # the numbers farthest off, that a plain loop decides on where DADApy is inexact


@dataclass(frozen=True)
class Difference:
    """How far two answers to one question lie apart: the largest difference, or the number of rows that differ."""

    quantity: Quantity
    values: int = 0  # numbers or rows compared
    size: float = 0.0
    limit: float = 0.0
    why: str = ""  # what kept them from being compared
    off: int = 0  # numbers left out: there DADApy is off, and dnuc equals the plain loop
    off_by: float = 0.0
    without_peak: int = 0  # samples, counted at every z; then nothing is compared

    @property
    def allowed(self) -> bool:
        return not self.why and self.size <= self.limit

    def __str__(self) -> str:
        if self.why:
            return f"{self.quantity.title}: {self.why}"
        size = f"{self.size:.1e}" if self.quantity.allowed else f"{self.size:,.0f} of {self.values:,} differ"
        return f"{self.quantity.title}: {size} (allowed: {self.limit:g})"


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
    theirs = ask_them(task, {})
    given = {} if case.trouble else theirs
    outcome = Outcome(case, ask_us(task, given), theirs)
    outcome.from_theirs = [decide(task, outcome, d) for d in differences(outcome.ours, theirs, inexact=True)]
    if case.n <= PLAIN:
        outcome.plain = theirs if ask_them is ask_plain else ask_plain(task, given)
        outcome.from_plain = differences(outcome.ours, outcome.plain)
        outcome.theirs_from_plain = differences(theirs, outcome.plain, inexact=True)
    return outcome


def differences(a: Answers, b: Answers, inexact: bool = False) -> list[Difference]:
    """Of every quantity; `inexact` where one of the sides is DADApy."""
    return [difference(q, a, b, (inexact and q.inexact) or q.allowed) for q in QUANTITIES]


def difference(quantity: Quantity, a: Answers, b: Answers, limit: float) -> Difference:
    """How far apart two sides are in one quantity. Where neither has an answer they agree: there is none."""
    if quantity.name not in a or quantity.name not in b:
        missing = [side.get(f"{quantity.group}.failed", "no answer") for side in (a, b) if quantity.name not in side]
        return Difference(quantity, why="" if len(missing) == 2 else f"one side has no answer: {missing[0]}")
    first, second = a[quantity.name], b[quantity.name]
    if not quantity.allowed:
        return Difference(quantity, *rows_that_differ(first, second))
    if first.shape != second.shape:
        return Difference(quantity, why=f"{first.size} and {second.size} numbers")
    return Difference(quantity, second.size, float(np.max(apart(first, second), initial=0.0)), limit)


def decide(task: Task, outcome: Outcome, found: Difference) -> Difference:
    """Leave out what DADApy has no answer to, or what it is off in while dnuc equals the plain loop.

    A landscape in which a sample is in no peak is left out whole: borders with "no peak" are counted as borders with
    another. Of numbers, the DECIDED farthest off are asked for.
    """
    name = found.quantity.name
    without_peak = int((outcome.theirs.get(f"{found.quantity.group}.labels", np.empty(0)) == NO_PEAK).sum())
    if without_peak:
        return Difference(found.quantity, without_peak=without_peak)
    if found.allowed or found.why or not found.quantity.inexact:
        return found
    ours, theirs = outcome.ours[name], outcome.theirs[name]
    far = apart(ours, theirs)
    rows = np.argsort(-far, kind="stable")[: min(DECIDED, int((far > found.limit).sum()))]
    right = LOOPS[name](task, outcome.ours, rows)
    wrong = float(apart(ours[rows], right).max())
    if wrong > found.quantity.allowed:
        return replace(found, size=wrong, limit=found.quantity.allowed, why=f"dnuc is {wrong:.1e} off the plain loop")
    within = far[far <= found.limit]
    off_by = float(apart(theirs[rows], right).max())
    return replace(found, size=float(within.max(initial=0.0)), off=len(far) - len(within), off_by=off_by)


def _pak(task: Task, ours: Answers, rows: np.ndarray) -> np.ndarray:
    """PAk of some samples by plain loops, from neighbors that are known to be right."""
    k, distance, n = ours["pak.k"], ours["neighbors.distance"], len(task.x)
    return np.array([plain.pak_of(distance[i], int(k[i]), task.dimension, n) for i in rows])


LOOPS = {"pak.log_density": _pak}


def rows_that_differ(a: np.ndarray, b: np.ndarray) -> tuple[int, int]:
    """(rows in all, rows that are not the same); of lists of another length, those that only one of them has."""
    if a.shape == b.shape:
        return len(b), int((a != b).reshape(len(a), -1).any(axis=1).sum()) if a.size else 0
    first, second = ({tuple(row) for row in rows.tolist()} for rows in (a, b))
    return len(first | second), len(first ^ second)


def apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|a - b| / max(1, |b|) of every number; infinite where only one is finite, or both are infinite otherwise."""
    a, b = np.atleast_1d(a).astype(float), np.atleast_1d(b).astype(float)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    finite = np.isfinite(a) & np.isfinite(b)
    found = np.where(same, 0.0, np.inf)
    found[finite] = np.abs(a[finite] - b[finite]) / np.maximum(1, np.abs(b[finite]))
    return found
