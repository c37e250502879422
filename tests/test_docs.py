"""What README and docs promise: their Python runs, their commands exist, their modules are there."""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from finished_run import target_pixel_files

from photometry import TaskManager
from photometry.cli import cli

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"```(\w+)[^\n]*\n(.*?)```", re.S)


def blocks(language):
    """(page:line, text) of all blocks of a language."""
    return [
        (f"{page.name}:{page.read_text()[: match.start()].count(chr(10)) + 1}", match[2])
        for page in PAGES
        for match in BLOCK.finditer(page.read_text())
        if match[1] == language
    ]


@pytest.fixture(scope="module")
def place(tmp_path_factory, make_tpf):
    """A folder as the pages suppose it: DIR with target pixel files and a TODO-file."""
    folder = tmp_path_factory.mktemp("docs")

    def make(*args, **kwargs):
        return make_tpf(*args, **kwargs, camera=1, tmag=9.5)

    target_pixel_files(folder / "DIR", make)
    with TaskManager(folder / "DIR") as tm:
        tm.conn.execute("UPDATE todolist SET camera = 1, tmag = 9.5")
        tm.conn.commit()
    shutil.copytree(folder / "DIR", folder / "input")
    return folder


# What comes before a block that is part of something larger.
BEFORE = {
    "lightcurves.md": (
        "from photometry.settings import photometry_settings\n"
        "from photometry import TaskManager\n"
        "input_folder, settings = 'input', photometry_settings()\n"
        "task = TaskManager('input', read_only=True).get_task()\n"
    ),
    "transients.md": (
        "import subprocess, sys\n"
        "from photometry.simulate.imageseries import simulated_series\n"
        "simulated_series(4).write('images')\n"
        "for words in (['init', 'field', '--images', 'images/*.fits'], ['run', 'field']):\n"
        "    subprocess.run([sys.executable, '-m', 'photometry', 'transients', *words], check=True)\n"
    ),
    "events.md": "import numpy as np\nfrom astropy.io import fits\n",
}
REAL = re.compile(r'read\("((?:tess|EPIC)[^"]+)"\)')


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "code"), blocks("python"), ids=lambda value: value.split("\n")[0]
)
def test_each_block_of_python_runs(place, request, where, code):
    page = where.split(":")[0]
    if page == "full-frame-images.md":
        pytest.importorskip("h5py")
        code = _cube(place) + code
    for name in REAL.findall(code):
        source = request.getfixturevalue("shared_data") / "lc" / name
        found = source if source.exists() else next(source.parent.glob(f"{name}*"))
        shutil.copy(found, place / name)
    script = place / "block.py"
    script.write_text(BEFORE.get(page, "") + code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, script], cwd=place, env=environment, capture_output=True, text=True,
        timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def _cube(place):
    """Code that makes the image cube of the page on full-frame images."""
    return (
        "import subprocess, sys, pathlib, shutil\n"
        "if not list(pathlib.Path('cube').glob('*.hdf5')):\n"
        "    for words in (['simulate', 'ffi', 'cube', '--size', '256', '--frames', '12', '--stars', '30'],\n"
        "                  ['catalog', 'cube'], ['prepare', 'cube']):\n"
        "        subprocess.run([sys.executable, '-m', 'photometry', *words], check=True)\n"
        "    shutil.copy(next(pathlib.Path('cube').glob('*.hdf5')), 'DIR')\n"
    )


def commands():
    """(page:line, words) of each command of ours in a console block."""
    found = []
    for where, text in blocks("console"):
        for line in text.replace("\\\n", " ").splitlines():
            if not line.startswith("$ ") or "$(" in line:
                continue
            line = line.removeprefix("$ ").split(" #")[0].split(" | ")[0].split(" > ")[0]
            if match := re.match(r"(?:.*\s)?(?:\S*/)?photometry ((?!-)\S.*)$", line):
                found.append((where, match[1].split(" && ")[0].rstrip(";")))
    return found


@pytest.mark.parametrize(("where", "line"), commands(), ids=lambda value: value[:60])
def test_each_command_that_is_shown_exists_with_its_options(where, line):
    words = shlex.split(line.replace("...", "").replace("…", ""))
    command, context = cli, click.Context(cli, info_name="photometry")
    while words and isinstance(command, click.Group) and not words[0].startswith("-"):
        following = command.get_command(context, words[0])
        if following is None:
            break
        name = words.pop(0)
        command, context = following, click.Context(following, info_name=name, parent=context)
    assert command is not cli, f"{where}: photometry {line}"
    options = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    options |= {"--help", "-h"}
    for word in words[: words.index("--") if "--" in words else None]:
        if word.startswith("--"):
            assert word.split("=")[0] in options, f"{where}: photometry {line}"


def test_each_module_and_folder_that_the_architecture_names_is_there():
    text = (ROOT / "docs" / "architecture.md").read_text()
    names = re.findall(r"`((?:[a-z_]+/)?[a-z_]+(?:\.py|/))`", text)
    assert len(names) > 30
    missing = [
        name for name in names
        if not any((base / name).exists() for base in (ROOT, ROOT / "photometry"))
    ]  # fmt: skip
    assert missing == []


def test_each_room_is_in_the_architecture():
    text = (ROOT / "docs" / "architecture.md").read_text()
    rooms = [path.parent.name for path in (ROOT / "photometry").glob("*/__init__.py")]
    assert [room for room in rooms if f"`{room}/`" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def update_outputs():
    """The script that keeps the outputs of pages up to date, as a module."""
    spec = importlib.util.spec_from_file_location("update_outputs", ROOT / "docs/update_outputs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_help_that_a_page_shows_is_the_help_of_today(page):
    """Where this fails: python docs/update_outputs.py"""
    assert update_outputs().stale(page) == []


def test_the_reference_of_commands_is_made_from_the_program():
    """Where this fails: python docs/update_outputs.py"""
    module = update_outputs()
    assert (ROOT / "docs" / "commands.md").read_text() == module.commands()
