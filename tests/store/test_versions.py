"""A run goes on with the versions that computed it, or with others if somebody says so; they are recorded."""

import pytest

from dnuc.errors import StoreError
from dnuc.store import RunStore, note_versions, version_changes

FIRST = {"dnuc": "0.1.0", "torch": "2.9.1"}
OTHER = FIRST | {"torch": "2.10.0"}


@pytest.fixture
def store(tmp_path):
    """A run that holds something."""
    store = RunStore.create(tmp_path / "run")
    note_versions(store, FIRST)
    store.finish("samples")
    return store


def test_the_same_versions_go_on(store):
    assert version_changes(store, FIRST) == []


def test_another_version_is_refused_with_the_ways_out(store):
    told = r"run was computed with torch 2.9.1, this is torch 2.10.0: .* --out, or say --force to go on with this one"
    with pytest.raises(StoreError, match=told):
        version_changes(store, OTHER)
    with pytest.raises(StoreError, match=r"with dnuc 0.1.0 and torch 2.9.1, this is dnuc 0.2.0 and torch 2.10.0"):
        version_changes(store, {"dnuc": "0.2.0", "torch": "2.10.0"})


def test_with_force_it_goes_on_and_all_versions_are_recorded(store):
    assert version_changes(store, OTHER, force=True) == ["torch: 2.9.1 -> 2.10.0"]
    note_versions(store, OTHER)
    attributes = store.attributes("")
    assert (attributes["versions"], attributes["earlier_versions"]) == (OTHER, [FIRST])
    assert version_changes(store, OTHER) == []
    with pytest.raises(StoreError, match=r"with torch 2.10.0, this is torch 2.9.1"):
        version_changes(store, FIRST)


def test_a_directory_that_holds_nothing_takes_any_version(tmp_path):
    store = RunStore.create(tmp_path / "run")
    note_versions(store, FIRST)
    assert version_changes(store, OTHER) == []
    note_versions(store, OTHER)
    assert store.attributes("")["earlier_versions"] == []


def test_a_run_of_before_versions_were_recorded_tells_only_its_dnuc(tmp_path):
    store = RunStore.create(tmp_path / "run")
    store.describe("", dnuc_version="0.0.9")
    store.finish("samples")
    with pytest.raises(StoreError, match=r"with dnuc 0.0.9, this is dnuc 0.1.0"):
        version_changes(store, FIRST)
