"""Who gets in: a real scheduler with TLS on the loopback address, and everybody who knocks."""

import json

import pytest
from distributed import Client
from distributed.comm import CommClosedError
from hypothesis import given
from hypothesis import strategies as st

from dnuc.cluster import Local, Progress, Scheduler, Task, certificates, connect, read_deployment, security
from dnuc.cluster.connect import checked
from dnuc.cluster.security import Tls, check_addresses, host_of, is_loopback, is_safe
from dnuc.errors import JobError, ResourceError, SecurityError
from tests.cluster.knocking import knock
from tests.cluster.processes import cluster, worker
from tests.conftest import wait_until


def double(x):
    return 2 * x


# --- addresses ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "safe"),
    [
        ("tls://10.0.0.1:8786", True),
        ("wss://head:443", True),
        ("inproc://127.0.0.1/1/2", True),
        ("tcp://127.0.0.1:8786", True),
        ("tcp://127.3.2.1:8786", True),
        ("tcp://localhost:8786", True),
        ("tcp://[::1]:8786", True),
        ("tcp://10.0.0.1:8786", False),
        ("tcp://0.0.0.0:8786", False),
        ("tcp://[2001:db8::1]:8786", False),
        ("ws://10.0.0.1:80", False),
        ("tcp://nowhere.invalid:8786", False),
        ("10.0.0.1:8786", False),
        ("tcp://", False),
    ],
)  # fmt: skip
def test_what_others_can_reach_needs_tls(address, safe):
    assert is_safe(address) == safe
    if safe:
        check_addresses([address], insecure=False, what="the scheduler")
    else:
        with pytest.raises(SecurityError, match=r"the scheduler at .* is not encrypted: whoever reaches that port can"):
            check_addresses(["tls://10.0.0.1:1", address], insecure=False, what="the scheduler")
        check_addresses([address], insecure=True, what="the scheduler")


@given(st.ip_addresses(), st.integers(1, 65535))
def test_hosts_are_read_off_any_address(ip, port):
    host = f"[{ip}]" if ip.version == 6 else str(ip)
    assert host_of(f"tcp://{host}:{port}") == str(ip)
    assert is_loopback(str(ip)) == ip.is_loopback


def test_a_name_is_loopback_only_if_all_its_addresses_are(monkeypatch):
    found = {"both": ["127.0.0.1", "10.0.0.1"], "own": ["127.0.0.1", "::1"], "scoped": ["fe80::1%eth0"]}
    monkeypatch.setattr(security.socket, "getaddrinfo", lambda host, port: [(0, 0, 0, "", (a, 0)) for a in found[host]])
    assert [is_loopback(name) for name in found] == [False, True, False]
    is_loopback.cache_clear()


def test_an_unsafe_place_is_refused_before_anything_starts(tmp_path):
    file = tmp_path / "scheduler.json"
    file.write_text(json.dumps({"address": "tcp://192.0.2.1:8786"}))
    for on in ("tcp://192.0.2.1:8786", file):
        with (
            pytest.raises(SecurityError, match=r"the Dask scheduler at tcp://192.0.2.1:8786 is not encrypted"),
            connect(on, Progress(quiet=True)),
        ):
            raise AssertionError("not reached")
    trusted = tmp_path / "trusted.toml"
    trusted.write_text('kind = "scheduler"\naddress = "tcp://192.0.2.1:8786"\ninsecure = true\n')
    read_deployment(trusted).check()


def test_an_encrypted_scheduler_needs_certificates():
    with pytest.raises(SecurityError, match=r"tls://192.0.2.1:8786 needs certificates: `dnuc certs certs` makes"):
        Scheduler(address="tls://192.0.2.1:8786").check()


def test_dasks_own_configuration_may_name_the_certificates(authority):
    import dask

    tls = {"ca-file": str(authority.directory / "ca.pem"), "client": {"cert": str(authority.directory / "client.pem")}}
    with dask.config.set({"distributed.comm.tls": tls}):
        Scheduler(address="tls://192.0.2.1:8786").check()


def test_certificates_for_a_plain_address_are_a_mistake(authority):
    with pytest.raises(SecurityError, match=r"\[tls\] is given, but tcp://127.0.0.1:8786 is not encrypted"):
        Scheduler(address="tcp://127.0.0.1:8786", tls=authority.tls("client")).check()


def test_a_file_that_is_no_scheduler_file(tmp_path):
    (tmp_path / "s.json").write_text("{}")
    for name in ("s.json", "absent.json"):
        with pytest.raises(ResourceError, match=rf"scheduler file '.*{name}' cannot be read"):
            Scheduler(file=tmp_path / name).check()


# --- certificates of this side -------------------------------------------------------------------------------------


def test_the_files_in_a_deployment_are_beside_it(authority, tmp_path):
    (tmp_path / "certs").symlink_to(authority.directory)
    text = 'kind = "scheduler"\naddress = "tls://192.0.2.1:8786"\n[tls]\nca = "certs/ca.pem"\n'
    place = tmp_path / "place.toml"
    place.write_text(f'{text}cert = "certs/client.pem"\nkey = "certs/client-key.pem"\n')
    found = read_deployment(place)
    assert found.tls == authority.tls("client")
    found.check()
    place.write_text(f'{text}certificate = "certs/client.pem"\nkey = "certs/client-key.pem"\n')
    with pytest.raises(JobError, match=r"tls.cert: Field required"):
        read_deployment(place)
    place.write_text(f'{text}cert = "certs/client.pem"\nkey = "certs/client-key.pem"\nkeys = "x"\n')
    with pytest.raises(JobError, match=r"unknown key 'tls.keys'; closest: 'key'"):
        read_deployment(place)


def test_a_key_that_others_can_read_is_refused(tmp_path):
    certificates.make_certificates(tmp_path, ["client"])
    tls = Tls(ca=tmp_path / "ca.pem", cert=tmp_path / "client.pem", key=tmp_path / "client-key.pem")
    tls.check()
    tls.key.chmod(0o644)
    with pytest.raises(SecurityError, match=r"can be read by everybody on this machine: chmod 600"):
        tls.check()


def test_files_that_do_not_belong_together(authority, tmp_path):
    mine = authority.tls("client")
    with pytest.raises(SecurityError, match="are no authority, certificate and key that belong together"):
        mine.model_copy(update={"key": authority.tls("worker").key}).check()
    (tmp_path / "empty.pem").write_text("")
    for name in ("ca", "cert"):
        with pytest.raises(SecurityError, match="are no authority, certificate and key that belong together"):
            mine.model_copy(update={name: tmp_path / "empty.pem"}).check()
        with pytest.raises(SecurityError, match=rf"tls.{name} = '.*absent.pem': no such file; `dnuc certs certs`"):
            mine.model_copy(update={name: tmp_path / "absent.pem"}).check()


@pytest.mark.parametrize(("start", "days", "told"), [(-10, 5, "expired on 20"), (10, 5, "is valid from 20.* on, and")])
def test_certificates_have_their_time(tmp_path, monkeypatch, start, days, told):
    from datetime import UTC, datetime, timedelta

    class Clock:
        @staticmethod
        def now(zone):
            return datetime.now(UTC) + timedelta(days=start)

    with monkeypatch.context() as patch:
        patch.setattr(certificates, "datetime", Clock)
        patch.setattr(certificates, "AUTHORITY_DAYS", days)
        certificates.make_certificates(tmp_path, ["client"], days)
    tls = Tls(ca=tmp_path / "ca.pem", cert=tmp_path / "client.pem", key=tmp_path / "client-key.pem")
    with pytest.raises(SecurityError, match=told):
        tls.check()


# --- a real scheduler ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(authority, tmp_path_factory):
    """A scheduler and a worker with certificates, on the loopback address: (directory, address)."""
    directory = tmp_path_factory.mktemp("guarded")
    with cluster(directory, authority.options("scheduler"), authority.options("worker")) as (_, address):
        yield directory, address


@pytest.mark.cluster
def test_who_has_a_certificate_works_end_to_end(guarded, authority, tmp_path, capfd):
    directory, address = guarded
    assert address.startswith("tls://127.0.0.1:")
    place = tmp_path / "place.toml"
    for where in (f'address = "{address}"', f'file = "{directory}/scheduler.json"'):
        tls = "\n".join(f'{n} = "{getattr(authority.tls("client"), n)}"' for n in ("ca", "cert", "key"))
        place.write_text(f'kind = "scheduler"\n{where}\n[tls]\n{tls}\n')
        with connect(place, Progress()) as found:
            assert sorted(r for _, r in found.run([Task(double, (x,)) for x in range(5)])) == [0, 2, 4, 6, 8]
            assert all(a.startswith("tls://") for a in found.client.scheduler_info(n_workers=-1)["workers"])
    assert "dashboard: http://127.0.0.1:" in capfd.readouterr().err


@pytest.mark.cluster
def test_any_certificate_of_the_authority_is_good_for_any_role(guarded, authority):
    """Which docs/security.md says: the authority must be private to one cluster."""
    _, address = guarded
    with connect(Scheduler(address=address, tls=authority.tls("worker")), Progress(quiet=True)) as found:
        assert [r for _, r in found.run([Task(double, (3,))])] == [6]


@pytest.mark.cluster
def test_who_has_none_is_refused(guarded, authority, foreign):
    """Plain TCP, a certificate of another authority, and one that trusts the right authority but is of another."""
    _, address = guarded
    mixed = Tls(ca=authority.tls("client").ca, cert=foreign.tls("client").cert, key=foreign.tls("client").key)
    for tls, where, told in (
        (None, address.replace("tls://", "tcp://"), "does it expect TLS"),
        (foreign.tls("client"), address, r"CERTIFICATE_VERIFY_FAILED.* is its certificate of the authority '.*foreign"),
        (mixed, address, r"(unknown ca|UNKNOWN_CA|closed).* is its certificate of the authority"),
    ):
        with (
            pytest.raises(ResourceError, match=rf"no Dask scheduler answers at {where}: (?s:.*){told}"),
            connect(Scheduler(address=where, tls=tls, timeout="2s"), Progress(quiet=True)),
        ):
            raise AssertionError("not reached")


@pytest.mark.cluster
def test_the_scheduler_itself_refuses_them(guarded, foreign):
    """Not dnuc's good manners: Dask's own client gets nothing either, nor does a bare TLS connection."""
    _, address = guarded
    with pytest.raises((OSError, CommClosedError)):
        Client(address.replace("tls://", "tcp://"), timeout="2s", set_as_default=False)
    with pytest.raises((OSError, CommClosedError)):
        Client(address, security=foreign.tls("client").security(), timeout="2s", set_as_default=False)
    with pytest.raises(OSError, match=r"(?i)certificate required|reset|closed|EOF"):
        knock(address)


@pytest.mark.cluster
def test_a_worker_without_a_certificate_does_not_join(guarded, authority, foreign, tmp_path):
    _, address = guarded
    with Client(address, security=authority.tls("client").security(), set_as_default=False) as client:
        client.wait_for_workers(1, timeout=60)
        for name, where, options in (
            ("plain", address.replace("tls://", "tcp://"), ()),
            ("foreign", address, foreign.options("worker")),
        ):
            (tmp_path / name).mkdir()
            with worker(tmp_path / name, where, *options, "--death-timeout", "3") as process:
                wait_until(lambda process=process: not process.is_alive())
            assert len(client.scheduler_info(n_workers=-1)["workers"]) == 1


# --- a scheduler without ------------------------------------------------------------------------------------------


@pytest.mark.cluster
def test_a_scheduler_that_others_reach_is_refused_also_through_a_tunnel(client, monkeypatch):
    """The address that it gives itself counts: the near end of an ssh tunnel is always a loopback address."""
    monkeypatch.setattr("dnuc.cluster.security.is_loopback", lambda host: False)
    with pytest.raises(SecurityError, match=r"the Dask scheduler at tcp://127.0.0.1:\d+ is not encrypted"):
        checked(client, Progress(quiet=True))


@pytest.mark.cluster
def test_a_network_may_be_trusted_and_that_is_told(client, monkeypatch, capfd):
    monkeypatch.setattr("dnuc.cluster.security.is_loopback", lambda host: False)
    checked(client, Progress(), insecure=True)
    assert "connections are not encrypted: insecure = true in the deployment allows it" in capfd.readouterr().err


@pytest.mark.cluster
def test_a_machine_may_be_shared_with_other_users(tmp_path, monkeypatch):
    """They share the loopback address too, so a local cluster can ask for certificates even there."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)  # which is read from the environment once
    with connect(Local(workers=1, memory="2GiB", private=True), Progress(quiet=True)) as found:
        assert [r for _, r in found.run([Task(double, (4,))])] == [8]
        address = found.client.scheduler_info(n_workers=0)["address"]
        assert address.startswith("tls://127.0.0.1:")
        with pytest.raises(OSError, match=r"(?i)certificate required|reset|closed|EOF"):
            knock(address)
        # Python loads keys from files alone; Dask's are in temporary directories, which only their owner can open
        assert not [f for f in tmp_path.rglob("*") if f.is_file() and b"PRIVATE KEY" in f.read_bytes()]
