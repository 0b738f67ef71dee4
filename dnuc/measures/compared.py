"""The samples of a layer that are compared with other layers, kept where its activations do not stay.

CKA, SVCCA and PWCCA need the same samples of all layers of a network at once. Where these do not fit on the disk
together, each layer leaves the rows that are compared, which are few, before its turn ends.
"""

from __future__ import annotations

from collections.abc import Sequence

from dnuc.cluster import Cluster, Task
from dnuc.job import Similarity
from dnuc.measures.panels import draw_rows, tiles
from dnuc.store import RunStore, StoredArray, Subset, digest, stage_group

NAME = "compared_activation"


def compared_digest(activations: str, settings: Similarity, seed: int) -> str:
    """What the rows of a layer depend on."""
    return digest("compared", activations, settings.samples, seed)


def run_compared(
    store: RunStore, layers: Sequence[tuple[str, str, str]], settings: Similarity, seed: int, cluster: Cluster
) -> None:
    """Store the rows of each (model, layer, digest) that has none yet, a task a layer."""
    tasks = []
    for model, layer, key in layers:
        group = stage_group(model, layer, "compared")
        if not store.is_complete(group, key):
            store.begin(group, key)
            arguments = (store, model, layer, settings.samples, seed, key)
            tasks.append(Task(keep_compared, arguments, name=f"compared-{model}-{layer}"))
    if tasks:
        with cluster.progress.stage("compared", len(tasks), "layers") as stage:
            for task, _ in cluster.run(tasks):
                stage.advance(note=task.name)


def keep_compared(store: RunStore, model: str, layer: str, samples: int | None, seed: int, digest: str) -> None:
    """Copy the rows of a layer, as many at a time as were extracted together: so many fit into memory."""
    group = stage_group(model, layer, "compared")
    stored = store.array(stage_group(model, layer, "activations"), "activation")
    source = compared_rows(stored, samples, seed)
    step = min(stored.chunks[0], len(source))
    if not store.awaits(group, digest):
        return
    store.discard(group, NAME)
    store.declare(group, NAME, source.shape, (step, stored.chunks[1]), str(stored.dtype))
    for rows in tiles(len(source), step):
        store.write(group, NAME, (rows, slice(None)), source[rows, slice(None)])
    store.finish(group)


def compared_rows(stored: StoredArray, samples: int | None, seed: int) -> StoredArray | Subset:
    """The activations that are compared, (n, D): of samples drawn by seed, or of all."""
    if samples is None or samples >= len(stored):
        return stored
    return Subset(stored, draw_rows(len(stored), samples, seed))
