"""Bad input is refused before work starts, and every refusal says what, where, what is allowed, and the way out."""

import re
import shutil
from collections import namedtuple

import numpy as np
import pytest
from typer.testing import CliRunner

from dnuc.cli import app
from dnuc.errors import DataError, DnucError, JobError, LayerError, ResourceError, StoreError
from dnuc.job import parse_job, read_job
from dnuc.pipeline import run_job, run_stages
from dnuc.plan import plan_job
from dnuc.store import DamagedError, Results, RunStore
from tests.conftest import (
    N,
    arrays_job,
    assert_same_results,
    compute_here,
    digits_job,
    folder_job,
    quiet_cluster,
    write_arrays,
    written_job,
)


@pytest.fixture
def run(here, tmp_path):
    """Run a job in tmp_path/run."""
    return lambda job: run_job(job, out=tmp_path / "run", quiet=True)


def assert_nothing_began(path):
    store = RunStore.open(path)
    assert not store.exists("samples")
    assert store.models() == []


# --- samples, labels and images ---------------------------------------------------------------------------------


def test_as_many_neighbors_as_samples(run, tmp_path):
    expected = r"k = 240 neighbors asked for among N = 240 samples of job 'tiny': k must be 1 \.\. 239"
    with pytest.raises(DnucError, match=expected):
        run(arrays_job(tmp_path, neighbors={"k": 240}))
    assert_nothing_began(tmp_path / "run")


def test_labels_of_another_length(run, tmp_path):
    write_arrays(tmp_path)
    np.save(tmp_path / "labels.npy", np.zeros(N - 1, dtype=int))
    expected = (
        r"model 'net', layer 'early': .*early.npy has 240 rows for 239 samples: all layers and the labels must hold "
        "the same samples in the same order"
    )
    with pytest.raises(DataError, match=expected):
        plan_job(arrays_job(tmp_path))
    with pytest.raises(DataError, match=expected):
        run(arrays_job(tmp_path))
    assert_nothing_began(tmp_path / "run")


def test_another_number_of_samples_than_the_job_says(run, tmp_path):
    with pytest.raises(DataError, match=r"data.samples = 1000, but the data hold 240 samples .* correct data.samples"):
        run(arrays_job(tmp_path, data={"source": "arrays", "labels": "labels.npy", "samples": 1000}))
    assert_nothing_began(tmp_path / "run")


@pytest.mark.parametrize("name", ["cat/cat_0.png", "dog/dog_3.png"])  # the first image tells the shape
def test_an_unreadable_image(run, tmp_path, name):
    job = folder_job(tmp_path)
    (tmp_path / "images" / name).write_bytes(b"\x89PNG\r\n cut off")
    with pytest.raises(DataError, match=rf"image '{name}' .* cannot be read: .* data.max_unreadable"):
        run(job)
    assert_nothing_began(tmp_path / "run")


@pytest.mark.parametrize("name", ["cat/cat_0.png", "dog/dog_3.png"])
def test_a_job_may_allow_some_unreadable_images(run, tmp_path, name):
    job = folder_job(tmp_path, max_unreadable=1)
    (tmp_path / "images" / name).write_bytes(b"\x89PNG\r\n cut off")
    results = Results(run(job))
    assert len(results.samples) == 11
    assert name not in set(results.samples["id"])
    [skipped] = results.store.attributes("samples")["skipped"]
    assert name in skipped
    assert "1 unreadable images are left out" in (tmp_path / "run" / "log.txt").read_text()
    assert results.array("neighbors", "neighbor_index", "fc").shape == (11, 3)


def test_arrays_of_the_readable_images_alone(tmp_path):
    """A plan looks at no image, so it cannot know how many rows are right; the run does."""
    job = folder_job(tmp_path, max_unreadable=1)
    np.save(tmp_path / "x.npy", np.zeros((11, 2)))
    model = {"name": "given", "arrays": {"x": str(tmp_path / "x.npy")}}
    job = parse_job({**job.model_dump(mode="json", exclude_none=True), "model": [model]})
    assert plan_job(job).samples == 12
    np.save(tmp_path / "x.npy", np.zeros((10, 2)))
    with pytest.raises(DataError, match="has 10 rows for 12 samples"):
        plan_job(job)


def test_more_unreadable_images_than_allowed(run, tmp_path):
    job = folder_job(tmp_path, max_unreadable=1)
    for name in ("cat/cat_1.png", "dog/dog_3.png"):
        (tmp_path / "images" / name).write_bytes(b"")
    expected = r"2 images cannot be read, 1 may be skipped:\n.*cat_1.png.*\n.*dog_3.png.*\n.*data.max_unreadable = 2"
    with pytest.raises(DataError, match=expected):
        run(job)
    assert_nothing_began(tmp_path / "run")


# --- networks and layers ----------------------------------------------------------------------------------------


def network_job(base, **model):
    given = {"name": "net", "architecture": "residual", "options": {"width": 2, "blocks": 1}, "weights": "random"}
    return digits_job(base, model=[given | model])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"layers": ["stage4.0"]}, r"layer 'stage4.0': ResidualNetwork has no such layer; closest: .*'stage1.0'"),
        ({"layers": ["inputs"]}, r"closest: 'input'"),
        ({"architecture": "resnet51", "options": {}}, r"'resnet51'.*closest: .*'resnet50'"),
        ({"architecture": "resnet18", "options": {}, "weights": "IMAGENET1K_V9"}, r"IMAGENET1K_V9.*'IMAGENET1K_V1'"),
        ({"weights": "DEFAULT"}, r"'DEFAULT'"),
        ({"weights": "trained.pt"}, r"weights '.*trained.pt': no such file"),
    ],
)
def test_a_network_that_does_not_exist_as_asked(run, tmp_path, model, message):
    with pytest.raises(LayerError, match=message):
        run(network_job(tmp_path, **model))
    assert_nothing_began(tmp_path / "run")  # not a single image was looked at


def test_a_model_without_weights(tmp_path):
    model = {"name": "net", "architecture": "resnet152"}
    with pytest.raises(JobError, match=r"model 'net' needs either 'weights' .* or a \[model.train\] table"):
        digits_job(tmp_path, model=[model])


# --- memory and disk --------------------------------------------------------------------------------------------


def run_within(memory, job, path):
    run_stages(RunStore.create(path), job, quiet_cluster(path, memory=memory))


@pytest.mark.parametrize(
    ("tables", "megabytes", "message"),
    [
        ({"activations": {}}, 0.01, r"one block of 64 samples needs 0 MiB .* lower activations.batch_size to 58"),
        ({}, 0.01, r"one block of 64 samples needs 0 MiB .* may use 0 MiB: .* lower activations.block to 58"),
        ({"neighbors": {"k": 10}}, 0.1, r"a tile of 64 x 64 samples with 12 features needs .* \(activations.block\)"),
        ({}, 0.1, r"neighbors.block = 128: a tile of 128 x 128 samples .* needs .* lower neighbors.block"),
    ],
)  # fmt: skip
def test_too_little_memory(here, tmp_path, tables, megabytes, message):
    path = tmp_path / "run"
    with pytest.raises(ResourceError, match=message):
        run_within(int(megabytes * 2**20), arrays_job(tmp_path, **tables), path)
    assert_nothing_began(path)


def test_too_little_disk(run, tmp_path, monkeypatch):
    needed = 256 * (12 + 6 + 3) * 4  # whole blocks
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - needed, needed))
    expected = (
        rf"activations need {needed:,} bytes .* has {needed:,} free: .* --out, .* activations.dtype = \"float16\""
    )
    with pytest.raises(ResourceError, match=expected):
        run(arrays_job(tmp_path))
    assert_nothing_began(tmp_path / "run")
    run(arrays_job(tmp_path, activations={"block": 64, "dtype": "float16"}))  # the way out is one


# --- values -----------------------------------------------------------------------------------------------------


def spoil(base, rows, value, layer="middle", dtype=np.float32):
    write_arrays(base)
    x = np.load(base / f"{layer}.npy").astype(dtype)
    x[rows] = value
    np.save(base / f"{layer}.npy", x)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers(run, tmp_path, value):
    spoil(tmp_path, [70, 75], value)
    expected = r"layer 'net/middle': NaN or infinite activations in 2 of 64 samples: row-000070, row-000075\. Check"
    with pytest.raises(DataError, match=expected):
        run(arrays_job(tmp_path))
    results = Results(tmp_path / "run")
    assert not results.has("activations", "middle")
    assert not results.store.exists("models/net/middle/neighbors")


def test_values_too_large_for_float32(run, tmp_path):
    spoil(tmp_path, [70], 1e39, dtype=np.float64)
    with pytest.raises(DataError, match=r"layer 'middle': values of .* do not fit into float32; rescale them"):
        run(arrays_job(tmp_path))


def test_values_too_large_for_float16(run, tmp_path):
    spoil(tmp_path, [70], 1e5)
    job = arrays_job(tmp_path, activations={"block": 64, "dtype": "float16"})
    expected = (
        r"layer 'net/middle': values up to 100000 do not fit into float16, which ends at 65504; samples row-000070\. "
        r'Set activations.dtype = "float32"'
    )
    with pytest.raises(DataError, match=expected):
        run(job)


def test_duplicates_are_counted_and_not_their_own_neighbors(run, tmp_path):
    write_arrays(tmp_path)
    x = np.load(tmp_path / "middle.npy")
    x[[10, 100, 200]] = x[10]
    np.save(tmp_path / "middle.npy", x)
    results = Results(run(arrays_job(tmp_path)))
    assert results.layers["duplicates"].tolist() == [0, 3, 0]
    index = results.array("neighbors", "neighbor_index", "middle")
    assert index[[10, 100, 200], :2].tolist() == [[100, 200], [10, 200], [10, 100]]
    assert not (index == np.arange(N)[:, None]).any()


def test_a_layer_of_equal_values_does_not_stop_the_others(run, tmp_path):
    spoil(tmp_path, slice(None), 1.0)
    results = Results(run(arrays_job(tmp_path)))
    assert results.layers["duplicates"].tolist() == [0, N, 0]
    assert np.isnan(results.layers["intrinsic_dimension"]).tolist() == [False, True, False]
    assert "no density without an intrinsic dimension" in results.attributes("landscape", "middle")["note"]
    assert results.layers["n_peaks"].notna().tolist() == [True, False, True]


# --- damage -----------------------------------------------------------------------------------------------------


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def lose(path):
    path.unlink()


NEW_K = {"neighbors": {"k": 12, "block": 128}}
NEW_OVERLAPS = {"measures": {"overlap_k": [5]}}


@pytest.fixture(scope="module")
def fresh(finished, tmp_path_factory):
    """Runs of the changed jobs in which nothing was ever damaged, by their number of neighbors."""
    base = tmp_path_factory.mktemp("fresh")
    with pytest.MonkeyPatch.context() as monkeypatch:
        compute_here(monkeypatch)
        jobs = [arrays_job(finished[0], **tables) for tables in (NEW_K, NEW_OVERLAPS)]
        return {job.neighbors.k: run_job(job, out=base / str(job.neighbors.k), quiet=True) for job in jobs}


@pytest.mark.parametrize(
    ("harm", "damaged", "tables", "told"),
    [
        # what happened to which file, the change that makes a run read it, and what is computed anew
        (flip, "middle/activations/activation/c/1/0", NEW_K, "samples 64 .. 127 of models/net/middle"),
        (lose, "middle/activations/activation/c/3/0", NEW_K, "samples 192 .. "),  # the last block, a shorter one
        (flip, "middle/neighbors/neighbor_index/c/1/0", NEW_OVERLAPS, "middle/neighbors will be computed again"),
        (lose, "late/neighbors/neighbor_distance/c/0/0", NEW_OVERLAPS, "late/neighbors will be computed again"),
    ],
)
def test_damage_is_told_and_only_it_is_repaired(here, finished, fresh, tmp_path, harm, damaged, tables, told):
    path, job = tmp_path / "run", arrays_job(finished[0], **tables)
    shutil.copytree(finished[1], path)
    harm(path / "models/net" / damaged)
    array = "/".join(damaged.split("/")[:3])
    with pytest.raises(DamagedError, match=rf"array models/net/{array} in .*run is damaged.* again with --repair"):
        run_job(job, out=path, quiet=True)
    others = [f for f in path.rglob("activation/c/*/*") if f != path / "models/net" / damaged]
    before = {f: f.stat().st_mtime_ns for f in others}

    command = ["run", str(written_job(job, tmp_path)), "--out", str(path), "--repair", "--quiet"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.stderr
    assert re.search(rf"damaged.*\n.*{told}", result.stderr)
    assert {f: f.stat().st_mtime_ns for f in others} == before
    assert_same_results(path, fresh[job.neighbors.k])


def test_a_damaged_marker_is_not_taken_for_finished_work(here, finished, tmp_path):
    """A block whose mark cannot be read is extracted again; nobody needs to repair that by hand."""
    path = tmp_path / "run"
    shutil.copytree(finished[1], path)
    RunStore.open(path).describe("models/net/early/activations", complete=False)
    flip(path / "models/net/early/activations/block_done/c/2")
    assert_same_results(finished[1], run_job(arrays_job(finished[0]), out=path, quiet=True))


def test_a_store_of_another_format_is_refused(here, finished, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(finished[1], path)
    RunStore.open(path).describe("", dnuc_format=99)
    with pytest.raises(StoreError, match=r"has store format 99, this dnuc \S+ reads format 1: use the dnuc version"):
        run_job(arrays_job(finished[0]), out=path, quiet=True)


# --- job files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = 'x'\n[neighbours]\nk = 3\n", r"unknown key 'neighbours'; closest: 'neighbors'"),
        ("name = \n", r"is not valid TOML"),
        ("name = 'x'\n[data]\nsource = 'digits'\n", r"model: Field required"),
    ],
)
def test_a_job_file_that_says_what_dnuc_does_not_know(tmp_path, text, message):
    (tmp_path / "job.toml").write_text(text)
    with pytest.raises(JobError, match=message):
        read_job(tmp_path / "job.toml")
