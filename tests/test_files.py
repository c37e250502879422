"""Files appear whole or not at all."""

import json
import os
import stat
import subprocess
import sys

import pytest

from photometry.files import atomic_write, write_json


def test_the_new_content_replaces_the_old(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("old")
    with atomic_write(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["x.txt"]


def test_an_exception_leaves_the_old_file_and_no_part(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(path) as part:
        part.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x.txt"]


def test_mode_of_an_existing_file_is_kept(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("old")
    path.chmod(0o640)
    with atomic_write(path) as part:
        part.write_text("new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_new_file_gets_the_mode_that_the_umask_allows(tmp_path):
    old = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "x.txt") as part:
            part.write_text("new")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "x.txt").stat().st_mode) == 0o640


def test_the_part_has_the_ending_of_the_file(tmp_path):
    with atomic_write(tmp_path / "a.fits.gz") as part:
        part.write_bytes(b"x")
        assert part.name.endswith(".fits.gz")


def test_a_kill_in_the_midst_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("old")
    code = (
        "import os, sys; from photometry.files import atomic_write\nwith "
        "atomic_write(sys.argv[1]) as p:\n p.write_text('half'); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, path]).returncode == -9
    assert path.read_text() == "old"


def test_json_refuses_what_is_not_json(tmp_path):
    write_json(tmp_path / "x.json", {"a": [1, None]})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": [1, None]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": [1, None]}
