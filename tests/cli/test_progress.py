"""What takes long shows how far it is, on a terminal."""

import os
import pty
import subprocess
import sys

import numpy as np
from running import environment

from photometry.lightcurve.lightcurve import LightcurveArbitraryRaster


def on_a_terminal(*words):
    """Exit code and standard error of a verb whose standard error is a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "photometry", *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env=environment(TERM="xterm", COLUMNS="100"),
    )
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:  # Linux: the other end is closed
        pass
    os.close(ours)
    return process.wait(), shown.decode(errors="replace")


def test_a_search_shows_how_far_it_is(tmp_path):
    time = np.arange(700) / 48
    flux = 1 + np.random.default_rng(1).normal(0, 1e-4, time.size)
    lc = LightcurveArbitraryRaster(time, flux, np.full(time.size, 1e-4), np.zeros(time.size))
    lc.to_file(tmp_path / "curve.dat.gz")
    code, shown = on_a_terminal(
        "search", tmp_path / "curve.dat.gz", "--method", "bls", "--threads", 1, "--no-vet"
    )
    assert code == 0, shown
    assert "searching" in shown
    assert "curve.dat.gz" in shown
