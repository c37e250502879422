"""Files and folders that may not be read or written: one line that names them, exit code 2.

The superuser may read anything, so the command gives that right up before it begins.
"""

import contextlib
import ctypes
import sys

import pytest
from finished_run import everything_below, finished_run, target_pixel_files
from running import photometry

PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's"),
]


def as_any_user():
    """Before a command of ours begins: no right to read what its mode does not let it read."""
    libc = ctypes.CDLL(None)
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


@contextlib.contextmanager
def forbidden(*paths, mode=0):
    modes = [path.stat().st_mode for path in paths]
    for path in paths:
        path.chmod(mode)
    try:
        yield
    finally:
        for path, before in zip(paths, modes, strict=True):
            path.chmod(before)


@pytest.fixture(scope="module")
def run(tmp_path_factory, make_tpf):
    """A run that has ended; no test changes it."""
    return finished_run(tmp_path_factory.mktemp("rights") / "DIR", make_tpf, n=2)


@pytest.mark.parametrize(
    ("verb", "name"),
    [
        ("run", "todo.sqlite"),
        ("status", "lightcurves/summary.json"),
        ("explain", "todo.sqlite"),
        ("verify", "todo.sqlite"),
        ("retry", "todo.sqlite"),
        ("reset", "todo.sqlite"),
        ("export", "todo.sqlite"),
        ("report", "todo.sqlite"),
        ("plan", "todo.sqlite"),
    ],
)
def test_a_file_that_may_not_be_read_is_named_in_one_line(run, tmp_path, verb, name):
    words = {"explain": ["101"], "export": [tmp_path / "a.csv"], "reset": ["--all"]}.get(verb, [])
    before = everything_below(run)
    with forbidden(run / name):
        done = photometry(verb, run, *words, preexec_fn=as_any_user)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("photometry: ")
    assert name.rpartition("/")[2] in line
    assert everything_below(run) == before


def test_a_log_that_cannot_be_written_is_one_line_and_nothing_is_done(tmp_path, make_tpf):
    folder = target_pixel_files(tmp_path / "DIR", make_tpf, n=1)
    log = folder / "lightcurves" / "photometry-log.jsonl"
    log.parent.mkdir()
    log.write_text("")
    for mode, replace in ((0o444, None), (0o755, log.mkdir)):
        if replace:
            log.unlink()
            replace()
        with forbidden(log, mode=mode):
            done = photometry("run", folder, "--workers", 0, "--quiet", preexec_fn=as_any_user)
        assert done.returncode == 2, done.stderr
        line = done.stderr.splitlines()[-1]
        assert line.startswith("photometry: ")
        assert "photometry-log.jsonl" in line
        assert "Traceback" not in done.stderr
    assert photometry("status", folder).returncode in (0, 2)


def test_a_folder_that_may_not_be_written_is_named_in_one_line(tmp_path, make_tpf):
    folder = target_pixel_files(tmp_path / "DIR", make_tpf, n=1)
    output = tmp_path / "out"
    output.mkdir()
    with forbidden(output, mode=0o555):
        done = photometry(
            "run", folder, "--output", output, "--workers", 0, "--quiet", preexec_fn=as_any_user
        )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert str(output) in done.stderr.splitlines()[-1]
    assert output.is_dir()
