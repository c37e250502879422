"""``photometry todo``: what a user types, sees, and finds on disk."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "run_scripts/run_make_todo.py"


def photometry(*args, script=None):
    program = [str(script)] if script else ["-m", "photometry", "todo"]
    return subprocess.run(
        [sys.executable, *program, *map(str, args)], capture_output=True, text=True, timeout=600
    )


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "targets.csv").write_text("starid,sector,camera,ccd,tmag\n1,1,1,1,10\n2,1,1,1,9\n")
    return tmp_path


@pytest.mark.parametrize("script", [None, SCRIPT], ids=["photometry todo", "run_make_todo.py"])
def test_todo_makes_the_file_and_says_what_is_in_it(folder, script):
    done = photometry("table", folder, "--table", folder / "targets.csv", script=script)
    assert (done.returncode, done.stderr) == (0, "")
    assert "todo.sqlite: 2 targets (2 ffi)" in done.stdout
    assert (folder / "todo.sqlite").exists()


def test_options_may_stand_before_template_and_folder(folder):
    done = photometry("--dry-run", "--table", folder / "targets.csv", "table", folder)
    assert done.returncode == 0
    assert "dry run" in done.stdout
    assert not (folder / "todo.sqlite").exists()


def test_json_is_for_programs(folder):
    done = photometry("table", folder, "--table", folder / "targets.csv", "--json")
    summary = json.loads(done.stdout)
    assert (summary["targets"], summary["by_datasource"], summary["sectors"]) == (
        2,
        {"ffi": 2},
        [1],
    )


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nonsense", "."], "no such template; expected the path of a TOML file or one of"),
        (["tpf", "/no/such/folder"], "no such folder"),
        (["tpf"], ".: no target pixel file here"),
    ],
)
def test_wrong_use_is_one_message_and_exit_code_2(args, message):
    done = photometry(*args)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_help_explains_template_and_folder():
    done = photometry("--help")
    assert done.returncode == 0
    assert "TEMPLATE [DIR]" in done.stdout
