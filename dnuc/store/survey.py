"""How far a run is, counted from what its store holds: whatever the last attempt did, and also while one writes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dnuc.errors import StoreError
from dnuc.job import Job, read_job
from dnuc.store.run import RunStore, digest, stage_group

FINISHED = "finished"  # of the root group: the digest of the job that the whole run was last finished for


@dataclass(frozen=True)
class Count:
    """Done, and of how many."""

    done: int
    total: int
    unit: str

    def __str__(self) -> str:
        return f"{self.done:,} of {self.total:,} {self.unit}"


@dataclass(frozen=True)
class StoredStage:
    """What is stored of a stage: whole layers, and the pieces they are made of where these are kept singly."""

    name: str
    whole: Count
    pieces: Count | None = None


@dataclass(frozen=True)
class Survey:
    """What is stored of a run."""

    job: Job | None  # as it was resolved when the last attempt began
    stages: tuple[StoredStage, ...]
    changed: bool  # the run was finished once, but for a job with other settings
    dropped: int = 0  # layers whose activations were deleted, for the disk may not hold all of them

    @property
    def complete(self) -> bool:
        """Whether the run holds everything that its job asks for."""
        return all(s.whole.done == s.whole.total > 0 for s in self.stages)


def mark_finished(store: RunStore, job: Job | None) -> None:
    """Note that everything of a job is stored; with None, that something may not be."""
    store.describe("", **{FINISHED: _job_digest(job)})


def survey_run(store: RunStore) -> Survey:
    """Count what a run holds. Reads markers and ledgers, no results; a stage under way is counted as it is."""
    job = read_job(store.path / "job.toml") if (store.path / "job.toml").is_file() else None
    wanted = _job_digest(job)
    finished = store.attributes("").get(FINISHED, wanted)  # a run of before this was noted
    layers = [(model, entry["name"]) for model, entry in store.each_layer()]
    blocks = [_state(store, stage_group(*layer, "activations"), "block_done") for layer in layers]
    tiles = [_state(store, stage_group(*layer, "neighbors"), "tile_redone") for layer in layers]
    # what was found with activations or neighbors that are being computed anew is no result any more
    found = [a.complete and n.complete for a, n in zip(blocks, tiles, strict=True)]

    def layers_with(stage: str) -> Count:
        wanted = [layer for layer in layers if stage != "surrogate" or (job and job.dimension.wants_surrogate(*layer))]
        done = [
            f and _state(store, stage_group(*layer, stage)).complete for layer, f in zip(layers, found, strict=True)
        ]
        return Count(sum(d for layer, d in zip(layers, done, strict=True) if layer in wanted), len(wanted), "layers")

    models = store.models()
    pairs = [_state(store, f"models/{model}/overlaps").complete for model in models]
    begun = {model for (model, _), state in zip(layers, blocks, strict=True) if state.done or state.complete}
    stages = [
        _samples(store),
        *_training(job, begun),
        StoredStage(
            "activations", Count(sum(s.complete for s in blocks), len(layers), "layers"), _pieces(blocks, "blocks")
        ),
        StoredStage("neighbors", Count(sum(found), len(layers), "layers"), _pieces(tiles, "tiles")),
        StoredStage("measures", layers_with("measures")),
        StoredStage("overlaps", Count(sum(pairs) if all(found) else 0, len(models), "networks")),
        StoredStage("landscape", layers_with("landscape")),
        StoredStage("dimension", layers_with("dimension")),
        *(StoredStage(stage, layers_with(stage)) for stage in _asked(job)),
        *_similarity(store, job, models if all(found) else []),
        StoredStage("report", Count(int(finished == wanted and _has_report(store)), 1, "page")),
    ]
    dropped = sum(store.is_dropped(stage_group(*layer, "activations")) for layer in layers)
    return Survey(job, tuple(stages), changed=finished not in ("", wanted), dropped=dropped)


@dataclass(frozen=True)
class _State:
    """Of a stage of a layer: whether it is complete, and its pieces."""

    complete: bool = False
    done: int = 0
    total: int = 0


def _state(store: RunStore, group: str, ledger: str | None = None) -> _State:
    try:
        complete = store.is_complete(group)
        if ledger is None or not store.has(group, ledger):
            return _State(complete)
        stored = store.array(group, ledger)
        total = len(stored)
        if complete:
            return _State(True, total, total)
        done = store.flags(group, ledger) if ledger == "block_done" else stored[:] >= 0
        return _State(False, int(np.count_nonzero(done)), total)
    except (StoreError, OSError, ValueError):  # the run is just making it anew, or it is damaged
        return _State()


def _asked(job: Job | None) -> list[str]:
    """Stages of the dimension that a job may do without."""
    if job is None:
        return []
    settings = job.dimension
    asked = {"decimation": settings.decimation, "classes": settings.per_class, "spectrum": settings.pca}
    asked["surrogate"] = bool(settings.surrogate)
    return [stage for stage, wanted in asked.items() if wanted]


def _has_report(store: RunStore) -> bool:
    return (store.path / "report" / "index.html").is_file()


def _pieces(states: list[_State], unit: str) -> Count | None:
    """Of the layers that are begun: how many pieces the others will have is not known before."""
    total = sum(s.total for s in states)
    return Count(sum(s.done for s in states), total, unit) if total else None


def _samples(store: RunStore) -> StoredStage:
    if not _state(store, "samples").complete:
        return StoredStage("samples", Count(0, 1, "manifest"))
    n = len(store.array("samples", "label"))
    return StoredStage("samples", Count(1, 1, "manifest"), Count(n, n, "samples"))


def _training(job: Job | None, extracted: set[str]) -> list[StoredStage]:
    """A network is trained before anything is extracted from it."""
    trained = [model.name for model in job.model if model.train is not None] if job is not None else []
    done = sum(name in extracted for name in trained)
    return [StoredStage("training", Count(done, len(trained), "networks"))] if trained else []


def _similarity(store: RunStore, job: Job | None, models: list[str]) -> list[StoredStage]:
    """The comparisons of layers that the job asks for."""
    if job is None or not job.similarity.kinds:
        return []
    groups = [f"models/{model}/similarity/{kind}" for model in models for kind in job.similarity.kinds]
    done = sum(_state(store, group).complete for group in groups)
    total = len(job.similarity.kinds) * len(store.models())
    return [StoredStage("similarity", Count(done, total, "matrices"))]


def _job_digest(job: Job | None) -> str:
    return "" if job is None else digest(job.model_dump(mode="json"))
