"""``photometry events …`` and ``photometry watch``, as commands: exit codes, JSON, and messages for
wrong use.
"""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from astropy.io import fits

PIPELINE = '''"""Write the name of every file, or fail."""
event_table = {"next_file": ("note", None, None), "boom": ("boom", None, None)}

def note(action, context):
    with open("notes.txt", "a") as file:
        print(action.args.name, vars(action.args).get("n"), file=file)
    return action.args

def boom(action, context):
    raise ValueError("no such star")
'''


@pytest.fixture
def photometry(tmp_path):
    """Run a command in a folder of its own that has a pipeline and three images."""
    (tmp_path / "my_pipeline.py").write_text(PIPELINE)
    (tmp_path / "quick.cfg").write_text("[DEFAULT]\nevent_timeout = 0.02\nsettle_time = 0\n")
    (tmp_path / "secret.cfg").write_text("[DEFAULT]\nqueue_manager_auth_code = 'short'\n")
    (tmp_path / "data").mkdir()
    for i in range(3):
        fits.PrimaryHDU(np.eye(16, dtype="float32")).writeto(tmp_path / "data" / f"{i}.fits")

    def call(*words):
        command = [sys.executable, "-m", "photometry", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=600)

    return call


def notes(folder):
    return (folder / "notes.txt").read_text().splitlines()


@pytest.mark.slow
def test_a_queue_is_opened_filled_shown_worked_on_and_closed(photometry, tmp_path):
    assert photometry("events", "info", "-q", "q.sqlite").returncode == 2
    assert photometry("events", "start", "-q", "q.sqlite").returncode == 0
    assert (
        photometry(
            "events", "add", "next_file", "a.fits", "--arg", "n=3", "-q", "q.sqlite"
        ).returncode
        == 0
    )
    assert photometry("events", "add", "boom", "b.fits", "-q", "q.sqlite").returncode == 0
    shown = json.loads(photometry("events", "info", "--json", "-q", "q.sqlite").stdout)
    assert shown["counts"]["pending"] == 2
    assert shown["pending"][0]["args"] == {"args": [], "kwargs": {"name": "a.fits", "n": 3}}
    run = ("events", "run", "my_pipeline.py", "-c", "quick.cfg", "-q", "q.sqlite")
    assert photometry("events", "stop", "-q", "q.sqlite").returncode == 0
    stopped = photometry(*run)
    assert stopped.returncode == 3
    assert "'photometry events start' lets them work again" in stopped.stderr
    assert not (tmp_path / "notes.txt").exists()
    assert photometry("events", "start", "-q", "q.sqlite").returncode == 0
    assert photometry(*run).returncode == 1
    assert notes(tmp_path) == ["a.fits 3"]
    text = photometry("events", "info", "-q", "q.sqlite").stdout
    assert "done 1  skipped 0  failed 1" in text
    assert "failed   boom, b.fits, attempt 1: ValueError: no such star" in text
    assert photometry("events", "retry", "-q", "q.sqlite").stdout == "1 items are pending again\n"


@pytest.mark.slow
def test_only_start_makes_a_queue_and_lets_workers_work_again(photometry, tmp_path):
    refused = photometry("events", "add", "next_file", "a.fits", "-q", "q.sqlite")
    assert refused.returncode == 2
    assert "q.sqlite: there is no such queue" in refused.stderr
    assert not (tmp_path / "q.sqlite").exists()
    photometry("events", "start", "-q", "q.sqlite")
    photometry("events", "stop", "-q", "q.sqlite")
    assert photometry("events", "add", "next_file", "a.fits", "-q", "q.sqlite").returncode == 0
    assert json.loads(photometry("events", "info", "--json", "-q", "q.sqlite").stdout)["stopping"]


@pytest.mark.slow
def test_add_at_a_wrong_port_or_with_a_wrong_secret_says_so_and_starts_nothing(
    photometry, tmp_path, monkeypatch
):
    with contextlib.closing(socket.create_server(("localhost", 0))) as free:
        port = free.getsockname()[1]
    where = ("--host", "localhost", "--port", port)
    monkeypatch.setenv("PHOTOMETRY_EVENTS_SECRET", "known to this test")
    refused = photometry("events", "add", "next_file", "a.fits", *where)
    assert refused.returncode == 2
    assert f"localhost:{port}: there is no such queue" in refused.stderr
    assert not (tmp_path / "output").exists()
    assert photometry("events", "start", "-q", "q.sqlite", *where).returncode == 0
    try:
        monkeypatch.setenv("PHOTOMETRY_EVENTS_SECRET", "another secret")
        refused = photometry("events", "add", "next_file", "a.fits", *where)
        assert refused.returncode == 2
        assert "does not know this secret" in refused.stderr
    finally:
        monkeypatch.setenv("PHOTOMETRY_EVENTS_SECRET", "known to this test")
        photometry("events", "stop", *where)


def test_run_takes_files_lists_and_directories(photometry, tmp_path):
    (tmp_path / "list.txt").write_text("# the first one\ndata/0.fits\n\n")
    run = ("events", "run", "my_pipeline", "-c", "quick.cfg")
    assert (
        photometry(*run, "-l", "list.txt", "-frames", "data/1.fits", "data/2.fits").returncode == 0
    )
    assert sorted(notes(tmp_path)) == [f"data/{i}.fits None" for i in range(3)]
    assert photometry(*run, "-d", "data").returncode == 0
    assert len(notes(tmp_path)) == 6


@pytest.mark.slow
def test_ingest_only_leaves_the_work_to_several_workers(photometry, tmp_path):
    run = ("events", "run", "my_pipeline.py", "-c", "quick.cfg", "-q", "q.sqlite")
    assert photometry(*run, "-d", "data", "-i").returncode == 0
    assert not (tmp_path / "notes.txt").exists()
    assert photometry(*run, "--ncpus", "2").returncode == 0
    assert len(notes(tmp_path)) == 3


@pytest.mark.slow
def test_a_queue_can_be_reached_through_a_server(photometry, tmp_path, monkeypatch):
    with contextlib.closing(socket.create_server(("localhost", 0))) as free:
        port = free.getsockname()[1]
    where = ("--host", "localhost", "--port", port)
    assert (
        "no default" in photometry("events", "start", "-q", "q.sqlite", "-c", "secret.cfg").stderr
    )
    monkeypatch.setenv("PHOTOMETRY_EVENTS_SECRET", "known to this test")
    assert photometry("events", "info", *where).returncode == 2
    assert photometry("events", "start", "-q", "q.sqlite", *where).returncode == 0
    try:
        assert photometry("events", "add", "next_file", "a.fits", *where).returncode == 0
        assert (
            photometry("events", "run", "my_pipeline.py", "-c", "quick.cfg", *where).returncode == 0
        )
        assert notes(tmp_path) == ["a.fits None"]
        assert "done 1" in photometry("events", "info", *where).stdout
    finally:
        assert photometry("events", "stop", *where).returncode == 0
    deadline = time.monotonic() + 90
    while photometry("events", "info", *where).returncode == 0:
        assert time.monotonic() < deadline
    assert (tmp_path / "q.sqlite").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "nowhere_pipeline", "data/0.fits"), "nowhere_pipeline"),
        (("run", "my_pipeline.py"), "nothing to do: no files were named"),
        (("run", "my_pipeline.py", "nowhere.fits"), "no such file: nowhere.fits"),
        (("run", "my_pipeline.py", "-d", "nowhere"), "nowhere"),
        (("run", "my_pipeline.py", "-d", "."), "nothing matches *.fits"),
        (("run", "my_pipeline.py", "-c", "nowhere.cfg"), "nowhere.cfg"),
        (("table", "my_pipeline.py", "-c", "my_pipeline.py"), "not an INI file"),
        (("add", "next_file", "x", "--arg", "nonsense", "-q", "q.sqlite"), "KEY=VALUE"),
        (("start", "-q", "q.sqlite", "--port", "50999"), "--host and --port need a secret"),
    ],
)
def test_wrong_use_is_one_message_and_exit_code_2(photometry, words, said):
    done = photometry("events", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_table_of_a_pipeline_can_be_read(photometry):
    done = photometry("events", "table", "my_pipeline.py")
    assert done.stdout == "next_file = 'note', None, None\nboom = 'boom', None, None\n"
    assert json.loads(photometry("events", "table", "my_pipeline.py", "--json").stdout)["boom"] == [
        "boom",
        None,
        None,
    ]


@pytest.mark.slow
def test_the_template_runs_as_it_is_and_is_not_overwritten(photometry, tmp_path):
    assert photometry("events", "new", "mine.py").returncode == 0
    run = photometry("events", "run", "mine.py", "-c", "mine.cfg", "data/0.fits", "--quiet")
    assert (run.returncode, run.stderr) == (0, "")
    assert (tmp_path / "output" / "0.txt").read_text() == "data/0.fits 0.0\n"
    assert photometry("events", "new", "mine.py").returncode == 2


@pytest.mark.slow
def test_watch_makes_pictures_of_what_arrives_until_it_is_asked_to_stop(photometry, tmp_path):
    command = [sys.executable, "-m", "photometry", "watch", "data", "--settle", "0.1", "--quiet"]
    watch = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    try:
        pictures = tmp_path / "data" / "quicklook"
        wait_for(lambda: len(list(pictures.glob("*.png"))) == 3, watch)
        fits.PrimaryHDU(np.eye(16)).writeto(tmp_path / "data" / "late.fits")
        wait_for(
            lambda: (
                (pictures / "late.png").exists()
                and "late.png" in (pictures / "index.html").read_text()
            ),
            watch,
        )
        watch.send_signal(signal.SIGTERM)
        _, said = watch.communicate(timeout=600)
        assert watch.returncode == 0, said
    finally:
        watch.kill()
        watch.communicate()
    again = photometry("watch", "data", "--once", "--settle", "0", "--ncpus", "2")
    assert again.returncode == 0
    assert "4 files were taken in an earlier run already" in again.stderr


@pytest.mark.slow
def test_watch_logs_each_file_in_one_line_and_remembers_failures(photometry, tmp_path):
    (tmp_path / "data" / "bad.fits").write_text("no FITS at all")
    first = photometry("watch", "data", "--once", "--settle", "0")
    assert first.returncode == 1
    lines = [line for line in first.stderr.splitlines() if "next_file, " in line]
    assert sorted(line.rpartition(" next_file, ")[0].split()[-1] for line in lines) == [
        *["completed:"] * 3,
        *["failed:"] * 2,
    ], "one line per file, and the failure again in the report at the end"
    assert "Traceback" not in first.stderr
    assert "Warning" not in first.stderr
    assert "ignore_missing_simple" not in first.stderr
    again = photometry("watch", "data", "--once", "--settle", "0")
    assert again.returncode == 1
    assert "1 items failed in earlier runs; 'photometry watch --retry-failed'" in again.stderr
    (tmp_path / "data" / "bad.fits").write_bytes((tmp_path / "data" / "0.fits").read_bytes())
    mended = photometry("watch", "data", "--once", "--settle", "0", "--retry-failed")
    assert mended.returncode == 0


def test_watch_without_pictures_makes_none(photometry, tmp_path):
    done = photometry("watch", "data", "--once", "--settle", "0", "--no-pictures")
    assert done.returncode == 0
    assert sorted(path.suffix for path in (tmp_path / "data" / "quicklook").iterdir()) == [
        ".sqlite"
    ]


def test_watch_once_says_when_there_is_nothing(photometry, tmp_path):
    (tmp_path / "empty").mkdir()
    done = photometry("watch", "empty", "--once")
    assert done.returncode == 2
    assert "nothing matches *.fits *.fits.gz *.fit" in done.stderr
    assert photometry("watch", "nowhere").returncode == 2


def wait_for(condition, process, timeout=600):
    end = time.monotonic() + timeout
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
