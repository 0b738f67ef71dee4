"""The manifest of a run: which samples, in which order, and that every image can be read, before any work starts."""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np

from dnuc.cluster import Cluster, Task
from dnuc.data import Samples, Source, TrainTest, image_entropy, image_hash, open_source
from dnuc.data.perturb import luminances
from dnuc.data.taxonomy import taxonomy_files
from dnuc.errors import DataError
from dnuc.job import Data, Job
from dnuc.store import RunStore, digest, stored_taxonomy, taxonomy_arrays

IMAGES_PER_TASK = 256
TRAINING_DRAW = 1  # tells this use of the job's seed from others
GROUP = "samples"


def samples_digest(job: Job) -> str:
    """What the manifest depends on: the settings, and the content of the small files that they name."""
    files = [job.data.ids, job.data.class_names, job.data.macro, job.data.labels, *taxonomy_files(job.data)]
    contents = [hashlib.sha256(f.read_bytes()).hexdigest() if f and f.is_file() else None for f in files]
    return digest("samples", job.data.model_dump(mode="json"), contents, job.seed)


def manifest_digests(store: RunStore, job: Job) -> dict[str, str]:
    """What later results depend on in the stored manifest, by kind of result; see `_dependencies`.

    A manifest that has none recorded is of an earlier dnuc, for which the settings stood for their content: its run
    is complete as it is.
    """
    settings = dict.fromkeys(("arrays", "network", "training", "classes"), samples_digest(job))
    return store.attributes(GROUP).get("digests") or settings


def _dependencies(samples: Samples, hashes: np.ndarray, data: Data) -> dict[str, str]:
    """Digests of the manifest's content, so that a file that changed under its name is seen by what depends on it.

    "arrays": which samples there are, for representations that something else computed. "network": also how many
    classes, for a network may have as many outputs. "training": also the class of each, and where other images for
    training are from. "classes": classes and macro classes, for measures and landscapes. "taxonomy", if there is one:
    what the classes are kinds of, for landscapes.
    """
    rows = digest("samples", samples.id.tolist(), hashes.tolist())
    labels = [samples.class_keys, samples.label.tolist()]
    names = [samples.label_names, samples.macro_names]
    naming = {"labels", "class_names", "macro", "taxonomy", "macro_roots", "macro_depth"}
    origin = data.model_dump(mode="json", exclude=naming)
    tree = samples.taxonomy
    taxonomy = {"taxonomy": digest(tree.parent.tolist(), tree.key, tree.name, tree.leaf.tolist())} if tree else {}
    return taxonomy | {
        "arrays": rows,
        "network": digest(rows, len(samples.label_names)),
        "training": digest(rows, labels, origin),
        "classes": digest(labels, samples.macro.tolist(), names),
    }


def run_samples(store: RunStore, job: Job, cluster: Cluster) -> int:
    """List the samples, look at every image once, store the manifest; returns N."""
    wanted = samples_digest(job)
    if store.is_complete(GROUP, wanted):
        return len(store.array(GROUP, "label"))
    source = open_source(job.data, job.seed, store.path)
    samples = source.list(job.seed)
    if job.data.samples not in (None, len(samples)):
        raise DataError(
            f"data.samples = {job.data.samples}, but the data hold {len(samples)} samples as selected: complete the "
            "data, or correct data.samples in the job"
        )
    entropy, hashes, unreadable = _inspect_all(source, samples, cluster)
    _allow(unreadable, job.data, cluster)
    kept = np.ones(len(samples), dtype=bool)
    kept[[position for position, _ in unreadable]] = False
    samples = samples.take(kept)
    store.begin(GROUP, wanted)
    store.save(
        GROUP,
        {
            "id": samples.id,
            "label": samples.label,
            "macro": samples.macro,
            "entropy": entropy[kept],
            "hash": hashes[kept],
            **_luminance(samples, job),
            **taxonomy_arrays(samples.taxonomy),
        },
    )
    store.finish(
        GROUP,
        label_names=list(samples.label_names),
        class_keys=list(samples.class_keys),
        macro_names=list(samples.macro_names),
        digests=_dependencies(samples, hashes[kept], job.data),
        skipped=[str(error) for _, error in unreadable],
        image_shape=list(source.image(str(samples.id[0])).shape) if source.has_images else None,
    )
    return len(samples)


def _luminance(samples: Samples, job: Job) -> dict[str, np.ndarray]:
    """What was added to the pixels of each image, if the job perturbs them."""
    if job.data.perturb is None:
        return {}
    return {"luminance": luminances(samples.id.tolist(), job.data.perturb.luminance, job.seed)}


def _inspect_all(
    source: Source, samples: Samples, cluster: Cluster
) -> tuple[np.ndarray, np.ndarray, list[tuple[int, DataError]]]:
    entropy = np.full(len(samples), np.nan)
    hashes = np.full(len(samples), "", dtype=np.dtypes.StringDType())
    unreadable: list[tuple[int, DataError]] = []
    if not source.has_images:
        return entropy, hashes, unreadable
    starts = range(0, len(samples), IMAGES_PER_TASK)
    tasks = (
        Task(_inspect, (source, samples.id[s : s + IMAGES_PER_TASK].tolist()), context=s, name="inspect")
        for s in starts
    )
    with cluster.progress.stage("samples", len(samples), "images") as stage:
        for task, found in cluster.run(tasks):
            for offset, (value, fingerprint, error) in enumerate(found):
                position = task.context + offset
                entropy[position], hashes[position] = value, fingerprint
                if error is not None:
                    unreadable.append((position, error))
            stage.advance(len(found))
    return entropy, hashes, sorted(unreadable, key=lambda pair: pair[0])


def _inspect(source: Source, ids: list[str]) -> list[tuple[float, str, DataError | None]]:
    """Entropy and hash of some images, or why one cannot be read."""
    found: list[tuple[float, str, DataError | None]] = []
    for sample_id in ids:
        try:
            image = source.image(sample_id)
        except DataError as error:
            found.append((np.nan, "", error))
        else:
            found.append((image_entropy(image), image_hash(image), None))
    return found


def _allow(unreadable: list[tuple[int, DataError]], data: Data, cluster: Cluster) -> None:
    if not unreadable:
        return
    told = "\n  ".join(str(error) for _, error in unreadable[:10])
    if len(unreadable) > data.max_unreadable:
        raise DataError(
            f"{len(unreadable)} images cannot be read, {data.max_unreadable} may be skipped:\n  {told}\n"
            f"Replace them, or set data.max_unreadable = {len(unreadable)} in the job to leave them out"
        )
    cluster.progress.say(f"{len(unreadable)} unreadable images are left out:\n  {told}")


def stored_samples(store: RunStore) -> Samples:
    """The manifest of a run."""
    attributes = store.attributes(GROUP)
    return Samples(
        id=store.read(GROUP, "id"),
        label=store.read(GROUP, "label"),
        label_names=tuple(attributes["label_names"]),
        macro=store.read(GROUP, "macro"),
        macro_names=tuple(attributes["macro_names"]),
        class_keys=tuple(attributes["class_keys"]),
        taxonomy=stored_taxonomy(store),
    )


def training_data(store: RunStore, data: Data, seed: int, images: int | Literal["samples"] | None = None) -> TrainTest:
    """The images a network of the job is trained on, and held-out ones.

    `images` is `images` of [model.train]: a number of training images, drawn by seed (more of them only add images),
    or those that are among the job's samples. Held-out images are always the same.

    Raises
    ------
    DataError
        If there are fewer training images, or none of the samples is one.
    """
    samples = stored_samples(store)
    split = open_source(data, seed).split(samples, seed)
    n = len(split.train_ids)
    if images is None:
        return split
    if images == "samples":
        wanted = set(samples.id.tolist())
        rows = np.flatnonzero([sample_id in wanted for sample_id in split.train_ids.tolist()])
        if not len(rows):
            raise DataError("train.images = 'samples', but none of the job's samples is a training image")
        return split.train_on(rows)
    if images > n:
        raise DataError(f"train.images = {images}, but there are {n} training images of the job's classes")
    return split.train_on(np.sort(np.random.default_rng([seed, TRAINING_DRAW]).permutation(n)[:images]))
