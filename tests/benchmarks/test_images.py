"""The benchmark of reading images, tiny: everybody runs, all give one answer, and the page says what was measured."""

import pytest
from typer.testing import CliRunner

from tests.benchmarks import images
from tests.benchmarks.images import BARE, SERIAL, SOURCES, Setting, decode_seconds, make_images, measure, page, rates
from tests.benchmarks.test_benchmarks import app

TINY = Setting(6, 4, 2, "resnet18", 64)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_images(tmp_path_factory.mktemp("bench") / "images", TINY.images)


def test_every_contender_runs_in_every_round(root):
    waited = []
    seconds = measure(TINY, root, lambda: waited.append(1))
    assert list(seconds) == [BARE, SERIAL, *SOURCES]
    assert all(len(times) == TINY.rounds and min(times) > 0 for times in seconds.values())
    assert len(waited) == TINY.rounds * len(seconds)


def test_different_answers_are_an_error(root, monkeypatch):
    honest = images.contenders

    def one_lies(setting, root):
        found = honest(setting, root)
        return found | {"Parquet": lambda: found[SERIAL]() + 1}

    monkeypatch.setattr(images, "contenders", one_lies)
    with pytest.raises(AssertionError, match="sources gave different activations"):
        measure(TINY, root, lambda: None)


@pytest.mark.cluster
def test_processes_start_together(root):
    found = rates(TINY, root, processes=2)
    assert list(found) == [BARE, SERIAL, *SOURCES]
    assert min(found.values()) > 0


def test_the_page_tells_shares_of_the_bare_pass(root):
    one = dict.fromkeys([BARE, SERIAL, *SOURCES], 9.0) | {BARE: 10.0}
    text = page(TINY, {1: one, 4: one}, decode_seconds(TINY, root), 110_000, "Others were at work.")
    assert "Others were at work." in text
    assert "| image folder | 9.0 | 90.0% | 9.0 | 90.0% |" in text
    assert "(quality 90, on\naverage 110 kB) in resnet18" in text
    assert max(len(line) for line in text.splitlines() if not line.startswith("|")) <= 120 + len(
        "Others were at work. "
    )


def test_generated_images_are_as_large_as_those_of_imagenet(root):
    size = sum(path.stat().st_size for path in root.rglob("*.JPEG")) / TINY.images
    assert 90_000 < size < 130_000


def test_the_command_line(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "rates", lambda setting, root, processes: dict.fromkeys([BARE, SERIAL, *SOURCES], 1.0))
    ran = CliRunner().invoke(app(images.main), ["--quick", "--out", str(tmp_path / "images.md")])
    assert ran.exit_code == 0, ran.output
    assert "| Parquet | 1.0 | 100.0% |" in (tmp_path / "images.md").read_text()
