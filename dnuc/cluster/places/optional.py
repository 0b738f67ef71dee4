"""Libraries that only some places need."""

from __future__ import annotations

import importlib
from typing import Any

from dnuc.errors import ResourceError


def need(module: str, extra: str, what: str) -> Any:
    """A module of an optional library.

    Raises
    ------
    ResourceError
        If it is not installed; the message says how to.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ResourceError(
            f"{what} needs {module.partition('.')[0].replace('_', '-')} ({error}): pip install 'dnuc[{extra}]'"
        ) from None
