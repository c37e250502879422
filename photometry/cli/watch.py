"""``photometry watch``: light curves and quick-look pictures of files as they arrive."""

from pathlib import Path

import click

from ._options import (
    debugging,
    folder_argument,
    json_option,
    log_events,
    logging_options,
    show_json,
)

PATTERNS = ("*.fits", "*.fits.gz", "*.fit")


@click.command()
@folder_argument(exists=True, file_okay=False, path_type=Path)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Folder for light curves and pictures [DIR/quicklook].",
)
@click.option(
    "--pipeline",
    default="photometry.events.quicklook",
    show_default=True,
    help="Another pipeline to run.",
)
@click.option(
    "--config", type=click.Path(path_type=Path), help="Configuration file of the pipeline (INI)."
)
@click.option(
    "--pattern",
    "patterns",
    multiple=True,
    metavar="P",
    help=f"Which files; repeatable {list(PATTERNS)}.",
)
@click.option("--recursive", is_flag=True, default=None, help="Sub-directories too.")
@click.option(
    "--settle",
    "settle_time",
    type=click.FloatRange(0),
    metavar="S",
    help="Take a file unchanged for S s [2].",
)
@click.option(
    "--method",
    "monitor_method",
    type=click.Choice(["auto", "native", "polling"]),
    help="How to watch; auto: polling on network disks [auto].",
)
@click.option(
    "--interval",
    "monitor_interval",
    type=click.FloatRange(0.1),
    metavar="S",
    help="When polling, every S s [10].",
)
@click.option(
    "--ncpus", type=click.IntRange(1), default=1, show_default=True, help="Worker processes."
)
@click.option(
    "--no-pictures", is_flag=True, help="Light curves only, which takes a twentieth of the time."
)
@click.option("--once", is_flag=True, help="Do what is there, and end.")
@click.option("--clobber", is_flag=True, help="Also do again what was done in an earlier run.")
@click.option("--retry-failed", is_flag=True, help="Also try again what failed in an earlier run.")
@json_option("At the end, what became of the files, as JSON, for programs.")
@logging_options
def command(
    folder,
    output,
    pipeline,
    config,
    patterns,
    ncpus,
    no_pictures,
    once,
    clobber,
    retry_failed,
    as_json,
    quiet,
    **keys,
):
    """Turn target pixel files into light curves, and FITS images into pictures, as they arrive in
    DIR.

    OUTPUT/index.html shows all pictures. OUTPUT/events.sqlite remembers what was done: start again
    at any time; look at it with 'photometry events info'. The first Ctrl-C ends after the present
    file, the second one at once.

    Exit code 1: some failed, now or in an earlier run.
    """
    from ..events.config import ConfigClass
    from ..events.interface import FrameworkInterface, shared_queue
    from ..events.startup import run

    log_events()
    defaults = {
        "name": "Quick look",
        "file_type": PATTERNS,
        "output_directory": str(output or folder / "quicklook"),
        "print_trace": debugging(),
    }
    settings = ConfigClass(config, **defaults)
    given = {
        "file_type": patterns or None,
        "output_directory": str(output) if output else None,
        "pictures": False if no_pictures else None,
        **keys,
    }
    for key, value in given.items():
        if value is not None:
            setattr(settings, key, value)
    settings.want_multiprocessing = True
    if retry_failed:
        queue = shared_queue(settings)
        queue.requeue("failed")
        queue.close()
    code = run(
        pipeline, settings, directory=str(folder), monitor=not once, ncpus=ncpus, clobber=clobber
    )
    if as_json:
        show_json(FrameworkInterface(settings).info())
    return code
