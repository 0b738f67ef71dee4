"""How a trained network builds its concepts."""

from dnuc._version import __version__

__all__ = ["__version__"]
