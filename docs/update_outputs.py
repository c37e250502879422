#!/usr/bin/env python3
"""Bring the outputs of ``--help`` in README.md and docs/ up to date; a test says where one is not.

A block of console whose first line is ``$ photometry … --help`` (or a run script's) holds what
that command prints. ``docs/commands.md`` has such a block for each verb.
"""

import re
from pathlib import Path

from click.testing import CliRunner

from photometry.cli import SECTIONS, cli

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"(```console\n\$ ([^\n]*--help)\n)(.*?)(```)", re.S)
VERB_OF_SCRIPT = {"run_pipeline.py": "run"}


def output(line):
    """What a command line prints, as a terminal of 80 columns shows it."""
    words = line.split()[1:]
    if line.startswith("python"):
        words = [VERB_OF_SCRIPT[Path(words[0]).name], *words[1:]]
    return CliRunner().invoke(cli, words, prog_name="photometry").output


def stale(page, update=False):
    """Commands of a page whose output is no longer what the page shows."""
    text = page.read_text()
    wrong = [match[2] for match in BLOCK.finditer(text) if output(match[2]) != match[3]]
    if wrong and update:
        page.write_text(BLOCK.sub(lambda match: match[1] + output(match[2]) + match[4], text))
    return wrong


def commands():
    """The text of ``docs/commands.md``."""
    parts = ["# Commands\n\nMade from the program by `docs/update_outputs.py`.\n"]
    verbs = cli.list_commands(None)
    for section, lines in SECTIONS.items():
        parts.append(f"## {section}\n")
        for verb in lines:
            if verb not in verbs:
                continue
            command = cli.get_command(None, verb)
            parts.append(f"### photometry {verb}\n\n{_block(verb)}")
            for name in sorted(getattr(command, "commands", {})):
                parts.append(f"#### photometry {verb} {name}\n\n{_block(f'{verb} {name}')}")
    return "\n".join(parts)


def _block(words):
    line = f"photometry {words} --help"
    return f"```console\n$ {line}\n{output(line)}```\n"


if __name__ == "__main__":
    (ROOT / "docs" / "commands.md").write_text(commands())
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for command in stale(path, update=True):
            print(f"{path.name}: {command}")
