"""``photometry compare``: what differs between two runs."""

import click

from ._options import json_option, show_json, todo_path


@click.command()
@click.argument("before", metavar="A", type=click.Path())
@click.argument("after", metavar="B", type=click.Path())
@click.option(
    "--flux-tolerance",
    type=click.FloatRange(min=0),
    default=1e-6,
    show_default=True,
    help="Largest relative difference of a target's flux.",
)
@click.option(
    "--noise-tolerance",
    type=click.FloatRange(min=0),
    default=0.01,
    show_default=True,
    help="Largest relative difference of the median noise of a magnitude.",
)
@json_option()
def command(before, after, flux_tolerance, noise_tolerance, as_json):
    """Compare two runs: targets gained and lost, status, flux and noise by magnitude, run time.

    A and B are TODO-files or their folders; only read. Exit code 0: alike within the tolerances,
    1: they differ.
    """
    from ..report.results import compare

    comparison = compare(todo_path(before), todo_path(after))
    alike = comparison.within(flux_tolerance, noise_tolerance)
    if as_json:
        changes = {f"{a} -> {b}": keys for (a, b), keys in comparison.changes.items()}
        show_json({**comparison.__dict__, "changes": changes, "alike": alike})
        return 0 if alike else 1
    for name, keys in (("gained", comparison.gained), ("lost", comparison.lost)):
        click.echo(f"{name:<9}{len(keys):,} targets{_examples(keys)}")
    for (old, new), keys in sorted(comparison.changes.items()):
        click.echo(f"{'status':<9}{len(keys):,} {old} -> {new}{_examples(keys)}")
    for name, groups in (("flux", comparison.flux), ("noise", comparison.noise)):
        for magnitude, (n, ratio, worst) in groups.items():
            bin_name = "unknown" if magnitude is None else f"{magnitude}-{magnitude + 1}"
            click.echo(
                f"{name:<9}magnitude {bin_name:<8}{n:>7,} targets: median B/A {ratio:.6f}, "
                f"farthest from 1 {worst:.2g}"
            )
    click.echo(f"{'time':<9}{comparison.seconds[0]:.4g} s -> {comparison.seconds[1]:.4g} s of work")
    click.echo("alike" if alike else "they differ")
    return 0 if alike else 1


def _examples(keys):
    stars = ", ".join(str(key[0]) for key in keys[:3])
    return f": star {stars}{' …' if len(keys) > 3 else ''}" if keys else ""
