"""``photometry simulate``: what a user types, sees, and finds on disk."""

import subprocess
import sys

import pytest


def photometry(*args):
    return subprocess.run(
        [sys.executable, "-m", "photometry", *map(str, args)],
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_simulate_tpf_writes_files_catalogue_and_truth(tmp_path):
    done = photometry(
        "simulate",
        "tpf",
        tmp_path / "new",
        "--targets",
        3,
        "--times",
        20,
        "--seed",
        1,
        "--truncated",
        1,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 target pixel files of 20 exposures" in done.stdout
    assert len(list((tmp_path / "new").glob("tess*_tp.fits"))) == 3
    assert {"catalog.ecsv", "truth.ecsv"} <= {f.name for f in (tmp_path / "new").iterdir()}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--targets", "0"], "targets=0: expected 1 to"),
        (["--targets", "many"], "--targets"),
        (["--prf", "/no/such"], "--prf"),
        (["--decl", 200], "decl=200.0: expected -90 to 90"),
        (["--stamp", "0x4"], "stamp=0: expected 3 to 101"),
        (["--mission", "PLATO"], "--mission"),
        (["--jitter", "nan"], "'--jitter': nan: expected a finite number"),
    ],
)
def test_wrong_options_give_one_message_and_exit_code_2(tmp_path, options, message):
    done = photometry("simulate", "tpf", tmp_path, *options)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--frames", 0], "n_frames=0: expected 1 to"),
        (["--stars", -1], "stars=-1: expected 0 to"),
        (["--size", 3], "size=3: expected 16 to 2048"),
        (["--cadence", 0], "cadence=0"),
        (["--bright", 16], "bright=16.0: expected less than faint=15.0"),
        (["--ccd", 5], "ccd=5: expected 1 to 4"),
        (["--background", "inf"], "'--background': inf: expected a finite number"),
    ],
)
def test_wrong_options_of_full_frames_give_one_message_and_leave_no_folder(
    tmp_path, options, message
):
    done = photometry("simulate", "ffi", tmp_path / "new", *options)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "new").exists()
