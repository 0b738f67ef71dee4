"""What [dimension] will cost, and what of it cannot be done, before anything is computed: integers in, numbers out."""

from __future__ import annotations

from collections.abc import Iterable

from dnuc.errors import DnucError, LayerError, ResourceError, closest
from dnuc.job import DimensionSettings
from dnuc.measures.decimation import levels
from dnuc.measures.pca import largest_sample, pca_bytes, sample_for


def check_dimension(settings: DimensionSettings, n: int) -> None:
    """Refuse decimation into blocks that are too small."""
    try:
        block_counts(settings, n)
    except DnucError as error:
        raise DnucError(f"dimension.decimation: {error}") from None


def check_spectrum(settings: DimensionSettings, n: int, features: int, itemsize: int, memory: int, label: str) -> None:
    """Refuse principal components for which a task has too little memory."""
    if not settings.pca:
        return
    samples = sample_for(n, features, settings.pca_samples) or n
    if (needed := pca_bytes(samples, features, itemsize)) > memory:
        raise ResourceError(
            f"the principal components of {label} ({samples} samples, {features} features) need "
            f"{needed / 2**20:,.0f} MiB, a task may use {memory / 2**20:,.0f} MiB: give workers more memory, or lower "
            f"dimension.pca_samples to {largest_sample(features, memory, itemsize)}"
        )


def check_surrogate(settings: DimensionSettings, n: int, features: int, memory: int, model: str, layer: str) -> None:
    """Refuse Gaussian samples of a layer for which a task has too little memory: they are held in it."""
    if not settings.wants_surrogate(model, layer):
        return
    side = min(n, features)
    needed = 8 * n * features + max(memory // 2, 3 * 8 * side**2)
    if needed > memory:
        raise ResourceError(
            f"dimension.surrogate: Gaussian samples like those of {model}/{layer} ({n} samples, {features} features) "
            f"take {needed / 2**20:,.0f} MiB, a task may use {memory / 2**20:,.0f} MiB: choose a layer with fewer "
            "features, or give workers more memory"
        )


def check_names(settings: DimensionSettings, layers: Iterable[tuple[str, str]]) -> None:
    """Refuse a name in dimension.surrogate that is no layer of the job."""
    known = [name for model, layer in layers for name in (layer, f"{model}/{layer}")]
    for name in settings.surrogate:
        if name not in known:
            raise LayerError(f"dimension.surrogate: no layer is called {name!r}; {closest(name, dict.fromkeys(known))}")


def block_counts(settings: DimensionSettings, n: int) -> list[int]:
    """Every number of blocks that decimation cuts n samples into; none if it is not asked for."""
    if not settings.decimation:
        return []
    return levels(n, None if isinstance(settings.decimation, bool) else settings.decimation)


def dimension_flop(settings: DimensionSettings, n: int, features: int, n_classes: int) -> float:
    """Multiplications and additions beyond the neighbor search, at most: stored lists save some of the searches.

    Classes are taken to be of equal size. A search of n samples is counted as n^2 D, for distances are symmetric.
    """
    pairs = float(n) * n * features
    searches = [pairs / b for b in block_counts(settings, n) if b > 1]
    searches += [pairs / max(1, n_classes)] if settings.per_class else []
    if not settings.pca:
        return sum(searches)
    samples = sample_for(n, features, settings.pca_samples) or n
    side = float(min(samples, features))
    return sum(searches) + side * samples * features + 4 / 3 * side**3
