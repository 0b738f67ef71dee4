"""What a run tells: progress.json whole at any moment, plain lines without a terminal, everything in log.txt."""

import io
import json
import re
import threading

import pytest
from rich.console import Console

from dnuc.cluster import progress as module
from dnuc.cluster.attempt import Outcome
from dnuc.cluster.progress import Progress, read_progress
from dnuc.cluster.records import AttemptRecord, StageRecord
from dnuc.traffic import Traffic, count_traffic
from tests.conftest import wait_until


@pytest.fixture
def every_write(monkeypatch):
    monkeypatch.setattr(module, "FILE_EVERY", -1)  # also while a test holds the clock
    monkeypatch.setattr(module, "LINE_EVERY", -1)


def read(directory):
    return json.loads((directory / "progress.json").read_text())


def test_the_file_says_what_is_done(tmp_path, every_write, capfd):
    progress = Progress(tmp_path, header={"job": "digits"})
    with progress.stage("neighbors", 10, "tiles", done=4) as stage:
        stage.advance(3, note="fc")
        content = read(tmp_path)
        assert (content["job"], content["state"]) == ("digits", "running")
        assert {"host", "pid", "started", "updated"} <= content.keys()
        [found] = content["stages"]
        expected = {"name": "neighbors", "state": "running", "done": 7, "total": 10, "unit": "tiles", "resumed": 4}
        assert found | expected == found
        assert found["note"] == "fc"
        assert found["per_second"] * found["seconds"] == pytest.approx(3, rel=1e-3)
        stage.advance(3)
    progress.end("finished")
    assert read(tmp_path)["state"] == "finished"
    assert [(s["state"], s["done"]) for s in read(tmp_path)["stages"]] == [("done", 10)]


def test_work_that_is_found_finished_counts_as_done_but_not_as_speed(tmp_path, every_write, capfd):
    progress = Progress(tmp_path)
    with progress.stage("neighbors", 100, "tiles") as stage:
        stage.resume(90)
        assert stage.rate == 0
        stage.advance(10)
    [found] = read(tmp_path)["stages"]
    assert (found["done"], found["resumed"]) == (100, 90)
    assert found["per_second"] * found["seconds"] == pytest.approx(10, rel=1e-3)


def test_units_of_different_size_are_told_by_their_work(tmp_path, every_write, monkeypatch, capfd):
    """Nine small tiles of ten are done, but half of the work: as much time is left as has passed."""
    progress, clock = Progress(tmp_path), [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    with progress.stage("neighbors", 10, "tiles", flop_total=18e9) as stage:
        assert read(tmp_path)["stages"][0]["seconds_left"] is None
        clock[0] = 2.0
        count_traffic(read=50_000_000, written=7)
        stage.advance(9, note="fc", flop=9e9)
        [found] = read(tmp_path)["stages"]
        assert (found["flop"], found["flop_total"], found["flop_per_second"]) == (9e9, 18e9, 4.5e9)
        assert (found["bytes_read"], found["bytes_read_per_second"]) == (50_000_000, 25_000_000)
        assert (found["bytes_written"], found["bytes_written_per_second"]) == (7, 4)
        assert found["seconds_left"] == 2.0
        assert stage.line() == "neighbors: 9/10 tiles, 4.5 GFLOP/s, 25 MB/s read, 2 s left, fc"
        stage.advance(flop=9e9)
        assert read(tmp_path)["stages"][0]["seconds_left"] == 0
    assert read(tmp_path)["stages"][0]["seconds_left"] is None
    assert capfd.readouterr().err.endswith("neighbors: 10/10 tiles, 9 GFLOP/s, 25 MB/s read, fc, 2.0 s\n")


def test_work_of_an_earlier_attempt_is_no_speed(tmp_path, every_write, monkeypatch):
    progress, clock = Progress(tmp_path, quiet=True), [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    with progress.stage("neighbors", 10, "tiles", flop_total=10e9) as stage:
        stage.resume(7, 7e9)
        assert read(tmp_path)["stages"][0]["seconds_left"] is None
        clock[0] = 3.0
        stage.advance(flop=1e9)
        [found] = read(tmp_path)["stages"]
        assert (found["flop"], found["resumed"], found["seconds_left"]) == (8e9, 7, 6.0)
        assert found["flop_per_second"] == pytest.approx(1e9 / 3, abs=1)


def test_a_terminal_shows_a_bar_with_rates(monkeypatch):
    written = io.StringIO()
    progress = Progress()
    progress._console = Console(file=written, force_terminal=True, width=120)
    with progress.stage("neighbors", 2, "tiles", flop_total=2e9) as stage:
        count_traffic(read=1000)
        stage.advance(flop=1e9)
    assert re.search(r"neighbors .*1/2.*tiles.*FLOP/s, .*B/s read, \d+ s left", written.getvalue())


def test_a_stage_that_is_left_by_an_error_is_stopped_and_later_ones_follow(tmp_path, every_write, capfd):
    progress = Progress(tmp_path)
    with pytest.raises(KeyboardInterrupt), progress.stage("activations", 5, "blocks"):
        raise KeyboardInterrupt
    with progress.stage("report", 1, "page") as stage:
        stage.advance()
    progress.end("failed")
    assert [(s["name"], s["state"]) for s in read(tmp_path)["stages"]] == [
        ("activations", "stopped"),
        ("report", "done"),
    ]
    assert "activations: 0/5 blocks" in (tmp_path / "log.txt").read_text()
    assert "stopped" in (tmp_path / "log.txt").read_text()


def test_plain_lines_without_a_terminal(tmp_path, every_write, capfd):
    with Progress(tmp_path).stage("neighbors", 4, "tiles") as stage:
        stage.advance(2, note="layer4")
        stage.advance(2)
    out, err = capfd.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert re.fullmatch(r"neighbors: 2/4 tiles, .*/s, \d+ s left, layer4", lines[1])
    assert re.fullmatch(r"neighbors: 4/4 tiles, .*/s, layer4, 0\.\d s", lines[-1])
    assert "\x1b" not in err


def test_the_file_tells_at_once_that_a_stage_has_begun(tmp_path, capfd):
    """Its first unit may take an hour, and one that has just ended may have written the file."""
    progress = Progress(tmp_path, quiet=True)
    for name in ("measures", "landscape"):
        with progress.stage(name, 1, "layers"):
            assert [(s["name"], s["state"]) for s in read(tmp_path)["stages"]][-1] == (name, "running")


def test_few_lines_and_few_writes_by_default(tmp_path, capfd, monkeypatch):
    writes = []
    monkeypatch.setattr(Progress, "_write", lambda self, stage: writes.append(stage))
    with Progress(tmp_path).stage("neighbors", 10_000, "tiles") as stage:
        for _ in range(10_000):
            stage.advance()
    assert len(capfd.readouterr().err.splitlines()) == 1
    assert len(writes) >= 1


def test_quiet_prints_nothing_and_logs_everything(tmp_path, every_write, capfd):
    progress = Progress(tmp_path, quiet=True)
    progress.say("2 workers")
    with progress.stage("neighbors", 1, "tiles") as stage:
        stage.advance()
    assert capfd.readouterr() == ("", "")
    log = (tmp_path / "log.txt").read_text()
    assert re.search(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d 2 workers$", log, re.MULTILINE)
    assert "neighbors: 1/1 tiles" in log


def test_what_is_said_is_printed_as_it_is(tmp_path, capfd):
    path = "/data/[bold]/" + "x" * 200  # no markup, no wrapping: paths are copied from terminals
    Progress(tmp_path).say(path)
    assert capfd.readouterr().err == path + "\n"


def test_without_a_directory_nothing_is_written(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    progress = Progress()
    with progress.stage("neighbors", 1, "tiles") as stage:
        stage.advance()
    progress.end("finished")
    assert list(tmp_path.iterdir()) == []


def test_a_reader_never_sees_half_a_file(tmp_path, every_write):
    """One process writes as fast as it can while another thread reads: every content is whole."""
    progress = Progress(tmp_path, quiet=True)
    progress.end("running")
    seen, stop = [], threading.Event()

    def keep_reading():
        while not stop.is_set():
            seen.append(read(tmp_path)["state"])

    reader = threading.Thread(target=keep_reading)
    reader.start()
    with progress.stage("neighbors", 500, "tiles") as stage:
        for _ in range(500):
            stage.advance(note="x" * 500)
    stop.set()
    reader.join()
    assert len(seen) > 10


def test_two_threads_may_advance_a_stage(tmp_path, every_write):
    """Events of a training arrive in Dask's thread while the stage ends in the main one."""
    progress = Progress(tmp_path, quiet=True)
    failures = []

    def advance(stage):
        try:
            for _ in range(200):
                stage.advance()
        except Exception as error:
            failures.append(error)

    with progress.stage("training", 400, "epochs") as stage:
        threads = [threading.Thread(target=advance, args=(stage,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    assert read(tmp_path)["stages"][0]["state"] == "done"


# --- what is documented -----------------------------------------------------------------------------------------


def test_the_file_holds_just_what_its_schema_declares(tmp_path, every_write, capfd):
    progress = Progress(tmp_path, header={"job": "digits", "dnuc": "1"})
    with progress.stage("samples", 1, "images"), progress.stage("neighbors", 2, "tiles", flop_total=1.0) as stage:
        stage.advance()
    content = read(tmp_path)
    assert content.keys() == AttemptRecord.__annotations__.keys()
    neighbors, samples = content["stages"]
    assert neighbors.keys() == StageRecord.__annotations__.keys()
    assert StageRecord.__annotations__.keys() - samples.keys() == {"flop", "flop_total", "flop_per_second"}
    assert (content["format"], content["attempt"], content["cluster"]) == (1, 1, None)


def test_attempts_are_counted_and_what_the_last_one_lost_is_repeated(tmp_path, every_write, capfd):
    def stop_early(stage):
        for key in "abc":
            stage.meter.submitted(key)
            stage.meter.event({"dnuc": "begun", "key": key, "worker": "0"})
        stage.meter.submitted("waits")
        stage.meter.finished("a", Outcome(None, "0", "p", 1, Traffic()))
        stage.advance()
        raise KeyboardInterrupt

    progress = Progress(tmp_path)
    with pytest.raises(KeyboardInterrupt), progress.stage("neighbors", 10, "tiles") as stage:
        stop_early(stage)
    [found] = read(tmp_path)["stages"]
    assert (found["tasks_begun"], found["tasks_done"], found["tasks_running"], found["repeated"]) == (3, 1, 2, 0)
    again = Progress(tmp_path)
    with again.stage("samples", 1, "images"), again.stage("neighbors", 10, "tiles", 1) as stage:
        assert stage.line() == "neighbors: 1/10 tiles, starting, 2 repeated"
    assert (read(tmp_path)["attempt"], read(tmp_path)["stages"][0]["repeated"]) == (2, 2)
    again.end("finished")
    with Progress(tmp_path).stage("neighbors", 10, "tiles", 1):
        assert read(tmp_path)["stages"][0]["repeated"] == 0  # the attempt before left nothing half done


def test_another_job_repeats_nothing(tmp_path, every_write, capfd):
    (tmp_path / "progress.json").write_text(
        '{"attempt": 3, "stages": [{"name": "neighbors", "state": "running", "tasks_running": 5}]}'
    )
    progress = Progress(tmp_path)
    progress.start_afresh()
    with progress.stage("neighbors", 10, "tiles"):
        assert (read(tmp_path)["attempt"], read(tmp_path)["stages"][0]["repeated"]) == (4, 0)


@pytest.mark.parametrize("content", ["", '{"attempt": 3, "sta'])
def test_a_file_that_a_full_disk_cut_short_is_none(tmp_path, content):
    (tmp_path / "progress.json").write_text(content)
    assert read_progress(tmp_path) is None
    Progress(tmp_path).end("finished")
    assert read(tmp_path)["attempt"] == 1


def test_a_stage_that_does_not_advance_is_told_all_the_same(tmp_path, every_write, monkeypatch, capfd):
    monkeypatch.setattr(module, "BEAT_EVERY", 0.01)
    with Progress(tmp_path).stage("landscape", 1, "layers"):
        first = read(tmp_path)["updated"]
        wait_until(lambda: read(tmp_path)["updated"] > first)
    assert "landscape: 0/1 layers, starting" in capfd.readouterr().err


def test_the_log_has_a_line_now_and_then(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOG_EVERY", -1)
    with Progress(tmp_path, quiet=True).stage("neighbors", 3, "tiles") as stage:
        stage.advance(note="fc")
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert [line.split(" ", 2)[2].split(",")[0] for line in lines] == [
        "neighbors: 0/3 tiles",
        "neighbors: 1/3 tiles",
        "neighbors: 1/3 tiles",
    ]


# --- the time that is left --------------------------------------------------------------------------------------


def test_no_time_is_told_before_a_task_is_done_that_compiled_nothing(tmp_path, every_write, monkeypatch, capfd):
    """Two workers compile for 30 s and take 1 s a tile: the estimate says 3 s for 6 tiles, never minutes."""
    progress, clock = Progress(tmp_path), [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])

    def left():
        return read(tmp_path)["stages"][0]["seconds_left"]

    with progress.stage("neighbors", 10, "tiles", flop_total=10e9) as stage:

        def begin(key):
            stage.meter.submitted(key)
            stage.meter.event({"dnuc": "begun", "key": key, "worker": "0"})

        def finish(key):
            stage.meter.finished(key, Outcome(None, "0", "p", 1, Traffic()))
            stage.advance(flop=1e9)

        begin("a")
        begin("b")
        stage.meter.event({"dnuc": "note", "key": "a", "worker": "0", "text": "compiling"})
        assert stage.line() == "neighbors: 0/10 tiles, starting, compiling"
        clock[0] = 31.0
        finish("a")
        assert left() is None
        assert read(tmp_path)["stages"][0]["note"] == ""
        begin("c")
        clock[0] = 31.5
        finish("b")
        begin("d")
        assert left() is None
        clock[0] = 32.0
        finish("c")
        assert left() == 3.5
        clock[0] = 32.5
        finish("d")
        assert left() == 3.0


def test_a_stage_of_one_task_that_tells_its_units_has_an_estimate(tmp_path, every_write, monkeypatch, capfd):
    """As a training does, epoch by epoch."""
    progress, clock = Progress(tmp_path), [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    with progress.stage("training", 4, "epochs") as stage:
        stage.meter.submitted("train")
        stage.meter.event({"dnuc": "begun", "key": "train", "worker": "0"})
        clock[0] = 2.0
        stage.advance()
        assert read(tmp_path)["stages"][0]["seconds_left"] == 6.0
