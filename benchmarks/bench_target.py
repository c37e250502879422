"""How many targets one core does in a second, from target pixel file to light-curve file, and where the time goes.

    python benchmarks/bench_target.py [--targets 6] [--times 20000] [--gz] [--mask own]

Simulated SPOC files of 11x11 pixels. The files are read once before, so that they are in the page cache: this measures the
program, not the disk.
"""

import argparse
import cProfile
import gzip
import os
import pstats
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is imported: one thread, as the workers of a run have

STEPS = {  # what is printed -> function whose cumulative time it is
    "read the file": "read_target_pixel_file",
    "find it, check it": "find_target_pixel_file",
    "stars": "with_stars",
    "sum image": "mean_image",
    "pixel mask": "own_mask",
    "sums, errors, centroids": "measure",
    "metrics": "diagnostics",
    "write the light curve": "write_lightcurve",
}


def make_files(folder, n_targets, n_times, gz):
    """Simulate the files; returns the tasks."""
    from photometry.simulate.targetpixels import TargetPixelSettings, simulate_target_pixel_files

    truth = simulate_target_pixel_files(
        folder, TargetPixelSettings(targets=n_targets, times=n_times, seed=3, tmag_min=8)
    )
    for path in folder.glob("*_tp.fits") if gz else ():
        Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes(), 6))
        path.unlink()
    place = {"sector": 1, "camera": 1, "ccd": 1, "cadence": 120, "datasource": "tpf", "method": None}
    return [{"priority": i, "starid": int(starid), **place} for i, starid in enumerate(truth["starid"])]


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", type=int, default=6)
    parser.add_argument("--times", type=int, default=20_000)
    parser.add_argument("--gz", action="store_true", help="gzipped input files")
    parser.add_argument("--mask", default="own")
    options = parser.parse_args()

    from photometry.target import photometry

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tasks = make_files(folder, options.targets, options.times, options.gz)

        def run():
            for task in tasks:
                photometry(
                    task,
                    input_folder=folder,
                    output_folder=folder / "out",
                    settings={"aperture": {"mask": options.mask}},
                )

        run()
        walls, cpus = zip(*(measure(run) for _ in range(3)), strict=True)
        n = len(tasks)
        print(
            f"{n / min(walls):.1f} targets/s (wall), {n / min(cpus):.1f} targets/s of processor time; best of 3 x {n}"
        )
        print_shares(run)


def measure(run):
    """Wall-clock and processor time of a call, s."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


def print_shares(run):
    """Share of the time per step, from the profiler: it makes code with many small calls look slower than it is."""
    profile = cProfile.Profile()
    profile.runcall(run)
    spent = {function: values[3] for (_, _, function), values in pstats.Stats(profile).stats.items()}
    for step, function in STEPS.items():
        print(f"{100 * spent.get(function, 0) / spent['photometry']:5.1f} %  {step}")


if __name__ == "__main__":
    main()
