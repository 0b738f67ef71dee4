"""A job: *what* to compute, read from TOML. Frozen, checked, hashed; it never says where it runs.

A job file has a name, a seed, one [data] table, one [[model]] table a network, and optional tables
[activations], [neighbors], [measures], [dimension], [similarity], [landscape], [report]. Unknown keys are refused with
the closest valid one, because a misspelled setting that is silently ignored costs a night of cluster time.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
    field_validator,
    model_validator,
)

from dnuc.errors import JobError, closest
from dnuc.location import Location, locate

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@-]*$")]


def _no_repeats(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) != len(values):
        raise ValueError("names a value twice")
    return values


class Section(BaseModel):
    """A table of the job file: immutable, and strict about its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Perturb(Section):
    """[data.perturb]: a change of the images that says nothing about their classes (Ansuini et al. 2019, Sec. 3.4)."""

    luminance: Annotated[float, Field(gt=0, le=1000)]  # L: to all pixels of an image, L times a random number in 0..1


class Data(Section):
    """[data]: which samples, in which order, with which labels."""

    source: Literal["digits", "fashion_mnist", "image_folder", "image_tar", "parquet", "arrays"]
    path: Path | None = None  # directory or file of the data, of parquet also a pattern of files; digits need none
    split: Literal["train", "test"] = "train"
    download: bool = False  # fashion_mnist only: let torchvision fetch the files into `path`
    classes: Annotated[int, Field(ge=2)] | tuple[str, ...] | None = None  # how many, drawn by seed; or which
    images_per_class: Annotated[int, Field(ge=1)] | None = None  # drawn by seed; all when absent
    ids: Path | None = None  # instead of drawing: one sample id a line, e.g. n01443537_10014
    class_names: Path | None = None  # two columns: class directory, readable name
    macro: Path | None = None  # two columns: class (directory or name), macro class
    taxonomy: Literal["wordnet"] | Path | None = None  # "wordnet", its directory, or two columns: class, what it is
    macro_roots: Annotated[
        tuple[str, ...], AfterValidator(_no_repeats)
    ] = ()  # instead of `macro`: these of the taxonomy
    macro_depth: Annotated[int, Field(ge=1)] | None = None  # or all that are so many steps below its root
    labels: Path | None = None  # arrays: (N,) integers or names, .npy or one a line in text; parquet: what the classes
    # 0, 1, ... of the column are called, one a line
    max_unreadable: Annotated[int, Field(ge=0)] = 0  # images that may be skipped; more is an error
    samples: Annotated[int, Field(ge=2)] | None = None  # how many there must be; another number is refused
    perturb: Perturb | None = None  # of every image, also of those that networks are trained on


class Train(Section):
    """[model.train]: train this network on the job's data, because no public weights exist."""

    epochs: Annotated[int, Field(ge=1)] = 10
    batch_size: Annotated[int, Field(ge=1)] = 128
    learning_rate: Annotated[float, Field(gt=0)] = 0.1
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    augment: bool = True  # random shifts (and flips where a flip keeps the class)
    flip: bool = False
    keep: tuple[int, ...] = ()  # epochs whose weights become models of their own; 0 = before training
    images: Annotated[int, Field(ge=2)] | Literal["samples"] | None = None  # how many, drawn by seed; "samples": those
    # of the job's samples that are training images; all training images of the job's classes when absent
    test_every: Annotated[int, Field(ge=1)] = 1  # epochs from one look at the held-out images to the next
    shuffle_labels: bool = False  # train on the classes of other images: all that can be learned is by heart

    @model_validator(mode="after")
    def _kept_epochs_exist(self) -> Train:
        wrong = [e for e in self.keep if not 0 <= e <= self.epochs]
        if wrong:
            raise ValueError(f"keep = {list(self.keep)}: epochs run from 0 to {self.epochs}")
        return self


class Model(Section):
    """[[model]]: a network and the layers to look at; or arrays that something else computed."""

    name: Name
    architecture: str | None = None  # torchvision name, 'residual', 'convolutional', or 'module:callable'
    weights: str | None = None  # weights enum name ('DEFAULT', 'IMAGENET1K_V2'), 'random', or a checkpoint file
    seed: Annotated[int, Field(ge=0)] | None = None  # of random weights and of training; the job's seed when absent
    options: dict[str, Any] = {}  # keyword arguments of the architecture
    image_size: Annotated[int, Field(ge=1)] | None = None  # resize + center crop, where no weights say it
    layers: Annotated[tuple[str, ...], AfterValidator(_no_repeats)] = ("input", "checkpoints", "output")
    train: Train | None = None
    arrays: dict[Name, Path] | None = None  # layer name -> .npy or Zarr array, (N, D), in depth order

    @model_validator(mode="after")
    def _one_origin(self) -> Model:
        if (self.architecture is None) == (self.arrays is None):
            raise ValueError(f"model {self.name!r} needs either 'architecture' or 'arrays'")
        for taken in {"overlaps", "similarity"} & {*(self.arrays or ())}:
            raise ValueError(
                f"model {self.name!r}: no layer can be called {taken!r}, where what compares layers is stored"
            )
        if self.architecture is not None and (self.weights is None) == (self.train is None):
            raise ValueError(
                f"model {self.name!r} needs either 'weights' (an enum name such as 'DEFAULT', 'random', or a "
                "checkpoint file) or a [model.train] table"
            )
        return self


class Activations(Section):
    """[activations]: how they are stored."""

    dtype: Literal["float32", "float16", "float64"] = "float32"  # float64: for given arrays that need it
    batch_size: Annotated[int, Field(ge=1)] = 64  # images in one forward pass
    block: Annotated[int, Field(ge=1)] | None = None  # samples a task extracts; from memory when absent
    storage_budget: Annotated[ByteSize, Field(gt=0)] | None = None  # bytes, or "2TB": at no moment do activations take
    # more of the disk. Where not all fit, some layers are extracted, used and dropped before others
    keep: Annotated[tuple[str, ...], AfterValidator(_no_repeats)] = ()  # layers, or "model/layer", never dropped

    def keeps(self, model: str, layer: str) -> bool:
        """Whether a layer's activations are there when the run is finished, whatever the budget."""
        return layer in self.keep or f"{model}/{layer}" in self.keep


class NeighborSearch(Section):
    """[neighbors]: how many, and how they are found. The result never depends on anything but k."""

    k: Annotated[int, Field(ge=2)] = 30
    precision: Literal["auto", "int8", "bfloat16", "float32", "float64"] = "auto"  # of the filter
    block: Annotated[int, Field(ge=1)] | None = None  # rows of a tile; from memory when absent


class Measures(Section):
    """[measures]: overlaps, intrinsic dimension, hubs, entropy."""

    overlap_k: Annotated[tuple[int, ...], AfterValidator(_no_repeats)] = ()  # several k; neighbors.k when empty
    fraction: Annotated[float, Field(gt=0, le=1)] = 0.9  # TwoNN: share of the smallest ratios in the fit
    top_hubs: Annotated[int, Field(ge=1)] = 10
    weights: Literal["class_size"] | None = None  # of mean overlaps: each class counts the same, not each sample


class DimensionSettings(Section):
    """[dimension]: the intrinsic dimension at growing scales, of each class, and by principal components."""

    method: Literal["fit", "mle"] = "fit"  # TwoNN, wherever it is used; "fit" takes measures.fraction
    error: Literal["fisher", "bootstrap"] = "fisher"  # of TwoNN on all samples
    ranks: Annotated[tuple[Annotated[int, Field(ge=1)], ...], AfterValidator(_no_repeats)] = ()  # of Gride; when empty
    # 1, 2, 4, ... up to half of neighbors.k
    decimation: StrictBool | Annotated[tuple[Annotated[int, Field(ge=1)], ...], AfterValidator(_no_repeats)] = False
    # into so many random blocks; true: 1, 2, 4, ... up to 64 while blocks have 50 samples
    per_class: bool = False  # TwoNN within each class
    pca: bool = False  # variance spectrum and PC-ID
    variance: Annotated[float, Field(gt=0, lt=1)] = 0.9  # PC-ID: components that hold more than this share of it
    standardize: bool = True  # PCA of features divided by their standard deviation
    pca_samples: Annotated[int, Field(ge=2)] = 4096  # drawn for PCA where both N and D are larger than this
    surrogate: Annotated[tuple[str, ...], AfterValidator(_no_repeats)] = ()  # layers, or "model/layer", of which also
    # Gaussian samples with the same covariance are decimated

    def wants_surrogate(self, model: str, layer: str) -> bool:
        """Whether Gaussian samples are to be made of a layer."""
        return layer in self.surrogate or f"{model}/{layer}" in self.surrogate


class Similarity(Section):
    """[similarity]: matrices that compare all layers of a network with each other; off unless they are asked for."""

    imbalance: bool = False  # information imbalance from every layer to every other, over all samples
    imbalance_k: Annotated[int, Field(ge=1)] = 1  # neighbors whose ranks are averaged
    cka: Annotated[tuple[Literal["linear", "gaussian"], ...], AfterValidator(_no_repeats)] = ()
    widths: Annotated[tuple[Annotated[float, Field(gt=0)], ...], AfterValidator(_no_repeats), Field(min_length=1)] = (
        0.1,
        0.4,
    )  # of Gaussian kernels: sigma as a fraction of the layer's median distance
    debiased: bool = False  # CKA from the unbiased estimator of HSIC
    svcca: bool = False
    pwcca: bool = False
    variance: Annotated[float, Field(gt=0, le=1)] = 0.99  # share that SVCCA and PWCCA keep of each layer
    samples: Annotated[int, Field(ge=4)] | None = None  # drawn by seed for CKA, SVCCA and PWCCA; all when absent

    @property
    def compares_samples(self) -> bool:
        """Whether activations of some samples are needed of all layers of a network at once."""
        return bool({"cka", "cca"} & {*self.kinds})

    @property
    def kinds(self) -> list[str]:
        """What is computed: "imbalance", "cka" (all kernels at once), "cca" (SVCCA and PWCCA)."""
        asked = {"imbalance": self.imbalance, "cka": bool(self.cka), "cca": self.svcca or self.pwcca}
        return [kind for kind, wanted in asked.items() if wanted]


class LandscapeSettings(Section):
    """[landscape]: density, peaks, tree."""

    density: Literal["knn", "kstar", "pak"] = "knn"  # constant k; k* of each sample (k*NN); the same, corrected (PAk)
    k: Annotated[int, Field(ge=2)] | None = None  # k of knn, the limit of k*; neighbors.k when absent
    alpha: Annotated[float, Field(gt=0, lt=1)] = 1e-6  # significance of the test that ends k*
    error_model: Literal["code", "paper"] = "code"  # of log densities: as in the papers' code, or in their text
    z: Annotated[float, Field(ge=0)] = 1.65  # confidence of a peak
    convention: Literal["dadapy", "paper"] = "dadapy"
    integer_dimension: bool = False  # the paper rounds the intrinsic dimension
    tree_method: Literal["weighted", "single", "average", "complete"] = "weighted"  # weighted: WPGMA, the paper's


class Report(Section):
    """[report]: which layers the figures show, and what they are compared with."""

    histogram_layers: tuple[str, ...] = ()  # Fig. 2b; four evenly spaced ones when empty
    peak_layers: tuple[str, ...] = ()  # Fig. 4a; six when empty
    tree_layer: str | None = None  # Fig. 4c; the last layer when absent
    published: Literal["resnet152"] | None = None  # values of the paper, drawn beside the measured ones


class Job(Section):
    """One job file, complete and checked."""

    name: Name
    title: str = ""
    seed: Annotated[int, Field(ge=0)] = 0
    data: Data
    model: tuple[Model, ...] = Field(min_length=1)
    activations: Activations = Activations()
    neighbors: NeighborSearch = NeighborSearch()
    measures: Measures = Measures()
    dimension: DimensionSettings = DimensionSettings()
    similarity: Similarity = Similarity()
    landscape: LandscapeSettings = LandscapeSettings()
    report: Report = Report()

    @field_validator("model")
    @classmethod
    def _distinct_names(cls, models: tuple[Model, ...]) -> tuple[Model, ...]:
        names = [m.name for m in models] + [f"{m.name}@{e}" for m in models if m.train for e in m.train.keep]
        if len(set(names)) != len(names):
            raise ValueError(f"two models have the same name: {names}")
        return models

    @model_validator(mode="after")
    def _fitting_k(self) -> Job:
        k = self.neighbors.k
        too_large = [m for m in (*self.measures.overlap_k, self.landscape.k or 0) if m > k]
        if too_large:
            raise ValueError(
                f"measures.overlap_k or landscape.k asks for {max(too_large)} neighbors, but neighbors.k = {k}: "
                f"raise neighbors.k to {max(too_large)}"
            )
        if 2 * max(self.dimension.ranks, default=0) > k:
            rank = max(self.dimension.ranks)
            raise ValueError(
                f"dimension.ranks asks for rank {rank}, which takes the distances of neighbors {rank} and {2 * rank}, "
                f"but neighbors.k = {k}: raise neighbors.k to {2 * rank}"
            )
        if self.landscape.density != "knn" and self.landscape_k < 4:
            raise ValueError(
                f"landscape.density = {self.landscape.density!r} needs at least 4 neighbors, and landscape.k or "
                f"neighbors.k is {self.landscape_k}: raise it, e.g. to 100"
            )
        if self.similarity.imbalance and self.similarity.imbalance_k > k:
            raise ValueError(
                f"similarity.imbalance_k asks for {self.similarity.imbalance_k} neighbors, but neighbors.k = {k}: "
                f"raise neighbors.k to {self.similarity.imbalance_k}"
            )
        if any(m < 1 for m in self.measures.overlap_k):
            raise ValueError("measures.overlap_k: every k must be at least 1")
        return self

    @property
    def overlap_k(self) -> tuple[int, ...]:
        """Every k at which overlaps are measured; the first is the one drawn."""
        return self.measures.overlap_k or (self.neighbors.k,)

    @property
    def landscape_k(self) -> int:
        """Neighbors used for the density and its peaks."""
        return self.landscape.k or self.neighbors.k


def read_job(path: str | Location) -> Job:
    """Read a job file. Paths in it are relative to the file's own directory.

    Raises
    ------
    JobError
        If the file is missing, is not TOML, has an unknown key (the closest valid key is named), or a value
        out of range.
    """
    path = locate(path)
    if not path.is_file():
        raise JobError(f"job {str(path)!r}: no such file; give the path of a TOML job, e.g. jobs/digits.toml")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise JobError(f"job {str(path)!r} is not valid TOML: {error}") from None
    base = path.parent if isinstance(path, Path) else Path()  # the job of a run, whose paths are absolute
    return parse_job(content, base=base, where=str(path))


def parse_job(content: dict[str, Any], base: Path = Path(), where: str = "job") -> Job:
    """A checked Job from the content of a TOML file; `base` is what relative paths are relative to."""
    try:
        job = Job.model_validate(content)
    except ValidationError as error:
        lines = [_explain(e) for e in error.errors()]
        raise JobError(f"{where}: " + "\n  ".join(lines)) from None
    return _absolute(job, base)


def _explain(error: Any) -> str:
    place = ".".join(str(p) for p in error["loc"])
    if error["type"] == "extra_forbidden":
        key = str(error["loc"][-1])
        return f"unknown key {place!r}; {closest(key, _keys_beside(error['loc']))}"
    message = error["msg"].removeprefix("Value error, ")
    given = error.get("input")
    shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool) else ""
    return f"{place}: {message}{shown}" if place else f"{message}{shown}"


def _keys_beside(location: tuple[Any, ...]) -> list[str]:
    """The keys that are allowed where an unknown one was found."""
    section: type[BaseModel] = Job
    for step in location[:-1]:
        if isinstance(step, int):
            continue
        section = _SECTIONS[step]
    return list(section.model_fields)


_SECTIONS: dict[str, type[BaseModel]] = {
    "data": Data,
    "perturb": Perturb,
    "model": Model,
    "train": Train,
    "activations": Activations,
    "neighbors": NeighborSearch,
    "measures": Measures,
    "dimension": DimensionSettings,
    "similarity": Similarity,
    "landscape": LandscapeSettings,
    "report": Report,
}


def _absolute(job: Job, base: Path) -> Job:
    """The job with every path made absolute: workers may run in another directory."""

    def resolve(path: Path | None) -> Path | None:
        return None if path is None else (base / path.expanduser()).resolve()

    paths = ("path", "ids", "class_names", "macro", "labels", "taxonomy")
    given = {key: getattr(job.data, key) for key in paths}
    data = job.data.model_copy(update={k: resolve(v) for k, v in given.items() if isinstance(v, Path)})
    models = []
    for model in job.model:
        update: dict[str, Any] = {}
        if model.arrays is not None:
            update["arrays"] = {name: resolve(path) for name, path in model.arrays.items()}
        checkpoint = resolve(Path(model.weights)) if model.weights is not None else None
        if checkpoint is not None and checkpoint.is_file():
            update["weights"] = str(checkpoint)
        models.append(model.model_copy(update=update))
    return job.model_copy(update={"data": data, "model": tuple(models)})
