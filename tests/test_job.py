"""A job file: what it may say, what it is refused for, and that it survives being written out again."""

from pathlib import Path

import pydantic
import pytest
import tomli_w

from dnuc.errors import JobError, closest
from dnuc.job import Job, parse_job, read_job

JOBS = sorted((Path(__file__).parent.parent / "jobs").glob("*.toml"))
SMALL = {"name": "small", "data": {"source": "digits"}, "model": [{"name": "net", "arrays": {"a": "a.npy"}}]}


def job(**tables):
    return parse_job({**SMALL, **tables})


def refusal(**tables):
    with pytest.raises(JobError) as refused:
        job(**tables)
    return str(refused.value)


def written(tmp_path, text):
    path = tmp_path / "job.toml"
    path.write_text(text, encoding="utf-8")
    return path


# --- reading ----------------------------------------------------------------------------------------------------


def test_jobs_are_shipped():
    assert {"digits", "fashion_mnist", "imagenet300_resnet152"} <= {path.stem for path in JOBS}


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_shipped_jobs_are_valid_and_survive_a_round_trip(path, tmp_path):
    read = read_job(path)
    assert read.name == path.stem
    assert read.title
    resolved = read.model_dump(mode="json", exclude_none=True)
    assert read_job(written(tmp_path, tomli_w.dumps(resolved))) == read


def test_every_setting_survives_a_round_trip(tmp_path):
    full = parse_job(
        {
            "name": "full-1.2_3@x",
            "title": "every setting away from its default",
            "seed": 7,
            "data": {
                "source": "image_folder", "path": "images", "classes": ["b", "a"], "images_per_class": 3, "ids": "i",
                "class_names": "n", "macro": "m", "max_unreadable": 2, "split": "test", "samples": 6,
                "perturb": {"luminance": 2.5},
            },
            "model": [
                {
                    "name": "trained", "architecture": "residual", "seed": 3, "options": {"width": 4, "deep": [1, 2]},
                    "image_size": 32, "layers": ["input"],
                    "train": {
                        "epochs": 4, "keep": [0, 2], "flip": True, "images": "samples", "shuffle_labels": True,
                    },
                },
                {"name": "loaded", "architecture": "vgg16", "weights": "DEFAULT"},
                {"name": "given", "arrays": {"first": "1.npy", "second": "2.zarr"}},
            ],
            "activations": {"dtype": "float16", "batch_size": 5, "block": 10},
            "neighbors": {"k": 40, "precision": "float64", "block": 100},
            "measures": {"overlap_k": [40, 10, 1], "fraction": 0.99, "top_hubs": 3},
            "dimension": {
                "method": "mle", "error": "bootstrap", "ranks": [1, 20], "decimation": [1, 3], "per_class": True,
                "pca": True, "variance": 0.5, "standardize": False, "pca_samples": 100,
            },
            "landscape": {"k": 12, "z": 0.0, "convention": "paper", "integer_dimension": True},
            "report": {"histogram_layers": ["a"], "peak_layers": ["b"], "tree_layer": "c", "published": "resnet152"},
        },
        base=tmp_path,
    )  # fmt: skip
    resolved = full.model_dump(mode="json", exclude_none=True)
    (tmp_path / "elsewhere").mkdir()
    assert read_job(written(tmp_path / "elsewhere", tomli_w.dumps(resolved))) == full
    assert full.data.classes == ("b", "a")
    assert (full.overlap_k, full.landscape_k) == ((40, 10, 1), 12)


def test_what_is_left_out_follows_the_neighbors():
    read = job(neighbors={"k": 17})
    assert (read.overlap_k, read.landscape_k) == ((17,), 17)


def test_paths_are_relative_to_the_job_file(tmp_path, monkeypatch):
    (tmp_path / "weights.pt").touch()
    (tmp_path / "home").mkdir()
    (tmp_path / "home/mine.pt").touch()
    path = written(
        tmp_path,
        'name = "a"\n[data]\nsource = "arrays"\nlabels = "in/labels.npy"\nids = "~/ids.txt"\n'
        '[[model]]\nname = "m"\narrays = {x = "../x.npy"}\n'
        '[[model]]\nname = "n"\narchitecture = "residual"\nweights = "weights.pt"\n'
        '[[model]]\nname = "o"\narchitecture = "residual"\nweights = "DEFAULT"\n'
        '[[model]]\nname = "p"\narchitecture = "residual"\nweights = "~/mine.pt"\n',
    )
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    read = read_job(path)
    assert read.data.labels == tmp_path / "in/labels.npy"
    assert read.data.ids == tmp_path / "home/ids.txt"
    assert read.model[0].arrays == {"x": tmp_path.parent / "x.npy"}
    assert read.model[1].weights == str(tmp_path / "weights.pt")
    assert read.model[2].weights == "DEFAULT"
    assert read.model[3].weights == str(tmp_path / "home/mine.pt")


def test_a_job_is_frozen():
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        job().neighbors.k = 3


# --- refusals ---------------------------------------------------------------------------------------------------

UNKNOWN = [
    ({"neighbor": {}}, "unknown key 'neighbor'; closest: 'neighbors'"),
    ({"data": {"source": "digits", "image_per_class": 3}}, "'data.image_per_class'; closest: 'images_per_class'"),
    ({"model": [{"name": "m", "architectur": "x"}]}, "'model.0.architectur'; closest: 'architecture'"),
    (
        {"model": [{"name": "m", "architecture": "residual", "train": {"epoch": 3}}]},
        "'model.0.train.epoch'; closest: 'epochs'",
    ),
    (
        {"data": {"source": "digits", "perturb": {"luminosity": 3}}},
        "unknown key 'data.perturb.luminosity'; allowed: 'luminance'",
    ),
    ({"measures": {"xyz": 1}}, "'measures.xyz'; allowed: 'overlap_k', 'fraction', 'top_hubs'"),
    ({"dimension": {"decimations": True}}, "unknown key 'dimension.decimations'; closest: 'decimation'"),
    ({"landscape": {"Z": 1}}, "'landscape.Z'; allowed: 'density', 'k', 'alpha', 'error_model', 'z'"),
    ({"report": {"tree_layers": "fc"}}, "'report.tree_layers'; closest: 'tree_layer'"),
    ({"activations": {"dtypes": "float16"}}, "'activations.dtypes'; closest: 'dtype'"),
]


@pytest.mark.parametrize(("tables", "message"), UNKNOWN, ids=[m.split(";")[0] for _, m in UNKNOWN])
def test_an_unknown_key_is_refused_with_the_closest(tables, message):
    assert message in refusal(**tables)


BAD = [
    ({"neighbors": {"k": 0}}, "neighbors.k: Input should be greater than or equal to 2 (given: 0)"),
    ({"neighbors": {"k": 2.5}}, "neighbors.k: "),
    (
        {"neighbors": {"precision": "half"}},
        "neighbors.precision: Input should be 'auto', 'int8', 'bfloat16', 'float32' or 'float64'",
    ),
    ({"measures": {"fraction": 0}}, "measures.fraction: "),
    ({"measures": {"fraction": 1.5}}, "less than or equal to 1 (given: 1.5)"),
    ({"measures": {"overlap_k": [5, 5]}}, "measures.overlap_k: names a value twice"),
    ({"measures": {"overlap_k": [0]}}, "measures.overlap_k: every k must be at least 1"),
    ({"dimension": {"ranks": [1, 16]}}, "of neighbors 16 and 32, but neighbors.k = 30: raise neighbors.k to 32"),
    ({"dimension": {"ranks": [0]}}, "dimension.ranks.0: Input should be greater than or equal to 1 (given: 0)"),
    ({"dimension": {"variance": 90}}, "dimension.variance: Input should be less than 1 (given: 90)"),
    ({"dimension": {"decimation": [2, 2]}}, "names a value twice"),
    ({"landscape": {"z": -1}}, "landscape.z: "),
    ({"landscape": {"density": "KNN"}}, "'knn', 'kstar' or 'pak' (given: 'KNN')"),
    ({"landscape": {"alpha": 0}}, "landscape.alpha: "),
    ({"landscape": {"error_model": "dadapy"}}, "'code' or 'paper' (given: 'dadapy')"),
    ({"landscape": {"tree_method": "wpgma"}}, "'weighted', 'single', 'average' or 'complete' (given: 'wpgma')"),
    ({"landscape": {"density": "pak", "k": 3}}, "landscape.density = 'pak' needs at least 4 neighbors"),
    ({"landscape": {"density": "kstar"}, "neighbors": {"k": 2}}, "landscape.k or neighbors.k is 2: raise it"),
    ({"landscape": {"convention": "authors"}}, "'dadapy' or 'paper' (given: 'authors')"),
    ({"seed": -1}, "seed: "),
    ({"name": "a/b"}, "name: String should match pattern"),
    ({"name": ""}, "name: String should match pattern"),
    ({"data": {"source": "mnist"}}, "data.source: Input should be 'digits', 'fashion_mnist', 'image_folder'"),
    ({"data": {"source": "digits", "classes": 1}}, "data.classes"),
    ({"data": {}}, "data.source: Field required"),
    ({"data": {"source": "digits", "perturb": {"luminance": 0}}}, "data.perturb.luminance: "),
    ({"data": {"source": "digits", "perturb": {"luminance": 1001}}}, "less than or equal to 1000 (given: 1001)"),
    ({"model": [{"name": "a", "architecture": "x", "train": {"images": 1}}]}, "model.0.train.images"),
    ({"model": [{"name": "a", "architecture": "x", "train": {"images": "all"}}]}, "'samples'"),
    ({"model": []}, "model: "),
    ({"activations": {"dtype": "bfloat16"}}, "'float32', 'float16' or 'float64' (given: 'bfloat16')"),
    ({"report": {"published": "vgg16"}}, "report.published: Input should be 'resnet152' (given: 'vgg16')"),
    ({"model": [{"name": "a", "arrays": {"b/c": "x.npy"}}]}, "String should match pattern"),
    ({"model": [{"name": "a"}]}, "model 'a' needs either 'architecture' or 'arrays'"),
    ({"model": [{"name": "a", "architecture": "x", "weights": "y", "arrays": {"z": "z"}}]}, "either 'architecture'"),
    ({"model": [{"name": "a", "architecture": "vgg16"}]}, "model 'a' needs either 'weights' (an enum name such as"),
    ({"model": [{"name": "a", "architecture": "x", "weights": "y", "train": {}}]}, "or a [model.train] table"),
    (
        {"model": [{"name": "a", "architecture": "x", "train": {"epochs": 2, "keep": [0, 3]}}]},
        "keep = [0, 3]: epochs run from 0 to 2",
    ),
    ({"model": [{"name": "a", "architecture": "x", "weights": "y", "layers": ["f", "f"]}]}, "names a value twice"),
    ({"model": [{"name": "a", "arrays": {"overlaps": "x.npy"}}]}, "no layer can be called 'overlaps'"),
    (
        {"model": [{"name": "a", "architecture": "x", "train": {"keep": [3]}}, {"name": "a@3", "arrays": {"b": "b"}}]},
        "two models have the same name: ['a', 'a@3', 'a@3']",
    ),
    ({"model": SMALL["model"] * 2}, "model: two models have the same name: ['net', 'net']"),
]


@pytest.mark.parametrize(("tables", "message"), BAD, ids=[m[:40] for _, m in BAD])
def test_a_bad_value_is_refused_with_place_and_value(tables, message):
    assert message in refusal(**tables)


@pytest.mark.parametrize("tables", [{"measures": {"overlap_k": [10, 50]}}, {"landscape": {"k": 50}}])
def test_more_neighbors_than_are_searched(tables):
    assert "asks for 50 neighbors, but neighbors.k = 30: raise neighbors.k to 50" in refusal(**tables)
    assert isinstance(job(neighbors={"k": 50}, **tables), Job)


def test_every_mistake_is_told_at_once():
    message = refusal(neighbors={"k": 0}, landscape={"zz": 1}, seed="x")
    assert all(part in message for part in ("neighbors.k", "landscape.zz", "seed"))


def test_files_that_are_not_jobs(tmp_path):
    with pytest.raises(JobError, match=r"no such file; give the path of a TOML job, e\.g\. jobs/digits\.toml"):
        read_job(tmp_path / "absent.toml")
    with pytest.raises(JobError, match=r"job\.toml' is not valid TOML: .*line 2"):
        read_job(written(tmp_path, 'name = "a"\nk = = 3\n'))
    (tmp_path / "binary.toml").write_bytes(b"name = \xff\xfe")
    with pytest.raises(JobError, match=r"binary\.toml' is not valid TOML: .*utf-8"):
        read_job(tmp_path / "binary.toml")


def test_closest_lists_a_dozen_names_at_most():
    names = [f"layer{i}" for i in range(30)]
    assert closest("zzz", names) == "allowed: " + ", ".join(map(repr, names[:12])) + ", ... (30 in all)"
    assert closest("layer7x", names) == "closest: 'layer7', 'layer27', 'layer17'"
