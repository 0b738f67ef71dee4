"""How long a job will take, stage by stage: the plan's amounts at a measured pace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dask.system import CPU_COUNT

from dnuc.activations.runs import runs_in
from dnuc.job import Job, Model
from dnuc.measures.dimension_plan import block_counts
from dnuc.measures.pca import sample_for
from dnuc.neighbors.blocks import Blocks
from dnuc.pace import Pace, Question, spectrum_operations
from dnuc.plan import LayerPlan, Plan, search_seconds

EXPECTED = "Expect half to twice as long"
BACKWARD = 3  # a step of training takes as long as so many forward passes


@dataclass(frozen=True)
class StageTime:
    """What a stage will take."""

    name: str
    seconds: float
    at_most: bool = False  # stored lists may save some of it


def question_of(plan: Plan, job: Job) -> Question:
    """What must be measured to tell the time of a plan."""
    return Question(job, plan.samples, plan.classes, plan.image_shape, plan.examples)


def forecast(plan: Plan, job: Job, pace: Pace) -> list[StageTime]:
    """Every stage but the report, in the order in which they run, for the plan's tasks and threads at this pace.

    A network's forward passes, and what is made of lists, take one thread of a task; searches take all its cores.
    """
    stages = [
        StageTime("start", pace.seconds["start"]),
        StageTime("samples", _samples(plan, pace)),
        StageTime("training", _training(plan, job, pace)),
        StageTime("activations", _activations(plan, job, pace)),
        StageTime("neighbors", sum(search_seconds(plan, job.neighbors, pace.search))),
        StageTime("measures", _of_layers(plan, pace, "measures")),
        StageTime("overlaps", _overlaps(plan, pace)),
        StageTime("landscape", _of_layers(plan, pace, "landscape")),
        StageTime("dimension", _of_layers(plan, pace, "gride")),
        *_dimensions(plan, job, pace),
        *_similarities(plan, job, pace),
    ]
    return [stage for stage in stages if stage.seconds > 0]


def _samples(plan: Plan, pace: Pace) -> float:
    return plan.samples * (pace.seconds["image"] + pace.seconds["inspect"]) / plan.capacity.tasks


def _training(plan: Plan, job: Job, pace: Pace) -> float:
    """One task a network, with all cores of its machine."""
    total = 0.0
    for model in job.model:
        if model.train is not None:
            images = model.train.images if isinstance(model.train.images, int) else plan.samples
            total += BACKWARD * model.train.epochs * images * pace.seconds[f"forward {model.name}"]
    return total / CPU_COUNT


def _activations(plan: Plan, job: Job, pace: Pace) -> float:
    """Images are prepared while the network works: for free only where a core has nothing else to do."""
    total = 0.0
    for run in runs_in(job):
        layers = [layer for layer in plan.layers if layer.model == run.name]
        total += _moved(run.model, layers) * pace.seconds["byte"] * _turns(plan, run.name, layers)
        if run.model.arrays is None:
            total += plan.passes[run.name] * plan.samples * _image_seconds(plan, run.model, pace)
    return total / plan.capacity.tasks


def _moved(model: Model, layers: Sequence[LayerPlan]) -> int:
    """Bytes that are written, and those of given arrays that are read before."""
    return sum(layer.bytes for layer in layers) * (1 if model.arrays is None else 2)


def _turns(plan: Plan, model: str, layers: Sequence[LayerPlan]) -> float:
    """How often a layer is extracted, on the average."""
    once = len(plan.budget.passes(model, [(model, layer.layer) for layer in layers]))
    return plan.passes[model] / max(1, once)


def _image_seconds(plan: Plan, model: Model, pace: Pace) -> float:
    prepare = pace.seconds["image"] + pace.seconds[f"prepare {model.name}"]
    forward = pace.seconds[f"forward {model.name}"]
    cores = plan.capacity.cores
    return prepare + forward if cores == 1 and plan.threads >= CPU_COUNT else max(prepare / cores, forward)


def _of_layers(plan: Plan, pace: Pace, name: str) -> float:
    """A task a layer, each on one thread; the last one may run alone."""
    each = pace.lists(name, plan.samples)
    return each * max(1, -(-len(plan.layers) // plan.capacity.tasks))


def _overlaps(plan: Plan, pace: Pace) -> float:
    """A task a row of the matrix, half of which is computed."""
    counts = [sum(layer.model == model for layer in plan.layers) for model in plan.block]
    pairs = sum(max(count * (count + 1) / 2 / plan.capacity.tasks, count) for count in counts)
    return pairs * pace.lists("overlap", plan.samples)


def _dimensions(plan: Plan, job: Job, pace: Pace) -> Iterator[StageTime]:
    settings, n = job.dimension, plan.samples
    blocks = [b for b in block_counts(settings, n) if b > 1]
    parts = {"decimation": blocks, "classes": [plan.classes] if settings.per_class else []}
    for name, counts in parts.items():
        yield StageTime(name, sum(_parts(plan, job, pace, x, b) for x in plan.layers for b in counts), at_most=True)
    if settings.pca:
        each = [_spectrum(settings.pca_samples, n, x.features) * pace.seconds["spectrum"] for x in plan.layers]
        yield StageTime("spectrum", max(sum(each) / plan.capacity.tasks, *each))
    made = [x for x in plan.layers if settings.wants_surrogate(x.model, x.layer)]
    levels = block_counts(settings, n) or [1]
    times = [sum(_parts(plan, job, pace, x, b) * plan.threads for b in levels) for x in made]
    yield StageTime("surrogate", max([sum(times) / plan.capacity.tasks, *times]), at_most=True)


def _parts(plan: Plan, job: Job, pace: Pace, layer: LayerPlan, count: int) -> float:
    """Searches within `count` parts of equal size; parts that fit into memory are searched at once."""
    n = max(2, plan.samples // max(1, count))
    blocks = Blocks(n, min(n, layer.blocks.rows))
    each = pace.search.search_seconds(blocks, layer.features, job.neighbors.precision, plan.threads)
    return count * each


def _spectrum(most: int, n: int, features: int) -> float:
    return spectrum_operations(sample_for(n, features, most) or n, features)


def _similarities(plan: Plan, job: Job, pace: Pace) -> Iterator[StageTime]:
    kinds, n = job.similarity.kinds, min(plan.samples, job.similarity.samples or plan.samples)
    if "imbalance" in kinds:
        searches = sum(search_seconds(plan, job.neighbors, pace.search))
        yield StageTime("imbalance", searches * pace.seconds["count"])
    if "cka" in kinds:
        yield StageTime("cka", sum(_kernels(plan, job, pace, model, n) for model in plan.block) / plan.capacity.tasks)
    if "cca" in kinds:
        each = [spectrum_operations(n, x.features) * pace.seconds["spectrum"] for x in plan.layers]
        yield StageTime("scores", max(sum(each) / plan.capacity.tasks, *each))


def _kernels(plan: Plan, job: Job, pace: Pace, model: str, n: int) -> float:
    """Half of all pairs of samples: inner products of each layer, kernels of them, and products of all kernels."""
    features = [layer.features for layer in plan.layers if layer.model == model]
    kernels = ("linear" in job.similarity.cka) + len(job.similarity.widths) * ("gaussian" in job.similarity.cka)
    seconds = pace.seconds["gram"] * sum(features)
    seconds += kernels * (pace.seconds["kernel"] * len(features) + pace.seconds["product"] * len(features) ** 2)
    return n**2 / 2 * seconds
