"""``photometry VERB``: one module of this folder per verb.

A verb's module defines ``command`` (a click command or group) and imports what is heavy inside its functions, so that
``photometry --help`` answers at once. Its name is the verb, with ``_`` for ``-``.
"""

import logging
import pkgutil
import sys
import traceback
from importlib import import_module

import click

from .._version import __version__
from ..errors import PhotometryError, TryAgainError
from ..scheduler.launch import is_master

log = logging.getLogger(__name__)

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_UNFINISHED = 0, 1, 2, 3
EXIT_DEFECT = 70  # EX_SOFTWARE of sysexits.h: an error in this program


class _Verbs(click.Group):
    """Finds verbs as modules of this folder and imports only the one that is asked for."""

    def list_commands(self, ctx):
        return sorted(
            m.name.replace("_", "-")
            for m in pkgutil.iter_modules(__path__)
            if not m.name.startswith("_")
        )

    def get_command(self, ctx, name):
        if name not in self.list_commands(ctx):
            return None
        return import_module(f"{__name__}.{name.replace('-', '_')}").command


@click.group(
    cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="photometry")
def cli():
    """From a survey's pixels to light curves and science, from one SQLite file."""


def main(args=None):
    """Run a verb and exit: 0 all done, 1 some failed, 2 wrong usage, 3 unfinished: run again, 70 an error of ours.

    Errors of this package become one sentence on standard error; anything else is a defect and keeps its traceback.
    """
    try:
        sys.exit(cli.main(args=args, prog_name="photometry", standalone_mode=False) or EXIT_OK)
    except click.exceptions.Exit as exit_:
        sys.exit(exit_.exit_code)
    except click.ClickException as error:
        if is_master():  # under mpiexec, one rank says it
            error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _leave("stopped by the user", EXIT_UNFINISHED)
    except TryAgainError as error:
        _leave(error, EXIT_UNFINISHED)
    except (PhotometryError, FileNotFoundError) as error:
        _leave(error, EXIT_USAGE)
    except Exception:  # noqa: BLE001 - the edge of the program: a defect must not look like "some targets failed"
        traceback.print_exc()
        _leave(
            "this is an error in the program itself; please report it with the lines above",
            EXIT_DEFECT,
        )


def _leave(sentence, code):
    if is_master():
        click.echo(f"photometry: {sentence}", err=True)
    sys.exit(code)
