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
import os
import pstats
import tempfile
import time
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
ROUNDS = 3


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="fewer targets and frames, one round less of the peers"
    )
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
        for kind, aim in (("plain", "10"), ("gzipped", "5")):
            rate = measure_ours(
                figures, f"2-minute files, {kind}", folder / kind, tasks, settings, aim
            )
            measure_bounds(figures, kind, folder / kind, rate)
        measure_peers(figures, folder / "plain", folder / "peers")
        tasks = make_cube(folder / "cube", options.frames)
        measure_ours(figures, "image cube, warm", folder / "cube", tasks, settings, "100")
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


# Ours


def measure_ours(figures, name, folder, tasks, settings, aim):
    """Targets per second from file to file, and the fraction of each step; returns the rate."""
    from photometry.target import photometry

    def run():
        for task in tasks:
            photometry(task, input_folder=folder, output_folder=folder / "out", settings=settings)

    run()
    walls, cpus = zip(*(timed(run) for _ in range(ROUNDS)), strict=True)
    rate = len(tasks) / min(cpus)
    figures.add(f"targets, {name}, of processor time", rate, "targets/s", aim=aim)
    figures.add(f"targets, {name}, by the clock", len(tasks) / min(walls), "targets/s")
    print_shares(run)
    return rate


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
    """Wall-clock and processor time of a call, s."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


def print_shares(run):
    """Share of the time per step, from the profiler: it makes code with many small calls look
    slower than it is.
    """
    profile = cProfile.Profile(time.process_time)
    profile.runcall(run)
    spent = {}
    for (_, _, function), values in pstats.Stats(profile).stats.items():
        spent[function] = spent.get(function, 0) + values[3]
    for step, functions in STEPS.items():
        percent = 100 * sum(spent.get(name, 0) for name in functions) / spent["photometry"]
        print(f"{percent:8.1f} %  {step}")


# Bounds and peers


def measure_bounds(figures, kind, folder, rate):
    """How many files a second could be read from memory, and decompressed, if nothing else were
    done.
    """
    from photometry.files import gzip_reader

    paths = sorted(folder.glob("*_tp.fits*"))

    def read():
        for path in paths:
            with open(path, "rb", buffering=0) as file:
                while file.read(2**20):
                    pass

    def decompress():
        for path in paths:
            with open(path, "rb") as raw, gzip_reader(raw) as file:
                while file.read(2**20):
                    pass

    for name, work in [
        ("reading the bytes once", read),
        *([("decompressing", decompress)] if kind == "gzipped" else []),
    ]:
        bound = len(paths) / min(timed(work)[1] for _ in range(ROUNDS))
        figures.add(
            f"fraction of the bound, {kind}: {name}", rate, "targets/s", limit=name, bound=bound
        )


def measure_peers(figures, folder, output):
    """lightkurve and photutils on the same plain files, from file to light-curve file and to
    fluxes.
    """
    output.mkdir()
    paths = sorted(folder.glob("*_tp.fits"))
    ours = next(figure.value for figure in figures.found if "plain, of processor" in figure.name)
    for name, function, some in (
        ("lightkurve", with_lightkurve, paths),
        ("photutils", with_photutils, paths[:1]),
    ):
        try:
            function(some[0], output)
        except ImportError:
            figures.add(f"targets, {name}", float("nan"), "not installed")
            continue
        rounds = 1 if name == "photutils" else 2
        seconds = min(
            timed(lambda function=function, some=some: [function(path, output) for path in some])[1]
            for _ in range(rounds)
        )
        figures.add(
            f"targets, plain, {name}", len(some) / seconds, "targets/s", limit="ours", bound=ours
        )


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
