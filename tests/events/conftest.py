"""Helpers of the tests of the event framework: small FITS images, a quick configuration, a pipeline
in a file."""

import numpy as np
import pytest

from photometry.events import ConfigClass

PIPELINE = '''"""A pipeline of plain functions that note what they did, one line per call."""
import os, signal, time

event_table = {
    "next_file": ("first", None, "second"),
    "second": ("second", None, None),
    "boom": ("boom", None, None),
    "kill": ("kill", None, None),
    "kill_once": ("kill_once", None, "second"),
    "slow": ("slow", None, "second"),
}

def note(action, context, what):
    path = os.path.join(context.config.output_directory, "notes.txt")
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, f"{what} {action.args.name} {os.getpid()}\\n".encode())
    os.close(handle)
    return action.args

def first(action, context):
    return note(action, context, "first")

def second(action, context):
    return note(action, context, "second")

def boom(action, context):
    raise ValueError("no such star")

def kill(action, context):
    note(action, context, "kill")
    os.kill(os.getpid(), signal.SIGKILL)

def kill_once(action, context):
    note(action, context, "kill_once")
    marker = os.path.join(context.config.output_directory, f"killed-{action.args.name}")
    if not os.path.exists(marker):
        open(marker, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return action.args

def slow(action, context):
    note(action, context, "slow")
    time.sleep(action.args.seconds)
    return action.args
'''


@pytest.fixture
def config(tmp_path):
    """A configuration that does not wait, with its results in the test's folder."""
    output = tmp_path / "output"
    output.mkdir()
    return ConfigClass(
        output_directory=str(output),
        temp_directory=str(tmp_path / "temp"),
        event_timeout=0.02,
        settle_time=0,
        retry_delay=0,
        print_trace=False,
        logger_config_file=None,
    )


@pytest.fixture
def pipeline_file(tmp_path):
    """A Python file with a pipeline; it has its own name in every test, since modules are
    remembered by name."""
    path = tmp_path / f"notes_{abs(hash(tmp_path))}.py"
    path.write_text(PIPELINE)
    return str(path)


@pytest.fixture
def notes(config, tmp_path):
    """Read what the pipeline in the file did: list of (what, name, process number)."""

    def read():
        path = tmp_path / "output" / "notes.txt"
        return (
            [tuple(line.split()) for line in path.read_text().splitlines()] if path.exists() else []
        )

    return read


@pytest.fixture
def make_fits(tmp_path):
    """Write a small FITS image with a TARGNAME."""
    from astropy.io import fits

    def make(name, targname="M1", folder=None):
        path = (folder or tmp_path) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = np.add.outer(np.arange(16.0), np.arange(16.0)).astype("float32")
        fits.PrimaryHDU(image, fits.Header({"TARGNAME": targname})).writeto(path)
        return str(path)

    return make
