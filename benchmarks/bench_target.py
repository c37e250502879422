"""How many targets one core does in a second, from pixels to a light-curve file, where the time
goes, and what bounds it.

    python benchmarks/bench_target.py [--quick] [--targets 6] [--times 20000] [--frames 1300]
    [--mask own] [--json FILE]

Simulated target pixel files of 11x11 pixels, plain and gzipped, and an image cube with stamps of
15x15. The files are read once before, so that they are in the page cache: this measures the
program, not the disk (``--cold`` asks the kernel to forget the cube before each target). Rates are
of processor time, as the machine is shared; wall-clock rates are beside them.

Bounds: reading the bytes of the file from the page cache once (memory bandwidth), and decompressing
them (with the library that we use). Beside it: the aperture light curve of lightkurve and the
aperture photometry of photutils, from the same files; neither finds a mask, measures errors of all
kinds, or writes a light-curve file of this form: photutils sums in a circle of 2.5 pixels, frame by
frame, lightkurve uses the mask in the file and writes a FITS file.
"""

import argparse
import cProfile
import gzip
import math
import os
import pstats
import tempfile
import time
from functools import partial
from pathlib import Path

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # before numpy is imported: one thread, as the workers of a run have

STEPS = {  # what is printed -> function whose cumulative time it is
    "read the pixels": ("read_target_pixel_file", "stamp_from_cube"),
    "find the file, check it": ("find_target_pixel_file",),
    "stars": ("with_stars",),
    "sum image": ("mean_image",),
    "pixel mask": ("own_mask",),
    "sums, errors, centroids": ("measure",),
    "metrics": ("diagnostics",),
    "write the light curve": ("write_lightcurve",),
}
ROUNDS, CUBE_ROUNDS = 9, 3


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer targets")
    parser.add_argument("--targets", type=int, default=6)
    parser.add_argument("--times", type=int, default=20_000)
    parser.add_argument("--frames", type=int, default=1300)
    parser.add_argument("--mask", default="own")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    options = parser.parse_args()
    if options.quick:
        options.targets = 4
    from figures import Figures, print_load

    from photometry.processes import keep_memory

    keep_memory()  # as every worker does
    print_load()
    figures = Figures("python benchmarks/bench_target.py")
    settings = {"aperture": {"mask": options.mask}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tasks = make_files(folder / "plain", options.targets, options.times)
        compress_files(folder / "plain", folder / "gzipped")
        measure_files(figures, folder, tasks, settings)
        tasks = make_cube(folder / "cube", options.frames)
        measure_cube(figures, folder / "cube", tasks, settings)
        measure_cold(figures, folder / "cube", tasks, settings)
    figures.write(options.json)


# What is measured on


def make_files(folder, n_targets, n_times):
    """Simulate target pixel files; returns the tasks."""
    from photometry.simulate.targetpixels import TargetPixelSettings, simulate_target_pixel_files

    settings = TargetPixelSettings(targets=n_targets, times=n_times, seed=3, tmag_min=8)
    truth = simulate_target_pixel_files(folder, settings)
    common = {
        "sector": 1,
        "camera": 1,
        "ccd": 1,
        "cadence": 120,
        "datasource": "tpf",
        "method": None,
    }
    return [
        {"priority": i, "starid": int(starid), **common} for i, starid in enumerate(truth["starid"])
    ]


def compress_files(plain, gzipped):
    gzipped.mkdir()
    for path in plain.glob("*_tp.fits"):
        (gzipped / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 6))
    for path in plain.glob("catalog*"):
        (gzipped / path.name).write_bytes(path.read_bytes())


def make_cube(folder, n_frames):
    """Simulate full-frame images of 64 x 64 pixels and prepare them; returns the tasks of stars on
    15x15 pixels.
    """
    from photometry.prepare.driver import prepare
    from photometry.simulate.fullframe import simulate_full_frames

    simulation = simulate_full_frames(
        folder, size=64, n_frames=round(n_frames / 0.955), stars=40, seed=3
    )
    prepare(folder)
    common = {
        "sector": 1,
        "camera": 1,
        "ccd": 1,
        "cadence": 1800,
        "datasource": "ffi",
        "method": None,
    }
    stars = [
        (int(star["starid"]), float(star["tmag"])) for star in simulation.stars if star["tmag"] >= 8
    ]
    return [
        {"priority": i, "starid": starid, "tmag": tmag, **common}
        for i, (starid, tmag) in enumerate(stars)
    ]


# Ours, what bounds it, and the peers


def measure_files(figures, folder, tasks, settings):
    """Target pixel files: targets per second, what bounds them, and the peers."""
    plain, gzipped = (sorted((folder / kind).glob("*_tp.fits*")) for kind in ("plain", "gzipped"))
    output = folder / "peers"
    output.mkdir()
    works = {
        "plain": of_tasks(folder / "plain", tasks, settings),
        "gzipped": of_tasks(folder / "gzipped", tasks, settings),
        "reading the bytes once": [partial(read, path) for path in plain],
        "reading the bytes once, gzipped": [partial(read, path) for path in gzipped],
        "decompressing": [partial(decompress, path) for path in gzipped],
    }
    for name, function, paths in (
        ("lightkurve", with_lightkurve, plain),
        ("photutils", with_photutils, plain[:1]),
    ):
        try:
            function(paths[0], output)
        except ImportError:
            figures.add(f"targets, {name}", float("nan"), "not installed")
            continue
        works[name] = [partial(function, path, output) for path in paths]
    rates = fastest(works)
    for kind, aim in (("plain", "10"), ("gzipped", "5")):
        add_rates(figures, f"2-minute files, {kind}", rates[kind], aim)
        print_shares(works[kind])
    for kind, name, what in (
        ("plain", "reading the bytes once", "reading the bytes once"),
        ("gzipped", "reading the bytes once", "reading the bytes once, gzipped"),
        ("gzipped", "decompressing", "decompressing"),
    ):
        bound = {"limit": name, "bound": rates[what][0]}
        figures.add(f"fraction of the bound, {kind}: {name}", rates[kind][0], "targets/s", **bound)
    for name in ("lightkurve", "photutils"):
        if name in rates:
            ours = {"limit": "ours", "bound": rates["plain"][0]}
            figures.add(f"targets, plain, {name}", rates[name][0], "targets/s", **ours)


def measure_cube(figures, folder, tasks, settings):
    """Targets per second from an image cube in the page cache."""
    works = {"cube": of_tasks(folder, tasks, settings)}
    add_rates(figures, "image cube, warm", fastest(works, CUBE_ROUNDS)["cube"], "100")
    print_shares(works["cube"])


def of_tasks(folder, tasks, settings):
    """Our work on each task, as functions without arguments."""
    from photometry.target import photometry

    options = {"input_folder": folder, "output_folder": folder / "out", "settings": settings}
    return [partial(photometry, task, **options) for task in tasks]


def fastest(works, rounds=ROUNDS):
    """Items a second of several works, of processor time and by the clock.

    Of each item the fastest of some rounds counts, as others who use the machine only ever make it
    slower. The works take turns, so that a slow minute meets all of them alike.

    Parameters
    ----------
    works : dict of name -> list of functions without arguments, one for each item
    rounds : int

    Returns
    -------
    dict of name -> (items/s of processor time, items/s by the clock)
    """
    best = {name: [(math.inf, math.inf)] * len(items) for name, items in works.items()}
    for _ in range(rounds):
        for name, items in works.items():
            for number, item in enumerate(items):
                seconds = zip(best[name][number], timed(item), strict=True)
                best[name][number] = tuple(map(min, seconds))
    return {
        name: tuple(len(seconds) / sum(column) for column in zip(*seconds, strict=True))
        for name, seconds in best.items()
    }


def add_rates(figures, name, rates, aim):
    """Note targets per second of processor time and by the clock."""
    figures.add(f"targets, {name}, of processor time", rates[0], "targets/s", aim=aim)
    figures.add(f"targets, {name}, by the clock", rates[1], "targets/s")


def measure_cold(figures, folder, tasks, settings):
    """The same from an image cube that is not in the page cache: the kernel is asked to forget it
    before each target.
    """
    from photometry.target import photometry

    (cube,) = folder.glob("*.hdf5")
    seconds = []
    for task in tasks:
        forget(cube)
        start = time.perf_counter()
        photometry(task, input_folder=folder, output_folder=folder / "out", settings=settings)
        seconds.append(time.perf_counter() - start)
    seconds.sort()
    middle = seconds[len(seconds) // 2]
    figures.add(
        "targets, image cube, cold, by the clock (median)", 1 / middle, "targets/s", aim="25"
    )


def forget(path):
    """Ask the kernel to drop a file from the page cache."""
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(handle)


def timed(run):
    """Processor time and wall-clock time of a call, s."""
    clock, processor = time.perf_counter(), time.process_time()
    run()
    return time.process_time() - processor, time.perf_counter() - clock


def print_shares(items):
    """Share of the time per step, from the profiler: it makes code with many small calls look
    slower than it is.
    """
    profile = cProfile.Profile(time.process_time)
    for item in items:
        profile.runcall(item)
    spent = {}
    for (_, _, function), values in pstats.Stats(profile).stats.items():
        spent[function] = spent.get(function, 0) + values[3]
    for step, functions in STEPS.items():
        percent = 100 * sum(spent.get(name, 0) for name in functions) / spent["photometry"]
        print(f"{percent:8.1f} %  {step}")


def read(path):
    """All bytes of a file, from the page cache."""
    with open(path, "rb", buffering=0) as file:
        while file.read(2**20):
            pass


def decompress(path):
    """The same of what is in a gzipped file, with the library that we use."""
    from photometry.files import gzip_reader

    with open(path, "rb") as raw, gzip_reader(raw) as file:
        while file.read(2**20):
            pass


def with_lightkurve(path, output):
    """Aperture light curve with the mask in the file, written as FITS."""
    import lightkurve

    pixels = lightkurve.TessTargetPixelFile(str(path), quality_bitmask="none")
    pixels.to_lightcurve(method="aperture", aperture_mask="pipeline").to_fits(
        output / path.name, overwrite=True
    )


def with_photutils(path, output):
    """Sums in a circle, frame by frame, with their errors."""
    import numpy as np
    from astropy.io import fits
    from photutils.aperture import CircularAperture

    with fits.open(path) as file:
        flux, error = file[1].data["FLUX"], file[1].data["FLUX_ERR"]
    middle = ((flux.shape[2] - 1) / 2, (flux.shape[1] - 1) / 2)
    aperture = CircularAperture(middle, 2.5)
    sums = np.array(
        [
            aperture.do_photometry(image, error=sigma)
            for image, sigma in zip(flux, error, strict=True)
        ]
    )
    np.save(output / path.stem, sums)


if __name__ == "__main__":
    main()
