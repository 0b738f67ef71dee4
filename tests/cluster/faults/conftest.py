"""What all faults share: what was seen of them is printed at the end, and written where DNUC_RELIABILITY says."""

import os
from pathlib import Path

import pytest

from tests.cluster.faults.bench import MOMENTS
from tests.cluster.faults.record import markdown, write
from tests.cluster.faults.table import FAULTS

SEEN = pytest.StashKey()


@pytest.fixture(scope="session")
def outcomes(request):
    """Where what was seen is collected."""
    return request.config.stash.setdefault(SEEN, [])


def pytest_terminal_summary(terminalreporter, config):
    """The table of what was seen, into the document if nothing is missing."""
    found = config.stash.get(SEEN, [])
    if not found:
        return
    order = [fault.name for fault in FAULTS]
    table = markdown(sorted(found, key=lambda x: order.index(x.fault)))
    terminalreporter.write_line(table)
    whole = len(found) == len(FAULTS) * len(MOMENTS)
    if whole and "DNUC_RELIABILITY" in os.environ:
        write(Path(os.environ["DNUC_RELIABILITY"]), table)
        terminalreporter.write_line(f"written to {os.environ['DNUC_RELIABILITY']}")
