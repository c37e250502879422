"""`photometry prepare` and `photometry simulate ffi` as commands: exit codes, messages, signals."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest

RUN = [sys.executable, "-m", "photometry"]


def run(*args):
    return subprocess.run([*RUN, *map(str, args)], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ffi")
    done = run("simulate", "ffi", folder, "--size", 64, "--frames", 12, "--stars", 20, "--seed", 2)
    assert done.returncode == 0, done.stderr
    return folder


def test_simulate_ffi_writes_images_catalogue_and_truth(simulated):
    assert len(list((simulated / "ffi").glob("*_ffic.fits"))) == 11
    assert (simulated / "catalog.ecsv").exists()
    assert (simulated / "truth.ecsv").exists()


def test_prepare_prints_what_it_made(simulated, tmp_path):
    done = run("prepare", simulated, "--output", tmp_path, "--workers", 1, "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    (cube,) = json.loads(done.stdout)["cubes"]
    assert cube["n_frames"] == 11
    assert cube["path"] == str(tmp_path / "sector001_camera1_ccd1.hdf5")
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--sector", 9], "no images of the sector"),
        (["--workers", 0], "workers=0"),
        (["--memory", 0.1], "memory=0.1 GiB"),
        (["--nonsense"], "no such option"),
    ],
)
def test_wrong_use_is_one_message_and_exit_code_2(simulated, tmp_path, options, words):
    done = run("prepare", simulated, "--output", tmp_path, *options)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_is_not_there_is_not_made(tmp_path):
    done = run("prepare", tmp_path / "nothing")
    assert done.returncode == 2
    assert "no such folder" in done.stderr
    assert not (tmp_path / "nothing").exists()


def test_files_left_out_give_exit_code_1(simulated, tmp_path):
    folder = tmp_path / "ffi"
    folder.mkdir()
    for i, path in enumerate(sorted((simulated / "ffi").iterdir())):
        content = path.read_bytes()
        (folder / path.name).write_bytes(content[: len(content) - 20000 * (i == 4)])
    done = run("prepare", folder, "--workers", 1)
    assert done.returncode == 1
    assert "1 files were left out" in done.stderr
    assert "10 images" in done.stdout


SLOW = """
import pathlib, sys, time
from photometry.cli import main
from photometry.prepare import driver
write = driver._write_one

def slow(shared, band):
    if band > 0:
        pathlib.Path(sys.argv[1]).touch()
        time.sleep(600)
    return write(shared, band)

driver._write_one = slow
main(sys.argv[2:])
"""


def wait_for(path, seconds=300):
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not come"
        time.sleep(0.01)


def test_sigterm_ends_a_prepare_in_the_background_of_a_script_with_3_and_keeps_what_is_finished(
    simulated, tmp_path
):
    """The real program, at its second band when the signal comes; such a shell makes it ignore
    Ctrl-C (SIGINT).
    """
    there, pid, code = (tmp_path / name for name in ("second-band", "pid", "code"))
    words = ["prepare", str(simulated), "--output", str(tmp_path), "--workers", "1"]
    program = shlex.join([sys.executable, "-c", SLOW, str(there), *words])
    script = (
        f"{program} & echo $! >{pid}.part; mv {pid}.part {pid}; wait $!; echo $? "
        f">{code}.part; mv {code}.part {code}"
    )
    shell = subprocess.Popen(["bash", "-c", script], stderr=subprocess.PIPE, text=True)
    try:
        wait_for(there)
        os.kill(int(pid.read_text()), signal.SIGTERM)
        _, reported = shell.communicate(timeout=600)
    finally:
        shell.kill()
        if pid.exists() and not code.exists():
            os.kill(int(pid.read_text()), signal.SIGKILL)
    assert code.read_text().strip() == "3", reported
    assert "the same command goes on from there" in reported
    assert not list(tmp_path.glob("*.hdf5"))
    again = run(*words)
    assert again.returncode == 0, again.stderr
    assert "going on where an earlier call stopped" in again.stderr
