"""Kubernetes: manifests against the operator's own schema, and the calls to a stand-in for the Kubernetes API."""

import json
import threading
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
import yaml

from dnuc.cluster import Capacity, Kubernetes, Progress, Task, connect, read_deployment
from dnuc.cluster.deployment import task_memory
from dnuc.cluster.places.kubernetes import job_name, run_command
from dnuc.cluster.places.manifests import cluster_manifest, job_manifests
from dnuc.cluster.submission import Order
from dnuc.errors import JobError, ResourceError
from tests.cluster.processes import cluster
from tests.conftest import ROOT

DEPLOY = ROOT / "deploy"


@cache
def schema(kind):
    """The operator's schema of a resource, in which what it does not name is an error: Kubernetes would drop it."""
    crds = files("dask_kubernetes") / "operator/deployment/helm/dask-kubernetes-operator/crds"
    definition = yaml.safe_load((crds / f"{kind.lower()}.yaml").read_text())
    [version] = definition["spec"]["versions"]
    return strict(version["schema"]["openAPIV3Schema"] | {"required": ["spec"]})


def strict(node):
    """Objects with known fields have no others."""
    if isinstance(node, list):
        return [strict(entry) for entry in node]
    if not isinstance(node, dict):
        return node
    found = {key: strict(value) for key, value in node.items()}
    if found.get("properties") and not found.get("x-kubernetes-preserve-unknown-fields"):
        found.setdefault("additionalProperties", False)
    if found.get("x-kubernetes-int-or-string"):
        found.pop("type", None)
    return found


def check(resource):
    """A resource is as the operator takes it."""
    body = {"spec": resource["spec"]}
    jsonschema.validate(body, schema(resource["kind"]) | {"additionalProperties": True})


@pytest.fixture(scope="module")
def place():
    return read_deployment(DEPLOY / "kubernetes.toml")


def pods(resource):
    """Every pod's specification in a DaskCluster or DaskJob, by role."""
    spec = resource["spec"]
    parts = spec["cluster"]["spec"] if "cluster" in spec else spec
    found = {"scheduler": parts["scheduler"]["spec"], "worker": parts["worker"]["spec"]}
    return found | ({"client": spec["job"]["spec"]} if "job" in spec else {})


def test_the_file(place):
    assert (place.workers, place.cores, place.memory, place.claim, place.mount) == (8, 4, "16GiB", "dnuc-data", "/data")
    assert place.capacity() == Capacity(task_memory(16 * 2**30, 1), 8, 4, "cpu")


def test_the_manifests_in_deploy_are_what_dnuc_asks_for(place):
    stored = yaml.safe_load((DEPLOY / "kubernetes" / "cluster.yaml").read_text())
    assert stored == cluster_manifest(place)
    stored = yaml.safe_load((DEPLOY / "kubernetes" / "job.yaml").read_text())
    name, run = "dnuc-digits", Path("/data/runs/digits")
    order = Order("digits", ROOT / "jobs" / "digits.toml", None, run)
    command = [word.replace("/settings/job.toml", "/data/jobs/digits.toml") for word in run_command(order)]
    assert stored == job_manifests(place, name, command, {"place.toml": place._files(order, name)["place.toml"]})


@pytest.mark.parametrize("settings", [{}, {"gpus": 1, "device": "cuda"}, {"tls": None, "insecure": True}])
def test_the_operator_takes_them(place, settings):
    place = place.model_copy(update=settings)
    check(cluster_manifest(place))
    config, job = job_manifests(place, "dnuc-x", ["dnuc", "run"], {"job.toml": "", "place.toml": ""})["items"]
    check(job)
    assert (config["kind"], sorted(config["data"])) == ("ConfigMap", ["job.toml", "place.toml"])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda r: r["spec"].pop("scheduler"),
        lambda r: r["spec"]["worker"].update(replicas="eight"),
        lambda r: r["spec"]["worker"]["spec"]["containers"][0].update(comand=[]),
        lambda r: r["spec"]["scheduler"]["service"]["ports"][0].pop("port"),
    ],
)
def test_a_spoiled_manifest_is_seen(place, spoil):
    resource = cluster_manifest(place)
    spoil(resource)
    with pytest.raises(jsonschema.ValidationError):
        check(resource)


def test_pods_are_nobody_in_particular(place):
    job = job_manifests(place, "dnuc-x", ["dnuc"], {})["items"][1]
    for role, pod in pods(job).items():
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]
        [container] = pod["containers"]
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        assert container["resources"]["requests"] == container["resources"]["limits"]
        [secret] = [volume["secret"] for volume in pod["volumes"] if "secret" in volume]
        assert [item["path"] for item in secret["items"]] == ["ca.pem", f"{role}.pem", f"{role}-key.pem"]


def test_credentials_of_an_object_store_are_given_to_those_who_use_it(place):
    job = job_manifests(place.model_copy(update={"store_secret": "dnuc-store"}), "dnuc-x", ["dnuc"], {})["items"][1]
    check(job)
    given = {role: pod["containers"][0].get("envFrom") for role, pod in pods(job).items()}
    secret = [{"secretRef": {"name": "dnuc-store"}}]
    assert given == {"client": secret, "worker": secret, "scheduler": None}


def test_no_address_in_them_is_plain(place):
    """The operator tells pods a tcp:// address unless they have one of their own."""
    job = job_manifests(place, "dnuc-x", ["dnuc"], {})["items"][1]
    assert "tcp://" not in json.dumps(job)
    worker = pods(job)["worker"]["containers"][0]
    assert {"name": "DASK_SCHEDULER_ADDRESS", "value": "tls://dnuc-x-scheduler.default.svc:8786"} in worker["env"]
    assert "tls://dnuc-x-scheduler.default.svc:8786" in worker["command"]
    plain = cluster_manifest(place.model_copy(update={"tls": None, "insecure": True}))
    assert "tls" not in json.dumps(plain)


def test_the_network_policy_is_one():
    policy = yaml.safe_load((DEPLOY / "kubernetes" / "network.yaml").read_text())
    assert (policy["kind"], policy["spec"]["policyTypes"]) == ("NetworkPolicy", ["Ingress"])
    label = {"matchExpressions": [{"key": "dask.org/cluster-name", "operator": "Exists"}]}
    assert policy["spec"]["podSelector"] == label
    assert policy["spec"]["ingress"] == [{"from": [{"podSelector": label}]}]


@pytest.mark.parametrize("name", ["digits", "Fashion_MNIST.v2", "x" * 80, "ImageNet@1000"])
def test_names_of_jobs_are_names_of_pods(name):
    from dask_kubernetes.operator.validation import validate_cluster_name

    validate_cluster_name(job_name(name))
    assert job_name(name) != job_name(name)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('name = "Dnuc"', "name: "),
        ('mount = "data"', "mount: "),
        ("user = 0", "user: "),
        ('memory = "1Gi"', "memory: "),
    ],
)
def test_refused_files(tmp_path, line, message):
    settings = {"workers": "1", "image": '"x"', "claim": '"data"', "memory": '"4GiB"'}
    settings.pop(line.split(" ", 1)[0], None)
    text = "\n".join(f"{k} = {v}" for k, v in settings.items())
    (tmp_path / "x.toml").write_text(f'kind = "kubernetes"\n{text}\n{line}\n')
    with pytest.raises(JobError, match=rf"x.toml: {message}"):
        read_deployment(tmp_path / "x.toml")


# --- the calls ----------------------------------------------------------------------------------------------------


class Api(BaseHTTPRequestHandler):
    """As much of the Kubernetes API as a DaskCluster needs; its scheduler already runs, at `server.port`."""

    def log_message(self, *arguments):
        pass

    def _answer(self, content, status=200):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        path = self.path.partition("?")[0]
        if "/pods" in path:
            ready = {"type": "Ready", "status": "True"}
            status = {"phase": "Running", "conditions": [ready, ready | {"type": "ContainersReady"}]}
            pod = {"metadata": {"name": "p", "namespace": "lab"}, "spec": {}, "status": status}
            return self._answer({"kind": "PodList", "items": [pod]} if path.endswith("/pods") else pod)
        if "/services" in path:
            service = {
                "metadata": {"name": "dnuc-scheduler", "namespace": "lab"},
                "spec": {"type": "LoadBalancer", "ports": [{"name": "tcp-comm", "port": self.server.port}]},
                "status": {"loadBalancer": {"ingress": [{"ip": "127.0.0.1"}]}},
            }
            return self._answer({"kind": "ServiceList", "items": [service]} if path.endswith("/services") else service)
        if "/daskclusters" in path:
            items = self.server.clusters
            if path.endswith("/daskclusters"):
                return self._answer({"kind": "DaskClusterList", "items": items})
            return self._answer(items[0]) if items else self._answer({"message": "not found"}, 404)
        return self._answer({"gitVersion": "v1.33.0", "major": "1", "minor": "33"})

    def do_POST(self):
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.refuses:
            return self._answer({"kind": "Status", "message": "daskclusters is forbidden", "code": 403}, 403)
        self.server.created.append((self.path.partition("?")[0], content))
        self.server.clusters.append(content)
        return self._answer(content, 201)

    def do_DELETE(self):
        self.server.deleted.append(self.path.partition("?")[0])
        self.server.clusters.clear()
        self._answer({"kind": "Status", "status": "Success"})


@pytest.fixture
def kubernetes(tmp_path, monkeypatch):
    """The stand-in, and a configuration of kubectl that leads to it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    server.created, server.deleted, server.clusters, server.refuses, server.port = [], [], [], False, 0
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "lab"}}],
        "current-context": "x",
    }
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def lab(authority, **settings):
    return Kubernetes(
        workers=1,
        memory="2GiB",
        image="dnuc:test",
        claim="data",
        namespace="lab",
        tls=authority.tls("client"),
        **settings,
    )


def double(x):
    return 2 * x


@pytest.mark.cluster
def test_a_cluster_is_made_used_with_certificates_and_removed(kubernetes, authority, tmp_path):
    place = lab(authority)
    with cluster(tmp_path, authority.options("scheduler"), authority.options("worker")) as (_, address):
        kubernetes.port = int(address.rpartition(":")[2])
        with connect(place, Progress(quiet=True)) as found:
            assert [r for _, r in found.run([Task(double, (4,))])] == [8]
            assert found.client.scheduler.address == address
    where = "/apis/kubernetes.dask.org/v1/namespaces/lab/daskclusters"
    [(path, manifest)] = kubernetes.created
    assert path == where
    assert manifest["spec"] == cluster_manifest(place)["spec"]
    assert kubernetes.deleted == [f"{where}/dnuc"]


def test_a_refusal_of_kubernetes_is_told(kubernetes, authority):
    kubernetes.refuses = True
    with (
        pytest.raises(ResourceError, match=r"Kubernetes refused DaskCluster 'dnuc' in namespace 'lab': .*forbidden"),
        connect(lab(authority), Progress(quiet=True)),
    ):
        raise AssertionError("not reached")
