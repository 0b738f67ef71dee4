"""The comparison at a tiny size, with the plain loops in DADApy's place: what is asked, answered, compared and told."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import tests.conformance.__main__ as command
from tests.benchmarks.machine import this_machine
from tests.conformance import ours, plain, theirs
from tests.conformance.cases import CASES, PLAIN, TROUBLE, find, task_of
from tests.conformance.compare import Outcome, apart, decide, difference, differences, rows_that_differ, run_case
from tests.conformance.page import page, short, tables
from tests.conformance.quantities import QUANTITIES, Quantity, collect

NAMES = {q.name for q in QUANTITIES}
NUMBER, SAME = Quantity("a.number", "a number", 1e-9), Quantity("a.same", "the same")


def invoke(*words):
    application = typer.Typer()
    application.command()(command.main)
    return CliRunner().invoke(application, list(words))


def only(*names):
    return [word for name in names for word in ("--only", name)]


@pytest.fixture(scope="module")
def task():
    return task_of(find("hierarchy-300").tiny())


# --- what is asked and answered -----------------------------------------------------------------------------------


def test_every_case_is_as_large_as_it_says_and_neighbors_suffice():
    for case in (*CASES, *TROUBLE):
        small = case.tiny()
        task = task_of(small)
        assert abs(len(task.x) - small.n) < 10
        assert len(task.x) == len(task.y) == len(task.labels)
        assert task.k < task.stored < len(task.x)
        assert len(np.unique(task.labels)) > 1
    assert max(case.n for case in CASES) == 20_000
    assert min(case.n for case in CASES) == 100
    assert all(case.n <= PLAIN for case in TROUBLE)  # where DADApy goes wrong, the plain loops judge


def test_dnuc_and_the_plain_loops_answer_every_question(task):
    assert set(ours.answers(task, {})) == set(plain.answers(task)) >= NAMES


def test_dadapy_is_asked_the_same_groups():
    assert set(theirs.GROUPS) == set(ours.GROUPS) == set(plain.GROUPS) == {q.group for q in QUANTITIES}


def test_a_group_that_fails_keeps_no_other_from_answering():
    found = collect({"a": lambda x: {"b": x / 0}, "c": lambda x: {"d": x}}, 3)
    assert found["a.failed"] == "ZeroDivisionError: division by zero"
    assert found["c.d"] == 3


class Landscape:
    """What DADApy keeps of a landscape of 5 samples in 3 peaks, of which 0 and 2 touch in sample 3."""

    cluster_centers = (4, 0, 2)
    cluster_indices = ([4], [0], [2, 3])  # sample 1 is in no peak
    bord_indices = np.array([[-1, -1, 3], [-1, -1, -1], [3, -1, -1]])
    log_den_bord = np.array([[-1, 0, 0.5], [0, -1, 0], [0.5, 0, -1]])
    log_den_bord_err = np.full((3, 3), 0.1)

    def compute_clustering_ADP(self, Z, halo):  # noqa: N802  (DADApy's name)
        return np.array([1, 10**17, -1, 2, 0]) if halo else np.array([1, 10**17, 2, 2, 0])


def test_peaks_are_told_by_their_centers():
    subject = theirs.Subject.__new__(theirs.Subject)
    subject.data, subject.z, subject.separate_ties = Landscape(), [0.0, 1.0], False
    found = theirs.peaks(subject)
    assert found["labels"].tolist() == 2 * [0, theirs.NO_PEAK, 2, 2, 4]
    assert found["core"].tolist() == 2 * [True, False, False, True, True]
    assert found["centers"].tolist() == [[z, c] for z in (0, 1) for c in (0, 2, 4)]
    assert found["saddles"].tolist() == [[0, 2, 4, 3], [1, 2, 4, 3]]
    assert found["heights"].tolist() == [0.5, 0.5]


def test_of_two_samples_on_one_summit_the_second_is_lowered():
    """On a line 0 and 1 share the summit, 3 and 4 are as dense as each other on a slope; k is 1."""
    index = np.array([[0, 1], [1, 0], [2, 1], [3, 2], [4, 3]])
    log_density = np.array([3.0, 3.0, 2.0, 1.0, 1.0])
    found = theirs.separated(log_density, np.full(5, 0.1), index, np.ones(5, int))
    assert (found - log_density).tolist() == [0, pytest.approx(-1e-12, rel=1e-3), 0, 0, pytest.approx(-1e-12, rel=1e-3)]
    assert np.array_equal(
        theirs.separated(log_density, np.array([0, 0.1, 0, 0, 0.1]), index, np.ones(5, int)), log_density
    )


def test_a_process_that_fails_is_told(task, monkeypatch):
    monkeypatch.setattr(command, "DADAPY", sys.executable)  # has no DADApy
    with pytest.raises(RuntimeError, match="No module named 'dadapy'"):
        command.ask_dadapy(task)


# --- what is compared ---------------------------------------------------------------------------------------------


def test_differences_are_seen():
    assert rows_that_differ(np.array([[1, 2], [3, 4]]), np.array([[1, 2], [3, 5]])) == (2, 1)
    assert rows_that_differ(np.array([[1, 2]]), np.array([[1, 2], [3, 5]])) == (2, 1)
    assert rows_that_differ(np.empty((0, 4)), np.empty((0, 4))) == (0, 0)
    assert apart([1.0, 2000.0, 0.25], [1.5, 1000.0, 0.5]).tolist() == [0.5 / 1.5, 1.0, 0.25]
    assert apart([np.nan, 1.0, np.inf], [np.nan, 1.0, np.inf]).tolist() == [0, 0, 0]
    for odd in (np.nan, np.inf, -np.inf):
        assert apart([1.0], [odd]) == np.inf
    assert apart([np.inf], [-np.inf]) == np.inf


def test_a_side_without_an_answer_is_a_difference_unless_there_is_none():
    failed, there = {"a.failed": np.array("DnucError: no")}, {"a.number": np.array(1.0)}
    for sides in ((failed, there), (there, failed)):
        found = difference(NUMBER, *sides, limit=1e-9)
        assert not found.allowed
        assert str(found) == "a number: one side has no answer: DnucError: no"
    assert difference(NUMBER, failed, failed, 1e-9).allowed
    assert not difference(NUMBER, there, {"a.number": np.ones(2)}, 1e-9).allowed


def test_what_is_allowed_depends_on_the_quantity():
    one = {"a.number": np.array(1.0)}
    assert difference(NUMBER, one, {"a.number": np.array(1 + 1e-10)}, 1e-9).allowed
    assert not difference(NUMBER, one, {"a.number": np.array(1 + 1e-8)}, 1e-9).allowed
    found = difference(SAME, {"a.same": np.array([1, 2])}, {"a.same": np.array([1, 3])}, 0)
    assert str(found) == "the same: 1 of 2 differ (allowed: 0)"


def test_one_wrong_answer_of_any_kind_is_a_fault(task):
    right = plain.answers(task)
    assert all(d.allowed for d in differences(ours.answers(task, {}), right))
    for name in NAMES:
        wrong = right | {name: ~right[name] if right[name].dtype == bool else right[name] + 1}
        assert [d.quantity.name for d in differences(wrong, right) if not d.allowed] == [name]


def decided(task, ours_off=0.0, theirs_off=0.0, labels=None):
    """What is decided on PAk and on its labels where five numbers of a side are off."""
    right = plain.answers(task)
    sides = []
    for off in (ours_off, theirs_off):
        answers = dict(right)
        answers["pak.log_density"] = right["pak.log_density"] + off * (np.arange(len(task.x)) < 5)
        sides.append(answers)
    sides[1]["pak_peaks.labels"] = right["pak_peaks.labels"] if labels is None else labels
    outcome = Outcome(find("hierarchy-300"), *sides)
    found = {d.quantity.name: decide(task, outcome, d) for d in differences(*sides, inexact=True)}
    return found["pak.log_density"], found["pak_peaks.labels"]


def test_where_dadapy_is_inexact_the_plain_loop_decides(task):
    for off in (0.0, 1e-7):
        found, _ = decided(task, theirs_off=off)
        assert found.allowed
        assert found.off == 0
    found, _ = decided(task, theirs_off=0.3)
    assert found.allowed
    assert found.off == 5
    assert found.size == 0
    assert 0.02 < found.off_by < 0.3  # relative
    for theirs_off in (0.0, 0.3):
        found, _ = decided(task, ours_off=1e-3, theirs_off=theirs_off)
        assert not found.allowed
        assert "off the plain loop" in str(found)


def test_a_landscape_in_which_samples_are_in_no_peak_is_left_out(task):
    labels = plain.answers(task)["pak_peaks.labels"].copy()
    assert decided(task, labels=labels)[1].values == len(labels)
    labels[[3, 8]] = theirs.NO_PEAK
    _, found = decided(task, labels=labels)
    assert found.allowed
    assert (found.without_peak, found.values) == (2, 0)


# --- what is told -------------------------------------------------------------------------------------------------


def outcome_of(name, them=plain.answers):
    return run_case(find(name).tiny(), ours.answers, them, plain.answers)


def spoiled(task, given):
    """Answers like DADApy's on data that it cannot stand."""
    found = plain.answers(task, given)
    del found["two_nn.fit"], found["two_nn.mle"]
    bad = found["knn.log_density"].copy()
    bad[:3] = np.inf
    return found | {"two_nn.failed": np.array("ValueError: nan"), "knn.log_density": bad}


def test_the_page_shows_what_agrees_and_what_the_right_answer_is():
    text = page([outcome_of("gaussian-100"), outcome_of("duplicates", spoiled)], this_machine(), "DADApy 0.3.4")
    assert "| neighbors, in order | 1 | 64 | identical | identical |" in text
    assert "| DADApy's side | DADApy 0.3.4 |" in text
    assert "| gaussian-100 | one Gaussian, 2 features | 64 | 2 | 8 | 16 |" in text
    rows = [line for line in text.split("## Where DADApy is wrong")[1].splitlines() if line.endswith("| equal |")]
    assert [row.split(" | ")[0][2:] for row in rows] == [
        "intrinsic dimension, TwoNN by fit",
        "intrinsic dimension, TwoNN by maximum likelihood",
        "log density, kNN",
    ]
    assert "| no answer |" in rows[0]
    assert "3 not finite |" in rows[2]
    assert max(len(line) for line in text.splitlines() if not line.startswith("|")) <= 120


def test_an_answer_that_dnuc_refuses_is_told_as_such():
    given = outcome_of("lattice", lambda *asked: plain.answers(*asked) | {"two_nn.mle": np.array(np.inf)})
    assert "maximum likelihood | inf | no answer |  | refuses |" in tables([given])[-1]


def test_right_answers_on_difficult_data_are_told_too():
    for name in ("duplicates", "lattice"):  # to the dimension of a lattice nobody has an answer: all ratios are 1
        assert tables([outcome_of(name)])[-1].endswith("DADApy gives the right answers.\n")


def test_peaks_are_counted_at_two_z():
    quantity = next(q for q in QUANTITIES if q.name == "knn_peaks.centers")
    centers = np.array([(0, 1), (0, 5), (3, 1), (4, 1)])
    assert short(quantity, {quantity.name: centers}) == "2 at z = 0, 1 at z = 1.65"


def test_faults_are_those_of_dnuc_alone():
    right = outcome_of("gaussian-100")
    assert right.faults() == []
    wrong = [replace(right.from_plain[0], size=2.0), *right.from_plain[1:]]
    usual = Outcome(right.case, {}, {}, from_theirs=wrong)
    assert usual.faults() == ["gaussian-100: from DADApy: neighbors, in order: 2 of 64 differ (allowed: 0)"]
    hard = replace(usual, case=find("lattice"))
    assert hard.faults() == []  # DADApy is no judge here
    assert len(replace(hard, from_plain=wrong).faults()) == 1


# --- command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_page(monkeypatch, tmp_path):
    """The command would write into a temporary directory."""
    monkeypatch.setattr(command, "PAGE", tmp_path / "conformance.md")
    return tmp_path


def test_the_command_prints_every_quantity_and_writes_a_page_where_it_is_told(no_page):
    words = ["--quick", "--plain", *only("gaussian-100", "lattice")]
    ran = invoke(*words)
    assert ran.exit_code == 0, ran.output
    for quantity in QUANTITIES:
        assert f"| {quantity.title} | 1 |" in ran.output
    assert list(no_page.iterdir()) == []  # a part of a run, or a quick one, is not the page
    assert invoke(*words, "--out", str(no_page / "page.md")).exit_code == 0
    assert (no_page / "page.md").read_text().startswith("# The same numbers as DADApy, and where not")


def test_every_case_is_right_at_a_tiny_size(no_page):
    ran = invoke("--quick", "--plain")
    assert ran.exit_code == 0, ran.output
    assert ran.output.count(": as it must be") == len(CASES) + len(TROUBLE)


def test_the_command_fails_if_dnuc_is_wrong(no_page, monkeypatch):
    answers = ours.answers
    monkeypatch.setattr(
        ours, "answers", lambda *asked: (a := answers(*asked)) | {"two_nn.mle": a["two_nn.mle"] * 1.001}
    )
    ran = invoke("--quick", "--plain", *only("gaussian-100"))
    assert ran.exit_code == 1
    assert "WRONG: gaussian-100: from DADApy: intrinsic dimension, TwoNN by maximum likelihood" in ran.output


def test_the_command_refuses_what_it_cannot_do(monkeypatch, tmp_path):
    ran = invoke("--plain", "--only", "gausian-100")
    assert ran.exit_code == 2
    assert "gaussian-100" in ran.output
    monkeypatch.setattr(command, "DADAPY", tmp_path / "bin" / "python")
    ran = invoke()
    assert ran.exit_code == 2
    assert "make" in ran.output
    assert "dadapy-env" in ran.output
