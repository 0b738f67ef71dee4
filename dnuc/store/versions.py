"""Which versions computed a run: results of two are not mixed unless somebody says so."""

from __future__ import annotations

from collections.abc import Mapping

from dnuc.errors import StoreError
from dnuc.store.run import RunStore

VERSIONS, EARLIER = "versions", "earlier_versions"  # of the root group


def version_changes(store: RunStore, versions: Mapping[str, str], *, force: bool = False) -> list[str]:
    """What differs between the versions that computed a run until now and those that would go on.

    versions : {"dnuc": .., "torch": ..}, those that would; force : whether that is meant.

    Raises
    ------
    StoreError
        If some differ and it is not meant.
    """
    before = _computed_with(store)
    names = [name for name in before if name in versions and versions[name] != before[name]]
    if names and not force:
        was, now = (" and ".join(f"{name} {of[name]}" for name in names) for of in (before, versions))
        raise StoreError(
            f"{store.path} was computed with {was}, this is {now}: results may differ in the last bits, and the run "
            "would hold both. Use the version that it was computed with, give another directory with --out, or say "
            "--force to go on with this one"
        )
    return [f"{name}: {before[name]} -> {versions[name]}" for name in names]


def note_versions(store: RunStore, versions: Mapping[str, str]) -> None:
    """Record the versions that compute a run from now on, beside those of before."""
    before, attributes = _computed_with(store), store.attributes("")
    if attributes.get(VERSIONS) == dict(versions):
        return
    earlier = list(attributes.get(EARLIER, []))
    if any(versions.get(name) != version for name, version in before.items()):
        earlier.append(before)
    store.describe("", **{VERSIONS: dict(versions), EARLIER: earlier})


def _computed_with(store: RunStore) -> dict[str, str]:
    """Nothing if there is nothing yet; only dnuc's for a run of before others were recorded."""
    if not store.exists("samples"):
        return {}
    attributes = store.attributes("")
    return {"dnuc": attributes["dnuc_version"]} | attributes.get(VERSIONS, {})
