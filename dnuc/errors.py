"""Errors a user can act on: what was given, where, what is allowed, and the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DnucError(ValueError):
    """A refusal: the input cannot give a right answer. The message names the way out."""


class DataError(DnucError):
    """Samples, labels or images are unusable as given."""


class JobError(DnucError):
    """A job or deployment file says something dnuc does not know."""


class LayerError(DnucError):
    """A layer, model or weights name is unknown."""


class StoreError(DnucError):
    """A run directory is damaged, of another job, or not a run directory."""


class ResourceError(DnucError):
    """Memory, disk or workers do not suffice; the message says how much is needed."""


class SecurityError(DnucError):
    """A connection or file that others could read, join or forge."""


def closest(name: str, allowed: Iterable[str], count: int = 3) -> str:
    """The allowed names most like `name`, as the end of an error message.

    >>> closest("conv5", ["conv4", "fc", "layer4"])
    "closest: 'conv4'"
    >>> closest("zzz", ["a", "b"])
    "allowed: 'a', 'b'"
    """
    names = list(allowed)
    near = difflib.get_close_matches(name, names, n=count, cutoff=0.6)
    shown = near or names[:12]
    more = "" if near or len(names) <= 12 else f", ... ({len(names)} in all)"
    return ("closest: " if near else "allowed: ") + ", ".join(repr(n) for n in shown) + more
