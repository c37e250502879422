"""``photometry search``: transits in light curves."""

import json

import click

from ..errors import TargetError, WrongUseError
from ._progress import Bars
from ._transits import (
    DAYS,
    INPUT,
    Finding,
    Finite,
    dip_line,
    finite,
    header_line,
    lines,
    make_folders,
    offsets_of,
    read_lightcurves,
    read_options,
    row,
    save_verdicts,
    vetted,
    write_pictures,
)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("files", type=INPUT, nargs=-1, required=True, metavar="FILE...")
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
    type=Finite(),
    default=7.0,
    show_default=True,
    help="Lowest detection efficiency (SDE) that counts.",
)
@click.option("--period-min", type=DAYS, metavar="DAYS", help="Shortest period.")
@click.option(
    "--period-max",
    type=DAYS,
    metavar="DAYS",
    help="Longest period, up to the length of the light curve; half of it by default.",
)
@click.option(
    "--join", is_flag=True, help="The FILEs are parts of one star: search them as one light curve."
)
@click.option("--vet/--no-vet", "with_vetting", default=True, help="Test what is found.")
@read_options
def command(files, join, as_json, **options):
    """Search FILEs (light curves of any format that we read) for transits.

    Exit code 0: every file was searched, with or without success; 1: some could not be.
    """
    _check_periods(options["method"], options["period_min"], options["period_max"])
    make_folders(options)
    failed, printer = 0, _Printer(as_json, options)
    with Bars(quiet=as_json) as bars:
        if join:
            return _joined(files, printer, bars, options)
        for path in files:
            lightcurves, unread = read_lightcurves([path], options["flux"], printer.problem)
            failed += unread
            for lc in lightcurves:
                failed += not _search(lc, path, path, printer, bars, options)
    return 1 if failed else 0


def _joined(files, printer, bars, options):
    from ..lightcurve import stitch

    lightcurves, failed = read_lightcurves(files, options["flux"], printer.problem)
    if not lightcurves:
        return 1
    label = f"{files[0]} and {len(files) - 1} more" if len(files) > 1 else files[0]
    lc = stitch(
        lightcurves, window=options["detrend"] or None, progress=bars.stage("removing trends")
    )
    options = {**options, "detrend": 0}
    done = _search(lc, label, None, printer, bars, options)
    return 0 if done and not failed else 1


def _search(lc, label, path, printer, bars, options):
    """Search one light curve and print what was found; False where it cannot be searched"""
    from ..lightcurve import flatten
    from ..transits.planets import search_lightcurve

    try:
        flat = flatten(lc, options["detrend"]) if options["detrend"] else lc
        found = search_lightcurve(
            flat,
            max_planets=options["planets"],
            sde_threshold=options["threshold"],
            snr_threshold=options["snr_min"],
            method=options["method"],
            period_min=options["period_min"],
            period_max=options["period_max"],
            threads=options["threads"],
            progress=bars.stage(f"searching {label}"),
        )
    except (TargetError, WrongUseError, ValueError) as error:
        printer.problem(error, label)
        return False
    if options["with_vetting"]:
        offsets = None if path is None else offsets_of(path, lc)
        findings = vetted(flat, found.planets, options["snr_min"], offsets)
    else:
        findings = [Finding(*signal, None, flat) for signal in found.planets]
    printer.show(label, findings, found)
    save_verdicts(options["verdicts"], label, findings, found.dips)
    if options["plot"]:
        for number, finding in enumerate(findings, start=1):
            write_pictures(options["plot"], label, number, finding)
    return True


class _Printer:
    """Rows of a table, or JSON lines"""

    def __init__(self, as_json, options):
        self.as_json, self.options, self.headed = as_json, options, as_json

    def problem(self, error, path):
        message = str(error) if str(path) in str(error) else f"{path}: {error}"
        click.echo(f"photometry: {message}", err=True)

    def show(self, label, findings, found):
        limit = self.options["period_max"]
        if limit and found.longest_period < limit * (1 - 1e-6):
            self.problem(
                f"periods up to {found.longest_period:.2f} d were searched, the light curve is no "
                f"longer; --period-max was {limit:g}",
                label,
            )
        if self.as_json:
            self._show_json(label, findings, found)
            return
        if findings and not self.headed:
            click.echo(header_line())
            self.headed = True
        for finding in findings:
            for line in lines(finding, label):
                click.echo(line)
        for dip in found.dips:
            click.echo(dip_line(dip, label))
        if not findings and not found.dips:
            threshold, snr_min = self.options["threshold"], self.options["snr_min"]
            click.echo(f"no transits above SDE {threshold:g} and S/N {snr_min:g}  {label}")

    def _show_json(self, label, findings, found):
        rows = [row(finding) for finding in findings]
        rows += [{"kind": "single dip", **dip._asdict()} for dip in found.dips]
        for values in rows:
            click.echo(json.dumps(finite({"path": str(label), **values})))


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
                    f"{option} {value:g}: bls tries transits of up to {longest} d, "
                    "periods must be longer"
                )
