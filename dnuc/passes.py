"""The stages that read activations, for as many layers at a time as the disk may hold.

Where all layers fit, there is one pass. Else each group of layers is extracted, searched and measured, and dropped
before the next one. What a layer is still needed for is read off the store, so a run that was stopped, or whose job
asks for more, extracts just those layers that something lacks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from dnuc.activations.budget import Key
from dnuc.activations.stage import Extractions, check_disk
from dnuc.cluster import Cluster
from dnuc.job import Job
from dnuc.measures.compared import compared_digest, run_compared
from dnuc.measures.dimension_stage import DimensionWork, run_dimensions
from dnuc.measures.similarity import SimilarityWork, columns_left, run_columns, run_similarity
from dnuc.neighbors.stage import LayerSearch, run_neighbors
from dnuc.store import RunStore, stage_group
from dnuc.units import size


@dataclass(frozen=True)
class Passes:
    """What a run computes from activations, and what it still lacks."""

    store: RunStore
    job: Job
    extractions: Extractions
    searches: Mapping[Key, LayerSearch]
    dimensions: list[DimensionWork]
    similarities: list[SimilarityWork]

    # --- what is lacking --------------------------------------------------------------------------------------------

    def wanted(self) -> list[Key]:
        """Layers whose activations are not there and are to be: now, or for something that they are needed for."""
        return [key for key in self.searches if self._is_wanted(key) and not self.extractions.holds(key)]

    def _is_wanted(self, key: Key) -> bool:
        if self.job.activations.keeps(*key) or self._is_needed(key):
            return True
        group = stage_group(*key, "activations")
        return self.holds_all and not self.store.is_complete(group, self.extractions.digests[key])

    def _is_needed(self, key: Key) -> bool:
        return self._lacks_results(key) or self._is_compared(key) or self._lacks_column(key)

    def _lacks_results(self, key: Key) -> bool:
        """Whether something is lacking that a layer's own activations suffice for."""
        search = self.searches[key]
        if not self.store.is_complete(stage_group(*key, "neighbors"), search.digest):
            return True
        return any(not self.store.is_complete(w.group, w.digest) for w in self._dimensions_of([key]))

    def _is_compared(self, key: Key) -> bool:
        """Whether the layer will be compared with others and has not left the samples for it."""
        works = [w for w in self.similarities if w.model == key[0] and w.kind != "imbalance"]
        if all(self.store.is_complete(w.group, w.digest) for w in works):
            return False
        return not self.store.is_complete(stage_group(*key, "compared"), self._compared_digest(key))

    def _lacks_column(self, key: Key) -> bool:
        return any(key[1] in columns_left(self.store, work) for work in self._imbalance(key[0]))

    def _dimensions_of(self, keys: Collection[Key]) -> list[DimensionWork]:
        """What is measured of the activations of some layers."""
        return [w for w in self.dimensions if w.asked and w.stage != "dimension" and (w.model, w.layer) in keys]

    def _imbalance(self, model: str) -> list[SimilarityWork]:
        return [w for w in self.similarities if w.model == model and w.kind == "imbalance"]

    def _compared_digest(self, key: Key) -> str:
        return compared_digest(self.extractions.digests[key], self.job.similarity, self.job.seed)

    @property
    def holds_all(self) -> bool:
        """Whether all layers may stay on the disk."""
        return self.extractions.budget.holds_all

    # --- the passes -------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Refuse what cannot be done, before any work."""
        wanted = self.wanted()
        self.extractions.prepare(wanted)
        if not self.holds_all:
            stored = sum(self.extractions.budget.shares[key].bytes for key in self._stored())
            check_disk(self.store, max(0, self.extractions.budget.needed(wanted) - stored))

    def run(self, cluster: Cluster) -> None:
        """Find all neighbors; where layers are dropped, also everything else that needs their activations."""
        self._clean()
        if self.holds_all:
            self.extractions.extract(self.wanted())
            run_neighbors(self.store, list(self.searches.values()), self.job.neighbors, cluster)
            return
        self._drop_needless()
        for model in dict.fromkeys(model for model, _ in self.searches):
            self._run_model(model, [key for key in self.searches if key[0] == model], cluster)
        self._drop_needless()

    def _run_model(self, model: str, layers: list[Key], cluster: Cluster) -> None:
        """Each layer's turn; then what compares all layers; then a second turn, for it needs the neighbors of all."""
        alone = not self.extractions.budget.fits(model)
        keeps = self.job.activations.keeps
        first = [k for k in layers if self._lacks_results(k) or self._is_compared(k) or keeps(*k)]
        for group in self._groups(model, first, cluster):
            run_neighbors(self.store, [self.searches[key] for key in group], self.job.neighbors, cluster)
            run_dimensions(self.store, self.job, self._dimensions_of(group), cluster)
            if alone:
                self._leave_compared(group, cluster)
            self._drop_needless()
        compared = [w for w in self.similarities if w.model == model and w.kind != "imbalance"]
        run_similarity(self.store, self.job, compared, cluster)
        self.drop_compared()
        self._drop_needless()
        for group in self._groups(model, [k for k in layers if self._lacks_column(k)], cluster):
            for work in self._imbalance(model):
                run_columns(self.store, self.job, work, [layer for _, layer in group], cluster)
            self._drop_needless()

    def _groups(self, model: str, wanted: list[Key], cluster: Cluster) -> Iterator[list[Key]]:
        """Layers that are extracted together, once they are."""
        budget = self.extractions.budget
        groups = budget.passes(model, wanted, self._stored())
        for number, group in enumerate(groups, 1):
            for key in budget.leaving(model, group, self._stored()):
                self.store.release(stage_group(*key, "activations"))
            if len(groups) > 1:
                names = ", ".join(layer for _, layer in group)
                total = size(sum(budget.shares[key].bytes for key in group))
                cluster.progress.say(f"{model}, pass {number} of {len(groups)}: {names} ({total})")
            self.extractions.extract(group)
            yield group

    def _leave_compared(self, group: list[Key], cluster: Cluster) -> None:
        leaving = [key for key in group if self._is_compared(key) and not self.job.activations.keeps(*key)]
        wanted = [(*key, self._compared_digest(key)) for key in leaving]
        run_compared(self.store, wanted, self.job.similarity, self.job.seed, cluster)

    # --- dropping ---------------------------------------------------------------------------------------------------

    def _stored(self) -> list[Key]:
        """Layers that take room on the disk, extracted as a whole or not."""
        return [k for k in self.searches if self.store.has(stage_group(*k, "activations"), "activation")]

    def _clean(self) -> None:
        """Finish what an interrupted attempt was deleting, and delete what is of another job."""
        self.store.clean()
        for key in self.searches:
            group = stage_group(*key, "activations")
            if self.store.is_dropped(group):
                self.store.release(group)
        self.drop_compared()

    def _drop_needless(self) -> None:
        """Delete activations that have had all their turns. What was begun and is not needed any more is complete."""
        for key in self._stored():
            if not self.job.activations.keeps(*key) and not self._is_needed(key):
                group = stage_group(*key, "activations")
                self.store.release(group, digest=self.extractions.digests[key], complete=True)

    def drop_compared(self) -> None:
        """Delete samples that were kept to be compared, once they are, or if they are of another job."""
        for key in self.searches:
            group = stage_group(*key, "compared")
            if not self.store.exists(group):
                continue
            works = [w for w in self.similarities if w.model == key[0] and w.kind != "imbalance"]
            other = self.store.attributes(group).get("digest") != self._compared_digest(key)
            if other or all(self.store.is_complete(w.group, w.digest) for w in works):
                self.store.drop(group)
