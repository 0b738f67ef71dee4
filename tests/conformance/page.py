"""Differences to text: the tables that are printed, and the page in docs/results/ that holds them."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np

from tests.benchmarks.machine import Machine
from tests.benchmarks.page import markdown
from tests.conformance.cases import PLAIN, Case, Z
from tests.conformance.compare import DECIDED, Difference, Outcome
from tests.conformance.quantities import QUANTITIES, Answers, Quantity
from tests.conformance.theirs import NO_PEAK

LEFT_OUT = ("heights", "errors")  # of saddles: once the saddles are wrong, they say nothing more
SHOWN_Z = (0.0, 1.65)  # for which peaks and saddles are counted

INTRO = """\
# The same numbers as DADApy, and where not

Written by `make conformance`. dnuc and DADApy get the same float64 samples, search neighbors themselves, and answer
the same questions. Landscapes are made with `convention="dadapy"`, each for z = {z}.
"""

SAME = """\
## Where both must agree

A difference of numbers is |a - b| / max(1, |b|), the largest over all data sets; of what must be identical, rows that
differ are counted: a row is a sample, a peak or a saddle, at one z. Up to {plain} samples, dnuc must also equal the
plain loops of `tests/reference.py`.

DADApy is asked as its users would ask it, with these exceptions, without which the numbers below would differ:

- **Dimension in densities.** Both get the same one.
- **Gride.** DADApy leaves out large ratios, and has N - 1 where the derivative of the likelihood has N, so that its
  values are up to 1/N smaller. Here neither: both are at the maximum of the likelihood.
- **Two samples on one summit.** Two samples that are each other's k-th neighbor have exactly the same kNN density, in
  any data. If no neighbor is denser, DADApy takes both for a peak, dnuc the one with the smaller number. Here the other
  one is lowered by 1e-12 for DADApy.
- **PAk.** DADApy's iteration stops before the maximum, sometimes far from it. Numbers that differ by more than allowed
  are left out if dnuc's are those of the plain loop ({decided:,} a data set are checked, the farthest off). The
  landscape is that of DADApy's densities on both sides.
"""

WRONG = """\
## Where DADApy is wrong

Here dnuc must equal the plain loops of `tests/reference.py`. Quantities in which DADApy agrees with them too are left
out, and so are those to which there is no answer.
"""

AGAIN = """\
## Run it again

    make conformance                    # everything, and this page
    make conformance ARGS="--quick"     # tiny sizes: does it work?
    make conformance ARGS="--only lattice"
"""


def page(outcomes: Sequence[Outcome], machine: Machine, versions: str) -> str:
    """docs/results/conformance.md."""
    told = [*machine.lines(), f"| DADApy's side | {versions} |"]
    intro = INTRO.format(z=", ".join(f"{z:g}" for z in Z))
    return "\n".join([intro, "\n".join(["| this machine | |", "|---|---|", *told]) + "\n", *tables(outcomes), AGAIN])


def tables(outcomes: Sequence[Outcome]) -> list[str]:
    """A table of quantities, one of the data sets, and one a data set on which DADApy goes wrong."""
    usual = [o for o in outcomes if not o.case.trouble]
    trouble = [o for o in outcomes if o.case.trouble]
    parts = [SAME.format(plain=PLAIN, decided=DECIDED), same_table(usual), *left_out(usual)] if usual else []
    if usual:
        parts.append(data_table([o.case for o in usual]))
    if trouble:
        parts += [WRONG, *(wrong_table(o) for o in trouble)]
    return parts


def same_table(outcomes: Sequence[Outcome]) -> str:
    """A row a quantity: the largest difference over all data sets."""
    rows = []
    for quantity in QUANTITIES:
        found = [d for o in outcomes for d in o.from_theirs if d.quantity == quantity and not d.without_peak]
        if found:
            values = f"{sum(d.values for d in found):,}"
            rows.append([quantity.title, str(len(found)), values, _worst(found), _allowed(quantity)])
    return markdown(["quantity", "data sets", "values", "largest difference", "allowed"], rows)


def left_out(outcomes: Sequence[Outcome]) -> list[str]:
    """A sentence, if DADApy put samples into no peak."""
    found = {o.case.name for o in outcomes for d in o.from_theirs if d.without_peak}
    if not found:
        return []
    text = (
        f"Left out: a landscape of {', '.join(sorted(found))}, in which DADApy puts samples into no peak (see below)."
    )
    return [textwrap.fill(text, 120) + "\n"]


def data_table(cases: Sequence[Case]) -> str:
    """What the data sets are."""
    rows = [[c.name, c.title, f"{c.n:,}", f"{c.dimension:g}", str(c.k), str(c.stored)] for c in cases]
    return markdown(["data set", "samples of", "N", "dimension given", "k", "neighbors stored"], rows)


def wrong_table(outcome: Outcome) -> str:
    """A row a quantity in which DADApy does not give what the plain loops give."""
    case = outcome.case
    trouble = textwrap.fill(f"{case.trouble[0].upper()}{case.trouble[1:]}.", 120)
    title = f"### {case.title}: {case.n:,} samples\n\n{trouble}\n"
    rows = [
        [
            q.title,
            short(q, outcome.theirs),
            short(q, outcome.plain or {}),
            "" if q.allowed or theirs.why else f"{theirs.size:,.0f} of {theirs.values:,}",
            _dnuc(ours, outcome.ours),
        ]
        for q, ours, theirs in zip(QUANTITIES, outcome.from_plain, outcome.theirs_from_plain, strict=False)
        if not theirs.allowed and q.name.partition(".")[2] not in LEFT_OUT
    ]
    if not rows:
        return f"{title}\nDADApy gives the right answers.\n"
    head = ["quantity", "DADApy", "plain loops", "rows in which DADApy is wrong", "dnuc"]
    return f"{title}\n{markdown(head, rows)}"


def short(quantity: Quantity, answers: Answers) -> str:
    """An answer in a few words; no words for what is a row a sample."""
    if quantity.name not in answers:
        return "no answer"
    value, part = answers[quantity.name], quantity.name.partition(".")[2]
    if part in ("centers", "saddles"):
        counts = [np.count_nonzero(value[:, 0] == Z.index(z)) for z in SHOWN_Z]
        return ", ".join(f"{count:,} at z = {z:g}" for count, z in zip(counts, SHOWN_Z, strict=True))
    if part == "labels" and (value == NO_PEAK).any():
        return f"{np.count_nonzero(value == NO_PEAK):,} in no peak"
    if not quantity.allowed:
        return ""
    numbers = np.atleast_1d(value).astype(float)
    finite = numbers[np.isfinite(numbers)]
    if numbers.size == 1:
        return f"{numbers[0]:.6g}"
    span = f"{finite.min():.5g} .. {finite.max():.5g}" if finite.size else "nothing finite"
    return span + (f", {numbers.size - finite.size:,} not finite" if finite.size < numbers.size else "")


def _dnuc(difference: Difference, answers: Answers) -> str:
    """Whether dnuc says what the plain loops say."""
    if not difference.allowed:
        return str(difference)
    return "equal" if difference.quantity.name in answers else "refuses"


def _worst(found: Sequence[Difference]) -> str:
    """The largest difference; what must be identical says so."""
    failed = [d.why for d in found if d.why]
    if failed:
        return failed[0]
    size = max(d.size for d in found)
    off = sum(d.off for d in found)
    if off:
        by = max(d.off_by for d in found)
        return f"{size:.1e}; in {off:,} DADApy is off, by up to {by:.2g}"
    if found[0].quantity.allowed:
        return f"{size:.1e}"
    return "identical" if size == 0 else f"{sum(d.size for d in found):,.0f} differ"


def _allowed(quantity: Quantity) -> str:
    return f"{quantity.inexact or quantity.allowed:.0e}" if quantity.allowed else "identical"
