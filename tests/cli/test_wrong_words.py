"""A walk over the whole tree of options: each wrong value, of each option of each verb, is one line
that says what is accepted, and exit code 2; no verb begins to work on it.
"""

import contextlib
import io
import re
import shutil
import sqlite3

import click
import numpy as np
import pytest
from astropy.io import fits
from finished_run import everything_below, finished_run, lightcurves, target_pixel_files
from running import ROOT

from photometry.cli import cli, main
from photometry.cli._options import Numbers

# Exit code 1: a file among others cannot be searched, a check fails; the message is the same.
FAILURES = {
    ("search", "--flux"), ("vet", "--flux"),
    ("doctor", "--output"), ("doctor", "--settings"), ("doctor", "--method"),
}  # fmt: skip
# Accepted: a folder of the machine on which the script will run.
ELSEWHERE = {("jobscript", "--output")}

# Several files may be given, each has its message, and the exit code is 1.
NOT_ALL_BAD = {("plot",)}

ENDLESS = "99999999999999999999999999"  # beyond 64 bits
NUMBERS = ("x", "", "nan", "1e999", "0x1", "1,,2")
# No verb takes a negative whole number.
INTEGERS = (*NUMBERS, "1.5", "-99999999999", ENDLESS)
NOWHERE = "/proc/nowhere/x"  # neither there nor can it be made

# What is wrong for options that take a text; options that take any text are not here.
TEXTS = {
    "--method": ["nosuch", "module:", ":function", "nosuch.module:function"],
    "--handler": ["nosuch", "nosuch.module:function", "os:nosuch"],
    "--set": ["x", "nosuch=1", "aperture.threshold=x"],
    "--time-limit": ["x", "-1", "nan", "99:99:99:99"],
    "--time": ["x", "-1", "1e9"],
    "--status": ["nosuch", ""],
    "--spec": ["x", "nosuch=1"],
    "--stamp": ["x", "0", "-3", "4x", "9999x9999"],
    "--ports": ["x", "0", "70000", "9-1"],
    "--types": ["nosuch"],
    "--task-type": ["nosuch"],
    "--database": ["nosuch://a/b", "sqlite://///", "mysql://user:secret@host/db"],
    "--memory": ["x", "-1", "1 parsec"],
    "--arg": ["x"],
    "--flux": ["nosuch"],
    "--pipeline": ["nosuch", "nosuch.module", "os.path"],
    "--version": ["", "a b", "../x"],
    "--pattern": [""],
    "--images": ["/nowhere/*.fits"],
    "--monitor": ["x", "host:port"],
    "--mpiexec": [""],
    "--signal": ["1"],
}
WAY_OUT = re.compile(
    r"see photometry|photometry transients init|expected|accept|did you mean|there is no|has no"
    r"|no such|known are|should be"
    r"|choose another|this file has|say another|put db_password|pip install"
)


def leaves(command=cli, words=(), parent=None):
    """(words, command) of each verb that does something."""
    context = click.Context(command, info_name=words[-1] if words else "photometry", parent=parent)
    if not isinstance(command, click.Group):
        yield words, command
        return
    for name in command.list_commands(context):
        yield from leaves(command.get_command(context, name), (*words, name), context)


LEAVES = dict(leaves())


def wrong_values(option):
    """Values that an option never accepts."""
    kind = option.type
    if option.opts[-1] in TEXTS and not isinstance(kind, (click.Choice, click.types.IntParamType)):
        yield from TEXTS[option.opts[-1]]
    elif option.is_flag:
        return
    elif isinstance(kind, click.Choice):
        yield from ("nosuch", "")
    elif isinstance(kind, Numbers):
        yield from ("x", "", "-1", "5-1", "1,,2", "nan", ENDLESS, f"1-{ENDLESS}", "1-99999999999")
    elif isinstance(kind, click.types.IntParamType):
        yield from INTEGERS
    elif isinstance(kind, click.types.FloatParamType):
        yield from NUMBERS
    elif isinstance(kind, (click.Path, click.File)):
        yield from (NOWHERE, "/dev/null/x", "")


def wrong_words(command):
    """The words behind a verb and its arguments, of each wrong invocation."""
    for option in command.params:
        if isinstance(option, click.Option):
            for value in wrong_values(option):
                yield [f"{option.opts[-1]}={value}"] if option.opts[-1].startswith("--") else [
                    option.opts[-1], value
                ]  # fmt: skip
            if option.is_flag:
                yield [f"{option.opts[0]}=1"]
    yield ["--nosuch"]


def option_of(words):
    """The option that a wrong invocation is about."""
    return words[0].partition("=")[0]


CASES = [
    (path, words)
    for path, command in LEAVES.items()
    for words in wrong_words(command)
    if (path[0], option_of(words)) not in ELSEWHERE
]


@pytest.fixture(scope="module")
def material(tmp_path_factory, make_tpf):
    """A folder with something of each kind that a verb takes."""
    return make_material(tmp_path_factory.mktemp("material"), make_tpf)


def make_material(folder, make_tpf):
    finished_run(folder / "done", make_tpf, n=2)
    target_pixel_files(folder / "to_do", make_tpf, n=2)
    target_pixel_files(folder / "tpf", make_tpf, n=2)
    (folder / "tpf" / "todo.sqlite").unlink()
    shutil.copy(ROOT / "todo_templates" / "chains" / "three_nulls.json", folder / "chain.json")
    (folder / "empty").mkdir()
    for sector in (1, 2):
        _light_curve(folder / f"sector{sector}_lc.fits", sector)
    return folder


def _light_curve(path, sector):
    columns = [fits.Column("TIME", "D", array=1325 + 27 * sector + np.arange(300) / 48)]
    columns += [fits.Column(name, "E", array=np.ones(300)) for name in ("SAP_FLUX", "PDCSAP_FLUX")]
    columns += [fits.Column("QUALITY", "J", array=np.zeros(300, int))]
    primary = fits.PrimaryHDU(
        header=fits.Header({"TELESCOP": "TESS", "TICID": 5, "SECTOR": sector})
    )
    table = fits.BinTableHDU.from_columns(columns, name="LIGHTCURVE")
    table.header.update({"TIMEDEL": 1 / 48, "BJDREFI": 2457000, "BJDREFF": 0.0})
    fits.HDUList([primary, table]).writeto(path)


def arguments(path, folder):
    """Right arguments of a verb, so that nothing but the option is wrong."""
    done, curve = folder / "done", folder / "sector1_lc.fits"
    pipeline = "photometry.events.template_pipeline"
    return {
        ("catalog",): [folder / "to_do"],
        ("chain", "dump"): [folder / "dump.json"],
        ("chain", "restore"): [folder / "dump.json"],
        ("chain", "run"): [folder / "chain.json"],
        ("chain", "submit"): [folder / "chain.json"],
        ("compare",): [done, done],
        ("completion",): ["bash"],
        ("doctor",): [folder / "to_do", "--no-mpi"],
        ("demo",): [folder / "new"],
        ("events", "add"): ["next_file", "a.fits"],
        ("events", "new"): [folder / "mine.py"],
        ("events", "run"): [pipeline, curve],
        ("events", "table"): [pipeline],
        ("explain",): [done, "101"],
        ("export",): [done, folder / "new.csv"],
        ("log",): [done, "101"],
        ("plot",): [lightcurves(done)[0]],
        ("quick",): [folder / "to_do"],
        ("run",): [folder / "to_do"],
        ("search",): [curve],
        ("stitch",): [curve, folder / "sector2_lc.fits"],
        ("vet",): [curve],
        ("simulate", "ffi"): [folder / "new"],
        ("simulate", "lightcurves"): [folder / "new"],
        ("simulate", "tpf"): [folder / "new"],
        ("synthesize",): [folder / "new.dat"],
        ("todo", "make"): ["tpf", folder / "tpf"],
        ("todo", "merge"): [folder / "merged.sqlite", done / "todo.sqlite"],
        ("todo", "split"): [done / "todo.sqlite"],
        ("transients", "emulate"): [curve],
        ("transients", "export"): [folder / "job", folder / "new"],
        ("transients", "ensemble"): [folder / "job", folder / "new"],
        ("transients", "candidates"): [folder / "job", folder / "page.html"],
        ("transients", "delete"): [folder / "job", "1"],
        ("transients", "init"): [folder / "job"],
        ("watch",): [folder / "empty"],
    }.get(path, [done])


def invoke(path, words, folder):
    """Exit code, output and errors of a verb in this process."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            main([*path, *map(str, arguments(path, folder) if folder else ()), *words])
        except SystemExit as end:
            return end.code or 0, output.getvalue(), errors.getvalue()


def problem_of(path, words, folder):
    """None, or what is wrong with how a wrong invocation ends."""
    code, output, errors = invoke(path, words, folder)
    lines = errors.splitlines()
    if (path[0], option_of(words)) in FAILURES:
        return (
            None if code in (1, 2) and WAY_OUT.search(output + errors) else f"{code}: {lines[-2:]}"
        )
    if code != 2 or len(lines) != 1:
        return f"{code}: {lines[-2:]}"
    if not lines[0].startswith("photometry: ") or not WAY_OUT.search(lines[0]):
        return lines[0]
    return None


def content_of(folder):
    """What is in a folder; of a TODO-file its rows. A queue that was opened is there, and empty."""
    content = everything_below(folder)
    for path in list(content):
        if path.suffix == ".sqlite":
            with contextlib.closing(sqlite3.connect(path)) as conn:
                content[path] = list(conn.iterdump())
        if "quicklook" in path.parts:
            del content[path]
    return content


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_arguments_that_lead_nowhere_are_one_line(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    given = [p for p in LEAVES[path].params if isinstance(p, click.Argument)]
    if not given:
        return
    words = [NOWHERE for p in given for _ in range(max(p.nargs, 1))]
    problem = problem_of(path, words, None)
    assert problem is None or (path in NOT_ALL_BAD and problem.startswith("1: ")), problem
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_each_wrong_value_is_one_line_that_says_what_is_accepted(
    material, path, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TESSPHOT_INPUT", raising=False)
    before = content_of(material)
    problems = {
        " ".join(words): problem
        for case, words in CASES
        if case == path and (problem := problem_of(path, words, material))
    }
    assert problems == {}
    assert content_of(material) == before


def test_the_walk_has_more_than_a_thousand_steps():
    assert len(CASES) > 1000
