#!/usr/bin/env python3
"""Bring the outputs in README.md and docs/ up to date; a test says where one is not.

A block of console whose first line is ``$ photometry … --help`` (or a run script's) holds what
that command prints. ``docs/commands.md`` has such a block for each command, and below it an example
of ``docs/examples.py`` with what it prints. ``--run`` runs the examples and the pages of `RUN`
again, which takes some minutes; without, their outputs stay as they are.
"""

import os
import platform
import re
import subprocess
import sys
import tempfile
from itertools import zip_longest
from pathlib import Path

from click.testing import CliRunner
from examples import EXAMPLES, SETUP

from photometry.cli import SECTIONS, cli

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = ROOT / "docs" / "commands.md"
RUN = [ROOT / "docs" / "first-run.md", *sorted((ROOT / "docs").glob("porting-from-*.md"))]
"""Pages whose blocks are run one after the other in one folder; what a block of Python prints
stands in a block of text below it."""
HELP = re.compile(r"(```console\n\$ ([^\n]*--help)\n)(.*?)(```)", re.S)
CONSOLE = re.compile(r"```console\n(.*?)```", re.S)
BLOCKS = re.compile(r"```(console|python)\n(.*?)```\n(?:\n```text\n.*?```\n)?", re.S)
VERB_OF_SCRIPT = {"run_pipeline.py": "run"}

SHELL = f"""
photometry() {{ {sys.executable} -m photometry "$@"; }}
python() {{ {sys.executable} "$@"; }}
export -f photometry python
"""

# What depends on the machine and the moment: these are compared as words.
TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|\+00:00)?")
NUMBER = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?")
HOST = re.compile(r"\bon \S+(?=, (?:photometry|rank) )")
MEASURED = re.compile(
    rf"{NUMBER.pattern}(?: ± {NUMBER.pattern})? ?"
    r"(?:targets/s|core-hours|[kMGT]i?B|ms|s|min|h|hours)\b"
    rf"|of {NUMBER.pattern} tasks|rank {NUMBER.pattern}"  # workers finish in any order
)
WIDTH = 100  # columns of a page
TOLERANCE = 0.05  # of other numbers: processors differ in the last digits
IDENTIFIER = 9  # digits; a number of as many is compared as it is


def output(line):
    """What a command line with --help prints, as a terminal of 80 columns shows it."""
    words = line.split()[1:]
    if line.startswith("python"):
        words = [VERB_OF_SCRIPT[Path(words[0]).name], *words[1:]]
    return CliRunner().invoke(cli, words, prog_name="photometry").output


def stale(page, update=False):
    """Commands with --help whose output is no longer what the page shows."""
    text = page.read_text()
    wrong = [match[2] for match in HELP.finditer(text) if output(match[2]) != match[3]]
    if wrong and update:
        page.write_text(HELP.sub(lambda match: match[1] + output(match[2]) + match[4], text))
    return wrong


def commands(shown):
    """The text of ``docs/commands.md``.

    Parameters
    ----------
    shown : dict of the words of a command -> its example with output
    """
    parts = ["# Commands\n\nMade from the program by `docs/update_outputs.py`.\n"]
    for section, verbs in SECTIONS.items():
        parts.append(f"## {section}\n")
        for verb in verbs:
            command = cli.get_command(None, verb)
            parts.append(f"### photometry {verb}\n\n{_blocks(verb, shown)}")
            for name in sorted(getattr(command, "commands", {})):
                words = f"{verb} {name}"
                parts.append(f"#### photometry {words}\n\n{_blocks(words, shown)}")
    return "\n".join(parts)


def _blocks(words, shown):
    line = f"photometry {words} --help"
    text = f"```console\n$ {line}\n{output(line)}```\n"
    if words in shown:
        text += f"\n```console\n{shown[words]}```\n"
    return text


def shown_examples():
    """{words of a command: its example with output}, as ``docs/commands.md`` has them."""
    sections = re.split(r"\n#{3,4} photometry ", COMMANDS.read_text())[1:]
    found = {}
    for section in sections:
        blocks = CONSOLE.findall(section)
        if len(blocks) > 1:
            found[section.partition("\n")[0]] = blocks[1]
    return found


def transcript(text, folder):
    """What a terminal shows when the lines of a text that begin with ``$`` are run.

    Parameters
    ----------
    text : str; a line may go on in the next after a backslash
    folder : where it is run; it is called /data in what is returned

    Returns
    -------
    str
    """
    return "".join(
        f"$ {line}\n{_run(['bash', '-c', SHELL + line], folder)}" for line in lines_of(text)
    )


def _run(words, folder):
    """What a program prints."""
    environment = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    environment |= {"PYTHONPATH": str(ROOT), "COLUMNS": "100", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        words, cwd=folder, env=environment, timeout=300, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    printed = done.stdout.replace(str(folder), "/data").replace(platform.node(), "node1")
    return printed + "\n" * (printed != "" and not printed.endswith("\n"))


def run_page(text, folder):
    """The text of a page with what its blocks print when they are run in a folder.

    Parameters
    ----------
    text : str
    folder : path

    Returns
    -------
    str
    """

    def anew(match):
        kind, code = match[1], match[2]
        if kind == "console":
            return f"```console\n{transcript(code, folder)}```\n"
        printed = _run([sys.executable, "-c", code], folder)
        shown = f"\n```text\n{printed}```\n" if printed else ""
        return f"```python\n{code}```\n{shown}"

    return BLOCKS.sub(anew, text)


def lines_of(text):
    """The commands of a text of a console."""
    return re.findall(r"^\$ ((?:[^\n]*\\\n)*[^\n]*)", text, re.M)


def run_examples(folder):
    """{words of a command: its example with output}, from running all of them in a folder."""
    _run(["bash", "-c", SHELL + SETUP], folder)
    return {words: transcript(text, folder) for words, text in EXAMPLES.items()}


def differences(shown, printed):
    """Lines in which two outputs differ by more than the machine and the moment.

    Parameters
    ----------
    shown, printed : str

    Returns
    -------
    list of (line shown, line printed)
    """
    pairs = zip_longest(shown.splitlines(), printed.splitlines(), fillvalue="")
    return [pair for pair in pairs if not _alike(*pair)]


def _alike(one, other):
    if one.endswith("…") and len(one) == WIDTH:  # a page shows no more of it
        one, other = one[:-1], other[: WIDTH - 1]
    texts = []
    for text in (one, other):
        text = MEASURED.sub("N", HOST.sub("on HOST", TIME.sub("TIME", text)))
        texts.append(" ".join(text.split()))
    if [NUMBER.sub("#", text) for text in texts] != [NUMBER.sub("#", texts[0])] * 2:
        return False
    return all(
        a == b or (len(a) < IDENTIFIER and _near(a, b))
        for a, b in zip(*map(NUMBER.findall, texts), strict=True)
    )


def _near(one, other):
    a, b = (float(text.replace(",", "")) for text in (one, other))
    return abs(a - b) <= TOLERANCE * max(abs(a), abs(b))


def main(arguments):
    """Update all pages."""
    shown = shown_examples()
    if "--run" in arguments:
        with tempfile.TemporaryDirectory() as folder:
            for words, printed in run_examples(Path(folder)).items():
                if words not in shown or differences(shown[words], printed):
                    print(f"commands.md: {words}")
                    shown[words] = printed
        for page in RUN:
            with tempfile.TemporaryDirectory() as folder:
                text = page.read_text()
                printed = run_page(text, Path(folder))
            if differences(text, printed):
                print(page.name)
                page.write_text(printed)
    COMMANDS.write_text(commands({words: shown[words] for words in EXAMPLES if words in shown}))
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for command in stale(path, update=True):
            print(f"{path.name}: {command}")


if __name__ == "__main__":
    main(sys.argv[1:])
