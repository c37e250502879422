"""``photometry`` itself: verbs in the order of a run, suggestions, one line for each wrong use,
completion.
"""

import os
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner
from running import photometry

from photometry.cli import EXIT_CODES, SECTIONS, cli


def test_help_shows_each_verb_once_in_the_order_of_a_run():
    verbs = cli.list_commands(None)
    text = CliRunner().invoke(cli, ["--help"]).output
    order = [verb for lines in SECTIONS.values() for verb in lines]
    assert sorted(order) == verbs
    shown = [line.split()[0] for line in text.splitlines() if re.match(r"  [a-z]", line)]
    assert [verb for verb in shown if verb in verbs] == order


@pytest.mark.parametrize("verb", cli.list_commands(None))
def test_each_verb_has_help_with_exit_codes(verb):
    result = CliRunner().invoke(cli, [verb, "--help"])
    assert result.exit_code == 0
    assert " ".join(result.output.split()).count(EXIT_CODES) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["statu", "D"], "'statu' is no command; did you mean status"),
        (["xxxxx"], "'xxxxx' is no command; see photometry --help"),
        (["run", "--worker", "2"], "run: no such option '--worker'"),
        (["run", "--workers", "x"], "run: invalid value for '--workers'"),
        (["status"], ".: there is no summary.json"),
        (["status", "/nowhere"], "/nowhere"),
    ],
)
def test_wrong_use_is_one_line_with_a_way_out_and_exit_code_2(words, message):
    done = photometry(*words)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("photometry: ")
    assert message.lower() in line.lower()


def test_no_verb_shows_the_help_and_is_wrong_use():
    done = photometry()
    assert done.returncode == 2
    assert "Begin:" in done.stdout + done.stderr


def test_a_reader_that_has_seen_enough_is_no_error():
    words = f"{sys.executable} -m photometry run --help | head -n 1"
    done = subprocess.run(words, shell=True, capture_output=True, text=True, timeout=600)
    assert "Usage: photometry run" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_each_shell(shell):
    done = photometry("completion", shell)
    assert done.returncode == 0
    assert f"_PHOTOMETRY_COMPLETE={shell}_complete" in done.stdout.replace(" ", " ")


def test_the_shell_completes_verbs():
    environment = {**os.environ, "_PHOTOMETRY_COMPLETE": "bash_complete",
                   "COMP_WORDS": "photometry st", "COMP_CWORD": "1"}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", "from photometry.cli import main; main()"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert "plain,status" in done.stdout.split()
