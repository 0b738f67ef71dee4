"""The page is one file, says what a reader must know, trusts no name, and opens in a browser."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from dnuc.errors import DnucError
from dnuc.report import FIGURES, write_report
from dnuc.report.captions import caption
from dnuc.report.findings import Findings
from dnuc.report.overview import facts, notes
from dnuc.report.page import fit_pictures, render_page
from dnuc.store import Results, RunStore, stage_group
from tests.report.synthetic_run import K, make_run
from tests.report.test_figures import SEVERAL


class Elements(HTMLParser):
    """Every start tag with its attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def all(self, tag, attribute):
        return [attrs[attribute] for name, attrs in self.found if name == tag and attribute in attrs]


def test_every_figure_is_written_and_shown(page):
    text = page.read_text(encoding="utf-8")
    for name in FIGURES.keys() - SEVERAL:
        with Image.open(page.parent / f"figures/{name}.png") as picture:
            assert min(picture.size) > 200
            assert picture.info["dpi"] == pytest.approx((200, 200), abs=0.1)
        pdf = (page.parent / f"figures/{name}.pdf").read_bytes()
        assert b"/FontFile2" in pdf  # TrueType, embedded
        assert f'id="figure-{name}"' in text
    assert len(text) < 20e6


def test_nothing_is_requested_and_every_link_leads_somewhere(page):
    text = page.read_text(encoding="utf-8")
    elements = Elements(text)
    assert all(source.startswith("data:image/png;base64,") for source in elements.all("img", "src"))
    assert all(len(alt) > 20 for alt in elements.all("img", "alt"))
    assert not [tag for tag, _ in elements.found if tag in ("script", "link", "iframe", "object")]
    assert "url(" not in text
    ids = {attrs["id"] for _, attrs in elements.found if "id" in attrs}
    for href in elements.all("a", "href"):
        assert href[1:] in ids if href.startswith("#") else (page.parent / unquote(href)).is_file(), href


def test_what_a_reader_must_know_is_said(page):
    text = re.sub(r"\s+", " ", page.read_text(encoding="utf-8"))
    assert "600 of 10 classes" in text
    assert "TwoNN on the 90% smallest distance ratios" in text
    assert "Unreadable images that were left out: 1. image n01_77.JPEG: truncated &lt;file&gt;." in text
    assert "21 of 4,200 neighbor lists could not be certified" in text
    assert "residual, stem has no intrinsic dimension. TwoNN: 0 of 600 samples" in text
    assert "Gride at ranks 1, 2, 4, ... up to 5; decimation into 1, 2, 4, ... blocks" in text
    assert "residual, stem: no value at one rank. Gride at rank 16: nothing." in text
    assert "residual, stem: 3 random blocks without a dimension are left out." in text
    assert "residual, stem: 1 classes are left out" in text
    assert "residual, stem: principal components of 500 samples drawn at random" in text
    assert "residual, stem has no landscape. no density without an intrinsic dimension." in text
    assert "their height is assumed (fill" in text
    assert "Not drawn: fig2c. It needs the measures of at least two models." in text


def test_names_are_text_and_not_markup(tmp_path):
    evil = "<script>alert(1)</script>"
    results = make_run(
        tmp_path / "run",
        names=("fc",),
        peaks=(2,),
        n=20,
        classes=(evil, "c&d"),
        macros=(evil, "m"),
        macro_of_class=(0, 1),
        stages=("measures",),
    )
    text = render_page(Findings(results), [], [], [("m&m", evil, ["samples.csv"])])
    assert "A run with &lt;plausible&gt; numbers" in text
    assert "2: &lt;script&gt;alert(1)&lt;/script&gt;, m" in text
    assert "m%26m/%3Cscript%3E" in text
    assert "<script" not in text


def test_a_second_report_replaces_the_first_and_tells_what_it_could_not_read(tmp_path, monkeypatch):
    def images(sample_id):
        raise DnucError(f"{sample_id} is gone")

    results = make_run(tmp_path / "run", names=("fc",), peaks=(1,), n=20, stages=("measures",))
    for kind in FIGURES.keys() - {"fig3"}:
        monkeypatch.delitem(FIGURES, kind)
    stale = [results.path / "report/figures/fig2a_old.png", results.path / "report/tables/old/samples.csv"]
    for path in stale:
        path.parent.mkdir(parents=True)
        path.touch()
    first = write_report(results, images).read_text(encoding="utf-8")
    assert not any(path.exists() for path in stale)
    assert "Images of hubs that could not be read for this page: sample-" in first
    assert write_report(results, images).read_text(encoding="utf-8") == first


def test_a_run_without_layers_is_refused(tmp_path):
    store = RunStore.create(tmp_path / "run")
    with pytest.raises(DnucError, match=r"no layers yet.*run its job first"):
        write_report(Results(store.path))


def test_pictures_shrink_until_they_fit():
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 300, 3), dtype=np.uint8)).save(buffer, "PNG")
    png = buffer.getvalue()
    assert fit_pictures([png, png], 10**9) == [png, png]
    smaller = fit_pictures([png, png], len(png))
    assert sum(map(len, smaller)) <= len(png)
    with Image.open(io.BytesIO(smaller[0])) as picture:
        assert picture.width / picture.height == pytest.approx(1.5, abs=0.02)


# Loads the page in a frame of the same origin and writes what the browser made of it into its own body.
WRAPPER = """<!DOCTYPE html><body><iframe id="frame" width="1100" height="900"></iframe><script>
const frame = document.getElementById("frame");
frame.onload = () => {
  const page = frame.contentDocument;
  const images = [...page.images].map(i => [i.naturalWidth, i.naturalHeight, i.clientWidth]);
  const requests = frame.contentWindow.performance.getEntriesByType("resource")
    .map(e => e.name).filter(n => !n.startsWith("data:"));
  const result = {title: page.title, images, requests, width: page.documentElement.scrollWidth,
    rows: page.querySelectorAll("tbody tr").length};
  document.body.innerHTML = "<pre id=result>" + btoa(encodeURIComponent(JSON.stringify(result))) + "</pre>";
};
frame.src = "PAGE";
</script></body>"""


@pytest.mark.browser
def test_the_page_opens_in_a_browser(page, tmp_path):
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        reason = "needs Chromium: install it to see the page as a browser does"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    wrapper = tmp_path / "wrapper.html"
    wrapper.write_text(WRAPPER.replace("PAGE", page.as_uri()), encoding="utf-8")
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    command += [
        "--virtual-time-budget=10000",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom",
        wrapper.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    match = re.search(r"<pre id=.result.>(.*?)</pre>", done.stdout, re.DOTALL)
    assert match, f"the page did not load: {done.stdout[:300]} {done.stderr[-500:]}"
    seen = json.loads(unquote(base64.b64decode(match[1]).decode("ascii")))
    assert seen["title"].startswith("A run with <plausible> numbers")
    assert len(seen["images"]) == len(FIGURES.keys() - SEVERAL)
    assert all(width > 300 and height > 150 and shown > 100 for width, height, shown in seen["images"])
    assert seen["requests"] == []
    assert seen["rows"] == 1 + 7  # networks and layers
    assert seen["width"] <= 1100  # nothing sticks out sideways


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("", f"kNN, k = {K}, error 1/√k, with the intrinsic dimension"),
        ('density = "kstar"', f"k*NN, k* of each sample up to {K - 1} (alpha = 1e-06), error 1/√k*, with"),
        ('density = "pak"', "PAk, k* of each sample up to 9 (alpha = 1e-06), error √((4k*+2)/(k*(k*-1))), with"),
        ('density = "pak"\nerror_model = "paper"', "error √((4k+2)/(k(k+1))), as in the paper's text, with"),
    ],
)
def test_the_page_tells_how_densities_were_estimated(tmp_path, settings, words):
    results = make_run(tmp_path / "run", names=("fc",), peaks=(3,), n=60, report=f"\n[landscape]\n{settings}")
    note = "k* reached the number of stored neighbors for 50 of 60 samples"
    results.store.describe(stage_group("residual", "fc", "landscape"), density_note=note if settings else "")
    findings = Findings(results)
    assert words in dict(facts(findings))["Density"]
    assert words.split(", with")[0] in caption("peaks", findings, None).text
    assert any(f"residual, fc, density: {note}." in n for n in notes(findings)) == bool(settings)
