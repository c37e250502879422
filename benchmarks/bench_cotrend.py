"""Cotrending a whole CCD: time and memory for its vectors and for the fits of all its stars.

    python benchmarks/bench_cotrend.py [--stars 20000] [--frames 1300] [--files 1000] [--json FILE]

The ensemble is `photometry.simulate.ensemble`'s, made before and kept as float32. Vectors and fits
are timed in a process of their own, on one core, which also says how much memory it took. With
``--files N``: N light-curve files corrected by `photometry correct --jobs 1`, reading and writing
included.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from figures import Figures

AIM_SECONDS, AIM_MEMORY = 60.0, 4.0  # s each; GiB
PART = 2000  # stars fitted at once


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stars", type=int, default=20_000)
    parser.add_argument("--frames", type=int, default=1300)
    parser.add_argument("--files", type=int, default=0, metavar="N")
    parser.add_argument("--seed", type=int, default=401)
    parser.add_argument("--quick", action="store_true", help="2,000 stars")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options.child)))
        return
    stars = 2000 if options.quick else options.stars
    figures = Figures(f"python benchmarks/bench_cotrend.py --stars {stars}")
    with tempfile.TemporaryDirectory() as folder:
        report_arrays(figures, Path(folder), stars, options)
        if options.files:
            report_files(figures, Path(folder), options)
    figures.write(options.json)


def report_arrays(figures, folder, stars, options):
    """Vectors and fits, in a process of their own."""
    from photometry.simulate.ensemble import ensemble

    made = ensemble(options.seed, n_stars=stars, n_times=options.frames)
    np.save(folder / "flux.npy", made.relative.astype("f4"))
    np.save(folder / "background.npy", made.background.astype("f4"))
    np.savez(
        folder / "stars.npz",
        time=made.time,
        column=made.column,
        row=made.row,
        tmag=made.tmag,
        level=made.level,
    )
    quiet, noise, star = made.truth["kind"] == "quiet", made.noise, made.star
    del made
    child = [sys.executable, __file__, "--child", str(folder)]
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    done = subprocess.run(child, env=os.environ | one, capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    size = f"{stars} stars x {options.frames} frames"
    aim = f"{AIM_SECONDS:.0f} s" if stars == 20_000 else ""
    figures.add(f"vectors of {size}", result["vectors"], "s", aim=aim)
    figures.add(f"fits of {size}", result["fits"], "s", aim=aim)
    figures.add(f"memory of {size}", result["memory"], "GiB", aim=f"{AIM_MEMORY:.0f} GiB")
    corrected = np.load(folder / "corrected.npy")
    residual = corrected[quiet] - star[quiet]
    bins = residual[:, : residual.shape[1] // 13 * 13].reshape(len(residual), -1, 13).mean(axis=2)
    ratio = np.median(np.std(bins, axis=1) / (noise[quiet] / np.sqrt(13)))
    figures.add("6.5-h rms over photon noise, quiet stars", ratio, "", aim="1.25")


def measure(folder):
    """Seconds of processor time for vectors and fits, and the most memory they took, GiB."""
    import resource

    from photometry.lightcurve.basis import basis_vectors, prior
    from photometry.lightcurve.cotrend import fit, model

    stars = dict(np.load(folder / "stars.npz"))
    flux = np.load(folder / "flux.npy")
    background = np.load(folder / "background.npy", mmap_mode="r")
    level, starid = stars.pop("level"), np.arange(len(flux))
    start = time.process_time()
    basis = basis_vectors(flux, starid=starid, background=background, level=level, **stars)
    vectors = time.process_time() - start
    start = time.process_time()
    corrected = np.lib.format.open_memmap(folder / "corrected.npy", "w+", "f4", flux.shape)
    for first in range(0, len(flux), PART):
        part = slice(first, first + PART)
        position = (stars[name][part] for name in ("column", "row", "tmag"))
        before = prior(basis, *position, level[part], starid[part])
        fitted = fit(basis.vectors, basis.time, flux[part], before)
        corrected[part] = flux[part] - model(fitted, basis.vectors, basis.error)[0]
    fits = time.process_time() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"vectors": vectors, "fits": fits, "memory": memory}


def report_files(figures, folder, options):
    """Files read, corrected and written by the command."""
    from photometry.simulate.ensemble import ensemble, write_ensemble

    run = folder / "run"
    stars = ensemble(options.seed + 1, n_stars=options.files, n_times=options.frames)
    write_ensemble(run, stars)
    for verb, more in (("cotrend", ["--no-plots"]), ("correct", ["--jobs", "1"])):
        command = [sys.executable, "-m", "photometry", verb, str(run), *more]
        before = os.times()
        subprocess.run(command, check=True, capture_output=True)
        after = os.times()
        seconds = after.children_user + after.children_system
        seconds -= before.children_user + before.children_system
        name = f"photometry {verb} of {options.files} files"
        figures.add(name, 1e3 * seconds / options.files, "ms each")


if __name__ == "__main__":
    main()
