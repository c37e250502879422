"""What `photometry search` and `photometry vet` share: read, join, detrend, search, vet, print."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from ..errors import BadInputError
from ._options import finite, json_option

if TYPE_CHECKING:
    from ..lightcurve import Lightcurve
    from ..transits.bls import BoxPeriodogram
    from ..transits.fit import TransitSignal
    from ..transits.tls import TransitPeriodogram
    from ..transits.vetting import Vetting

INPUT = click.Path(exists=True, dir_okay=False)
COLUMNS = (
    ("period", "{:.5f}"),
    ("t0", "{:.4f}"),
    ("duration", "{:.4f}"),
    ("depth_ppm", "{:.0f}"),
    ("snr", "{:.1f}"),
    ("sde", "{:.1f}"),
    ("transit_count", "{:d}"),
)


class Finite(click.FloatRange):
    """A number in a range; neither NaN, which no comparison refuses, nor infinite."""

    def convert(self, value, param, ctx):
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


DAYS = Finite(min=0, min_open=True)


def read_options(command):
    """Add what says which flux is searched."""
    options = (
        click.option(
            "--detrend",
            type=Finite(min=0),
            default=1.5,
            show_default=True,
            metavar="DAYS",
            help="Window of the trend that is removed first; 0: the light curve has none.",
        ),
        click.option(
            "--flux",
            metavar="COLUMN",
            help="Column of a FITS file; by default the pipeline's corrected flux.",
        ),
        click.option(
            "--snr-min",
            type=Finite(min=0),
            default=7.1,
            show_default=True,
            help="Lowest S/N of the depth that counts.",
        ),
        click.option("--threads", type=click.IntRange(min=1), help="All cores by default."),
        click.option(
            "--plot",
            type=click.Path(file_okay=False),
            metavar="FOLDER",
            help="Write pictures into this folder.",
        ),
        click.option(
            "--verdicts",
            type=click.Path(dir_okay=False),
            metavar="FILE",
            help="Add the signals with their verdicts to FILE, one JSON object per line; "
            "photometry "
            "report shows those in OUTPUT/verdicts.jsonl.",
        ),
        json_option("One JSON object per signal, for programs."),
    )
    for option in reversed(options):
        command = option(command)
    return command


class Finding(NamedTuple):
    """One signal of a light curve."""

    signal: "TransitSignal"
    periodogram: "BoxPeriodogram | TransitPeriodogram | None"  # None where the ephemeris was given
    vetting: "Vetting | None"
    lc: "Lightcurve"  # without the transits of the other signals


def make_folders(options):
    """Make the folders for pictures and verdicts, or find out before hours of search that they
    cannot be made.
    """
    for folder in (options["plot"], options["verdicts"] and Path(options["verdicts"]).parent):
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)


def read_lightcurves(paths, flux, report):
    """Light curves that can be read, and how many cannot.

    Parameters
    ----------
    paths : sequence of paths
    flux : str or None, column
    report : callable, gets a message for each file that cannot be read
    """
    from ..lightcurve import Lightcurve

    lightcurves, failed = [], 0
    for path in paths:
        try:
            lightcurves.append(Lightcurve.read(path, flux=flux))
        except BadInputError as error:
            failed += 1
            report(error, path)
    return lightcurves, failed


def vetted(lc, signals, snr_min, offsets=None):
    """List of `Finding`, each vetted without the transits of the others.

    Parameters
    ----------
    lc : Lightcurve, detrended
    signals : list of (TransitSignal, periodogram)
    snr_min : float
    offsets : callable, optional, TransitSignal -> offset of the source or None
    """
    from ..transits.planets import without
    from ..transits.vetting import vet

    findings = []
    for signal, periodogram in signals:
        own = without(lc, [other for other, _ in signals if other is not signal])
        offset = None if offsets is None else offsets(signal)
        vetting = vet(own, signal, snr_min=snr_min, offset=offset)
        findings.append(Finding(signal, periodogram, vetting, own))
    return findings


def offsets_of(path, lc, pixels=None):
    """A function that gives the offset of the source of a signal: from pixels, else centroids.

    Parameters
    ----------
    path : path of the light curve's file
    lc : Lightcurve, for its crowding
    pixels : path of the star's target pixel file, optional

    Returns
    -------
    callable, TransitSignal -> (column, row, error) in pixels, or None
    """
    from dataclasses import replace

    from ..lightcurve.fitsfiles import read_centroids
    from ..transits.dips import centroid_offset, difference_offset

    if pixels is not None:
        from ..catalog.ccd import target_position, with_stars
        from ..pixels.targetpixelfile import read_target_pixel_file

        stamp = with_stars(read_target_pixel_file(pixels))
        row, column = target_position(stamp)

        def from_pixels(signal):
            return difference_offset(stamp.time, stamp.flux, signal, (column, row))[0]

        return from_pixels
    found = read_centroids(path)
    if found is None:
        return lambda signal: None
    # the centroid holds the light of all stars in the mask: the dips are as deep as without
    # CROWDSAP
    dilution = lc.metadata.get("crowding", 1.0) if lc.metadata.get("crowding_applied") else 1.0
    return lambda signal: centroid_offset(
        found.times, found.centroid, replace(signal, depth=signal.depth * dilution), found.target
    )


def row(finding):
    """A finding as a dict of plain values"""
    values = {**finding.signal.as_dict(), "depth_ppm": 1e6 * finding.signal.depth}
    if finding.vetting is not None:
        vetting = finding.vetting.as_dict()
        values |= {"verdict": vetting["verdict"], "reason": vetting["reason"], "vetting": vetting}
    return values


def save_verdicts(path, label, findings, dips=()):
    """Add signals to a file of verdicts, in one write, so that searches may run beside each other.

    Parameters
    ----------
    path : path, or None: nothing is saved
    label : str, the light curve's file
    findings : list of `Finding`
    dips : sequence of `photometry.transits.planets.Dip`
    """
    names = ("period", "t0", "duration", "depth_ppm", "snr", "sde", "verdict", "reason")
    entries = [{name: row(finding).get(name) for name in names} for finding in findings]
    for dip in dips:
        about = {"t0": dip.time, "duration": dip.duration, "depth_ppm": 1e6 * dip.depth}
        entries.append(about | {"snr": dip.snr, "verdict": "single event", "reason": "seen once"})
    if path and entries:
        values = (finite({"path": str(label), **entry}) for entry in entries)
        with open(path, "a", encoding="utf-8") as file:
            file.write("".join(json.dumps(entry) + "\n" for entry in values))


def header_line():
    """Names of the columns"""
    return "  ".join(f"{name:>13}" for name, _ in COLUMNS) + "  file"


def lines(finding, label):
    """The lines of a finding in the table: numbers, then what has to be known of them"""
    signal, values = finding.signal, row(finding)
    yield "  ".join(f"{form.format(values[name]):>13}" for name, form in COLUMNS) + f"  {label}"
    if finding.vetting is not None:
        yield f"{'':15}{finding.vetting.verdict.value}: {finding.vetting.reason}"
        yield from _part_lines(finding.vetting.parts)
    others = [period for period in signal.possible_periods if period != signal.period]
    if others:
        listed = ", ".join(f"{period:.5f}" for period in others[:4])
        yield f"{'':15}the gaps allow {listed} d as well"


def _part_lines(parts):
    from ..transits.planets import agreement
    from ..transits.vetting import MIN_AGREEMENT

    if len(parts) < 2:
        return
    listed = "; ".join(f"{name} {1e6 * d:.0f} ± {1e6 * e:.0f}" for name, d, e in parts)
    chance = agreement(parts)
    agree = "agree" if chance >= MIN_AGREEMENT else "do not agree"
    yield f"{'':15}depths of the parts (ppm): {listed}; they {agree} (probability {chance:.2g})"


def dip_line(dip, label):
    """The line of a dip that was seen once"""
    return (
        f"one dip, seen once, at {dip.time:.4f} d: {1e6 * dip.depth:.0f} ± "
        f"{1e6 * dip.depth_err:.0f} "
        f"ppm, {24 * dip.duration:.2f} h, S/N {dip.snr:.1f}  {label}"
    )


def write_pictures(folder, label, number, finding):
    """Picture of the search, and the page of the vetting"""
    from ..transits.plots import plot_search, plot_vetting

    stem = Path(folder) / f"{Path(label).name.split('.')[0]}-{number}"
    if finding.periodogram is not None:
        plot_search(finding.lc, finding.signal, finding.periodogram).savefig(f"{stem}.png", dpi=120)
    if finding.vetting is not None:
        plot_vetting(finding.lc, finding.vetting).savefig(f"{stem}-vet.png", dpi=120)
