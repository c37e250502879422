"""What all verbs share: DIR, --json, exit codes, the order in which a run goes."""

import json

import click
import pytest
from finished_run import finished_run
from running import photometry

from photometry.cli import EXIT_CODES, SECTIONS, cli

ISSUE_ORDER = [
    *("simulate", "prepare", "todo", "plan", "run", "quick", "watch", "chain", "transients"),
    *("status", "explain", "log", "retry", "verify", "plot", "correct", "search", "report"),
    *("export", "compare", "doctor", "jobscript"),
]
SHOW_NOTHING = {
    "completion": "prints code for a shell",
    "demo": "shows other commands, each of which has --json",
    "chain dump": "writes a file",
    "chain restore": "reads one",
    "chain web": "serves pages until it is stopped",
    "chain worker": "works until it is stopped",
    "transients emulate": "sends images until they are sent",
}


def all_commands():
    """(words, command) of every command of the program that is no group."""

    def walk(command, words):
        if not isinstance(command, click.Group):
            yield " ".join(words), command
            return
        for name in command.list_commands(click.Context(command)):
            yield from walk(command.get_command(click.Context(command), name), [*words, name])

    return list(walk(cli, []))


COMMANDS = all_commands()


def test_verbs_stand_in_the_order_in_which_a_run_goes():
    order = [verb for lines in SECTIONS.values() for verb in lines]
    assert [verb for verb in order if verb in ISSUE_ORDER] == ISSUE_ORDER


@pytest.mark.parametrize(("words", "command"), COMMANDS, ids=[words for words, _ in COMMANDS])
def test_all_that_shows_something_has_json_and_its_help_has_the_exit_codes(words, command):
    options = {name for option in command.params for name in option.opts}
    assert ("--json" in options) != (words in SHOW_NOTHING)
    assert command.epilog == EXIT_CODES


def test_dir_is_the_same_argument_everywhere():
    for words, command in COMMANDS:
        for argument in command.params:
            if not isinstance(argument, click.Argument) or "DIR" not in (argument.metavar or ""):
                continue
            assert argument.metavar.startswith("[DIR]"), words
            if argument.nargs == 1:
                assert (argument.envvar, argument.default) == ("TESSPHOT_INPUT", "."), words


@pytest.fixture(scope="module")
def run(tmp_path_factory, make_tpf):
    return finished_run(tmp_path_factory.mktemp("dir") / "run", make_tpf)


@pytest.mark.parametrize(
    "words",
    ["run --dry-run", "status", "plan --no-measure", "report", "export x.csv", "explain 101",
     "log 101", "retry --dry-run", "reset --all --dry-run", "verify", "doctor --no-mpi",
     "jobscript --json -- --isolate", "todo split --output ."],
)  # fmt: skip
def test_without_dir_it_is_that_of_the_environment_or_this_folder(
    run, tmp_path, monkeypatch, words
):
    words = words.split() if "--json" in words else [*words.split(), "--json"]
    verb = words[0]
    monkeypatch.setenv("TESSPHOT_INPUT", str(run))
    done = photometry(*words, cwd=tmp_path)
    assert done.returncode in (0, 1), done.stderr
    for line in done.stdout.splitlines() if verb == "log" else [done.stdout]:
        json.loads(line)
    monkeypatch.delenv("TESSPHOT_INPUT")
    done = photometry(*words, cwd=tmp_path)
    if verb == "doctor":  # it is there to say so
        assert done.returncode == 1
        return
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
