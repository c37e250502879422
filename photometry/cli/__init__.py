"""``photometry VERB``: verbs that are about the same thing are in one module of this folder.

A verb is a function, a click command or group, of its own name in the module that `MODULES` says.
Modules import what is heavy inside their functions, so that ``photometry --help`` answers at once.
"""

import difflib
import errno
import re
import sys
import traceback
from importlib import import_module

import click

from .._version import __version__
from ..errors import PhotometryError, TryAgainError
from ..scheduler.limits import is_master
from ._options import refuse_senseless

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_UNFINISHED = 0, 1, 2, 3
EXIT_DEFECT = 70  # EX_SOFTWARE of sysexits.h: an error in this program

SECTIONS = {
    "Begin": {
        "simulate": "Make data with known truth.",
        "catalog": "Make the star catalogue of each CCD.",
        "prepare": "Make image cubes from full-frame images.",
        "todo": "Make the TODO-file of a folder of data, or split and merge one.",
        "plan": "Say what a run would do, leave out, and cost.",
    },
    "Run": {
        "run": "Make the light curves of the tasks in a TODO-file.",
        "quick": "From a folder of target pixel files to pictures, in one go.",
        "watch": "Turn files into light curves and pictures as they arrive.",
        "events": "Run a pipeline of one's own on files as they arrive.",
        "chain": "Run tasks that depend on one another, from one JSON file.",
        "transients": "Find what changes in a series of images.",
    },
    "Look": {
        "status": "Show how far a run is, and why targets failed.",
        "explain": "Explain what became of a star, and why.",
        "log": "Show what the work on a star logged.",
        "retry": "Put failed tasks back to do, perhaps with other settings.",
        "reset": "Put tasks back to do as if they had never been tried.",
        "verify": "Open every light curve that a TODO-file claims.",
    },
    "Light curves": {
        "plot": "Draw light curves from their files.",
        "cotrend": "Make the basis vectors of the stars of a run.",
        "correct": "Take the instrument out of light curves.",
        "stitch": "Join the parts of a star's light curve.",
        "search": "Search light curves for transits.",
        "vet": "Test whether what a search found is a planet.",
        "synthesize": "Make a light curve of a star with a planet.",
    },
    "Results": {
        "report": "Write a page on a run: one HTML file.",
        "export": "Export results or light curves as a table.",
        "compare": "Compare two runs.",
    },
    "Help": {
        "doctor": "Find in seconds what would fail in hours.",
        "jobscript": "Print a batch script that makes the light curves of a folder.",
        "demo": "Show the program at work on simulated stars.",
        "completion": "Print what makes a shell complete verbs and options.",
    },
}
"""The verbs in the order in which a run goes, as ``photometry --help`` shows them."""

MODULES = {
    "prepare": ("catalog", "prepare", "quick"),
    "simulate": ("simulate",),
    "todo": ("todo", "retry", "reset"),
    "run": ("run",),
    "events": ("events", "watch"),
    "chain": ("chain",),
    "transients": ("transients",),
    "look": ("status", "explain", "log", "verify"),
    "correct": ("cotrend", "correct", "stitch"),
    "search": ("search", "vet", "synthesize"),
    "results": ("plot", "report", "export", "compare"),
    "plan": ("plan", "doctor", "jobscript", "demo", "completion"),
}
"""Module -> the verbs in it."""

_MODULE_OF = {verb: module for module, verbs in MODULES.items() for verb in verbs}

EXIT_CODES = (
    "Exit codes: 0 all done, 1 some failed, 2 wrong use, 3 unfinished: run again, "
    "70 an error in photometry itself."
)

# What a user can mend, and what may pass: everything else that an operating system says is a defect
# of ours.
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
    """Imports only the module of the verb that is asked for."""

    def list_commands(self, ctx):
        return sorted(_MODULE_OF)

    def get_command(self, ctx, name):
        if name not in _MODULE_OF:
            return None
        return _completed(getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name))

    def resolve_command(self, ctx, args):
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            verbs = self.list_commands(ctx)
            near = difflib.get_close_matches(args[0], verbs, n=3, cutoff=0.6)
            hint = f"did you mean {' or '.join(near)}?" if near else "see photometry --help"
            raise click.UsageError(f"{args[0]!r} is no command; {hint}") from None

    def format_commands(self, ctx, formatter):
        """The verbs by section, without importing a single one of them."""
        for section, lines in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl(list(lines.items()))


def _completed(command):
    """The command; it and those in it refuse numbers that mean nothing, and their help ends with
    the exit codes.
    """
    command.epilog = command.epilog or EXIT_CODES
    for option in command.params:
        if isinstance(option, click.Option) and option.callback is None:
            option.callback = refuse_senseless
    for inner in getattr(command, "commands", {}).values():
        _completed(inner)
    return command


@click.group(
    cls=_Verbs,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="photometry")
def cli():
    """From a survey's pixels to light curves and science, from one SQLite file."""


def main(args=None):
    """Run a verb and exit: 0 all done, 1 some failed, 2 wrong use, 3 unfinished: run again, 70 an
    error of ours.

    Errors of this package become one line on standard error; anything else is a defect and keeps
    its traceback.
    """
    args = sys.argv[1:] if args is None else args
    try:
        _refuse_empty(args)
        sys.exit(cli.main(args=args, prog_name="photometry", standalone_mode=False) or EXIT_OK)
    except click.exceptions.Exit as exit_:
        sys.exit(exit_.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(EXIT_USAGE)
    except click.ClickException as error:
        _leave(_usage(error, args), EXIT_USAGE)
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
            _leave(f"{_of_the_system(error)}; choose another path, or mend that", EXIT_USAGE)
        if error.errno in _PASSING_ERRORS:
            _leave(f"{_of_the_system(error)}; make that possible and run again", EXIT_UNFINISHED)
        _defect()
    except Exception:  # noqa: BLE001 - the edge of the program: a defect must not look like "some targets failed"
        _defect()


def _refuse_empty(args):
    """Refuse an empty word: as a path it would mean this folder, by a variable that is not set."""
    for i, word in enumerate(args):
        if word == "" or re.fullmatch(r"--[\w-]+=", word):
            named = word.rstrip("=") or (args[i - 1] if i and args[i - 1].startswith("-") else "")
            where = f"{named}: an" if named else "an"
            raise click.UsageError(
                f"{where} empty word; is a variable of the shell not set? expected a value"
            )


def _usage(error, args):
    """A click error as one line that ends with the way out."""
    message = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    verb = context.command_path.partition(" ")[2] if context else _verb(args)
    if not verb:
        return message
    return f"{verb}: {message[:1].lower()}{message[1:]}; see photometry {verb} --help"


def _verb(args):
    """The words of a command line that name a verb, as far as there is one."""
    command, verb = cli, []
    for word in args:
        command = isinstance(command, click.Group) and command.get_command(None, word)
        if not command:
            break
        verb.append(word)
    return " ".join(verb)


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
