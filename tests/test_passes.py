"""Layers that take turns on a disk that not all fit on: the same bits for any budget and any kill, never more bytes."""

import shutil
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnuc.activations.budget import Budget, Share
from dnuc.cluster import Capacity
from dnuc.errors import LayerError, ResourceError, StoreError
from dnuc.job import Activations
from dnuc.notebook import Run
from dnuc.pipeline import run_job, run_stages
from dnuc.plan import plan_within
from dnuc.report.findings import Findings
from dnuc.report.overview import notes
from dnuc.store import RunStore, stage_group, survey_run
from tests.conftest import (
    Killed,
    arrays_job,
    compute_here,
    digits_job,
    quiet_cluster,
    stored,
)
from tests.test_pipeline import changed, stages_told, written

LAYERS = {"wide": 700, "middle": 500, "narrow": 300, "last": 40}
EVERYTHING = {
    "dimension": {"decimation": [1, 2], "per_class": True, "pca": True, "surrogate": ["last"]},
    "similarity": {"imbalance": True, "cka": ["linear", "gaussian"], "svcca": True, "pwcca": True, "samples": 20},
}
N = 96


def write_layers(base):
    rng = np.random.default_rng(0)
    labels = np.arange(N) % 3
    hidden = rng.normal(size=(N, 8)) + 2 * rng.normal(size=(3, 8))[labels]
    for name, features in LAYERS.items():
        x = hidden @ rng.normal(size=(8, features)) + 0.3 * rng.normal(size=(N, features))
        np.save(base / f"{name}.npy", x.astype(np.float32))
    np.save(base / "labels.npy", labels)


def job_of(base, budget=None, keep=(), **tables):
    """Four layers of 40 to 700 features, in blocks of 32 samples."""
    if not (base / "labels.npy").exists():
        write_layers(base)
    activations = {"block": 32, "keep": list(keep)} | ({} if budget is None else {"storage_budget": budget})
    return arrays_job(
        base, layers=LAYERS, **{"activations": activations, "neighbors": {"k": 10, "block": 32}, **tables}
    )


def shares(job):
    """Planned bytes of each layer: of its activations, and of the samples that are compared."""
    return {key[1]: share for key, share in plan_within(job, Capacity(2**30)).budget.shares.items()}


def least(job, kept=()):
    """The smallest budget that is enough."""
    passing = [s for layer, s in shares(job).items() if layer not in kept]
    staying = sum(shares(job)[layer].bytes for layer in kept)
    return staying + max(s.bytes for s in passing) + sum(s.compared for s in passing)


def on_disk(path):
    """Bytes of activations, and of those that were left to be compared, with all that is stored beside them."""
    groups = [g for stage in ("activations", "compared") for g in path.glob(f"models/*/*/{stage}")]
    doomed = list(path.glob(".dropped-*"))
    return sum(f.stat().st_size for g in [*groups, *doomed] for f in g.rglob("*") if f.is_file())


def results(path):
    """Every array and value but activations and what is told of them."""
    arrays, values = stored(path)
    others = [{k: v for k, v in d.items() if "/activations" not in k} for d in (arrays, values)]
    return others[0], {k: {n: v for n, v in d.items() if n != "dropped"} for k, d in others[1].items()}


def assert_same(first, second):
    (a, values_a), (b, values_b) = results(first), results(second)
    assert values_a == values_b
    assert a.keys() == b.keys()
    for name in a:
        assert np.array_equal(a[name], b[name], equal_nan=a[name].dtype.kind == "f"), name


def there(path):
    """The layers whose activations are in the store."""
    return {f.parent.parent.name for f in path.glob("models/net/*/activations/activation")}


@contextmanager
def watched(path, limit, kill_at=None):
    """Count what changes the store, and the most bytes of activations; end the process at one of the changes."""
    seen = {"changes": 0, "most": 0}

    def around(method):
        def call(store, *args, **kwargs):
            seen["changes"] += 1
            if seen["changes"] == kill_at:
                raise Killed
            found = method(store, *args, **kwargs)
            seen["most"] = max(seen["most"], on_disk(path))
            assert seen["most"] <= limit
            return found

        return call

    def cut_off(directory, ignore_errors=False):
        seen["changes"] += 1
        if seen["changes"] == kill_at:
            files = [f for f in sorted(directory.rglob("*")) if f.is_file()]
            for file in files[::2]:
                file.unlink()
            raise Killed
        remove(directory, ignore_errors=ignore_errors)

    remove = shutil.rmtree
    with pytest.MonkeyPatch.context() as patch:
        for name in ("write", "describe", "declare"):
            patch.setattr(RunStore, name, around(getattr(RunStore, name)))
        patch.setattr(shutil, "rmtree", cut_off)
        yield seen


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """(files, run): of everything, with no budget."""
    base = tmp_path_factory.mktemp("plain")
    with pytest.MonkeyPatch.context() as monkeypatch:
        compute_here(monkeypatch)
        yield base, run_job(job_of(base, **EVERYTHING), out=base / "run", quiet=True)


# --- the same bits ----------------------------------------------------------------------------------------------


@settings(max_examples=3)
@given(share=st.floats(0, 1), kills=st.lists(st.integers(1, 420), max_size=1), kept=st.sampled_from([(), ("narrow",)]))
def test_no_budget_and_no_kill_changes_a_bit(plain, tmp_path_factory, share, kills, kept):
    base, expected = plain
    job = job_of(base, **EVERYTHING)
    total = sum(s.bytes for s in shares(job).values())
    smallest = least(job, kept)
    budget = int(smallest + share * (total - smallest - 1))
    job = job_of(base, budget, keep=kept, **EVERYTHING)
    path = tmp_path_factory.mktemp("run") / "run"
    for kill_at in [*kills, None]:
        try:
            with watched(path, budget, kill_at) as seen:
                run_job(job, out=path, quiet=True)
        except Killed:
            continue
        assert seen["most"] <= budget
    assert_same(expected, path)
    assert there(path) == {*kept}
    for name in kept:
        group = stage_group("net", name, "activations")
        one, other = (RunStore(p).read(group, "activation") for p in (expected, path))
        np.testing.assert_array_equal(one, other)
    before = written(path)
    run_job(job, out=path, quiet=True)
    assert (changed(path, before), stages_told(path)) == (set(), [])


def test_activations_take_turns_and_the_budget_is_used(here, plain, tmp_path):
    base, expected = plain
    budget = least(job_of(base, **EVERYTHING))
    path = tmp_path / "run"
    with watched(path, budget) as seen:
        run_job(job_of(base, budget, **EVERYTHING), out=path, quiet=True)
    assert seen["most"] > 0.6 * budget
    assert_same(expected, path)
    log = (path / "log.txt").read_text()
    assert "net, pass 1 of 3: wide (" in log
    # the imbalance to a layer takes its activations and the neighbors of all layers: those of the last pass are there
    assert log.count("pass 3 of 3") == 2


@pytest.mark.cluster
def test_workers_find_the_same(here, plain, tmp_path, client):
    base, expected = plain
    path = tmp_path / "run"
    job = job_of(base, least(job_of(base, **EVERYTHING)), **EVERYTHING)
    run_stages(RunStore.create(path), job, quiet_cluster(path, client))
    assert_same(expected, path)


def test_two_networks_take_turns(here, tmp_path):
    model = digits_job(tmp_path).model[0].model_dump(exclude_none=True)
    train = {"epochs": 1, "keep": [0]}
    trained = {k: v for k, v in model.items() if k != "weights"} | {"name": "trained", "train": train}
    similar = {"similarity": {"imbalance": True, "cka": ["linear"], "samples": 20}}

    def job(**activations):
        tables = {"activations": {"block": 32, "batch_size": 32, **activations}, "model": [model, trained]}
        return digits_job(tmp_path, **tables, **similar)

    found = plan_within(job(), Capacity(2**30)).budget.shares.values()
    for budget in (
        max(s.bytes for s in found) + sum(s.compared for s in found if s.key[0] == "net"),  # one at a time
        sum(s.bytes for s in found if s.key[0] == "net"),  # one network at a time
    ):
        path = tmp_path / f"run-{budget}"
        with watched(path, budget):
            run_job(job(storage_budget=budget), out=path, quiet=True)
        if not (tmp_path / "plain").exists():
            run_job(job(), out=tmp_path / "plain", quiet=True)
        assert_same(tmp_path / "plain", path)


# --- nothing twice ----------------------------------------------------------------------------------------------


@pytest.fixture
def dropped(here, plain, tmp_path):
    """A run with the smallest budget, of neighbors, decimation and CKA; its job with other tables; what is written."""
    base, path = plain[0], tmp_path / "run"
    some = {"dimension": {"decimation": [2]}, "similarity": {"cka": ["linear"], "samples": 20}}
    budget = least(job_of(base, **some))

    def again(**changes):
        tables = {"budget": budget, **some, **changes}
        return run_job(job_of(base, **tables), out=path, quiet=True)

    again()
    return path, again, written(path)


@pytest.mark.parametrize("budget", [None, "1TB", 10**9])
def test_another_budget_recomputes_nothing(dropped, budget):
    path, again, before = dropped
    again(budget=budget)
    assert (changed(path, before), stages_told(path)) == (set(), [])


def test_a_smaller_budget_drops_what_was_kept_and_nothing_else(here, plain, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(plain[1], path)
    before = written(path)
    run_job(job_of(plain[0], least(job_of(plain[0], **EVERYTHING)), **EVERYTHING), out=path, quiet=True)
    assert changed(path, before) == {f"{layer}/activations" for layer in LAYERS}
    assert_same(plain[1], path)


def test_another_k_extracts_again_and_drops_again(dropped):
    path, again, before = dropped
    again(neighbors={"k": 12, "block": 32})
    assert not any("decimation" in group or "cka" in group for group in changed(path, before))
    assert stages_told(path).count("neighbors") == stages_told(path).count("activations") == 3
    assert there(path) == set()
    assert RunStore(path).read("models/net/wide/neighbors", "neighbor_index").shape == (N, 12)


def test_another_z_extracts_nothing(dropped):
    path, again, _ = dropped
    again(landscape={"z": 3.0})
    assert stages_told(path) == ["landscape", "report"]


def test_what_is_asked_for_later_extracts_again(dropped, plain):
    path, again, before = dropped
    again(**EVERYTHING)
    assert_same(plain[1], path)
    assert not any("neighbors" in group for group in changed(path, before))


def test_a_damaged_layer_is_extracted_alone(dropped, plain):
    path, again, before = dropped
    RunStore(path).drop("models/net/narrow/neighbors")
    again()
    stages = ("neighbors", "measures", "dimension", "landscape")
    assert changed(path, before) == {f"narrow/{stage}" for stage in stages} | {"overlaps"}
    assert there(path) == set()


def test_layers_that_are_kept_are_there(dropped, plain):
    path, again, _ = dropped
    budget = least(job_of(plain[0], **EVERYTHING)) + shares(job_of(plain[0]))["last"].bytes
    again(budget=budget, keep=["net/last"])
    assert stages_told(path) == ["activations", "report"]
    assert there(path) == {"last"}
    assert Run(path).array("activations", "activation", "last").shape == (N, 40)


# --- what is said -----------------------------------------------------------------------------------------------


def test_a_run_says_what_was_dropped_and_how_to_keep_it(dropped):
    path, _, _ = dropped
    run = Run(path)
    assert len(run.dropped) == 4
    found = survey_run(RunStore(path))
    assert (found.complete, found.dropped) == (True, 4)
    expected = "dropped to stay within activations.storage_budget: activations.keep = ['net/wide'] in the job, run"
    with pytest.raises(StoreError, match=r"layer 'wide' of run .* has no activations/activation: ") as refused:
        run.array("activations", "activation", "wide")
    assert expected in str(refused.value)
    dataset = run.dataset("wide")
    assert "activation" not in dataset
    assert expected in dataset.attrs["activations"]
    assert dataset["neighbor_index"].shape == (N, 10)
    told = "Activations of 4 of 4 layers were dropped to stay within activations.storage_budget, once everything was"
    assert any(note.startswith(told) for note in notes(Findings(run)))


def test_a_budget_that_is_too_small_is_refused_before_any_work(here, plain, tmp_path):
    job = job_of(plain[0], **EVERYTHING)
    needed = least(job)
    with pytest.raises(
        ResourceError, match=f"{needed - 1:,} bytes are too few: {needed:,} are needed at the same"
    ) as e:
        run_job(job_of(plain[0], needed - 1, **EVERYTHING), out=tmp_path / "run", quiet=True)
    wide = shares(job)["wide"].bytes
    assert f"({wide:,} bytes for net/wide, the largest layer, {needed - wide:,} for the samples that" in str(e.value)
    assert "or lower similarity.samples" in str(e.value)
    assert not RunStore(tmp_path / "run").exists("samples")
    run_job(job_of(plain[0], needed, **EVERYTHING), out=tmp_path / "run", quiet=True)


def test_to_compare_all_samples_they_must_all_be_there(plain):
    found = shares(job_of(plain[0]))
    budget = found["wide"].bytes + found["middle"].bytes
    job = job_of(plain[0], budget, similarity={"cka": ["linear"]})
    with pytest.raises(ResourceError, match=r"for the samples that \[similarity\] compares in all layers of net"):
        plan_within(job, Capacity(2**30))
    imbalance = plan_within(job_of(plain[0], budget, similarity={"imbalance": True}), Capacity(2**30))
    assert imbalance.passes == {"net": 2 + 1}  # most of the layers are there when the second turn begins


def test_a_layer_to_keep_that_does_not_exist(plain):
    with pytest.raises(LayerError, match=r"keep names 'wild', which is no layer of this job; closest: 'wide'"):
        plan_within(job_of(plain[0], keep=["wild"]), Capacity(2**30))


# --- the groups -------------------------------------------------------------------------------------------------

LAYER_SETS = st.lists(st.tuples(st.integers(1, 100), st.integers(0, 5), st.booleans()), min_size=1, max_size=12)


@given(LAYER_SETS, st.integers(1, 600), st.data())
def test_every_layer_has_one_turn_and_each_turn_fits(layers, limit, data):
    found = {("net", f"x{i}"): Share(("net", f"x{i}"), b, c) for i, (b, c, _) in enumerate(layers)}
    kept = [key for key, (_, _, keep) in zip(found, layers, strict=True) if keep]
    settings = Activations(storage_budget=limit, keep=tuple(layer for _, layer in kept))
    try:
        budget = Budget.of(settings, list(found.values()))
    except ResourceError:
        passing = [s for key, s in found.items() if key not in kept]
        needed = sum(found[key].bytes for key in kept) + sum(s.compared for s in passing)
        assert needed + max((s.bytes for s in passing), default=0) > limit
        return
    wanted = data.draw(st.lists(st.sampled_from(sorted(found)), unique=True))
    there = data.draw(st.lists(st.sampled_from(sorted(found)), unique=True))
    groups = budget.passes("net", wanted, there)
    assert sorted(key for group in groups for key in group) == sorted(wanted)
    for group in groups:
        leaving = budget.leaving("net", group, there)
        assert not {*leaving} & ({*group} | {*kept})
        staying = {key for key in there if key not in leaving} | {*group} | {*kept}
        assert sum(found[key].bytes for key in staying) <= limit
    assert budget.needed(wanted) <= limit


def test_passes_are_as_few_as_can_be():
    sizes = [60, 50, 40, 30, 20]
    budget = Budget.of(Activations(storage_budget=100), [Share(("net", str(b)), b) for b in sizes])
    names = [[layer for _, layer in group] for group in budget.passes("net", budget.shares)]
    assert names == [["60", "40"], ["50", "30", "20"]]
    assert (budget.forward_passes("net"), budget.forward_passes("net", again=True)) == (2, 3)
