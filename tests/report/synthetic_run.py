"""A complete run made of plausible numbers, stored as the stages store theirs: reports are tested without computing."""

from __future__ import annotations

import numpy as np
from scipy.cluster.hierarchy import linkage

from dnuc.landscape import Tree
from dnuc.landscape.stage import _taxonomy
from dnuc.store import Results, RunStore, stage_group, taxonomy_arrays
from dnuc.taxonomy import Taxonomy

CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
MACROS = ("tops", "trousers", "shoes", "bags")
MACRO_OF_CLASS = (0, 1, 0, 0, 0, 2, 0, 2, 3, 2)
NAMES = ("input", "stem", "layer1.0", "layer1.1", "layer2.0", "layer2.1", "layer3.0", "layer3.1", "avgpool", "fc")
PEAKS = (4, 2, 1, 1, 2, 3, 6, 9, 12, 11)
K = 10


def make_run(
    path,
    *,
    models=("residual",),
    names=NAMES,
    depths=None,
    peaks=PEAKS,
    n=600,
    classes=CLASSES,
    macro_of_class=MACRO_OF_CLASS,
    macros=MACROS,
    entropy=True,
    report="",
    stages=("measures", "dimension", "landscape", "overlaps", "similarity"),
    notes=True,
    networks=None,
):
    """A run directory with `models` x `names` layers; `peaks` is the number of density peaks in each layer.

    `networks`: model -> what is recorded of it beside its layers (network, training).
    """
    rng = np.random.default_rng(1)
    store = RunStore.create(path)
    (path / "job.toml").write_text(_job(models, report), encoding="utf-8")
    label = np.arange(n) % len(classes)
    macro = np.array(macro_of_class)[label] if macros else np.full(n, -1)
    taxonomy = _kinds(classes, macro_of_class, macros) if macros else None
    store.begin("samples", "s")
    store.save(
        "samples",
        {
            "id": np.array([f"sample-{i:05d}" for i in range(n)], dtype=np.dtypes.StringDType()),
            "label": label,
            "macro": macro,
            "entropy": rng.uniform(1, 7, n) if entropy else np.full(n, np.nan),
            "hash": np.array([f"{i:016x}" for i in range(n)], dtype=np.dtypes.StringDType()),
            **taxonomy_arrays(taxonomy),
        },
    )
    skipped = ["image n01_77.JPEG: truncated <file>"] if notes else []
    store.finish("samples", label_names=list(classes), macro_names=list(macros), skipped=skipped)
    depths = list(range(len(names))) if depths is None else list(depths)
    store.describe("", models=list(models))
    for number, model in enumerate(models):
        layers = [
            {"name": name, "module": name, "depth": d, "relative_depth": d / max(1, depths[-1]), "features": 1000 - d}
            for name, d in zip(names, depths, strict=True)
        ]
        store.describe(f"models/{model}", layers=layers, **(networks or {}).get(model, {}))
        for position, name in enumerate(names):
            progress = position / max(1, len(names) - 1)
            _neighbors(store, model, name)
            if "measures" in stages:
                overlap = progress ** (2 + number)
                _measures(store, rng, model, name, label, macro, overlap, entropy, notes and position == 1)
            if "dimension" in stages:
                _dimension(store, model, name, progress, len(classes), notes and position == 1)
            if "landscape" in stages and notes and position == 1:
                _no_landscape(store, model, name)
            elif "landscape" in stages:
                _landscape(store, rng, model, name, label, macro, progress, peaks[position], taxonomy)
        if "overlaps" in stages:
            _overlaps(store, model, len(names))
        if "similarity" in stages:
            _similarity(store, model, list(names))
    return Results(path)


def trained_networks(**epochs_of):
    """`networks` of `make_run`: residual networks by name, with their kept epochs ("a@2" is one of "a")."""
    found = {}
    for model, accuracies in epochs_of.items():
        network = {"origin": "training", "architecture": "residual", "options": {"width": 8}, "weights": "trained"}
        network |= {"of": model, "shuffled": False}
        epochs = [{"train_accuracy": a, "test_accuracy": a} for a in accuracies]
        found |= {f"{model}@{e}": {"network": network | {"epoch": e}} for e in range(len(accuracies))}
        found[model] = {
            "network": network | {"epoch": None},
            "training": {"epochs": epochs, "images": 500, "untrained_accuracy": 0.1},
        }
    return found


def make_images(sample_id):
    """A smooth gray picture, another for every sample."""
    shade = int(sample_id.split("-")[1]) % 200
    return np.clip(shade + np.add.outer(np.arange(28), np.arange(28)), 0, 255).astype(np.uint8)[:, :, None]


def _job(models, report):
    lines = ['name = "synthetic"', 'title = "A run with <plausible> numbers"', "", "[data]", 'source = "digits"', ""]
    for model in models:
        lines += ["[[model]]", f'name = "{model}"', 'architecture = "resnet152"', 'weights = "random"', ""]
    lines += ["[neighbors]", f"k = {K}", "", "[dimension]", "decimation = true", "per_class = true", "pca = true", ""]
    lines += ["[similarity]", "imbalance = true", 'cka = ["linear", "gaussian"]', "svcca = true", "pwcca = true", ""]
    return "\n".join([*lines, "[report]", report, ""])


def _kinds(classes, macro_of_class, macros):
    """Macro classes as the broad level of a taxonomy, classes as the fine one."""
    names = [*macros, "neither"]
    above = {key: names[macro] for key, macro in zip(classes, macro_of_class, strict=True)}
    return Taxonomy.of_parents(above | dict.fromkeys(names, "things"), list(classes))


def _neighbors(store, model, name):
    group = stage_group(model, name, "neighbors")
    store.begin(group, "n")
    store.finish(group, redone=3, seconds=1.25)


def _measures(store, rng, model, name, label, macro, progress, entropy, undefined):
    group = stage_group(model, name, "measures")
    n = len(label)

    def share(mean):
        return rng.binomial(K, np.clip(rng.normal(mean, 0.15, n), 0, 1), size=(1, n)) / K

    arrays = {
        "label_overlap": share(0.1 + 0.8 * progress),
        "input_overlap": share((1 - progress) ** 4),
        "output_overlap": share(progress**2),
        "occurrence": rng.poisson(K, n),
    }
    if progress < 1:
        arrays["next_overlap"] = share(0.6 + 0.2 * progress)
    if (macro >= 0).any():
        arrays["macro_overlap"] = share(0.3 + 0.65 * progress)
    hubs = np.argsort(-arrays["occurrence"], kind="stable")[:10]
    values = {f"{key}_mean": [float(value.mean())] for key, value in arrays.items() if key != "occurrence"}
    values |= {
        "hub_sample": hubs.tolist(),
        "hub_occurrence": (arrays["occurrence"][hubs] * 7).tolist(),
        "hub_coverage": float(0.5 - (progress - 0.3) ** 2),
        "duplicates": 2,
        "overlap_k": [K],
        "intrinsic_dimension": None if undefined else float(12 + 20 * progress * (1 - progress)),
        "intrinsic_dimension_error": None if undefined else 0.4,
    }
    if undefined:
        values["dimension_note"] = "TwoNN: 0 of 600 samples have their nearest neighbor at a distance above 0"
    else:
        values |= {"dimension_scale": 3.5, "dimension_fraction": 0.9, "dimension_dropped": 2}
    if entropy:
        arrays["neighborhood_entropy"] = rng.uniform(3, 5, n)
        values |= {
            "neighborhood_entropy": float(4 - 1.5 * progress * (1 - progress)),
            "neighborhood_entropy_error": 0.03,
            "shuffled_entropy": 4.1,
            "shuffled_entropy_error": 0.02,
        }
    store.begin(group, "m")
    store.save(group, arrays)
    store.finish(group, **values)


def _dimension(store, model, name, progress, n_classes, left_out):
    """Noise at short distances; fewer dimensions within classes; more in a linear description."""
    rank, blocks = 2 ** np.arange(4), 2 ** np.arange(5)
    flat = 11 + 20 * progress * (1 - progress)
    _stage(
        store, stage_group(model, name, "dimension"),
        {
            "gride_rank": rank, "gride_value": flat * (1 + 0.2 / rank), "gride_error": 0.4 / np.sqrt(rank),
            "gride_scale": 30 * (1 + progress) * rank ** (1 / flat), "gride_dropped": 0 * rank,
        },
        dimension_gride=flat * 1.025, dimension_gride_error=0.14, dimension_gride_rank=8,
        notes=["Gride at rank 16: nothing"] if left_out else [],
    )  # fmt: skip
    _stage(
        store, stage_group(model, name, "decimation"),
        {
            "decimation_blocks": blocks, "decimation_value": flat * (1.2 - 0.05 * np.arange(5)),
            "decimation_error": 0.4 * np.sqrt(blocks), "decimation_scale": 31 * (1 + progress) * blocks ** (1 / flat),
            "decimation_dropped": 0 * blocks, "block_value": np.full(blocks.sum(), flat),
        },
        blocks_left_out=3 if left_out else 0,
    )  # fmt: skip
    if name in ("avgpool", "hidden"):
        _stage(
            store, stage_group(model, name, "surrogate"),
            {
                "surrogate_blocks": blocks, "surrogate_value": 5 * flat * (1.2 - 0.05 * np.arange(5)),
                "surrogate_error": 0.4 * np.sqrt(blocks), "surrogate_scale": 40.0 * blocks ** (1 / flat),
                "surrogate_dropped": 0 * blocks,
            },
        )  # fmt: skip
    values = np.linspace(0.4, 0.8, n_classes) * flat
    values[n_classes - left_out :] = np.nan
    mean, std = float(np.nanmean(values)), float(np.nanstd(values, ddof=1))
    counts = {"classes_left_out": int(left_out), "class_scale": 30.0}
    _stage(store, stage_group(model, name, "classes"), {"class_value": values}, class_dimension=mean,
           class_dimension_std=std, **counts)  # fmt: skip
    ratio = np.arange(1, 300.0) ** -0.7
    _stage(store, stage_group(model, name, "spectrum"), {"variance_ratio": ratio / ratio.sum()},
           pca_dimension=round(200 - 150 * progress), pca_variance=0.9, pca_samples=500, pca_exact=not left_out,
           standardized=True)  # fmt: skip


def _stage(store, group, arrays, **values):
    store.begin(group, "d")
    store.save(group, arrays)
    store.finish(group, **values)


def _no_landscape(store, model, name):
    group = stage_group(model, name, "landscape")
    store.begin(group, "l")
    store.finish(group, note="no density without an intrinsic dimension")


def _landscape(store, rng, model, name, label, macro, progress, n_peaks, taxonomy):
    """Peaks that hold whole classes late in the network, and anything early."""
    group = stage_group(model, name, "landscape")
    n = len(label)
    n_peaks = min(n_peaks, n)
    random = rng.integers(0, n_peaks, n)
    classes = label.max() + 1
    own = label + classes * rng.integers(0, -(-n_peaks // classes), n)  # several peaks a class, if they suffice
    ordered = label * n_peaks // classes if n_peaks <= classes else np.where(own < n_peaks, own, label)
    peak = np.where(rng.random(n) < 0.95 * progress, ordered, random)
    peak[:n_peaks] = np.arange(n_peaks)
    log_density = rng.normal(-40, 2, n)
    top = log_density.max() + 0.5 + np.sort(rng.exponential(3, n_peaks))[::-1]
    log_density[:n_peaks] = top
    a, b = np.triu_indices(n_peaks, 1)
    touch = (rng.random(len(a)) < min(1, 3 / n_peaks)) | (b == a + 1)
    a, b = a[touch], b[touch]
    saddle = np.minimum(top[a], top[b]) - rng.exponential(2, len(a)) - 0.3
    tree = _tree(top, a, b, saddle)
    values, arrays = ({}, {}) if taxonomy is None else _taxonomy(peak, label, taxonomy, tree, 0)
    store.begin(group, "l")
    store.save(
        group,
        {
            **arrays,
            "log_density": log_density,
            "log_density_error": np.full(n, 0.3),
            "density_k": np.full(n, K),
            "peak": peak,
            "core": rng.random(n) < 0.6,
            "border": _border(n, peak, a, b),
            "peak_center": np.arange(n_peaks),
            "peak_log_density": top,
            "saddle_peak_a": a,
            "saddle_peak_b": b,
            "saddle_log_density": saddle,
            "saddle_error": np.full(len(a), 0.3),
            "saddle_sample": n_peaks + np.arange(len(a)) % max(1, n - n_peaks),
            "tree_linkage": tree.linkage,
            "tree_assumed": tree.assumed,
            "tree_newick": np.array([_newick(n_peaks)], dtype=np.dtypes.StringDType()),
        },
    )
    macro_values = {"ari_macro": 0.4 * progress, "ami_macro": 0.5 * progress} if (macro >= 0).any() else {}
    store.finish(
        group,
        n_peaks=n_peaks,
        ari_class=0.8 * progress**3 - 0.01,
        ami_class=0.8 * progress**2,
        core_share=0.6,
        k=K,
        z=1.65,
        dimension=12.5,
        convention="dadapy",
        **macro_values,
        **values,
        tree={"method": "weighted", "fill": tree.fill, "summit": tree.summit},
    )


def _border(n, peak, a, b):
    """Every fourth sample that has a peak to face, faces it."""
    facing = {int(x): int(y) for x, y in [*zip(b, a, strict=True), *zip(a, b, strict=True)]}
    return np.array([facing.get(int(p), -1) if i % 4 == 0 else -1 for i, p in enumerate(peak)])


def _tree(top, a, b, saddle):
    n = len(top)
    summit = float(max([*top, *saddle]))
    fill = summit - float(min([*top, *saddle])) + 1
    if n == 1:
        return Tree(np.empty((0, 4)), np.empty(0, dtype=bool), fill, summit, top)
    condensed = np.full(n * (n - 1) // 2, fill)
    condensed[n * a - a * (a + 1) // 2 + b - a - 1] = summit - saddle
    tree = linkage(condensed, "weighted")
    return Tree(tree, tree[:, 2] > (summit - saddle).max(), fill, summit, top)


def _newick(n):
    return "'0 a';" if n == 1 else "(" * (n - 1) + "0" + "".join(f",{i})" for i in range(1, n)) + ";"


def _similarity(store, model, names):
    """Linear CKA falls off more slowly than a narrow Gaussian; of one layer nothing can be said."""
    n = len(names)
    distance = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    pwcca = 0.95**distance
    pwcca[min(1, n - 1)] = np.nan
    arrays = {
        "imbalance": {"information_imbalance": 1.1 - 1.1 * 0.7 ** (distance + 0.02)},
        "cka": {"linear_cka": 0.9**distance, "gaussian_cka": np.stack([0.7**distance, 0.8**distance])},
        "cca": {"svcca": 0.92**distance, "pwcca": pwcca},
    }
    for kind, found in arrays.items():
        group = f"models/{model}/similarity/{kind}"
        store.begin(group, "s")
        store.save(group, found)
        store.finish(group, layers=names, notes=[], widths=[0.1, 0.4])


def _overlaps(store, model, n_layers):
    group = f"models/{model}/overlaps"
    distance = np.abs(np.subtract.outer(np.arange(n_layers), np.arange(n_layers)))
    store.begin(group, "o")
    store.save(group, {"layer_overlap": (0.75**distance)[None]})
    store.finish(group)
