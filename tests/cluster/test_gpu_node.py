"""One worker a GPU: what is visible, what is called, and that each worker sees its own. No GPU is needed for that."""

import os
import sys
import types

import pytest
from distributed.system import MEMORY_LIMIT

from dnuc.cluster import Capacity, GpuNode, Progress, Task, connect, read_deployment
from dnuc.cluster.deployment import WORKER_ENVIRONMENT, task_memory
from dnuc.cluster.places import gpu_node
from dnuc.errors import JobError, ResourceError
from tests.conftest import ROOT

NVIDIA_SMI = """#!/bin/sh
echo 'GPU 0: NVIDIA H100 (UUID: GPU-1b2c)'
echo 'GPU 1: NVIDIA H100 (UUID: GPU-3d4e)'
"""


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A directory that is the whole search path, without any variable that names GPUs."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_the_file():
    assert read_deployment(ROOT / "deploy" / "gpu-node.toml") == GpuNode(cores=8)


def test_gpus_are_those_of_the_variable(path, monkeypatch):
    for told, found in (("0,1", ("0", "1")), ("GPU-1b2c, MIG-7", ("GPU-1b2c", "MIG-7")), ("", ()), ("-1", ())):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", told)
        assert gpu_node.visible_gpus() == found


def test_or_those_that_the_driver_lists(path):
    assert gpu_node.visible_gpus() == ()
    (path / "nvidia-smi").write_text(NVIDIA_SMI.replace("#!/bin/sh", "#!/bin/sh"))
    (path / "nvidia-smi").chmod(0o755)
    assert gpu_node.visible_gpus() == ("0", "1")
    (path / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    assert gpu_node.visible_gpus() == ()


def test_or_those_that_the_file_names(path):
    (path / "two.toml").write_text('kind = "gpu-node"\ngpus = [1, "GPU-3d4e"]\nmemory = "64GiB"\ncores = 8\n')
    place = read_deployment(path / "two.toml")
    assert place.visible() == ("1", "GPU-3d4e")
    assert place.capacity() == Capacity(task_memory(64 * 2**30, 1), 2, 8, "cuda")
    assert GpuNode(gpus=(0, 1)).worker_memory() == MEMORY_LIMIT // 2


def test_a_machine_without_gpus_is_told(path):
    with (
        pytest.raises(ResourceError, match=r"this machine shows no NVIDIA GPU .* or use deploy/local.toml"),
        connect(GpuNode(), Progress(quiet=True)),
    ):
        raise AssertionError("not reached")


@pytest.mark.parametrize(("key", "value"), [("gpus", "[]"), ("memory", '"1GB"'), ("device", '"cuda:1"')])
def test_refused_files(tmp_path, key, value):
    (tmp_path / "x.toml").write_text(f'kind = "gpu-node"\n{key} = {value}\n')
    with pytest.raises(JobError, match=rf"x.toml: {key}: "):
        read_deployment(tmp_path / "x.toml")


def test_dask_cuda_starts_the_workers_where_it_is(monkeypatch):
    """With the arguments of dask-cuda 26.10; the class itself needs a GPU to be made."""
    called = {}
    stand_in = types.ModuleType("dask_cuda")
    stand_in.LocalCUDACluster = lambda **arguments: called.update(arguments) or "cluster"
    stand_in.__spec__ = types.SimpleNamespace(loader=None)
    monkeypatch.setitem(sys.modules, "dask_cuda", stand_in)
    place = GpuNode(gpus=(0, "GPU-3d4e"), memory="64GiB")
    assert place._cluster() == "cluster"
    assert called == place.arguments()
    assert called["CUDA_VISIBLE_DEVICES"] == "0,GPU-3d4e"
    assert (called["threads_per_worker"], called["memory_limit"]) == (1, 64 * 2**30)
    assert (called["host"], called["dashboard_address"]) == ("127.0.0.1", "127.0.0.1:0")
    assert not GpuNode(gpus=(0,), dask_cuda=False).with_dask_cuda()


def test_dask_cuda_may_be_asked_for(monkeypatch):
    monkeypatch.setattr(gpu_node.importlib.util, "find_spec", lambda name: None)
    assert not GpuNode(gpus=(0,)).with_dask_cuda()
    with pytest.raises(ResourceError, match=r"dask_cuda = true needs dask-cuda: pip install 'dnuc\[gpu\]'"):
        GpuNode(gpus=(0,), dask_cuda=True).with_dask_cuda()


def own_gpu():
    return os.environ["CUDA_VISIBLE_DEVICES"], os.environ["MALLOC_TRIM_THRESHOLD_"]


@pytest.mark.cluster
def test_each_worker_sees_its_own_gpu_alone(monkeypatch):
    for name in WORKER_ENVIRONMENT:  # Dask leaves what it sets for workers in this process, where it would win
        monkeypatch.delenv(name, raising=False)
    place = GpuNode(gpus=(3, "GPU-3d4e"), memory="2GiB", device="cpu", dask_cuda=False)
    with connect(place, Progress(quiet=True)) as found:
        found.client.wait_for_workers(2, timeout=60)
        seen = found.client.run(own_gpu)
        assert sorted(gpu for gpu, _ in seen.values()) == ["3", "GPU-3d4e"]
        assert {trim for _, trim in seen.values()} == {str(256 * 2**20)}
        assert all(address.startswith("tcp://127.0.0.1:") for address in seen)
        assert [r for _, r in found.run([Task(abs, (-1,))])] == [1]
