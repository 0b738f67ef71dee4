"""The page's table of networks: how each was made, how well it does, and where its intrinsic dimension goes."""

from __future__ import annotations

import pandas as pd

from dnuc.report.overview import MISSING, Column, number, with_error


def network_columns(networks: pd.DataFrame) -> list[Column]:
    """The columns that hold something, with how their values are written; `networks` is `Results.models_table`."""
    columns = [
        Column("model", "model", "network", lambda row: str(row["model"])),
        Column("architecture", "architecture", "what it is built as", lambda row: _text(row["architecture"])),
        Column("weights", "weights", "where its weights are from", _weights),
        number("epoch", "epoch", "epochs it was trained for", ",.0f"),
        number("images", "images", "images it was trained on", ",.0f"),
        number("train_accuracy", "training", "share of its training images that it told right", ".1%"),
        number("test_accuracy", "held out", "share of the held-out images that it told right", ".1%"),
        number("top5_error", "top-5 error", "as published for its weights, on ImageNet's validation images", ".1%"),
        number("input_dimension", "ID input", "intrinsic dimension of the input", ".1f"),
        with_error("peak_dimension", "ID peak", "largest intrinsic dimension of its layers"),
        Column("peak_layer", "at", "layer of the largest intrinsic dimension", lambda row: _text(row["peak_layer"])),
        number("peak_relative_depth", "depth", "relative depth of that layer", ".2f"),
        Column("last_hidden_layer", "last hidden", "deepest layer before the output, of those looked at",
               lambda row: _text(row["last_hidden_layer"])),
        with_error("last_hidden_dimension", "its ID", "intrinsic dimension of the last hidden layer"),
        with_error("output_dimension", "ID output", "intrinsic dimension of the output"),
    ]  # fmt: skip
    return [c for c in columns if c.name in networks and networks[c.name].notna().any()]


def _text(value: str | float | None) -> str:
    return MISSING if value is None or pd.isna(value) else str(value)


def _weights(row: pd.Series) -> str:
    return "trained on SHUFFLED labels" if row["shuffled"] else _text(row["weights"])
