"""What many tests share: tiny jobs, worker processes that start quickly, and a check that none is left behind."""

import json
import os
import time
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy: two workers on two cores, as on a real machine

import dask
import numpy as np
import psutil
import pytest
import tomli_w
from distributed import LocalCluster
from distributed.utils import get_mp_context
from hypothesis import settings
from PIL import Image

import dnuc.pipeline as pipeline
from dnuc.cluster import Capacity, Cluster, Progress
from dnuc.job import parse_job
from dnuc.neighbors import search
from dnuc.store import RunStore
from tests.buckets import bucket, s3  # noqa: F401 - the fixtures

settings.register_profile("dnuc", deadline=None)  # no test asserts on seconds
settings.load_profile("dnuc")

ROOT = Path(__file__).parents[1]
N, CLASSES = 240, 3
# times, hashes, and what depends on them
NOT_RESULTS = ("seconds", "digest", "digests", "redone", "precision", "tier", "training", "report", "finished")
NOT_RESULTS += ("versions", "earlier_versions")
SERVERS = ("resource_tracker", "forkserver", "semaphore_tracker")  # of multiprocessing: they stay until pytest ends


@pytest.fixture(scope="session", autouse=True)
def _quick_processes():
    """Workers are forked from a process that has already imported torch: seconds less for each of them.

    Users' workers are spawned instead; tests that start the command line do that too.
    """
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        get_mp_context().set_forkserver_preload(["distributed", "dnuc.pipeline"])
        yield


@contextmanager
def local_cluster(workers=2, memory="2GiB", **settings):
    """Real worker processes of one thread each."""
    with LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        memory_limit=memory,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        silence_logs=50,
        **settings,
    ) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def shared_cluster():
    """Two worker processes for every test that does not kill them."""
    with local_cluster() as cluster:
        yield cluster


@pytest.fixture
def client(shared_cluster):
    """A client of the shared workers that is not Dask's default one: nothing in dnuc may rely on a default."""
    from distributed import Client

    with Client(shared_cluster, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
        yield client


def children():
    """Processes started from here, apart from those that multiprocessing keeps for itself."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.status() != psutil.STATUS_ZOMBIE and not any(s in " ".join(process.cmdline()) for s in SERVERS):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.fixture(autouse=True)
def _no_process_is_left(request):
    """A test that starts processes ends them; only their number counts, for Dask replaces a worker that is killed."""
    if request.node.get_closest_marker("cluster") is None:
        yield
        return
    before = len(children())
    yield
    wait_until(lambda: len(children()) <= before, f"processes are left behind: {children()}", timeout=15)


def wait_until(condition, message="", timeout=60):
    """Wait for something that another process does."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, message or "what was waited for did not happen"
        time.sleep(0.02)


# --- jobs -------------------------------------------------------------------------------------------------------


def write_arrays(base, n=N, classes=CLASSES, widths=(12, 6, 3)):
    """Three layers in which the classes come apart, and their labels, as files in `base`."""
    rng = np.random.default_rng(0)
    base.mkdir(parents=True, exist_ok=True)
    labels = np.arange(n) % classes
    centers = rng.normal(size=(classes, widths[0]))
    noise = rng.normal(size=(n, widths[0]))
    for depth, (name, width) in enumerate(zip(("early", "middle", "late"), widths, strict=True)):
        np.save(base / f"{name}.npy", (noise + 1.5 * depth * centers[labels])[:, :width].astype(np.float32))
    np.save(base / "labels.npy", labels)


def arrays_job(base, layers=("early", "middle", "late"), **tables):
    """A job over the arrays of `write_arrays`: 4 blocks and 3 tiles a layer. `tables` replace tables of the job."""
    if not (base / "labels.npy").exists():
        write_arrays(base)
    content = {
        "name": "tiny",
        "data": {"source": "arrays", "labels": "labels.npy"},
        "model": [{"name": "net", "arrays": {layer: f"{layer}.npy" for layer in layers}}],
        "activations": {"block": 64},
        "neighbors": {"k": 10, "block": 128},
        "measures": {"overlap_k": [10, 5]},
        **tables,
    }
    return parse_job(content, base)


def digits_job(base, **tables):
    """A job over 120 handwritten digits in a tiny network with random weights: 4 blocks of 32."""
    content = {
        "name": "tiny-digits",
        "data": {"source": "digits", "classes": 3, "images_per_class": 40},
        "model": [
            {
                "name": "net",
                "architecture": "residual",
                "weights": "random",
                "options": {"width": 2, "blocks": 1},
                "layers": ["input", "stage2.0", "output"],
            }
        ],
        "activations": {"block": 32, "batch_size": 32},
        "neighbors": {"k": 8, "block": 64},
        **tables,
    }
    return parse_job(content, base)


def folder_job(base, **data):
    """Two classes of six PNG images of 8 x 8 pixels."""
    rng = np.random.default_rng(0)
    for key in ("cat", "dog"):
        (base / "images" / key).mkdir(parents=True, exist_ok=True)
        for number in range(6):
            pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(base / "images" / key / f"{key}_{number}.png")
    data = {"source": "image_folder", "path": "images", **data}
    model = {"name": "net", "architecture": "residual", "weights": "random", "options": {"width": 2, "blocks": 1}}
    content = {
        "name": "folder",
        "data": data,
        "model": [model | {"layers": ["input", "output"]}],
        "neighbors": {"k": 3},
    }
    return parse_job(content, base)


class Killed(BaseException):
    """The process ends here: nothing of dnuc may catch this."""


def written_job(job, directory):
    """A job as the file that a user would give to the command line."""
    path = directory / f"{job.name}.toml"
    path.write_text(tomli_w.dumps(job.model_dump(mode="json", exclude_none=True)), encoding="utf-8")
    return path


@pytest.fixture
def here(monkeypatch):
    """`dnuc.pipeline` computes in this process, and writes a page instead of drawing the figures (which takes seconds).

    The figures have tests of their own, and tests of the command line draw the real report.
    """
    compute_here(monkeypatch)


def small_blocks(monkeypatch, rows):
    """Searches cut arrays into blocks of so many rows, fewer than any memory limit would ask for."""
    monkeypatch.setattr(search, "choose_rows", lambda n, *_, **__: min(n, rows))


def compute_here(monkeypatch):
    """What the fixture `here` does, for fixtures of a wider scope."""

    @contextmanager
    def connect(on, progress):
        yield Cluster(None, Capacity(2**30), progress)

    monkeypatch.setattr(pipeline, "connect", connect)
    monkeypatch.setattr(pipeline, "write_report", write_page)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """(data, run): the files of the arrays job, and the directory of a finished run of it. Neither may be changed."""
    base = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as monkeypatch:
        compute_here(monkeypatch)
        return base, pipeline.run_job(arrays_job(base), out=base / "run", quiet=True)


def write_page(results, images=None):
    """A page with a line a layer, read from the store as the real one is."""
    page = results.path / "report" / "index.html"
    page.parent.mkdir(exist_ok=True)
    page.write_text(results.layers.to_csv(), encoding="utf-8")
    return page


def stored(path):
    """Every array of a run by its name, and every recorded value but times and hashes."""
    arrays, values = {}, {}
    for file in path.rglob("zarr.json"):
        name, content = str(file.parent.relative_to(path)), json.loads(file.read_text())
        if content["node_type"] == "array":
            arrays[name] = RunStore(path).read(*name.rsplit("/", 1))
        else:
            values[name] = {k: v for k, v in content["attributes"].items() if k not in NOT_RESULTS}
    return arrays, values


def assert_same_results(first, second):
    """Two runs found the same, bit for bit, however their work was cut into blocks."""
    (a, values_a), (b, values_b) = stored(first), stored(second)
    assert values_a == values_b
    assert a.keys() == b.keys()
    for name in a:
        if not name.endswith(("block_done", "tile_redone", "last_merge")):
            assert (a[name].dtype, a[name].shape) == (b[name].dtype, b[name].shape), name
            assert np.array_equal(a[name], b[name], equal_nan=a[name].dtype.kind == "f"), name


def quiet_cluster(path, client=None, memory=2**30):
    """A Cluster that prints nothing; without a client it computes in this process."""
    return Cluster(client, Capacity(memory), Progress(path, quiet=True))
