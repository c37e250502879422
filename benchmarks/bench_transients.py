"""Transients: the finder beside radio-pyse, a series from start to end, association, and what an
epoch costs as they add up.

    python benchmarks/bench_transients.py [--quick | --full] [--json FILE] [--without-pyse]

``--full`` associates 1,000 epochs of 10,000 sources, which takes some minutes and about 4 GB of
disk.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from figures import Figures

from photometry.simulate.catalogues import (
    associate_catalogues,
    count_mistakes,
    simulated_catalogues,
    table_errors,
)
from photometry.simulate.imageseries import RadioSeries, add_sources, correlated_noise
from photometry.transients import database as db
from photometry.transients.accessors import open_image
from photometry.transients.database.matching import candidate_pairs, prune
from photometry.transients.finder import find_sources

NOISE = 1e-3
BEAM = (3.0, 2.5, np.radians(30))


def field(crowded, seed=3):
    """The image of the specification: 1024 x 1024, 200 beams of 8 mJy to 1 Jy; crowded: in a square
    of 300 pixels."""
    rng = np.random.default_rng(seed)
    shape = (1024, 1024)
    width, least = (300, 6) if crowded else (944, 20)
    positions = np.zeros((0, 2))
    while len(positions) < 200:
        p = rng.uniform((1024 - width) / 2, (1024 + width) / 2, 2)
        if not len(positions) or np.hypot(*(positions - p).T).min() > least:
            positions = np.vstack([positions, p])
    x, y = positions.T
    flux = np.exp(rng.uniform(np.log(8 * NOISE), 0, 200))
    pixels = NOISE * correlated_noise(rng, shape, BEAM)
    add_sources(pixels, x, y, flux, BEAM)
    series = RadioSeries(shape=shape, noise=NOISE)
    return series.header(0, 150e6), pixels.astype(np.float32), x, y, flux


def best_of(n, work):
    times = []
    for _ in range(n):
        begin = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - begin)
    return min(times), result


def finder(figures, with_pyse):
    for crowded in (False, True):
        header, pixels, x, y, flux = field(crowded)
        image = open_image((header, pixels))

        def ours(image=image):
            image.maps.clear()
            return find_sources(image, extraction_radius_pix=1e4, margin=10)

        find_sources(image, extraction_radius_pix=1e4, margin=10)
        seconds, found = best_of(3, ours)
        distance = np.hypot(found.x[:, None] - x, found.y[:, None] - y)
        label = "crowded field" if crowded else "field"
        pyse = pyse_seconds(header, pixels) if with_pyse and not crowded else None
        options = {"limit": "radio-pyse", "bound": pyse} if pyse else {}
        aim = "" if crowded else "0.25 of radio-pyse, or 0.2 s"
        figures.add(f"finder, {label} of 200 sources", seconds, "s", aim=aim, **options)
        figures.add(
            f"finder, {label}: found",
            (distance.min(axis=0) < 3).sum(),
            "of 200",
            aim=f"at least {189 if crowded else 190}",
        )
        figures.add(f"finder, {label}: false", (distance.min(axis=1) >= 3).sum(), "", aim="0")
        nearest = distance.argmin(axis=1)
        bright = flux[nearest] > 50 * NOISE
        ratio = found.sources[:, 6] / flux[nearest] - 1
        spread = 1.4826 * np.median(np.abs(ratio[bright] - np.median(ratio[bright])))
        figures.add(f"finder, {label}: scatter of fluxes above 50 sigma", 100 * spread, "%")


PYSE = """
import sys, time, numpy as np
from astropy.io import fits
import sourcefinder.accessors as accessors
from sourcefinder.config import Conf, ImgConf, ExportSettings
from sourcefinder.accessors import open as open_image, sourcefinder_image_from_accessor
path = sys.argv[1]
conf = Conf(image=ImgConf(back_size_x=50, back_size_y=50, detection_thr=8, analysis_thr=3,
margin=10, vectorized=False, force_beam=True), export=ExportSettings())
def run():
    image = sourcefinder_image_from_accessor(open_image(path), conf=conf)
    return image.extract()
n = len(run())
times = []
for _ in range(3):
    begin = time.perf_counter(); run(); times.append(time.perf_counter() - begin)
print(n, min(times))
"""


def pyse_seconds(header, pixels):
    """Seconds that radio-pyse needs for the same image, beam fixed, after a warm-up; None where it
    is not installed."""
    from astropy.io import fits

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "field.fits"
        fits.PrimaryHDU(pixels, header).writeto(path)
        done = subprocess.run(
            [sys.executable, "-c", PYSE, str(path)], capture_output=True, text=True
        )
    if done.returncode:
        print(f"radio-pyse: {done.stderr.strip().splitlines()[-1] if done.stderr else 'failed'}")
        return None
    return float(done.stdout.split()[-1])


def series(figures):
    """200 sources, 10 epochs of 1024 x 1024, from the command to its end, processes started and
    packages imported."""
    header, _, x, y, flux = field(False)
    from photometry.simulate.imageseries import Source, _wcs

    ra, decl = _wcs(header).pixel_to_world_values(x, y)
    sources = tuple(Source(*values) for values in np.transpose([ra, decl, flux]).tolist())
    simulated = replace(RadioSeries(n_epochs=10, shape=(1024, 1024)), sources=sources)
    with tempfile.TemporaryDirectory() as folder:
        simulated.write(Path(folder) / "images")
        program = [sys.executable, "-m", "photometry", "transients"]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        subprocess.run(
            [*program, "init", "job", "--images", "images/*.fits"],
            cwd=folder,
            env=environment,
            check=True,
            capture_output=True,
        )
        path = Path(folder) / "job" / "job_params.cfg"
        path.write_text(
            path.read_text().replace("extraction_radius_pix = 250.0", "extraction_radius_pix = 600")
        )
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        begin = time.perf_counter()
        subprocess.run([*program, "run", "job", "--quiet"], cwd=folder, env=environment, check=True)
        seconds = time.perf_counter() - begin
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    figures.add("10 epochs of 1024 x 1024 with 200 sources, start to end", cpu, "s of CPU")
    figures.add(
        "10 epochs of 1024 x 1024 with 200 sources, start to end",
        seconds,
        "s",
        limit="the original",
        bound=22.7,
        aim="10 s",
    )


def association(figures, n=100_000):
    rng = np.random.default_rng(1)
    sources = {
        "ra": 120 + rng.uniform(-5, 5, n),
        "decl": rng.uniform(-5, 5, n),
        "ew": np.full(n, 1 / 3600),
        "ns": np.full(n, 1 / 3600),
    }
    moved = {
        **sources,
        "ra": sources["ra"] + rng.normal(0, 1 / 3600, n),
        "decl": sources["decl"] + rng.normal(0, 1 / 3600, n),
    }
    flux = rng.random(n)
    seconds, pairs = best_of(
        3, lambda: prune(candidate_pairs(sources, moved, 30 / 3600, 5.68), flux)
    )
    right = (pairs.source == pairs.extraction).sum()
    figures.add(f"association of {n:,} sources with {n:,}", seconds, "s", aim="2 s")
    figures.add("right pairs of these", 100 * right / n, "%")


def optical(figures, seeds):
    """The brightest star of simulated frames without coordinates (drift, flip, clouds, changing
    seeing) beside its photons and scintillation, and a transit of 2 %."""
    from photometry.simulate.opticalseries import OpticalSeries
    from photometry.transients.ensemble import ensemble_photometry
    from photometry.transients.optical import match_series
    from photometry.transients.runner import Runner

    ratios, depths, n_skipped = [], [], 0
    for seed in seeds:
        series = OpticalSeries(seed=seed)
        frames = [series.frame(number) for number in range(series.n_frames)]
        images, skipped, reference = match_series(frames, Runner("serial"))
        n_skipped += len(skipped)
        numbers = [int(image.url[-9:-5]) for image in images]
        wcs = next(image.wcs for image in images if image.url == reference)
        sky = wcs.pixel_to_world_values(*series.positions(int(reference[-9:-5])))
        flux = ensemble_photometry(images, np.transpose(sky)).flux[series.target]
        inside = series.in_transit()[numbers]
        ratios.append(np.std(flux[~inside]) / series.noise_limit())
        depths.append(1 - flux[inside].mean() / flux[~inside].mean() - series.transit_depth)
    label = f"optical, {len(ratios)} seeds of 60 frames"
    figures.add(f"{label}: frames not matched", n_skipped, "")
    figures.add(f"{label}: scatter over its limit, mean", np.mean(ratios), "")
    figures.add(f"{label}: scatter over its limit, largest", max(ratios), "", aim="at most 1.3")
    worst = 100 * np.abs(depths).max()
    figures.add(f"{label}: error of a 2 % transit, largest", worst, "%", aim="at most 0.2")


def epochs(figures, n_epochs, n_sources):
    """What an epoch costs from the tenth to the last one, how the sources of the catalogue compare
    with the true ones, and whether its tables are those that follow from the measurements."""
    # seconds of this process: a machine with other work to do takes longer, at first as at last
    times, label = [time.process_time()], f"{n_epochs:,} epochs of {n_sources:,} sources"

    def note(number, _):
        times.append(time.process_time())
        if number % 100 == 99:
            print(f"{number + 1} epochs, the last in {times[-1] - times[-2]:.2f} s", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "epochs.sqlite"
        with db.Database(path) as database:
            dataset = db.insert_dataset("epochs", database=database)
            # 250 sources per square degree, whatever their number
            catalogues = simulated_catalogues(
                n_sources, n_epochs, width=2 * np.sqrt(n_sources / 1000)
            )
            truth = associate_catalogues(
                dataset, catalogues, database=database, deRuiter_r=5.68, beamwidths_limit=3.0,
                on_epoch=note,
            )  # fmt: skip
            mistakes = count_mistakes(database, dataset, truth)
            errors = table_errors(database, dataset, truth)
        begin = time.process_time()
        with db.Database(path) as database:
            db.catalogue(database, dataset)
        again = time.process_time() - begin
        figures.add(f"{label}: size of the database", path.stat().st_size / 1e9, "GB")
    times = np.diff(times)
    tenth = max(n_epochs // 10, 5)
    early, late = np.median(times[10 : 10 + tenth]), np.median(times[-tenth:])
    figures.add(f"{label}: an epoch at first", early, "s of CPU")
    figures.add(
        f"{label}: an epoch at last",
        late,
        "s of CPU",
        limit="at first",
        bound=early,
        aim="1.0 of that at first",
    )
    figures.add(f"{label}: all epochs", times.sum(), "s of CPU")
    figures.add(f"{label}: begun again, reading the catalogue", again, "s of CPU")
    for name, value in mistakes.items():
        figures.add(f"{label}: {name.replace('_', ' ')}", value, "")
    for name, value in errors.items():
        rows = isinstance(value, int)
        unit = "rows wrong" if rows else "1e-9 arcsec" if name == "position" else "1e-9 of it"
        figures.add(f"{label}: tables, {name}", value if rows else 1e9 * value, unit, aim="0")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="50 epochs of 2,000 sources")
    size.add_argument("--full", action="store_true", help="1,000 epochs of 10,000 sources")
    parser.add_argument("--epochs", type=int, help="so many epochs")
    parser.add_argument("--sources", type=int, help="of so many sources")
    parser.add_argument("--only", choices=["finder", "series", "optical", "association", "epochs"])
    parser.add_argument("--without-pyse", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plots", type=Path, help="not used: this one draws nothing")
    options = parser.parse_args()
    figures = Figures("python benchmarks/bench_transients.py")
    n_epochs, n_sources = (
        (50, 2000) if options.quick else (1000, 10_000) if options.full else (200, 2000)
    )
    n_epochs, n_sources = options.epochs or n_epochs, options.sources or n_sources
    parts = {
        "finder": lambda: finder(figures, not options.without_pyse),
        "series": lambda: series(figures),
        "optical": lambda: optical(figures, range(301, 303 if options.quick else 311)),
        "association": lambda: association(figures),
        "epochs": lambda: epochs(figures, n_epochs, n_sources),
    }
    for name, part in parts.items():
        if options.only in (None, name):
            part()
    figures.write(options.json)


if __name__ == "__main__":
    main()
