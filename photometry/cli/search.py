"""``photometry search``: transits in light curves."""

import json
import math

import click

from ..errors import TargetError, WrongUseError

COLUMNS = (("period", "{:.5f}"), ("t0", "{:.4f}"), ("duration", "{:.4f}"), ("depth_ppm", "{:.0f}"), ("snr", "{:.1f}"), ("sde", "{:.1f}"), ("transit_count", "{:d}"))  # fmt: skip


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("files", type=click.Path(), nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--method",
    type=click.Choice(["tls", "bls"]),
    default="tls",
    show_default=True,
    help="Limb-darkened transits, or boxes.",
)
@click.option(
    "--planets",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Look for so many, one after the other.",
)
@click.option(
    "--threshold",
    type=float,
    default=7.0,
    show_default=True,
    help="Lowest detection efficiency (SDE) that counts.",
)
@click.option(
    "--period-min",
    type=click.FloatRange(min=0, min_open=True),
    metavar="DAYS",
    help="Shortest period.",
)
@click.option(
    "--period-max",
    type=click.FloatRange(min=0, min_open=True),
    metavar="DAYS",
    help="Longest period; half the light curve by default.",
)
@click.option("--detrend", type=click.FloatRange(min=0), default=1.5, show_default=True, metavar="DAYS",
              help="Window of the trend that is removed first; 0: the light curve has none.")  # fmt: skip
@click.option(
    "--flux",
    metavar="COLUMN",
    help="Column of a FITS file; by default the pipeline's corrected flux.",
)
@click.option("--threads", type=click.IntRange(min=1), help="All cores by default.")
@click.option(
    "--plot",
    type=click.Path(file_okay=False),
    metavar="FOLDER",
    help="Write a picture of each search into this folder.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per signal.")
def command(files, plot, as_json, **options):
    """Search FILEs (light curves of any format that we read) for transits.

    Exit code 0: every file was searched, with or without success; 1: some could not be read.
    """
    _check_periods(options["method"], options["period_min"], options["period_max"])
    failed, headed = 0, as_json
    for path in files:
        try:
            found = _search(path, plot, **options)
        except (TargetError, WrongUseError, ValueError) as error:
            failed += 1
            click.echo(
                f"photometry: {path}: {error}"
                if str(path) not in str(error)
                else f"photometry: {error}",
                err=True,
            )
            continue
        if as_json:
            for row in found:
                click.echo(
                    json.dumps(
                        {"path": str(path), **{key: _finite(value) for key, value in row.items()}}
                    )
                )
            continue
        if not headed:
            click.echo("  ".join(f"{name:>13}" for name, _ in COLUMNS) + "  file")
            headed = True
        for row in found:
            click.echo(
                "  ".join(f"{form.format(row[name]):>13}" for name, form in COLUMNS) + f"  {path}"
            )
        if not found:
            click.echo(f"no transits above SDE {options['threshold']:g}  {path}")
    return 1 if failed else 0


def _check_periods(method, period_min, period_max):
    """Refuse limits that no file can satisfy, before the first one is read"""
    if period_min and period_max and period_min >= period_max:
        raise click.UsageError(
            f"--period-min {period_min:g} is not shorter than --period-max {period_max:g}"
        )
    if method == "bls":
        from ..transits.periods import DURATIONS

        longest = DURATIONS.max()
        for option, value in (("--period-min", period_min), ("--period-max", period_max)):
            if value and value <= longest:
                raise click.UsageError(
                    f"{option} {value:g}: bls tries transits of up to {longest} d, periods must be longer"
                )


def _finite(value):
    """JSON has no NaN"""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _search(
    path, plot, *, method, planets, threshold, period_min, period_max, detrend, flux, threads
):
    """What was found in one file: list of dicts"""
    from ..lightcurve import Lightcurve, flatten
    from ..transits import find_planets

    lc = Lightcurve.read(path, flux=flux)
    lc = flatten(lc, detrend) if detrend else lc
    limits = {"period_min": period_min, "period_max": period_max}
    found = find_planets(
        lc, max_planets=planets, sde_threshold=threshold, method=method, threads=threads, **limits
    )
    if plot and found:
        _plot(plot, path, lc, found)
    return [{**signal.as_dict(), "depth_ppm": 1e6 * signal.depth} for signal, _ in found]


def _plot(folder, path, lc, found):
    from pathlib import Path

    from ..transits import plot_search

    Path(folder).mkdir(parents=True, exist_ok=True)
    for number, (signal, periodogram) in enumerate(found, start=1):
        plot_search(lc, signal, periodogram).savefig(
            Path(folder) / f"{Path(path).name.split('.')[0]}-{number}.png", dpi=120
        )
