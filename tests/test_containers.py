"""The container files: what is built, as whom it runs, and that no key or port gets out."""

import re
from itertools import pairwise

import yaml

from dnuc.cluster import Scheduler, read_deployment
from dnuc.cluster.security import Tls
from tests.conftest import ROOT

CONTAINERS = ROOT / "deploy" / "containers"


def stages():
    """The stages of the Containerfile: name -> (base, instructions)."""
    text = re.sub(r"\\\n", " ", (CONTAINERS / "Containerfile").read_text())
    found, current = {}, None
    for line in text.splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            current = found[name] = (base, [])
        elif word and not word.startswith("#"):
            current[1].append((word, rest.strip()))
    return found


def value(stage, word):
    return [rest for found, rest in stages()[stage][1] if found == word]


def test_three_images_of_one_base():
    assert [(name, base) for name, (base, _) in stages().items()][2:] == [
        *(("scheduler", "base"), ("worker", "base"), ("client", "base")),
    ]


def test_they_are_pinned():
    bases = {base for base, _ in stages().values()} - {"base"}
    assert bases == {"docker.io/library/python:3.12.12-slim-bookworm"}
    [install] = value("build", "RUN")
    assert "--constraint /src/constraints.txt" in install


def test_they_run_as_an_ordinary_user():
    assert value("base", "USER") == ["1000:1000"]
    assert all(not value(stage, "USER") for stage in ("scheduler", "worker", "client"))


def test_what_is_copied_exists():
    for stage in ("build", "base"):
        for rest in value(stage, "COPY"):
            if not rest.startswith("--from="):
                assert all((ROOT / name).exists() for name in rest.split()[:-1]), rest


def test_no_key_is_sent_to_the_builder():
    for name in (".dockerignore", ".containerignore"):
        assert {"deploy/certs", "certs"} <= set((ROOT / name).read_text().splitlines())
    assert "certs/" in (ROOT / ".gitignore").read_text().splitlines()  # nor put under version control


def test_schedulers_and_workers_need_certificates_and_hide_their_pages():
    for stage, page in (("scheduler", "127.0.0.1:8787"), ("worker", "127.0.0.1:0")):
        [entry] = value(stage, "ENTRYPOINT")
        command = yaml.safe_load(entry)
        options = dict(pairwise(command))
        assert command[:2] == ["dask", stage]
        assert options["--dashboard-address"] == page
        assert [options[f"--tls-{name}"] for name in ("ca-file", "cert", "key")] == [
            *("/certs/ca.pem", f"/certs/{stage}.pem", f"/certs/{stage}-key.pem"),
        ]


def test_dask_takes_these_command_lines():
    """The options exist: they are parsed by the installed commands."""
    from distributed.cli.dask_scheduler import main as scheduler
    from distributed.cli.dask_worker import main as worker

    for stage, command in (("scheduler", scheduler), ("worker", worker)):
        [entry] = value(stage, "ENTRYPOINT")
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in yaml.safe_load(entry) if word.startswith("--")} <= known


def services():
    return yaml.safe_load((CONTAINERS / "compose.yaml").read_text())["services"]


def test_the_compose_file_is_a_cluster_of_three_nodes():
    found = services()
    assert list(found) == ["scheduler", "worker-1", "worker-2", "client"]
    assert {name: each["build"]["target"] for name, each in found.items()} == {
        **{"scheduler": "scheduler", "worker-1": "worker", "worker-2": "worker", "client": "client"},
    }
    for name, each in found.items():
        assert each["user"] == "1000:1000"
        assert each["cap_drop"] == ["ALL"]
        assert each["security_opt"] == ["no-new-privileges:true"]
        assert "ports" not in each  # nothing is reachable from outside
        role = each["build"]["target"]
        keys = [volume for volume in each["volumes"] if volume.endswith("-key.pem:ro")]
        assert keys == [f"../certs/{role}-key.pem:/certs/{role}-key.pem:ro"], name
        assert (CONTAINERS / each["build"]["context"]).resolve() == ROOT
        assert (ROOT / each["build"]["dockerfile"]).is_file()
    assert found["worker-1"]["command"][0] == "tls://scheduler:8786"


def test_workers_and_client_share_the_run_directory():
    shared = [name for name, each in services().items() if "data:/data" in each["volumes"]]
    assert shared == ["worker-1", "worker-2", "client"]


def test_the_client_finds_the_scheduler():
    place = read_deployment(CONTAINERS / "compose.toml")
    tls = Tls(ca="/certs/ca.pem", cert="/certs/client.pem", key="/certs/client-key.pem")
    assert place == Scheduler(address="tls://scheduler:8786", tls=tls, wait="120s")
    assert "./compose.toml:/deploy/compose.toml:ro" in services()["client"]["volumes"]
