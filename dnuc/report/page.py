"""The report of a run: figures, tables, and one HTML page that needs nothing but itself."""

from __future__ import annotations

import base64
import io
import shutil
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from jinja2 import Environment
from PIL import Image

from dnuc.errors import DnucError
from dnuc.location import Location, filled
from dnuc.report.captions import Caption, caption
from dnuc.report.figures import FIGURES, Drawable, drawables
from dnuc.report.findings import Findings, Images
from dnuc.report.networks import network_columns
from dnuc.report.overview import Column, facts, layer_columns, notes
from dnuc.report.similarity import similarity_table
from dnuc.report.style import paper_style
from dnuc.report.tables import dimension_tables, write_tables
from dnuc.store import Results

IMAGE_BYTES = 13 * 2**20  # of all pictures in the page; a third more as text, so the page stays below 20 MB


@dataclass(frozen=True)
class Shown:
    """A figure as the page shows it."""

    name: str
    kind: str
    model: str | None
    caption: Caption
    png: bytes
    width: float  # inches


def write_report(results: Results, images: Images | None = None) -> Location:
    """Draw and write everything that a run can tell so far, into its directory report/.

    index.html (self-contained: no request leaves the page), figures/<name>.png and .pdf, tables/layers and
    tables/models as .csv and .parquet, and for each layer with a landscape the tables of `write_tables` in
    tables/<model>/<layer>/. Figures and tables of an earlier report are replaced.

    Parameters
    ----------
    results : Results
        The run, finished or not.
    images : callable, optional
        From a sample's id to its image, (height, width, channels) uint8: fig3 then shows the hubs. An image that
        cannot be read leaves a gap, and the page says so.

    Returns
    -------
    Path or URL
        Of index.html.

    Raises
    ------
    DnucError
        If the run has no layers yet.
    LayerError
        If [report] in the job names a layer that no model has.
    """
    findings = Findings(results, images)
    if findings.layers.empty:
        raise DnucError(f"run {results.path} has no layers yet, so there is nothing to report: run its job first")
    with filled(results.path / "report") as directory:
        for part in ("figures", "tables"):
            shutil.rmtree(directory / part, ignore_errors=True)
            (directory / part).mkdir(parents=True)
        shown, missing = _draw_all(findings, directory / "figures")
        tables = write_tables(findings, directory / "tables")
        page = render_page(findings, shown, missing, tables)
        (directory / "index.html").write_text(page, encoding="utf-8")
    return results.path / "report" / "index.html"


def _draw_all(findings: Findings, directory: Path) -> tuple[list[Shown], list[Drawable]]:
    """Draw and save every figure; those that the run cannot fill are returned as missing."""
    shown, missing = [], []
    for drawable in drawables(findings).values():
        with paper_style():
            figure = drawable.draw()
            if figure is None:
                missing.append(drawable)
                continue
            path = directory / f"{drawable.name}.png"
            figure.savefig(path)
            figure.set_layout_engine("none")  # the PDF keeps the arrangement of the PNG
            figure.savefig(path.with_suffix(".pdf"), metadata={"CreationDate": None})
        words = caption(drawable.kind, findings, drawable.model)
        shown.append(
            Shown(drawable.name, drawable.kind, drawable.model, words, path.read_bytes(), figure.get_figwidth())
        )
    return shown, missing


def render_page(
    findings: Findings, shown: list[Shown], missing: list[Drawable], tables: list[tuple[str, str, list[str]]]
) -> str:
    """The text of index.html.

    Parameters
    ----------
    shown, missing : figures that were drawn, and those that the run cannot fill.
    tables : (model, layer, file names) of the layers that have tables of their own.
    """
    template = resources.files("dnuc.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    pictures = dict(zip([s.name for s in shown], fit_pictures([s.png for s in shown], IMAGE_BYTES), strict=True))
    columns = layer_columns(findings.layers)
    network_table = network_columns(findings.networks)
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["data_uri"] = _data_uri
    environment.filters["link"] = quote
    return environment.from_string(template).render(
        job=findings.job,
        facts=facts(findings),
        kinds=[(kind, [s for s in shown if s.kind == kind]) for kind in FIGURES],
        pictures=pictures,
        missing=not_drawn(shown, missing),
        columns=columns,
        rows=_rows(findings.layers, columns),
        network_columns=network_table,
        network_rows=_rows(findings.networks, network_table),
        notes=notes(findings),
        tables=tables,
        further=[*dimension_tables(findings), *(["similarities"] if len(similarity_table(findings)) else [])],
        taxonomy=findings.results.taxonomy is not None,
        several=len(findings.models) > 1,
    )


def not_drawn(shown: list[Shown], missing: list[Drawable]) -> list[tuple[str, str]]:
    """Name and need of each missing figure; a kind of which no model has one is told once."""
    some = {s.kind for s in shown}
    names = dict.fromkeys((d.name if d.kind in some else d.kind, FIGURES[d.kind].needs) for d in missing)
    return list(names)


def _rows(table: pd.DataFrame, columns: list[Column]) -> list[list[str]]:
    return [[column.write(row) for column in columns] for _, row in table.iterrows()]


def fit_pictures(pngs: list[bytes], limit: int) -> list[bytes]:
    """The pictures, made smaller together until all of them take at most `limit` bytes."""
    fitted, scale = pngs, 1.0
    while sum(map(len, fitted)) > limit and scale > 0.2:
        scale *= 0.75
        fitted = [_scaled(png, scale) for png in pngs]
    return fitted


def _scaled(png: bytes, scale: float) -> bytes:
    picture: Any = Image.open(io.BytesIO(png)).convert("RGB")
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    buffer = io.BytesIO()
    picture.resize(size, Image.Resampling.LANCZOS).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
