"""Every fault of the table, at every moment of every stage: the same bits in the end, and little computed twice.

A few of them are part of the test suite; `make check-cluster` runs all, and writes what it saw into
docs/reliability.md.
"""

import os
import re
from dataclasses import replace

import pytest

from tests.cluster.faults.bench import MOMENTS, Calm, bench, one_line
from tests.cluster.faults.record import Outcome
from tests.cluster.faults.table import FAULTS
from tests.conftest import assert_same_results

pytestmark = pytest.mark.timeout(900)
BY_NAME = {fault.name: fault for fault in FAULTS}
# A fault that costs nothing to set up of each kind: one that the run survives, one that ends it, one that is refused.
SAMPLE = (
    ("a worker is killed", "neighbors"),
    ("Ctrl-C, twice", "landscape"),
    ("dnuc or torch is upgraded in the middle", "landscape"),
)


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield Calm(tmp_path_factory.mktemp("calm"), monkeypatch)


@pytest.fixture(scope="module")
def benches(calm, tmp_path_factory):
    """One bench for all faults that leave it as it was, one for each scheduler with settings of its own."""
    open_ones = {}

    def get(settings):
        if settings not in open_ones:
            close()
            context = bench(calm, tmp_path_factory.mktemp("bench"), dict(settings))
            open_ones[settings] = (context, context.__enter__())
        return open_ones[settings][1]

    def close():
        while open_ones:
            open_ones.popitem()[1][0].__exit__(None, None, None)

    get(())
    yield get
    close()


def endure(bench, fault, stage, moments):
    """A run through a fault at each moment of a stage, to its end."""
    bench.begin(stage)
    told, options = "", ()
    for moment in moments:
        if bench.client is None:
            bench.start_client(*options)
        bench.reach(moment)
        said = fault.inflict(bench)
        if fault.ends is not None:
            code, said = bench.ended()
            assert code == fault.ends, said
            said = bench.status() if code < 0 else said  # the dead tell nothing
            fault.heal(bench)
            options = fault.options
        found = re.search(fault.told, one_line(said or ""))
        assert found, f"{fault.told!r} is not in: {said}"
        assert "Traceback" not in (said or ""), said
        told = found.group()
    if bench.client is None:
        bench.start_client(*options)
    code, said = bench.ended()
    assert code == 0, said
    if fault.ends is None:
        fault.heal(bench)
    assert_same_results(bench.calm.path, bench.path)
    return Outcome(fault.name, stage, len(moments), bench.attempts, told, fault.then, *bench.counted())


def sum_of(outcomes):
    """Of the same fault in several runs."""
    first = outcomes[0]
    return replace(
        first,
        faults=sum(x.faults for x in outcomes),
        starts=sum(x.starts for x in outcomes),
        repeated={unit: sum(x.repeated[unit] for x in outcomes) for unit in first.repeated},
    )


def check(benches, fault, stage):
    """Run a row in one stage; what was computed again stays within what the row says."""
    if fault.needs == "root" and os.geteuid() != 0:
        pytest.fail(f"{fault.name!r} needs root, to mount file systems: run `make check-cluster` as root")
    found = benches(fault.settings)
    found.mend()
    moments = MOMENTS[stage][: fault.moments]
    fault.prepare(found)
    try:
        runs = [[moment] for moment in moments] if fault.apart else [moments]
        outcome = sum_of([endure(found, fault, stage, run) for run in runs])
    finally:
        if found.client is not None:
            found.client.kill()
            found.ended()
        fault.restore(found)
    assert sum(outcome.repeated.values()) <= fault.again * outcome.faults, outcome
    return outcome


@pytest.mark.cluster
@pytest.mark.parametrize(("name", "stage"), SAMPLE)
def test_a_fault_at_one_moment(benches, name, stage):
    check(benches, replace(BY_NAME[name], moments=1), stage)


@pytest.mark.check_cluster
@pytest.mark.parametrize("stage", MOMENTS)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_table(benches, fault, stage, outcomes):
    outcomes.append(check(benches, fault, stage))
