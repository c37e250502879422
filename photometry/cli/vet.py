"""``photometry vet``: is a signal a planet's?"""

import json

import click

from ..errors import TargetError, WrongUseError
from ._progress import Bars
from ._transits import (
    DAYS,
    INPUT,
    Finite,
    finite,
    lines,
    make_folders,
    offsets_of,
    read_options,
    row,
    save_verdicts,
    vetted,
    write_pictures,
)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", type=INPUT, metavar="FILE")
@click.option("--period", type=DAYS, metavar="DAYS", help="Vet this ephemeris; else search first.")
@click.option("--t0", type=Finite(), metavar="DAYS", help="Its mid-transit time, as in FILE.")
@click.option(
    "--duration", type=DAYS, metavar="DAYS", help="Of its transits, first to last contact."
)
@click.option("--planets", type=click.IntRange(min=1), default=1, show_default=True,
              help="Without an ephemeris: search for so many.")  # fmt: skip
@click.option(
    "--pixels", type=INPUT, metavar="TPF", help="The star's target pixel file: which star dims?"
)
@read_options
def command(file, period, t0, duration, planets, pixels, **options):
    """Test transits in the light curve FILE, and say what they are.

    The verdict is candidate, eclipsing binary, off target, alias (with the right period), variable,
    single event or too weak, with the number that decided. Exit code 1: FILE cannot be vetted.
    """
    given = [period, t0, duration]
    if any(value is None for value in given) != all(value is None for value in given):
        raise click.UsageError("--period, --t0 and --duration belong together: give all or none")
    make_folders(options)
    try:
        findings, dips = _findings(file, given if period else None, planets, pixels, options)
    except (TargetError, WrongUseError) as error:
        click.echo(f"photometry: {error}", err=True)
        return 1
    save_verdicts(options["verdicts"], file, findings, dips)
    for number, finding in enumerate(findings, start=1):
        if options["as_json"]:
            click.echo(json.dumps(finite({"path": str(file), **row(finding)})))
        else:
            _print(finding, file)
        if options["plot"]:
            write_pictures(options["plot"], file, number, finding)
    for dip in dips:
        if options["as_json"]:
            verdict = {"path": str(file), "verdict": "single event", **dip._asdict()}
            click.echo(json.dumps(finite(verdict)))
        else:
            click.echo(f"single event at {dip.time:.4f} d: S/N {dip.snr:.1f}  {file}")
    if not findings and not dips and not options["as_json"]:
        click.echo(f"no signal to vet  {file}")
    return 0


def _findings(file, ephemeris, planets, pixels, options):
    from ..lightcurve import Lightcurve, flatten
    from ..transits.planets import search_lightcurve
    from ..transits.vetting import signal_at

    lc = Lightcurve.read(file, flux=options["flux"])
    flat = flatten(lc, options["detrend"]) if options["detrend"] else lc
    offsets = offsets_of(file, lc, pixels)
    if ephemeris is not None:
        period, t0, duration = ephemeris
        signal = signal_at(flat, period=period, t0=t0, duration=duration)
        return vetted(flat, [(signal, None)], options["snr_min"], offsets), []
    with Bars(quiet=options["as_json"]) as bars:
        found = search_lightcurve(
            flat,
            max_planets=planets,
            snr_threshold=options["snr_min"],
            threads=options["threads"],
            progress=bars.stage("searching"),
        )
    return vetted(flat, found.planets, options["snr_min"], offsets), found.dips


def _print(finding, file):
    for line in lines(finding, file):
        click.echo(line)
    for check in finding.vetting.checks:
        state = {True: "passed", False: "FAILED", None: "unknown"}[check.passed]
        value = "" if check.passed is None else f"{check.value:.3g} ({check.limit:.3g})"
        click.echo(f"{'':15}{check.name:14}{state:9}{value:>18}  {check.text}")
