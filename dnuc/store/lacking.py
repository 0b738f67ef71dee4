"""Why a run does not hold a result: which setting of the job computes it, or that it is not computed yet."""

from __future__ import annotations

from collections.abc import Callable

from dnuc.errors import closest
from dnuc.job import Job
from dnuc.store.schema import STAGES

Asks = Callable[[Job, str, str], bool]  # whether a job asks for something of a (model, layer)

# what a job may do without, by its stage, and the setting that asks for it; {layer} is the layer's name
_STAGES: dict[str, tuple[Asks, str]] = {
    "decimation": (lambda job, *_: bool(job.dimension.decimation), "[dimension] decimation = true"),
    "classes": (lambda job, *_: job.dimension.per_class, "[dimension] per_class = true"),
    "spectrum": (lambda job, *_: job.dimension.pca, "[dimension] pca = true"),
    "surrogate": (lambda job, *where: job.dimension.wants_surrogate(*where), '[dimension] surrogate = ["{layer}"]'),
}
# the same for arrays of stages that every job has
_ARRAYS: dict[str, tuple[Asks, str]] = {
    "macro_overlap": (
        lambda job, *_: bool(job.data.macro or job.data.macro_roots or job.data.macro_depth),
        '[data] macro = "FILE", or taxonomy with macro_roots or macro_depth',
    ),
    "neighborhood_entropy": (lambda job, *_: job.data.source != "arrays", "[data] source = ... with images"),
    **dict.fromkeys(
        ("branch_ari", "branch_ami", "branch_purity", "class_peak", "class_peak_share"),
        (lambda job, *_: job.data.taxonomy is not None, '[data] taxonomy = "wordnet" or "FILE"'),
    ),
}
# matrices that compare layers
_MATRICES: dict[str, tuple[Asks, str]] = {
    "information_imbalance": (lambda job, *_: job.similarity.imbalance, "[similarity] imbalance = true"),
    "linear_cka": (lambda job, *_: "linear" in job.similarity.cka, '[similarity] cka = ["linear"]'),
    "gaussian_cka": (lambda job, *_: "gaussian" in job.similarity.cka, '[similarity] cka = ["gaussian"]'),
    "svcca": (lambda job, *_: job.similarity.svcca, "[similarity] svcca = true"),
    "pwcca": (lambda job, *_: job.similarity.pwcca, "[similarity] pwcca = true"),
}


def why_lacking(job: Job | None, stage: str, name: str, model: str, layer: str) -> str:
    """The end of a message about an array of a layer (or a whole stage) that is not in a run: why, and the way to it.

    >>> from dnuc.job import parse_job
    >>> job = parse_job({"name": "x", "data": {"source": "digits"}, "model": [{"name": "net", "arrays": {"fc": "a"}}]})
    >>> why_lacking(job, "classes", "class_value", "net", "fc")
    'the job does not ask for it: set [dimension] per_class = true, and run it again; what is there stays'
    >>> why_lacking(job, "neighbors", "neighbor_index", "net", "fc")
    'it is not computed yet: run the job again to go on'
    >>> why_lacking(job, "class", "class_value", "net", "fc")
    "there is no stage 'class'; closest: 'classes'"
    """
    if stage not in STAGES:
        return f"there is no stage {stage!r}; {closest(stage, STAGES)}"
    if name and name not in STAGES[stage]:
        return f"stage {stage!r} has no array {name!r}; {closest(name, STAGES[stage])}"
    return _why(job, _STAGES.get(stage) or _ARRAYS.get(name), model, layer)


def why_no_matrix(job: Job | None, measure: str, model: str) -> str:
    """The same for a matrix that compares the layers of a model."""
    return _why(job, _MATRICES[measure], model, "")


def _why(job: Job | None, asked: tuple[Asks, str] | None, model: str, layer: str) -> str:
    if job is None or asked is None or asked[0](job, model, layer):
        return "it is not computed yet: run the job again to go on"
    setting = asked[1].format(layer=layer)
    return f"the job does not ask for it: set {setting}, and run it again; what is there stays"
