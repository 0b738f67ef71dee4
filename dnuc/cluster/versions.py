"""Which dnuc and which torch compute: other versions may give other last bits, and those of one run shall agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
        If a worker has no dnuc or another one, or another torch than the other workers; or the scheduler has no dnuc,
        or another one.
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
    _check_scheduler(client, look)
    first = next(iter(found))
    _same("torch", found[first]["torch"], first, found)
    return found[first]


def _check_scheduler(client: Client, look: Callable[[], dict[str, str]]) -> None:
    """It unpacks every task before it gives it to a worker."""
    try:
        version = client.run_on_scheduler(look)["dnuc"]
    except ModuleNotFoundError as error:
        raise ResourceError(
            f"the scheduler cannot import dnuc ({error}): install dnuc {__version__} in the environment of the "
            "scheduler too"
        ) from None
    if version != __version__:
        raise ResourceError(
            f"the scheduler has another dnuc version ({version}; here: {__version__}): install the same version "
            "everywhere"
        )


def _same(name: str, wanted: str, where: str, found: Mapping[str, Mapping[str, str]]) -> None:
    wrong = {worker: versions[name] for worker, versions in found.items() if versions[name] != wanted}
    if wrong:
        worker, version = next(iter(wrong.items()))
        raise ResourceError(
            f"{len(wrong)} of {len(found)} workers have another {name} version (e.g. {worker}: {version}; {where}: "
            f"{wanted}): install the same version everywhere"
        )
