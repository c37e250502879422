"""How long it takes to start, what that asks of the file system, and the memory of a worker over
thousands of targets.

    python benchmarks/bench_startup.py [--quick] [--targets 10000] [--json FILE]

Times beside those of a Python that does nothing. System calls on files are counted by strace, where
there is one: that is what each rank asks of the file system that Python is installed on.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # before numpy is imported: one thread, as the workers of a run have

STARTS = {  # what is printed -> (arguments of Python, aim)
    "python, nothing": (["-c", "pass"], ""),
    "import photometry": (["-c", "import photometry"], "0.5"),
    "photometry --help": (["-m", "photometry", "--help"], "0.3"),
    "photometry run --help": (["-m", "photometry", "run", "--help"], ""),
    "a worker, ready to do photometry": (
        ["-c", "import photometry.scheduler.mpi, photometry.target"],
        "",
    ),
}


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="1,000 targets for the memory")
    parser.add_argument("--targets", type=int, default=10_000)
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    options = parser.parse_args()
    from figures import Figures, print_load

    print_load()
    figures = Figures("python benchmarks/bench_startup.py")
    for name, (arguments, aim) in STARTS.items():
        figures.add(f"start: {name}", min(seconds_of(arguments) for _ in range(7)), "s", aim=aim)
    if shutil.which("strace"):
        for name, (arguments, _) in STARTS.items():
            calls, failed = file_calls(arguments)
            figures.add(
                f"file system calls: {name}",
                calls,
                "calls",
                limit="of which find nothing",
                bound=failed,
            )
    measure_memory(figures, 1000 if options.quick else options.targets)
    figures.write(options.json)


def seconds_of(arguments):
    """Wall-clock time of one start."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def file_calls(arguments):
    """(number of system calls that name a file, how many of them found none) of one start."""
    with tempfile.NamedTemporaryFile("r", suffix=".strace") as table:
        command = [
            "strace",
            "-f",
            "-c",
            "-e",
            "trace=%file",
            "-o",
            table.name,
            sys.executable,
            *arguments,
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        total = re.search(
            r"^\s*100\.00\s+\S+\s+\d*\s+(\d+)\s+(\d*)\s+total$", table.read(), re.MULTILINE
        )
    return int(total[1]), int(total[2] or 0)


def measure_memory(figures, n_targets):
    """Growth of a process that measures one small file again and again, after the first fifth."""
    import psutil

    from photometry.simulate.targetpixels import TargetPixelSettings, simulate_target_pixel_files
    from photometry.target import photometry

    with tempfile.TemporaryDirectory() as name:
        folder, me, memory = Path(name), psutil.Process(), []
        truth = simulate_target_pixel_files(
            folder, TargetPixelSettings(targets=1, times=50, seed=3, tmag_min=9)
        )
        place = {
            "sector": 1,
            "camera": 1,
            "ccd": 1,
            "cadence": 120,
            "datasource": "tpf",
            "method": None,
        }
        task = {"priority": 1, "starid": int(truth["starid"][0]), **place}
        for _ in range(n_targets):
            photometry(task, input_folder=folder, output_folder=folder)
            memory.append(me.memory_info().rss)
    grown = memory[-1] - memory[n_targets // 5]
    figures.add("memory of a worker", memory[-1] / 2**20, "MiB")
    figures.add(f"its growth over {n_targets * 4 // 5:,} targets", grown / 2**20, "MiB", aim="0")


if __name__ == "__main__":
    main()
