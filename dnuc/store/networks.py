"""The table of a run's networks: how well each one does, and how its intrinsic dimension rises and falls."""

from __future__ import annotations

from typing import Any

import pandas as pd

from dnuc.store.run import RunStore

NAN = float("nan")
_DIMENSION = ("intrinsic_dimension", "intrinsic_dimension_error")
_TEXTS = (
    "model",
    "of",
    "architecture",
    "options",
    "weights",
    "peak_layer",
    "last_hidden_layer",
    "output_layer",
    "shuffled",
)


def networks_table(store: RunStore, layers: pd.DataFrame) -> pd.DataFrame:
    """A row a network, in the job's order; `layers` is the table of layers. See `Results.models_table`."""
    layers = layers.reindex(columns=["model", "layer", "relative_depth", *_DIMENSION])
    rows: list[dict[str, Any]] = []
    for model in store.models():
        network = store.attributes(f"models/{model}").get("network", {})
        base = network.get("of", model)
        training = store.attributes(f"models/{base}").get("training") if store.exists(f"models/{base}") else None
        row: dict[str, Any] = {"model": model, "architecture": network.get("architecture"), "of": base}
        row["options"] = ", ".join(f"{key} = {value}" for key, value in sorted(network.get("options", {}).items()))
        row["weights"] = network.get("weights")
        row |= _training(training if network.get("origin") == "training" else None, network)
        row |= {key: (network.get("published") or {}).get(key, NAN) for key in ("top1_error", "top5_error")}
        row |= _profile(layers[layers["model"] == model])
        rows.append(row)
    table = pd.DataFrame(rows) if rows else pd.DataFrame(columns=["model"])
    numbers = [c for c in table.columns if c not in _TEXTS]
    table[numbers] = table[numbers].apply(pd.to_numeric)
    return table


def _training(training: dict[str, Any] | None, network: dict[str, Any]) -> dict[str, Any]:
    """How a network was trained up to its epoch, and what it could do then."""
    row: dict[str, Any] = {
        "epoch": network.get("epoch"),
        "images": None,
        "shuffled": bool(network.get("shuffled", False)),
        "train_accuracy": None,
        "test_accuracy": None,
    }
    if training:
        epoch = len(training["epochs"]) if row["epoch"] is None else row["epoch"]
        row |= {"epoch": epoch, "images": training.get("images")}
        if epoch == 0:
            row["test_accuracy"] = training.get("untrained_accuracy")
        else:
            row |= {key: training["epochs"][epoch - 1][key] for key in ("train_accuracy", "test_accuracy")}
    row["test_error"] = None if row["test_accuracy"] is None else 1 - row["test_accuracy"]
    return row


def _profile(layers: pd.DataFrame) -> dict[str, Any]:
    """Where the intrinsic dimension starts, peaks and ends.

    The last hidden layer is the deepest one before the output; without a dimension it has none.
    """
    known = layers[layers["intrinsic_dimension"].notna()]
    hidden = layers[layers["relative_depth"] < 1]
    peak = known.loc[[known["intrinsic_dimension"].idxmax()]] if len(known) else known
    first = layers[layers["relative_depth"] == 0].head(1)
    row: dict[str, Any] = {"input_dimension": _value(first, "intrinsic_dimension")}
    output = layers[layers["relative_depth"] == 1].tail(1)
    for name, place in {"peak": peak, "last_hidden": hidden.tail(1), "output": output}.items():
        row[f"{name}_layer"] = place["layer"].iloc[0] if len(place) else None
        row[f"{name}_dimension"] = _value(place, "intrinsic_dimension")
        row[f"{name}_dimension_error"] = _value(place, "intrinsic_dimension_error")
    row["peak_relative_depth"] = _value(peak, "relative_depth")
    return row


def _value(place: pd.DataFrame, column: str) -> float:
    return float(place[column].iloc[0]) if len(place) else NAN
