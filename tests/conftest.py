"""Fixtures for tests of several rooms: the real data, and tiny target pixel files made in code."""

import contextlib
import ctypes
import os
import shutil
import signal
import sys
import time
from pathlib import Path

# before numpy is loaded: on a loaded machine its threads wait for each other, 30 times as long
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import psutil
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, settings

# how fast a machine is, or what runs beside the tests, says nothing about what is tested
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_sessionfinish(session, exitstatus):
    """In CI nothing may be skipped: what a test needs is there, or .ci/run has to set it up."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:  # in a process of pytest-xdist: the one that reports sees all of them
        return
    skipped = reporter.stats.get("skipped")
    if os.environ.get("PHOTOMETRY_NO_SKIPS") and skipped and exitstatus == 0:
        reporter.write_line("PHOTOMETRY_NO_SKIPS is set, but tests were skipped", red=True)
        session.exitstatus = 1


PR_SET_CHILD_SUBREAPER = 36  # prctl(2): orphans of what tests start become children of this process
HELPERS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE = 60.0  # s for processes to end that were asked to


def pytest_sessionstart(session):
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def _children():
    """The processes that this one has started, and theirs, whoever has left them."""
    alive = set()
    if sys.platform == "linux" and not _has_children():
        return alive  # without looking at each process of the machine
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if child.status() == psutil.STATUS_ZOMBIE:
                continue
            if not any(helper in word for word in child.cmdline() for helper in HELPERS):
                alive.add(child)
    return alive


def _has_children():
    for path in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended
            if path.read_text():
                return True
    return False


def _started_since(before):
    """The processes that are not in ``before``, nor descend from one that is (a browser of all
    tests of a module).
    """
    return {child for child in _children() - before if not before.intersection(_ancestors(child))}


def _ancestors(process):
    with contextlib.suppress(psutil.Error):
        return process.parents()
    return []


@pytest.fixture(autouse=True)
def no_process_is_left_behind():
    """A test, also one that fails, leaves no process behind; those that it leaves are killed."""
    before = _children()
    yield
    deadline = time.monotonic() + PATIENCE
    while (left_over := _started_since(before)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for child in left_over:
        with contextlib.suppress(psutil.Error):
            child.send_signal(signal.SIGKILL)
    assert not left_over, "the test left processes behind (killed now)"


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium, driven by playwright: ``browser.new_context(...)``."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking",
                 "--no-first-run", "--disable-component-update", "--disable-sync"]  # fmt: skip
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


# Files whose tests together take more than 5 s, mostly because they start processes.
LONG_FILES = {
    "cli/test_run_cli.py", "cli/test_prepare_cli.py", "cli/test_simulate_cli.py",
    "cli/test_todo_cli.py", "cli/test_events_cli.py", "cli/test_verify_cli.py",
    "contract/test_leases.py", "prepare/test_prepare.py", "lightcurve/test_cotrend.py",
    "science/test_crowded_field.py", "science/test_real_files_run.py",
    "report/test_explain_report.py", "report/test_plan_quick.py", "report/test_export_compare.py",
    "scheduler/test_engines.py", "test_memory.py", "events/test_events_processes.py",
    "events/test_events_queues.py", "events/test_events_watcher.py",
    "transients/test_restarts.py", "chains/test_templates.py", "chains/test_web.py",
    "taskmanager/test_view.py", "taskmanager/test_lock.py", "transits/test_periods_and_dips.py",
    "transits/test_box_search.py", "methods/test_injected_depths.py",
    "simulate/test_targetpixels.py", "todolist/test_split_merge_cli.py",
    "todolist/test_todo_from_pixelfiles.py", "transits/test_transit_search.py",
    "transits/test_transit_cli.py", "transits/test_real_transits.py",
    "lightcurve/test_detrend_correct.py", "events/test_events_network.py",
    "cli/test_doctor_cli.py", "test_startup.py", "cli/test_star_names.py", "cli/test_progress.py",
    "cli/test_wrong_words.py",
}  # fmt: skip


def pytest_collection_modifyitems(items):
    """Leave long files out of ``make quick``, whichever of their tests is quick."""
    tests = Path(__file__).parent
    for item in items:
        if item.path.relative_to(tests).as_posix() in LONG_FILES:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def shared_data():
    """The folder with real data; the test is skipped where it is absent. Mark such a test
    ``real_data``.
    """
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real data at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def make_tpf():
    """A function that writes a TESS target pixel file with given images."""
    return write_tpf


def write_tpf(
    path, flux, *, starid=1234, sector=5, camera=2, ccd=3, tmag=10.0, cadence=120, **changes
):
    """Write a target pixel file as SPOC does; ``changes`` replace columns, or the image APERTURE.

    flux : (n_times, n_rows, n_columns) array, e-/s. Detector column of its first pixel is 45, row
        100; pixel (2, 2)
    is at ra 100, decl -30 deg. Returns the path.
    """
    n_times, *shape = flux.shape
    data = {
        "TIME": 1500 + np.arange(n_times) * cadence / 86400,
        "TIMECORR": np.full(n_times, 0.001),
        "CADENCENO": 7000 + np.arange(n_times),
        "RAW_CNTS": np.zeros(flux.shape, int),
        "FLUX": flux,
        "FLUX_ERR": np.full(flux.shape, 2.0),
        "FLUX_BKG": np.full(flux.shape, 100.0),
        "FLUX_BKG_ERR": np.full(flux.shape, 0.5),
        "QUALITY": np.zeros(n_times, int),
        "POS_CORR1": np.zeros(n_times),
        "POS_CORR2": np.zeros(n_times),
        "APERTURE": np.full(shape, 3),
    } | changes
    aperture = fits.ImageHDU(
        data.pop("APERTURE").astype("i4"), name="APERTURE", header=_wcs_header()
    )
    primary = {
        "TELESCOP": "TESS",
        "TICID": starid,
        "OBJECT": f"TIC {starid}",
        "SECTOR": sector,
        "CAMERA": camera,
        "CCD": ccd,
    }
    primary |= {"RA_OBJ": 100.0, "DEC_OBJ": -30.0, "TESSMAG": tmag, "TEFF": None}
    table = fits.BinTableHDU.from_columns(
        [_column(name, values) for name, values in data.items()], name="PIXELS"
    )
    table.header.update(
        {"TIMEDEL": cadence / 86400, "BJDREFI": 2457000, "INT_TIME": 1.98, "NUM_FRM": cadence // 2}
    )
    fits.HDUList([fits.PrimaryHDU(header=fits.Header(primary)), table, aperture]).writeto(
        path, overwrite=True
    )
    return path


def _column(name, values):
    n_pixels = values[0].size
    letter = "J" if values.dtype.kind == "i" else "D" if name == "TIME" else "E"
    dim = str(values.shape[:0:-1]).replace(" ", "") if values.ndim == 3 else None
    return fits.Column(name, f"{n_pixels}{letter}", dim=dim, array=values)


def _wcs_header():
    scale = 21 / 3600  # deg per pixel
    header = {
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CRPIX1": 3.0,
        "CRPIX2": 3.0,
        "CRVAL1": 100.0,
        "CRVAL2": -30.0,
    }
    header |= {
        "CDELT1": -scale,
        "CDELT2": scale,
        "PC1_1": 1.0,
        "PC1_2": 0.0,
        "PC2_1": 0.0,
        "PC2_2": 1.0,
    }
    return fits.Header(header | {"CRVAL1P": 45, "CRVAL2P": 100})
