"""The stages in order: what is complete is skipped, the rest is submitted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from dnuc._version import __version__
from dnuc.activations.stage import Extractions, check_disk
from dnuc.cluster import Cluster, Deployment, Progress, Task, connect, performance_report, read_deployment
from dnuc.data import open_source
from dnuc.data.stage import manifest_digests, run_samples, samples_digest, training_data
from dnuc.errors import DnucError, StoreError
from dnuc.job import Job, read_job
from dnuc.landscape.stage import landscape_layer
from dnuc.location import Location, locate, replace_file
from dnuc.measures.dimension_stage import dimension_work, outdate_dimensions, run_dimensions
from dnuc.measures.similarity import outdate_similarity, run_similarity, similarity_work
from dnuc.measures.stage import measure_layer, overlap_row
from dnuc.neighbors.graph import accelerator_memory
from dnuc.neighbors.search import check_search
from dnuc.neighbors.stage import LayerSearch
from dnuc.passes import Passes
from dnuc.plan import plan_within
from dnuc.report import write_report
from dnuc.store import (
    Results,
    RunStore,
    alone,
    digest,
    disk_errors_told,
    mark_finished,
    note_versions,
    stage_group,
    stoppable,
    version_changes,
)

RESULTS = 1  # raised when the meaning of a stored result changes, so that old ones are computed anew


def run_job(
    job: Job | str | Path,
    on: str | Path | Deployment | None = None,
    out: str | Location | None = None,
    *,
    quiet: bool = False,
    force: bool = False,
    report: bool = True,
    take_over: bool = False,
    performance: bool = False,
) -> Location:
    """Compute everything a job asks for that its run directory does not hold yet; returns the run directory.

    Parameters
    ----------
    job : Job or path
        What to compute.
    on : path, address or Deployment, optional
        Where: see `dnuc.cluster.read_deployment`. This machine when absent.
    out : path or URL, optional
        The run directory, also on an object store (s3://..., gs://...); runs/<job name> when absent.
    quiet : bool
        Print nothing (log.txt and progress.json are written all the same).
    force : bool
        Go on with a run that another version of dnuc or torch computed.
    take_over : bool
        Take the run directory from a run on another host that is gone, though its lock is still there.
    report : bool
        Draw the report too; a run without it is not complete.
    performance : bool
        Save Dask's performance report of this attempt as performance.html in the run directory.

    Raises
    ------
    DnucError
        Any refusal, before work that could not be finished is started.
    """
    job = job if isinstance(job, Job) else read_job(job)
    deployment = on if isinstance(on, Deployment) else read_deployment(on)
    path = run_directory(job, out)
    with disk_errors_told(path):
        how = {"quiet": quiet, "force": force, "report": report, "take_over": take_over, "performance": performance}
        return _run_in(RunStore.create(path), job, deployment, **how)


def run_directory(job: Job, out: str | Location | None = None) -> Location:
    """Where a job's run is: as said, or runs/<job name>."""
    return locate(out) if out is not None else Path("runs") / job.name


def _run_in(
    store: RunStore,
    job: Job,
    deployment: Deployment,
    *,
    quiet: bool,
    force: bool,
    report: bool,
    take_over: bool,
    performance: bool,
) -> Location:
    """Compute what a run directory lacks, while nobody else does, and tell how it ends."""
    with alone(store.path, take_over=take_over) as lost, stoppable(store.path, lost):
        progress = Progress(store.path, quiet=quiet, header={"job": job.name, "dnuc": __version__})
        state, message = "failed", ""
        try:
            changes = _changes(store, job)
            capacity = deployment.capacity()
            if changes and capacity:
                plan_within(job, capacity)  # what cannot be done is refused before workers start
            with disk_errors_told(store.path), connect(deployment, progress) as cluster:
                if changes and not capacity:  # known only now; to plan again would list all images again
                    plan_within(job, cluster.capacity)
                others = version_changes(store, cluster.versions, force=force)
                if changes:
                    _adopt(store, job, changes, progress)
                for change in others:
                    progress.say(f"another version than computed the run until now: {change}")
                note_versions(store, cluster.versions)
                with performance_report(cluster, store.path / "performance.html") if performance else nullcontext():
                    run_stages(store, job, cluster, report=report)
            state = "finished"
        except KeyboardInterrupt as stop:
            state, message = "stopped", str(stop)
            raise
        except Exception as error:
            message = str(error) if isinstance(error, DnucError) else repr(error)
            progress.log(f"error: {message}")
            raise
        finally:
            progress.end(state, message)
    return store.path


def run_stages(store: RunStore, job: Job, cluster: Cluster, *, report: bool = True) -> None:
    """Every stage of a job, on a cluster that is there."""
    mark_finished(store, None)
    accelerator_memory(cluster.capacity.device, cluster.client)  # a place without its device is refused now
    extractions, manifest = open_layers(store, job, cluster)
    digests = extractions.digests
    searches = layer_searches(digests, job)
    classes = manifest["classes"]
    dimensions = dimension_work(job, digests, {(s.model, s.layer): s.digest for s in searches}, classes)
    similarities = similarity_work(job, digests)
    by_layer = {(s.model, s.layer): s for s in searches}
    passes = Passes(store, job, extractions, by_layer, dimensions, similarities)
    passes.prepare()
    outdate(store, searches)
    outdate_dimensions(store, dimensions)
    outdate_similarity(store, job, digests)
    passes.run(cluster)
    done = run_measures(store, job, searches, classes, cluster)
    done += run_landscapes(store, job, searches, manifest, cluster)
    done += run_dimensions(store, job, dimensions, cluster)
    done += run_similarity(store, job, similarities, cluster)
    passes.drop_compared()
    shown = [done, job.title, job.report.model_dump(), *Results(store.path).dropped]
    key = digest(RESULTS, __version__, *shown)
    if report:
        run_report(store, job, key, cluster)
    if _report_shows(store, key):
        mark_finished(store, job)
    store.consolidate()


def open_layers(store: RunStore, job: Job, cluster: Cluster) -> tuple[Extractions, dict[str, str]]:
    """The samples listed and looked at: what may be extracted of them, and digests of what is in the manifest."""
    if not store.is_complete("samples", samples_digest(job)):
        # To look at every image may take hours: what can be refused without is refused before.
        check_disk(store, plan_within(job, cluster.capacity).peak)
    n = run_samples(store, job, cluster)
    check_search((n, 1), job.neighbors.k, f"job {job.name!r}")
    source = open_source(job.data, job.seed, store.path)
    images = source if source.has_images else None
    manifest = manifest_digests(store, job)
    training = partial(training_data, store, job.data, job.seed)
    return Extractions(store, job, cluster, images, training, manifest), manifest


def layer_searches(digests: dict[tuple[str, str], str], job: Job) -> list[LayerSearch]:
    """The search of every layer, from the digests of their activations."""
    return [
        LayerSearch(model, layer, digest(RESULTS, "neighbors", of, job.neighbors.k))
        for (model, layer), of in digests.items()
    ]


def outdate(store: RunStore, searches: list[LayerSearch]) -> None:
    """What was computed from other neighbors is no result of this job, even if the run stops here."""
    for search in searches:
        if not store.is_complete(stage_group(search.model, search.layer, "neighbors"), search.digest):
            for group in (
                stage_group(search.model, search.layer, "measures"),
                stage_group(search.model, search.layer, "dimension"),
                stage_group(search.model, search.layer, "landscape"),
                f"models/{search.model}/overlaps",
            ):
                store.outdate(group)


def run_measures(store: RunStore, job: Job, searches: list[LayerSearch], classes: str, cluster: Cluster) -> list[str]:
    """Measures of every layer and the overlaps of all pairs; returns the digests of what is stored then.

    `classes` is the digest of the samples' classes.
    """
    settings = {
        "overlap_k": list(job.overlap_k),
        "fraction": job.measures.fraction,
        "top_hubs": job.measures.top_hubs,
        "seed": job.seed,
    } | _unusual(
        weights=(job.measures.weights, None),
        method=(job.dimension.method, "fit"),
        error=(job.dimension.error, "fisher"),
    )
    of = {(s.model, s.layer): s.digest for s in searches}
    digests, tasks, pairs = [], [], []
    for model in dict.fromkeys(s.model for s in searches):
        layers = [entry["name"] for entry in store.layers(model)]
        for position, layer in enumerate(layers):
            others = [layers[0], layers[-1], layers[min(position + 1, len(layers) - 1)]]
            needs = [of[model, name] for name in (layer, *others)]
            key = digest(RESULTS, "measures", needs, settings, classes)
            digests.append(key)
            group = stage_group(model, layer, "measures")
            if not store.is_complete(group, key):
                store.begin(group, key)
                arguments = (store, model, position, settings, key)
                tasks.append(Task(measure_layer, arguments, name=f"measure-{model}-{layer}"))
        weighing = (job.measures.weights, classes) if job.measures.weights else ()
        key = digest(RESULTS, "overlaps", [of[model, n] for n in layers], job.overlap_k, *weighing)
        pairs.append((model, len(layers), key))
    _run_all(cluster, "measures", tasks)
    for model, count, key in pairs:
        _run_overlaps(store, job, model, count, key, cluster)
    return [*digests, *(key for _, _, key in pairs)]


def _run_overlaps(store: RunStore, job: Job, model: str, count: int, key: str, cluster: Cluster) -> None:
    """The matrix of mean overlaps of all pairs of layers, a task a row."""
    group = f"models/{model}/overlaps"
    if store.is_complete(group, key):
        return
    store.begin(group, key)
    matrix = np.zeros((len(job.overlap_k), count, count))
    ks = list(job.overlap_k)
    settings = (ks, job.measures.weights)
    tasks = (
        Task(overlap_row, (store, model, i, *settings), context=i, name=f"overlaps-{model}-{i}") for i in range(count)
    )
    with cluster.progress.stage("overlaps", count, "layers") as stage:
        for task, row in cluster.run(tasks):
            matrix[:, task.context, :] += row
            stage.advance(note=model)
    diagonal = np.eye(count, dtype=bool)
    matrix += np.where(diagonal, 0, matrix.transpose(0, 2, 1))
    store.save(group, {"layer_overlap": matrix})
    store.finish(group, layers=[entry["name"] for entry in store.layers(model)], overlap_k=ks)


def run_landscapes(
    store: RunStore, job: Job, searches: list[LayerSearch], manifest: dict[str, str], cluster: Cluster
) -> list[str]:
    """Density, peaks and tree of every layer; returns the digests of what is stored then.

    `manifest` has the digests of the samples' classes and of their taxonomy.
    """
    settings = job.landscape.model_dump() | {"k": job.landscape_k}
    classes = manifest["classes"]
    if "taxonomy" in manifest:
        settings["seed"], classes = job.seed, digest(classes, manifest["taxonomy"])
    digests, tasks = [], []
    for search in searches:
        model, layer = search.model, search.layer
        group = stage_group(model, layer, "landscape")
        method = _unusual(method=(job.dimension.method, "fit"))
        key = digest(RESULTS, "landscape", search.digest, job.measures.fraction, settings | method, classes)
        digests.append(key)
        if not store.is_complete(group, key):
            store.begin(group, key)
            arguments = (store, model, layer, settings, key)
            tasks.append(Task(landscape_layer, arguments, name=f"landscape-{model}-{layer}"))
    _run_all(cluster, "landscape", tasks)
    return digests


def _unusual(**settings: tuple[Any, Any]) -> dict[str, Any]:
    """Settings (value, default) that are not at their default: newer ones leave older results what they are."""
    return {name: value for name, (value, default) in settings.items() if value != default}


def _run_all(cluster: Cluster, name: str, tasks: list[Task]) -> None:
    if tasks:
        with cluster.progress.stage(name, len(tasks), "layers") as stage:
            for task, _ in cluster.run(tasks):
                stage.advance(note=task.name)


def run_report(store: RunStore, job: Job, key: str, cluster: Cluster) -> None:
    """Figures, tables and the page, drawn in this process unless they show what is stored."""
    if _report_shows(store, key):
        return
    with cluster.progress.stage("report", 1, "page") as stage:
        draw_report(store, job)
        store.describe("", report=key)
        stage.advance()


def _report_shows(store: RunStore, key: str) -> bool:
    return store.attributes("").get("report") == key and (store.path / "report" / "index.html").is_file()


def draw_report(store: RunStore, job: Job) -> Location:
    """The report of a run, from what is stored (and the images, where they can be read)."""
    source = open_source(job.data, job.seed, store.path)
    return write_report(Results(store.path), images=source.image if source.has_images else None)


# --- the run directory ------------------------------------------------------------------------------------------


NEW = "a new run"


def _changes(store: RunStore, job: Job) -> list[str]:
    """What differs from the job that the directory is of; a directory that holds another job's samples is refused."""
    path = store.path / "job.toml"
    if not path.is_file():
        return [NEW]
    before = read_job(path).model_dump(mode="json", exclude_none=True)
    changes = list(_differences(before, _resolved(job)))
    if store.is_complete("samples") and any(c.startswith(("name:", "data.")) for c in changes):
        raise StoreError(
            f"{store.path} is the run of another job. What differs:\n  " + "\n  ".join(changes) + "\n"
            "Give another directory with --out, or delete this one"
        )
    return changes


def _adopt(store: RunStore, job: Job, changes: list[str], progress: Progress) -> None:
    """Write the resolved job, and tell what changed."""
    progress.start_afresh()
    for change in changes:
        if change != NEW:
            progress.say(f"changed since the last run: {change}")
    replace_file(store.path / "job.toml", tomli_w.dumps(_resolved(job)))


def _resolved(job: Job) -> dict[str, Any]:
    return job.model_dump(mode="json", exclude_none=True)


def _differences(before: Any, after: Any, key: str = "") -> Iterator[str]:
    """Every setting that differs between two jobs, as 'key: old -> new'."""
    before, after = _by_name(before), _by_name(after)
    if isinstance(before, dict) and isinstance(after, dict):
        for name in sorted({*before, *after}):
            yield from _differences(before.get(name), after.get(name), f"{key}.{name}" if key else name)
    elif before != after:
        yield f"{key}: {before} -> {after}"


def _by_name(value: Any) -> Any:
    """A list of named tables ([[model]]) as one table, so that only what differs in it is told."""
    named = isinstance(value, list) and value and all(isinstance(v, dict) and "name" in v for v in value)
    return {v["name"]: v for v in value} if named else value
