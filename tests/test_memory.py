"""The memory of a worker does not grow with the number of targets it has done."""

import gc
import tracemalloc

import pytest

from photometry.scheduler.work import TaskRunner
from photometry.simulate.targetpixels import TargetPixelSettings, simulate_target_pixel_files
from photometry.status import STATUS
from photometry.target import photometry

psutil = pytest.importorskip("psutil")

N_WARM_UP, N_TARGETS = 100, 1200  # benchmarks/bench_startup.py does 10,000
MIB = 2**20


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    """A runner as each worker has one, and the task of a tiny simulated file."""
    folder = tmp_path_factory.mktemp("memory")
    settings = TargetPixelSettings(targets=1, times=20, seed=3, tmag_min=9, tmag_max=10)
    (star,) = simulate_target_pixel_files(folder, settings)["starid"]
    place = {
        "sector": 1,
        "camera": 1,
        "ccd": 1,
        "cadence": 120,
        "datasource": "tpf",
        "method": None,
    }
    runner = TaskRunner(
        lambda task: photometry(task, input_folder=folder, output_folder=folder / "out")
    )
    return runner, {"priority": 1, "starid": int(star), "tmag": 9.5, **place}


def test_memory_is_flat_over_thousands_of_targets(target):
    runner, task = target
    process, memory = psutil.Process(), []
    for _ in range(N_WARM_UP + N_TARGETS):
        assert runner.run(dict(task))[0]["status"] is STATUS.OK
        memory.append(process.memory_info().rss)
    middle = memory[N_WARM_UP + N_TARGETS // 2]
    # A leak of one array of the stamp, 20 x 11 x 11 x 4 bytes, per target would be 11 MiB.
    assert max(memory[-100:]) - memory[N_WARM_UP] < 5 * MIB
    assert max(memory[-100:]) - middle < 3 * MIB


def test_nothing_is_kept_of_a_target(target):
    runner, task = target
    for _ in range(20):
        runner.run(dict(task))
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(100):
            runner.run(dict(task))
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert (
        grown < 100 * 1000
    )  # bytes; less than a kilobyte for each target: a header of a file is 3 kB


def test_a_task_that_fails_keeps_nothing_either(target):
    runner, task = target
    process = psutil.Process()
    missing = task | {"starid": 999, "datasource": f"tpf:{task['starid']}"}
    memory = []
    for _ in range(600):
        assert runner.run(dict(missing))[0]["status"] is STATUS.ERROR
        memory.append(process.memory_info().rss)
    assert max(memory[-50:]) - memory[100] < 4 * MIB
