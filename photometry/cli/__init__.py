"""``photometry VERB``: one module of this folder per verb.

A verb's module defines ``command`` (a click command or group) and imports what is heavy inside its functions, so that
``photometry --help`` answers at once. Its name is the verb, with ``_`` for ``-``.
"""

import difflib
import errno
import pkgutil
import sys
import traceback
from importlib import import_module

import click

from .._version import __version__
from ..errors import PhotometryError, TryAgainError
from ..scheduler.launch import is_master

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_UNFINISHED = 0, 1, 2, 3
EXIT_DEFECT = 70  # EX_SOFTWARE of sysexits.h: an error in this program

SECTIONS = {
    "Begin": "simulate catalog prepare todo plan",
    "Run": "run quick watch events chain transients",
    "Look": "status explain log plot report export compare verify doctor",
    "Again": "retry reset",
    "Science": "correct cotrend stitch search vet synthesize",
    "Help": "jobscript demo completion",
}
"""The verbs in the order in which a run goes, as ``photometry --help`` shows them."""

EXIT_CODES = (
    "Exit codes: 0 all done, 1 some failed, 2 wrong use, 3 unfinished: run again, "
    "70 an error in photometry itself."
)

# What a user can mend, and what may pass: everything else that an operating system says is a defect of ours.
_USERS_ERRORS = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
    errno.ELOOP,
}
_PASSING_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE}


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
        command = import_module(f"{__name__}.{name.replace('-', '_')}").command
        command.epilog = command.epilog or EXIT_CODES
        return command

    def resolve_command(self, ctx, args):
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            verbs = self.list_commands(ctx)
            near = difflib.get_close_matches(args[0], verbs, n=3, cutoff=0.6)
            hint = f"did you mean {' or '.join(near)}?" if near else "see photometry --help"
            raise click.UsageError(f"{args[0]!r} is no command; {hint}") from None

    def format_commands(self, ctx, formatter):
        verbs = self.list_commands(ctx)
        listed = {verb: section for section, line in SECTIONS.items() for verb in line.split()}
        others = [verb for verb in verbs if verb not in listed]
        for section, line in [*SECTIONS.items(), ("More", " ".join(others))]:
            rows = [
                (verb, self.get_command(ctx, verb).get_short_help_str(limit=64))
                for verb in line.split()
                if verb in verbs
            ]
            if rows:
                with formatter.section(section):
                    formatter.write_dl(rows, col_max=12)


@click.group(
    cls=_Verbs,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="photometry")
def cli():
    """From a survey's pixels to light curves and science, from one SQLite file."""


def main(args=None):
    """Run a verb and exit: 0 all done, 1 some failed, 2 wrong use, 3 unfinished: run again, 70 an error of ours.

    Errors of this package become one line on standard error; anything else is a defect and keeps its traceback.
    """
    try:
        sys.exit(cli.main(args=args, prog_name="photometry", standalone_mode=False) or EXIT_OK)
    except click.exceptions.Exit as exit_:
        sys.exit(exit_.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(EXIT_USAGE)
    except click.ClickException as error:
        _leave(_usage(error), EXIT_USAGE)
    except (click.Abort, KeyboardInterrupt):
        _leave("stopped by the user", EXIT_UNFINISHED)
    except TryAgainError as error:
        _leave(error, EXIT_UNFINISHED)
    except PhotometryError as error:
        _leave(error, EXIT_USAGE)
    except BrokenPipeError:  # the reader has seen enough: photometry status DIR | head
        sys.stderr.close()
        sys.exit(EXIT_OK)
    except OSError as error:
        if error.errno in _USERS_ERRORS:
            _leave(_of_the_system(error), EXIT_USAGE)
        if error.errno in _PASSING_ERRORS:
            _leave(f"{_of_the_system(error)}; make that possible and run again", EXIT_UNFINISHED)
        _defect()
    except Exception:  # noqa: BLE001 - the edge of the program: a defect must not look like "some targets failed"
        _defect()


def _usage(error):
    """A click error as one line that ends with the way out."""
    message = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    verb = context.command_path.partition(" ")[2] if context else ""
    if not verb:
        return message
    return f"{verb}: {message[:1].lower()}{message[1:]}; see photometry {verb} --help"


def _of_the_system(error):
    """What the operating system says, with the file that it is about."""
    files = " -> ".join(str(name) for name in (error.filename, error.filename2) if name)
    reason = (error.strerror or str(error)).lower()
    return f"{files}: {reason}" if files else reason


def _defect():
    traceback.print_exc()
    _leave(
        "this is an error in the program itself; please report it with the lines above",
        EXIT_DEFECT,
    )


def _leave(message, code):
    if is_master():  # under mpiexec, one rank says it
        click.echo(f"photometry: {message}", err=True)
    sys.exit(code)
