"""Which dnuc and which torch compute: other versions may give other last bits, and those of one run shall agree."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata

from distributed import Client

from dnuc._version import __version__
from dnuc.errors import ResourceError


def installed() -> dict[str, str]:
    """Versions in this process: {"dnuc": .., "torch": ..}."""
    return {"dnuc": __version__, "torch": metadata.version("torch")}


def common_versions(client: Client) -> dict[str, str]:
    """Versions on the workers, which all have the same.

    Their dnuc is the one that is here. Their torch need not be: a client without a GPU may have one that knows none.

    Raises
    ------
    ResourceError
        If a worker has no dnuc or another one, or another torch than the other workers.
    """

    def look() -> dict[str, str]:  # a function in a function travels by value: the worker may not have dnuc to find it
        from importlib import metadata

        from dnuc._version import __version__ as version

        return {"dnuc": version, "torch": metadata.version("torch")}

    try:
        found = client.run(look)
    except ModuleNotFoundError as error:  # of dnuc or, as a package that is not found, of torch
        raise ResourceError(
            f"workers cannot import dnuc ({error}): install dnuc {__version__} in the environment of the workers"
        ) from None
    _same("dnuc", __version__, "here", found)
    first = next(iter(found))
    _same("torch", found[first]["torch"], first, found)
    return found[first]


def _same(name: str, wanted: str, where: str, found: Mapping[str, Mapping[str, str]]) -> None:
    wrong = {worker: versions[name] for worker, versions in found.items() if versions[name] != wanted}
    if wrong:
        worker, version = next(iter(wrong.items()))
        raise ResourceError(
            f"{len(wrong)} of {len(found)} workers have another {name} version (e.g. {worker}: {version}; {where}: "
            f"{wanted}): install the same version everywhere"
        )
