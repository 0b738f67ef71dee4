"""What the figures that compare layers show, in words."""

from __future__ import annotations

from dnuc.report.findings import Findings
from dnuc.report.similarity import Matrix, shown_matrices, stored_matrices


def matrices_words(findings: Findings, model: str) -> str:
    """Of the maps: what each measure is, with its settings; of those that are there."""
    stored, shown = stored_matrices(findings, model), shown_matrices(findings, model)
    names = {m.name for m in shown}
    missing = [f"{m.width:g}" for m in stored if m.name not in names]
    left_out = [f"Not shown: width {', '.join(missing)}."] if missing else []
    return " ".join([*_measures(findings, stored), *left_out])


def output_words(findings: Findings, model: str) -> str:
    """Of the comparison of CKA with the overlap."""
    matrices = [m for m in stored_matrices(findings, model) if m.measure.endswith("cka")]
    return " ".join(
        [
            f"Left: mean share of common neighbors with the last layer (overlap χ, k = {findings.overlap_k}), and CKA "
            "with the last layer. Right: one against the other, a marker a layer but the last; r is Pearson's. A "
            "Gaussian kernel much narrower than the median distance counts only what is near, as the overlap does; "
            "linear CKA weighs all distances. Doimo et al. 2020, Sec. 2.1 and A.4.",
            *_measures(findings, matrices),
        ]
    )


def _measures(findings: Findings, matrices: list[Matrix]) -> list[str]:
    settings, there = findings.job.similarity, {m.measure for m in matrices}
    some = settings.samples is not None and settings.samples < len(findings.samples)
    drawn = f", of {settings.samples:,} samples drawn by seed" if some else ""
    k = settings.imbalance_k
    nearest = "nearest neighbor" if k == 1 else f"{k} nearest neighbors"
    kept = f"the principal directions with {settings.variance:.0%} of the variance{drawn}"
    words = {
        "information_imbalance": f"Information imbalance: 2/N times the mean rank, in the column's layer, of the "
        f"{nearest} in the row's; near 0 where the row's layer tells all, 1 where it tells nothing (Glielmo 2022).",
        "cka": f"CKA: centered kernel alignment{' (debiased)' if settings.debiased else ''}{drawn}; the width of a "
        "Gaussian kernel is a fraction of the median distance in a layer (Kornblith et al. 2019).",
        "svcca": f"SVCCA: mean canonical correlation of {kept} (Raghu et al. 2017).",
        "pwcca": f"PWCCA: canonical correlations of {kept}, weighted by the row's layer (Morcos et al. 2018).",
    }
    asked = there | ({"cka"} if there & {"linear_cka", "gaussian_cka"} else set())
    return [text for name, text in words.items() if name in asked]
