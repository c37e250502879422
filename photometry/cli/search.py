"""Planets: the verbs search, vet and synthesize."""

import json

import click

from ..errors import TargetError, WrongUseError
from ._options import Bars, json_option, show_json
from ._transits import (
    DAYS,
    INPUT,
    Finding,
    Finite,
    dip_line,
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

# --- search


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
def search(files, join, as_json, **options):
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
            show_json({"path": str(label), **values}, indent=None)


def _check_periods(method, period_min, period_max):
    """Refuse limits that no file can satisfy, before the first one is read"""
    if period_min and period_max and period_min >= period_max:
        raise click.UsageError(
            f"--period-min {period_min:g} is not shorter than --period-max {period_max:g}"
        )
    if method == "bls":
        from ..transits.transit_model import DURATIONS

        longest = DURATIONS.max()
        for option, value in (("--period-min", period_min), ("--period-max", period_max)):
            if value and value <= longest:
                raise click.UsageError(
                    f"{option} {value:g}: bls tries transits of up to {longest} d, "
                    "periods must be longer"
                )


# --- vet


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
def vet(file, period, t0, duration, planets, pixels, **options):
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
            show_json({"path": str(file), **row(finding)}, indent=None)
        else:
            _print(finding, file)
        if options["plot"]:
            write_pictures(options["plot"], file, number, finding)
    for dip in dips:
        if options["as_json"]:
            verdict = {"path": str(file), "verdict": "single event", **dip._asdict()}
            show_json(verdict, indent=None)
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


# --- synthesize

KINDS = ("transits", "star", "psls")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("output", type=click.Path(dir_okay=False))
@click.option(
    "--kind",
    type=click.Choice(KINDS),
    default="transits",
    show_default=True,
    help="Transits and white noise; a star of our own with oscillations and granulation; PSLS, if "
    "it is installed.",
)
@click.option(
    "--spec",
    "-s",
    "specs",
    multiple=True,
    metavar="NAME=VALUE",
    help="A spec, e.g. -s orbital_period=10; repeat as needed.",
)
@click.option(
    "--specs-file", type=click.Path(exists=True, dir_okay=False), help="JSON object of specs."
)
@click.option("--binary", is_flag=True, help="numpy's format rather than text.")
@click.option("--gzip/--no-gzip", "gzipped", default=True, show_default=True, help="Of the text.")
@json_option()
def synthesize(output, kind, specs, specs_file, binary, gzipped, as_json):
    """Make a light curve and write it to OUTPUT, with its metadata beside it in
    OUTPUT.metadata.cfg.

    Names of specs are those of the tasks synthesis_batman, synthesis_simple and synthesis_psls.
    """
    from ..lightcurve.formats import write_sibling_metadata

    lc = _synthesize(kind, {**_from_file(specs_file), **dict(_parse(spec) for spec in specs)})
    lc.metadata.update(lc.to_file(output, binary=binary, gzipped=gzipped))
    write_sibling_metadata(output, lc.metadata)
    if as_json:
        show_json(lc.metadata, indent=None)
    else:
        click.echo(
            f"{output}: {len(lc)} samples, {lc.metadata['pixels_in_transit']} in transit, MES "
            f"{lc.metadata['mes']:.1f}"
        )
    return 0


def _synthesize(kind, specs):
    from .. import transits

    return {
        "transits": transits.synthesize_transits,
        "star": transits.synthesize_star,
        "psls": transits.synthesize_psls,
    }[kind](specs)


def _from_file(path):
    if path is None:
        return {}
    with open(path, encoding="utf-8") as file:
        try:
            specs = json.load(file)
        except json.JSONDecodeError as error:
            raise click.UsageError(
                f"{path}, line {error.lineno}: not JSON ({error.msg})"
            ) from error
        except UnicodeDecodeError as error:
            raise click.UsageError(f"{path}: not JSON, it is not even text") from error
    if not isinstance(specs, dict):
        raise click.UsageError(
            f"{path}: a JSON {type(specs).__name__}; expected an object of specs by name"
        )
    return specs


def _parse(spec):
    """('name', value) from 'name=value'; the value is JSON if it can be, else text"""
    name, equals, value = spec.partition("=")
    if not equals:
        raise click.UsageError(f"--spec {spec!r}: expected NAME=VALUE")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value
