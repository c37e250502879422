"""``photometry synthesize``: light curves with known transits."""

import json

import click

from ._options import json_option

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
def command(output, kind, specs, specs_file, binary, gzipped, as_json):
    """Make a light curve and write it to OUTPUT, with its metadata beside it in
    OUTPUT.metadata.cfg.

    Names of specs are those of the tasks synthesis_batman, synthesis_simple and synthesis_psls.
    """
    from ..lightcurve.formats import write_sibling_metadata

    lc = _synthesize(kind, {**_from_file(specs_file), **dict(_parse(spec) for spec in specs)})
    lc.metadata.update(lc.to_file(output, binary=binary, gzipped=gzipped))
    write_sibling_metadata(output, lc.metadata)
    if as_json:
        click.echo(json.dumps(lc.metadata))
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
