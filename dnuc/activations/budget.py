"""How layers share a disk that not all of them fit on: bytes in, groups of layers out.

A group is extracted, used and dropped before the next one. Every pass is a forward pass over all samples, so there are
as few of them as first-fit-decreasing finds::

    budget  |== kept ==|= compared =|======== room: the layers of one pass ========|
                 |          |
                 |          rows that [similarity] compares, of the layers of a network in several passes
                 layers in activations.keep, once they are extracted
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from dnuc.activations.runs import FEATURES_A_CHUNK, stored_bytes
from dnuc.errors import LayerError, ResourceError, closest
from dnuc.job import Activations, Job

Key = tuple[str, str]  # model, layer
OF_A_LAYER = 2**14  # bytes: descriptions of its arrays, and its marker
OF_A_BLOCK = 8  # the mark of a block, with its checksum
OF_A_CHUNK = 32  # a checksum, and its place in a shard


@dataclass(frozen=True)
class Share:
    """What a layer takes of the disk."""

    key: Key
    bytes: int  # of its activations
    compared: int = 0  # of those rows that [similarity] compares


def disk_bytes(n: int, features: int, rows: int, dtype: str) -> int:
    """Bytes of a layer's activations with all that is stored beside them, at most."""
    blocks = -(-n // min(rows, n))
    chunks = blocks * -(-features // min(features, FEATURES_A_CHUNK))
    return stored_bytes(n, features, rows, dtype) + OF_A_LAYER + blocks * OF_A_BLOCK + chunks * OF_A_CHUNK


def share_of(key: Key, job: Job, n: int, features: int, rows: int) -> Share:
    """A layer's share, if `rows` samples make a block."""
    settings, dtype = job.similarity, job.activations.dtype
    count = min(n, settings.samples or n)
    compared = disk_bytes(count, features, rows, dtype) if settings.compares_samples else 0
    return Share(key, disk_bytes(n, features, rows, dtype), compared)


@dataclass(frozen=True)
class Budget:
    """The layers of a job on a disk that may hold so many bytes of them at a time.

    limit: None where the job sets none.
    """

    limit: int | None
    shares: Mapping[Key, Share]
    kept: Collection[Key] = ()

    @classmethod
    def of(cls, settings: Activations, shares: Sequence[Share]) -> Budget:
        """The budget of a job.

        Raises
        ------
        LayerError
            If activations.keep names no layer of the job.
        ResourceError
            If not even one layer at a time fits: with the bytes needed.
        """
        by_key = {share.key: share for share in shares}
        _check_names(settings, by_key)
        found = cls(settings.storage_budget, by_key, [key for key in by_key if settings.keeps(*key)])
        for model in dict.fromkeys(model for model, _ in by_key):
            found._check(model)
        return found

    @property
    def total(self) -> int:
        """Bytes of all layers."""
        return sum(share.bytes for share in self.shares.values())

    @property
    def holds_all(self) -> bool:
        """Whether nothing needs to be dropped."""
        return self.limit is None or self.total <= self.limit

    def needed(self, wanted: Collection[Key]) -> int:
        """The most bytes at any moment until the wanted layers have had their turn."""
        models = dict.fromkeys(model for model, _ in wanted)
        groups = [(model, group) for model in models for group in self.passes(model, wanted)]
        return max(
            (self.reserved(m) + self._bytes_of([k for k in g if k not in self.kept]) for m, g in groups), default=0
        )

    def fits(self, model: str) -> bool:
        """Whether all layers of a network can be there at the same time."""
        return self.limit is None or self._kept_beside(model) + sum(s.bytes for s in self._of(model)) <= self.limit

    def reserved(self, model: str) -> int:
        """Bytes that are no room for the layers of a pass of a network: kept layers, and rows that are compared."""
        return self._bytes_of(self.kept) + (0 if self.fits(model) else self._compared(model))

    def passes(self, model: str, wanted: Collection[Key], stored: Collection[Key] = ()) -> list[list[Key]]:
        """The wanted layers of a network in groups that fit, each in order of depth; kept ones come with the first.

        Those that are `stored` already share the first groups, as they did before a run was stopped.
        """
        keys = [share.key for share in self._of(model) if share.key in wanted]
        if self.fits(model):
            return [keys] if keys else []
        passing = [key for key in keys if key not in self.kept]
        sizes = {key: self.shares[key].bytes for key in passing}
        order = sorted(passing, key=lambda key: (key not in stored, -sizes[key], passing.index(key)))
        groups = _first_fit(order, sizes, (self.limit or 0) - self.reserved(model)) or [[]]
        groups[0] += [key for key in keys if key in self.kept]
        return [sorted(group, key=keys.index) for group in groups if group]

    def forward_passes(self, model: str, again: bool = False) -> int:
        """How often all samples go through a network; `again`: layers have a second turn, after the first of all.

        What the first turn left on the disk is not extracted again.
        """
        count, stored = 0, set[Key]()
        for turn in range(1 + again):
            for group in self.passes(model, [share.key for share in self._of(model)], stored):
                count += not {*group} <= stored
                stored = (stored | {*group}) - {*self.leaving(model, group, [k for k in self.shares if k in stored])}
                if turn == again:
                    stored -= {*group} - {*self.kept}
        return count

    def leaving(self, model: str, group: Collection[Key], stored: Collection[Key]) -> list[Key]:
        """Which of the `stored` layers must go before a pass begins: the last ones, as many as are in its way."""
        others = [key for key in stored if key not in group and key not in self.kept]
        staying = len(others)
        while staying and self._bytes_of(others[:staying]) > self._room(model, group):
            staying -= 1
        return others[staying:]

    def _room(self, model: str, group: Collection[Key]) -> int:
        passing = [key for key in group if key not in self.kept]
        return (self.limit or 0) - self.reserved(model) - self._bytes_of(passing)

    def _check(self, model: str) -> None:
        if self.fits(model) or self.limit is None:
            return
        passing = [share for share in self._of(model) if share.key not in self.kept]
        needed = self.reserved(model) + max((share.bytes for share in passing), default=0)
        if needed <= self.limit:
            return
        kept, compared = self._bytes_of(self.kept), self._compared(model)
        largest = max(passing, key=lambda share: share.bytes, default=None)
        parts = [f"{largest.bytes:,} bytes for {'/'.join(largest.key)}, the largest layer"] if largest else []
        ways = [f"set it to {needed:,} or more", "look at fewer layers", 'set activations.dtype = "float16"']
        if kept:
            parts.append(f"{kept:,} for layers in activations.keep")
            ways.append("keep fewer layers")
        if compared:
            parts.append(f"{compared:,} for the samples that [similarity] compares in all layers of {model}")
            ways.append("lower similarity.samples")
        raise ResourceError(
            f"activations.storage_budget = {self.limit:,} bytes are too few: {needed:,} are needed at the same time "
            f"({', '.join(parts)}): {', '.join(ways[:-1])} or {ways[-1]}"
        )

    def _of(self, model: str) -> list[Share]:
        return [share for (m, _), share in self.shares.items() if m == model]

    def _compared(self, model: str) -> int:
        return sum(share.compared for share in self._of(model) if share.key not in self.kept)

    def _bytes_of(self, keys: Collection[Key]) -> int:
        return sum(self.shares[key].bytes for key in keys)

    def _kept_beside(self, model: str) -> int:
        return self._bytes_of([key for key in self.kept if key[0] != model])


def _first_fit(order: Sequence[Key], sizes: Mapping[Key, int], room: int) -> list[list[Key]]:
    """Each into the first group that has room for it."""
    groups: list[list[Key]] = []
    for key in order:
        for group in groups:
            if sum(sizes[k] for k in group) + sizes[key] <= room:
                group.append(key)
                break
        else:
            groups.append([key])
    return groups


def _check_names(settings: Activations, layers: Collection[Key]) -> None:
    known = {name for model, layer in layers for name in (layer, f"{model}/{layer}")}
    unknown = [name for name in settings.keep if name not in known]
    if unknown:
        raise LayerError(
            f"activations.keep names {unknown[0]!r}, which is no layer of this job; "
            f"{closest(unknown[0], sorted(known))}"
        )
