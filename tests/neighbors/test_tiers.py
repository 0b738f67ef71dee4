"""Which precision filters: what may be asked for, what is never chosen, and that the process is left as it was."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Thread

import numpy as np
import pytest
import torch

from dnuc.errors import DnucError
from dnuc.neighbors import tiers
from dnuc.neighbors.crew import crew
from dnuc.neighbors.search import nearest_neighbors
from dnuc.neighbors.tiers import BFLOAT16, FLOAT32, FLOAT64, INT8, LADDER, SMALL, choose_tier, finer, plain_products
from tests import synthetic

MEASURED = (tiers.fastest_tier, tiers.measured_rates, tiers.measured_rate, tiers.multiplies_integers)


@pytest.fixture
def _forget():
    """What was measured on this machine is measured again, before and after."""
    for function in MEASURED:
        function.cache_clear()
    yield
    for function in MEASURED:
        function.cache_clear()


def rates(monkeypatch, **measured):
    """A machine that multiplies at these rates."""
    monkeypatch.setattr(tiers, "_rate", lambda tier, device: measured[tier.name])


# What products cost, and what is then chosen: coarse tiers must be faster by what they leave to refine.
MACHINES = {
    "8 bits twice as fast": ({"int8": 4.0, "bfloat16": 2.0, "float32": 1.0}, INT8),
    "8 bits hardly faster": ({"int8": 2.2, "bfloat16": 2.0, "float32": 1.0}, BFLOAT16),
    "no fast bfloat16": ({"int8": 1.2, "bfloat16": 0.1, "float32": 1.0}, FLOAT32),
    "all the same": ({"int8": 1.0, "bfloat16": 1.0, "float32": 1.0}, FLOAT32),
}


@pytest.mark.usefixtures("_forget")
@pytest.mark.parametrize("name", MACHINES)
def test_the_fastest_tier_is_chosen_by_its_rate(name, monkeypatch):
    measured, expected = MACHINES[name]
    rates(monkeypatch, **measured)
    assert choose_tier("auto", 10**8, 1000) is expected


@pytest.mark.usefixtures("_forget")
def test_small_tiles_are_not_worth_a_measurement(monkeypatch):
    monkeypatch.setattr(tiers, "_rate", lambda *_: pytest.fail("measured"))
    assert choose_tier("auto", int(SMALL) // 4, 1) is FLOAT32
    with pytest.raises(pytest.fail.Exception, match="measured"):
        choose_tier("auto", int(SMALL), 1)


@pytest.mark.usefixtures("_forget")
def test_rates_are_measured_once(monkeypatch):
    timed = []
    monkeypatch.setattr(tiers, "_rate", lambda tier, device: timed.append(tier.name) or 1.0)
    for _ in range(3):
        choose_tier("auto", 10**8, 1000)
        finer(INT8)
    assert sorted(timed) == ["bfloat16", "float32", "int8"]


def test_rates_of_this_machine_are_positive():
    assert all(rate > 0 for rate in tiers.measured_rates().values())
    assert FLOAT32 in tiers.measured_rates()
    assert FLOAT64 not in tiers.measured_rates()  # it needs no help to be the last


@pytest.mark.parametrize("tier", LADDER, ids=lambda tier: tier.name)
def test_every_tier_can_be_asked_for_by_its_name(tier):
    assert choose_tier(tier.name, 0, 0) is tier
    assert choose_tier(tier.name, 10**9, 10**6) is tier


@pytest.mark.parametrize("name", ["half", "", "AUTO", "float16", "fp32"])
def test_other_names_are_refused_with_those_that_exist(name):
    with pytest.raises(DnucError) as error:
        choose_tier(name, 0, 0)
    assert str(error.value) == (
        f"precision = {name!r}: must be one of 'auto', 'int8', 'bfloat16', 'float32', 'float64'"
    )


# --- 8 bits --------------------------------------------------------------------------------------------------------


def saturating(left, right, out):
    """As processors without VNNI: one side is made positive, and pairs are added in 16 bits, which may be too few."""
    a, b = left.numpy().astype(np.int32) + 128, right.numpy().astype(np.int32)
    pairs = a[:, None, ::2] * b[None, :, ::2] + a[:, None, 1::2] * b[None, :, 1::2]
    total = np.clip(pairs, -(2**15), 2**15 - 1).sum(axis=2) - 128 * b.sum(axis=1)
    out[:] = torch.from_numpy(total.astype(np.int32))


def absent(left, right, out):
    raise RuntimeError("_int_mm is not implemented")


def off_by_one(left, right, out):
    out[:] = (left.double() @ right.double().T).to(torch.int32)
    out[-1, -1] += 1


@pytest.mark.usefixtures("_forget")
@pytest.mark.parametrize("product", [saturating, absent, off_by_one])
def test_inexact_products_of_integers_are_never_used(product, monkeypatch):
    exact = tiers.product
    monkeypatch.setattr(tiers, "product", lambda x, y, out: (product if x.dtype == torch.int8 else exact)(x, y, out))
    monkeypatch.setattr(tiers, "_rate", lambda tier, device: 1e6 if tier is INT8 else 1.0)
    assert choose_tier("auto", 10**8, 1000) is FLOAT32
    assert INT8 not in tiers.measured_rates()
    with pytest.raises(DnucError, match=r"precision = 'int8': the products .* cpu are not exact; take 'auto'"):
        choose_tier("int8", 0, 0)
    with pytest.raises(DnucError, match="precision = 'int8'"):
        nearest_neighbors(synthetic.normal(20, 3), 2, precision="int8")
    assert nearest_neighbors(synthetic.normal(20, 3), 2).k == 2


@pytest.mark.usefixtures("_forget")
def test_graphics_cards_are_not_asked_for_integers():
    assert not tiers.multiplies_integers("cuda")


# --- what is redone, and in which tier -----------------------------------------------------------------------------


@pytest.mark.usefixtures("_forget")
@pytest.mark.parametrize("fast", [True, False])
def test_rows_are_redone_in_finer_tiers_that_are_worth_it(fast, monkeypatch):
    rates(monkeypatch, int8=4.0, bfloat16=2.0 if fast else 1.9, float32=1.0)
    assert finer(INT8) == [BFLOAT16, FLOAT32, FLOAT64] if fast else [FLOAT32, FLOAT64]
    assert finer(BFLOAT16) == [FLOAT32, FLOAT64]
    assert finer(FLOAT32) == [FLOAT64]
    assert finer(FLOAT64) == []


# --- settings of the process ---------------------------------------------------------------------------------------


@pytest.fixture
def _two_threads():
    """A process of two threads a product that allows bfloat16 in products of float32, as some training scripts do."""
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(2)
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_num_threads(before[0])
    torch.set_float32_matmul_precision(before[1])


def setting():
    return torch.get_num_threads(), torch.get_float32_matmul_precision()


@pytest.mark.usefixtures("_two_threads")
def test_settings_are_restored():
    with plain_products():
        assert setting() == (1, "highest")
        with plain_products():
            assert setting() == (1, "highest")
        assert setting() == (1, "highest")
    assert setting() == (2, "medium")
    with pytest.raises(ValueError, match="inside"), plain_products():
        raise ValueError("inside")
    assert setting() == (2, "medium")


def in_a_new_thread(function):
    """What a function returns in a thread that torch has not seen before."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result(timeout=60)


@pytest.mark.usefixtures("_two_threads")
def test_a_thread_that_leaves_first_is_restored_and_the_others_go_on():
    """torch keeps the number of threads for each thread, and the precision for all of them."""
    with ThreadPoolExecutor(1) as other:
        assert other.submit(setting).result() == (2, "medium")
        with plain_products():
            first = plain_products()
            other.submit(first.__enter__).result(timeout=60)
            assert other.submit(setting).result() == (1, "highest")
            other.submit(first.__exit__, None, None, None).result(timeout=60)
            assert other.submit(setting).result() == (2, "highest")  # the precision is still needed
            assert setting() == (1, "highest")
            assert in_a_new_thread(setting) == (1, "highest")
        assert setting() == (2, "medium")
        assert other.submit(setting).result() == (2, "medium")
        assert in_a_new_thread(setting) == (2, "medium")


@pytest.mark.usefixtures("_two_threads")
def test_a_thread_that_leaves_last_is_restored_too():
    with ThreadPoolExecutor(1) as other:
        last = plain_products()
        with plain_products():
            other.submit(last.__enter__).result(timeout=60)
        assert setting() == (2, "highest")
        assert other.submit(setting).result() == (1, "highest")
        other.submit(last.__exit__, None, None, None).result(timeout=60)
        assert other.submit(setting).result() == (2, "medium")
        assert setting() == (2, "medium")


@pytest.mark.usefixtures("_two_threads")
def test_settings_are_restored_after_many_threads():
    together = Barrier(8)

    def work():
        together.wait(timeout=60)
        for _ in range(50):
            with plain_products():
                bad.extend({setting()} - {(1, "highest")})

    bad = []
    threads = [Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert bad == []
    assert setting() == (2, "medium")


@pytest.mark.usefixtures("_two_threads")
def test_the_threads_of_a_crew_multiply_alone():
    together, seen = Barrier(3), []

    def work(_):
        together.wait(timeout=60)
        seen.append(setting())

    with crew(3) as workers:
        workers.each(work, range(3))
    assert seen == [(1, "highest")] * 3


@pytest.mark.usefixtures("_two_threads")
def test_a_process_that_allows_low_precision_changes_nothing():
    x = synthetic.clustered(600, 512, clusters=3, spread=0.01).astype(np.float32)
    expected = nearest_neighbors(x, 5, precision="float64")
    for precision in ("float32", "bfloat16", "int8"):
        with torch.autocast("cpu"):
            found = nearest_neighbors(x, 5, precision=precision)
        np.testing.assert_array_equal(found.index, expected.index)
    assert setting() == (2, "medium")


NEW_SETTINGS = ["torch.backends.cuda.matmul", "torch.backends.mkldnn.matmul", "torch.backends"]


@pytest.mark.parametrize("place", NEW_SETTINGS)
def test_precision_that_was_set_the_new_way_is_taken_back_and_restored(place):
    """torch refuses the older setting then. In a process of its own, which is all that the setting belongs to."""
    code = f"""
import torch
from dnuc.neighbors.tiers import plain_products
{place}.fp32_precision = "bf16" if "cuda" not in "{place}" else "tf32"
before = {place}.fp32_precision
with plain_products():
    assert torch.backends.mkldnn.matmul.fp32_precision == "ieee", torch.backends.mkldnn.matmul.fp32_precision
    assert torch.backends.cuda.matmul.fp32_precision == "ieee", torch.backends.cuda.matmul.fp32_precision
assert {place}.fp32_precision == before
"""
    subprocess.run([sys.executable, "-c", code], check=True)
