"""What the paper reports for ResNet152, to be drawn beside what a run measured."""

from __future__ import annotations

from importlib import resources

import pandas as pd

from dnuc.job import Job

NAME = "published values"


def published_table(name: str = "resnet152") -> pd.DataFrame:
    """The published values of a network: a row a layer, by its depth in the paper's count.

    300 ImageNet classes x 300 images, k = 30, z = 1.65 (Doimo et al. 2020). Columns: depth, checkpoint;
    intrinsic_dimension and n_peaks at two TwoNN fractions (suffixes _f90, _f99); ari_macro and ari_class;
    label_overlap, output_overlap and next_overlap where the text states them.

    >>> float(published_table().set_index("depth").loc[142, "ari_macro"])
    0.22187
    """
    text = resources.files("dnuc.report").joinpath(f"{name}_published.csv")
    with text.open(encoding="utf-8") as lines:
        table = pd.read_csv(lines, comment="#")
    return table.rename(
        columns={
            "layer": "depth",
            "overlap_ground_truth": "label_overlap",
            "overlap_output": "output_overlap",
            "overlap_next": "next_overlap",
            "id_f90": "intrinsic_dimension_f90",
            "id_f99": "intrinsic_dimension_f99",
            "clusters_f90": "n_peaks_f90",
            "clusters_f99": "n_peaks_f99",
        }
    )


def published_beside(job: Job, model: str, layers: pd.DataFrame, fraction: float) -> pd.DataFrame | None:
    """Published values row by row beside a model's layers, NaN where the paper has none; None if not asked for.

    They belong to models whose architecture (or name) is `job.report.published`. A layer is recognized by its
    depth. Intrinsic dimension and number of peaks depend on the share of distance ratios that TwoNN fits: the
    published fraction (0.9 or 0.99) closer to the run's `fraction` is taken.

    Parameters
    ----------
    layers : DataFrame
        The model's rows of the layer table; the result has the same index.
    """
    wanted = job.report.published
    architectures = {m.name: m.architecture for m in job.model}
    if wanted is None or wanted not in (architectures.get(model), model):
        return None
    suffix = "_f90" if abs(fraction - 0.9) <= abs(fraction - 0.99) else "_f99"
    table = published_table(wanted).set_index("depth")
    beside = table.reindex(layers["depth"]).set_index(layers.index)
    beside["intrinsic_dimension"] = beside[f"intrinsic_dimension{suffix}"]
    beside["n_peaks"] = beside[f"n_peaks{suffix}"]
    # Layers of one depth are different tensors; the paper's is the last of them, the block's output.
    beside.loc[layers["depth"].duplicated(keep="last")] = float("nan")
    return beside
