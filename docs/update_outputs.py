#!/usr/bin/env python3
"""Bring the outputs of ``--help`` in README.md and docs/ up to date; a test says where one is not.

A block of console whose first line is ``$ photometry … --help`` (or a run script's) holds what
that command prints.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"(```console\n\$ ([^\n]*--help)\n)(.*?)(```)", re.S)


def output(line):
    """What a command line prints, as a terminal of 100 columns shows it."""
    words = line.split()
    words = (
        [sys.executable, "-m", *words] if words[0] == "photometry" else [sys.executable, *words[1:]]
    )
    done = subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
        env={**os.environ, "COLUMNS": "102"},
    )  # fmt: skip
    return done.stdout


def stale(page, update=False):
    """Commands of a page whose output is no longer what the page shows."""
    text = page.read_text()
    wrong = [match[2] for match in BLOCK.finditer(text) if output(match[2]) != match[3]]
    if wrong and update:
        page.write_text(BLOCK.sub(lambda match: match[1] + output(match[2]) + match[4], text))
    return wrong


if __name__ == "__main__":
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for command in stale(path, update=True):
            print(f"{path.name}: {command}")
