"""One contract of task sources, every engine: the same rows and exit code 0, whoever finishes
first.
"""

import ast
import json
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from running import MPIEXEC, environment
from sources import Toy, star_cases, toys

from photometry import TaskManager
from photometry.scheduler import protocol
from photometry.scheduler.protocol import TaskSource, noop
from photometry.scheduler.work import run_task
from photometry.taskmanager.result import Packer, Result

STARTERS = {
    "serial": [sys.executable],
    "processes": [sys.executable],
    "mpi": [MPIEXEC, "-n", "3", sys.executable],
}
SQUARES = {
    "toy": 40,
    "chain of 1,000": 1000,
    "diamond": 6,
    "doubling": 1000,
    "back-off": 2,
    "packing": 40,
}
EXAMPLE_RUN = """
def main():
    from pathlib import Path
    from photometry.scheduler.protocol import Handler
    from photometry.scheduler.run import Plan, run

    source = Squares(4)
    print(run(Plan(lambda: source, Handler("squares:square"), Path("out"), workers=0, quiet=True)))
    print(source.squares)
"""
METHODS = {name for name in vars(TaskSource) if not name.startswith("_")}


@pytest.fixture(
    scope="module", params=[pytest.param("mpi", marks=pytest.mark.mpi), "processes", "serial"]
)
def engine(request):
    return request.param


@pytest.fixture(scope="module")
def cases(engine, tmp_path_factory):
    """{case: (exit code, rows)} of all sources, drained by an engine."""
    folder = tmp_path_factory.mktemp(engine)
    path = os.pathsep.join([str(Path(__file__).parent), environment()["PYTHONPATH"]])
    done = subprocess.run(
        [*STARTERS[engine], "-c", "import sources; sources.main()", engine, str(folder)],
        env=environment(PYTHONPATH=path),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "cases.json").read_text())


def test_the_toy_has_the_methods_of_the_contract_and_nothing_else():
    assert {name for name in vars(Toy) if not name.startswith("_")} == METHODS


def test_the_task_manager_has_all_methods_of_the_contract():
    assert {name for name in METHODS if not hasattr(TaskManager, name)} == set()


@pytest.mark.slow
@pytest.mark.parametrize("name", toys())
def test_every_number_is_squared_once_by_every_engine(cases, name):
    code, rows = cases[name]
    assert code == 0
    assert rows == [[n, n * n] for n in range(1, SQUARES[name] + 1)]


@pytest.mark.slow
@pytest.mark.parametrize("name", star_cases())
def test_overlapping_masks_give_the_same_rows_whoever_finishes_first(cases, name):
    code, (status, skipped, _, _) = cases[name]
    assert code == 0
    # A is the brightest star and holds B; C is alone, or in the mask with the brighter B
    holds_b = name.startswith("masks 2")
    assert status == [[1, 1], [2, 5], [3, 5 if holds_b else 1]]
    assert skipped == [[2, 1], [3, 2]] if holds_b else [[2, 1]]


@pytest.mark.slow
def test_a_todo_file_is_drained_by_every_engine(cases):
    code, (status, _, methods, hosts) = cases["task manager"]
    assert code == 0
    assert status == [[priority, 1] for priority in range(1, 501)]
    assert methods == [[priority, "noop"] for priority in range(1, 501)]
    assert hosts == [[socket.gethostname()]]


def test_the_scheduler_reads_no_key_of_a_star():
    """Nothing but ids, labels, kinds and limits: the words occur in no code, only in prose."""
    words = {"starid", "tmag", "datasource", "priority", "sector", "cadence"}
    for path in Path(protocol.__file__).parent.glob("*.py"):
        tree = ast.parse(path.read_text())
        constants = {
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert words & (constants | names) == set(), path.name


def test_the_example_of_the_contract_runs(tmp_path):
    code = textwrap.dedent(protocol.__doc__.partition("::\n\n")[2].partition("Messages are")[0])
    program = tmp_path / "squares.py"
    program.write_text(code + EXAMPLE_RUN)
    done = subprocess.run(
        [sys.executable, "-c", "import squares; squares.main()"],
        cwd=tmp_path,
        env=environment(PYTHONPATH=os.pathsep.join([str(tmp_path), environment()["PYTHONPATH"]])),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.stdout.split() == ["0", "{0:", "0,", "1:", "1,", "2:", "4,", "3:", "9}"], (
        done.stderr
    )


def test_results_that_say_nothing_but_ok_are_packed_without_a_second_look(monkeypatch):
    """The scheduler's own results have the form that packs at a fifth of the cost."""
    task = dict.fromkeys(("method", "sector", "camera", "ccd", "cadence", "tmag"))
    tasks = [{**task, "priority": i, "starid": i, "datasource": "ffi"} for i in (1, 2, 3)]
    results = [run_task(noop, task)[0] for task in tasks]
    monkeypatch.setattr(Result, "of", None)
    packed = Packer(1)(results)
    assert packed.priorities == [1, 2, 3]
    assert not packed.others
