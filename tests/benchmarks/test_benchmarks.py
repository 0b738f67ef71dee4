"""The benchmarks at a tiny size: everybody runs, answers are checked, tables say what was measured."""

import os
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

import tests.benchmarks.__main__ as command
from dnuc.errors import DataError
from tests import reference
from tests.benchmarks import gpu
from tests.benchmarks.answers import some_rows, truth
from tests.benchmarks.contenders import CONTENDERS, find, names
from tests.benchmarks.machine import this_machine
from tests.benchmarks.measure import Measured, main, measure
from tests.benchmarks.page import exponent, page, tables
from tests.benchmarks.problems import FLOORS, GROWING, MAIN, PROBLEMS, SPEED, activations, pixels
from tests.benchmarks.rounds import (
    SLOWING,
    Outcome,
    Result,
    contenders_of,
    environment,
    in_own_process,
    run_problem,
    unavailable,
)

TINY = {p.name: replace(p.quick(), n=150, features=40) for p in PROBLEMS}
APART = ("faiss", "dadapy")  # the test suite does not need them


def app(function):
    """A function of the command line as an application that can be invoked here."""
    application = typer.Typer()
    application.command()(function)
    return application


def invoke(function, *words):
    return CliRunner().invoke(app(function), list(words))


def by_hand(seconds, names=("dnuc", "faiss", "product-float32-half"), problem=MAIN):
    """An outcome of so many seconds in three rounds: the first contender's, the others each twice as slow."""
    outcome = Outcome(TINY[problem], checked=150)
    for i, name in enumerate(names):
        result = Result(find(name), [seconds * 2**i * f for f in (1.0, 0.5, 3.0)], "1.2", wrong=i)
        outcome.results[name] = result
    return outcome


# --- problems and answers -----------------------------------------------------------------------------------------


def test_activations_are_like_those_after_a_relu_and_the_first_are_the_same_for_every_n():
    x = activations(2500, 64)
    assert (x.dtype, x.shape) == (np.float32, (2500, 64))
    assert x.min() == 0
    assert 0.4 < (x == 0).mean() < 0.6
    assert np.array_equal(activations(1100, 64), x[:1100])
    assert not np.array_equal(activations(1100, 64, seed=1), x[:1100])


@pytest.mark.fashion
def test_pixels_are_those_of_the_images():
    try:
        x = pixels(30, 784)
    except DataError as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(error))
    assert (x.dtype, x.shape, x.max()) == (np.float32, (30, 784), 255)


def test_every_problem_names_contenders_that_there_are():
    for problem in PROBLEMS:
        assert {c.name for c in contenders_of(problem)} <= set(names())
    assert "dnuc-float64" in names()
    assert set(GROWING) | {MAIN} <= {p.name for p in PROBLEMS}


@pytest.fixture(scope="module")
def answer():
    """(the truth of 30 rows, what a plain loop finds for them)"""
    x = TINY[MAIN].data()
    rows = some_rows(len(x), 30)
    index, distance = reference.nearest_neighbors(x, 10)
    return truth(x, rows, 10), index[rows], distance[rows]


def test_brute_force_equals_the_plain_loop(answer):
    right, index, distance = answer
    assert np.array_equal(right.index, index)
    np.testing.assert_allclose(right.distance, distance, rtol=1e-14)
    assert right.wrong(index, distance) == right.wrong_set(index) == 0


def test_wrong_answers_are_seen(answer):
    right, index, distance = answer
    swapped = index.copy()
    swapped[3, [0, 1]] = swapped[3, [1, 0]]
    assert right.wrong(swapped, distance) == 1
    assert right.wrong_set(swapped) == 0  # another order is no other set
    assert right.wrong(index, distance * (1 + 1e-9)) == len(index)
    other, itself, twice = index.copy(), index.copy(), index.copy()
    other[4, 9] = np.argmax(np.where(np.isinf(right.to_all[4]), 0, right.to_all[4]))
    itself[5, 0] = right.rows[5]
    twice[6, 1] = twice[6, 0]
    for wrong in (other, itself, twice):
        assert right.wrong_set(wrong) == right.wrong(wrong, distance) == 1


def test_any_of_several_neighbors_at_the_last_distance_will_do():
    right = truth(np.array([[0.0], [1.0], [-1.0], [5.0]], dtype=np.float32), np.array([0]), 1)
    assert right.index.tolist() == [[1]]
    assert [right.wrong_set(np.array([[j]])) for j in (1, 2, 3)] == [0, 0, 1]


# --- contenders ---------------------------------------------------------------------------------------------------


def test_everybody_in_this_process_is_right():
    contenders = [c for c in contenders_of(replace(TINY[MAIN], contenders=SPEED + FLOORS)) if c.name not in APART]
    outcome = run_problem(TINY[MAIN], contenders, rounds=2, threads=1, run=measure, say=lambda line: None)
    assert {name: r.failure for name, r in outcome.results.items() if r.failure} == {}
    assert outcome.faults() == []
    assert outcome.checked == 150
    for name, result in outcome.results.items():
        assert len(result.seconds) == 2
        assert result.wrong == (None if name in FLOORS else 0), name


@pytest.mark.cluster
@pytest.mark.parametrize("name", [name for name in CONTENDERS if name.startswith("cluster-")])
def test_through_workers_from_a_store(name):
    outcome = run_problem(TINY[MAIN], [find("dnuc"), find(name)], 1, 2, measure, say=lambda line: None)
    assert outcome.faults() == []
    assert [r.wrong for r in outcome.results.values()] == [0, 0]
    assert "| in memory, 2 threads |" in tables([outcome], 2)[1]


def test_in_a_process_of_its_own():
    outcome = run_problem(TINY[MAIN], [find("sklearn")], 1, 1, in_own_process, say=lambda line: None)
    [result] = outcome.results.values()
    assert (result.failure, result.wrong, len(result.seconds)) == ("", 0, 1)


def test_a_process_that_fails_is_told_and_left_out(monkeypatch):
    monkeypatch.setattr("tests.benchmarks.rounds.python_of", lambda contender: sys.executable)  # has no DADApy
    told = []
    outcome = run_problem(TINY[MAIN], [find("dadapy")], 2, 1, in_own_process, told.append)
    assert len(told) == 1
    assert outcome.results["dadapy"].failure == "ModuleNotFoundError: No module named 'dadapy'"
    assert outcome.faults() == []  # it promises nothing
    assert "| failed |" in tables([outcome], 1)[0]


def test_the_process_gets_the_threads_and_the_libraries_best(monkeypatch):
    for name in SLOWING:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    alone, worker = environment(find("faiss"), 3), environment(find("cluster-one"), 3)
    assert not set(SLOWING) & (set(alone) | set(worker))
    assert alone["OMP_NUM_THREADS"] == alone["OPENBLAS_NUM_THREADS"] == "3"
    assert "OMP_NUM_THREADS" not in worker


def test_what_is_measured_is_stored_and_read(tmp_path):
    x = TINY[MAIN].data()
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "rows.npy", np.array([3, 5]))
    main("sklearn", str(tmp_path), "4", "1")
    read = Measured.load(tmp_path / "sklearn.npz")
    assert np.array_equal(read.index, truth(x, np.array([3, 5]), 4).index)
    assert read.seconds > 0


def test_libraries_that_are_missing_are_named_with_the_way_to_get_them(monkeypatch, tmp_path):
    assert "faiss" not in sys.modules
    monkeypatch.setattr("tests.benchmarks.rounds.importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("tests.benchmarks.rounds.DADAPY", tmp_path / "none")
    assert unavailable(find("faiss")) == "FAISS is not installed: make bench"
    assert unavailable(find("dadapy")) == "DADApy is not installed: make dadapy-env"


# --- pages --------------------------------------------------------------------------------------------------------


def test_the_page_has_medians_ratios_and_the_machine():
    outcomes = [by_hand(1.0), by_hand(0.25, ("dnuc", "faiss"), GROWING[0])]
    outcomes[1].problem = replace(outcomes[1].problem, n=75)
    text = page(outcomes, this_machine(), 2, 3, ["DADApy is not installed"])
    assert "| dnuc | 1.00 | 0.50 | 3.00 | 2.00 |  | 0 of 150 |" in text
    assert "| FAISS IndexFlatL2 | 2.00 | 1.00 | 6.00 | 1.00 |  | 1 of 150 |" in text
    assert "with the same 2 threads, in turn: 3 rounds" in " ".join(text.split())
    assert "Not measured: DADApy is not installed." in text
    assert f"| processor | {this_machine().processor}" in text
    assert text.index("150 samples") < text.index("75 samples") < text.index("## Growth with N")
    assert max(len(line) for line in text.splitlines() if not line.startswith("|")) <= 120


def test_the_rate_of_a_floor_is_that_of_the_products_it_makes():
    outcome = by_hand(1e-6, ("product-float32", "product-float32-half"))
    full, half = (line.split("|")[-3].strip() for line in tables([outcome], 1)[0].splitlines() if "| floor" in line)
    assert (full, half) == ("1,800", "900")  # 2 x 150 x 150 x 40 in 1 µs, and the same single piece in 2 µs


def test_the_exponent_is_fitted_to_what_everybody_measured():
    outcomes = [by_hand(4.0**i, ("dnuc", "faiss"), name) for i, name in enumerate(GROWING)]
    for i, outcome in enumerate(outcomes):
        outcome.problem = replace(outcome.problem, n=100 * 2**i)
    growth = tables(outcomes, 2)[-1]
    assert "| dnuc | 1.00 | 4.00 | 16.00 | 2.00 |" in growth
    assert exponent([1, 10], [1, 1000]) == pytest.approx(3)


def test_dnuc_that_is_wrong_or_not_the_same_is_a_fault():
    outcome = by_hand(1.0, ("faiss", "dnuc", "dnuc-float64"))
    outcome.results["dnuc"].checksums, outcome.results["dnuc-float64"].checksums = {"a"}, {"b"}
    outcome.results["dnuc-float64"].failure = "killed"
    assert outcome.faults() == [
        f"{MAIN}: dnuc-float64 failed: killed",
        f"{MAIN}: dnuc has 1 wrong rows",
        f"{MAIN}: dnuc-float64 has 2 wrong rows",
        f"{MAIN}: dnuc's answers differ between its settings or rounds",
    ]


# --- commands -----------------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """The command runs in this process and would write into a temporary directory."""
    monkeypatch.setattr(command, "in_own_process", measure)
    monkeypatch.setattr(command, "PAGE", tmp_path / "neighbors.md")
    return tmp_path


def test_the_command_prints_tables_and_writes_a_page_where_it_is_told(quick):
    words = ["--quick", "--threads", "1", "--only", "activations-5k", "--only", "dnuc"]
    ran = invoke(command.main, *words)
    assert ran.exit_code == 0, ran.output
    assert "## Generated activations: 100 samples, 96 features, k = 10" in ran.output
    assert list(quick.iterdir()) == []  # a part of a run, or a quick one, is not the page
    assert invoke(command.main, *words, "--out", str(quick / "page.md")).exit_code == 0
    assert (quick / "page.md").read_text().startswith("# Neighbors: how fast, on one machine")


def test_the_command_refuses_names_it_does_not_know(quick):
    ran = invoke(command.main, "--only", "fais")
    assert ran.exit_code == 2
    assert "faiss" in ran.output


def test_the_command_fails_if_dnuc_is_wrong(quick, monkeypatch):
    def wrong(contender, task):
        right = measure(contender, task)
        return replace(right, distance=right.distance + 1)

    monkeypatch.setattr(command, "in_own_process", wrong)
    ran = invoke(command.main, "--quick", "--only", "activations-5k", "--only", "dnuc")
    assert ran.exit_code == 1
    assert "WRONG: activations-5k: dnuc has 100 wrong rows" in ran.output


def test_the_gpu_command_on_a_processor(tmp_path):
    words = ["--device", "cpu", "--samples", "200", "--features", "40", "--features", "50", "--k", "10"]
    ran = invoke(gpu.main, *words, "--rounds", "1", "--rate-size", "64", "--out", str(tmp_path / "gpu.md"))
    assert ran.exit_code == 0, ran.output
    text = (tmp_path / "gpu.md").read_text()
    assert "## 200 samples, 50 features" in text
    rows = [line for line in text.splitlines() if line.startswith(("| dnuc |", "| torch float32"))]
    assert len(rows) == 4
    assert all(row.endswith("| 0 |") for row in rows)
    assert max(len(line) for line in text.splitlines() if not line.startswith("|")) <= 120


def test_the_gpu_command_refuses_what_cannot_be(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    ran = invoke(gpu.main)
    assert ran.exit_code == 2
    assert "no CUDA GPU here" in ran.output
    assert "lower --samples or --features" in gpu.refusal("cpu", 10**9, 10**6)


def test_too_little_memory_on_the_gpu_is_an_outcome(monkeypatch):
    def full(x, k, device):
        if len(x) > 80:
            raise torch.OutOfMemoryError
        return gpu.with_torch(x, k, device)

    monkeypatch.setattr(gpu, "WARM_UP", 80)
    monkeypatch.setitem(gpu.SEARCHES, "torch TF32 product + topk", full)
    timed = gpu.compare(activations(100, 20), 5, "cpu", rounds=2)
    assert [t.failure for t in timed] == ["", "", "out of memory"]
    assert [len(t.seconds) for t in timed] == [2, 2, 0]
    assert "| torch TF32 product + topk | out of memory |" in gpu.table(timed, 100, 20, 1e12)
