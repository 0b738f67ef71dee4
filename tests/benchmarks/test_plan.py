"""The benchmark of the plan, tiny: jobs are planned and run, and the page says what was foretold beside what was."""

import pytest

from dnuc.forecast import StageTime
from dnuc.pace import Pace, measure
from tests.benchmarks import plan
from tests.benchmarks.plan import JOBS, Outcome, compare, page
from tests.test_forecast import SEARCH, shrink


@pytest.mark.parametrize("title", JOBS)
def test_a_job_is_planned_and_run(here, tmp_path, monkeypatch, title):
    shrink(monkeypatch)
    monkeypatch.setattr(plan, "measure_pace", lambda question, _: Pace(SEARCH, measure(question) | {"start": 1.0}))
    found = compare(title, JOBS[title][1](tmp_path), tmp_path)
    names = [row[0] for row in found.rows()]
    assert {"activations", "neighbors", "measures", "overlaps", "landscape", "dimension"} < {*names}
    assert ("samples" in names) == ("JPEGs" in title)
    assert names[-1] == "all"


def test_the_page_compares():
    found = Outcome("a job", [StageTime("start", 5.0), StageTime("neighbors", 30.0)], {"neighbors": 20.0, "cka": 5.0})
    assert found.rows() == [["neighbors", "30.0", "20.0", "1.50"], ["all", "30.0", "25.0", "1.20"]]
    assert "| neighbors | 30.0 | 20.0 | 1.50 |" in page([found], "Nothing else ran.")
