"""README and docs: their blocks run and print what they show, all that they name exists."""

import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from finished_run import star_image, target_pixel_files

from photometry import TaskManager
from photometry.cli import cli

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
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


FIELD = (
    "import subprocess, sys\n"
    "from photometry.simulate.imageseries import simulated_series\n"
    "simulated_series(4).write('images')\n"
    "for words in (['init', 'field', '--images', 'images/*.fits'], ['run', 'field']):\n"
    "    subprocess.run([sys.executable, '-m', 'photometry', 'transients', *words], check=True)\n"
)
# What comes before a block that is part of something larger.
BEFORE = {
    "lightcurves.md": (
        "from photometry.settings import photometry_settings\n"
        "from photometry import TaskManager\n"
        "input_folder, settings = 'input', photometry_settings()\n"
        "task = TaskManager('input', read_only=True).get_task()\n"
    ),
    "transients.md": FIELD,
    "porting-from-trap.md": "import os\nos.mkdir('trap')\nos.chdir('trap')\n" + FIELD,
    "first-run.md": (
        "import os, subprocess, sys\n"
        "os.mkdir('first')\n"
        "os.chdir('first')\n"
        "simulate = 'simulate tpf DIR --targets 12 --times 1500 --transits 0.5 --seed 1'\n"
        "for words in (simulate, 'todo tpf DIR', 'run DIR --workers 0 --starid 100003774'):\n"
        "    subprocess.run([sys.executable, '-m', 'photometry', *words.split()], check=True)\n"
    ),
    "porting-from-lightkurve.md": (
        "import os, subprocess, sys\n"
        "os.mkdir('lightkurve')\n"
        "os.chdir('lightkurve')\n"
        "simulate = 'simulate tpf DIR --targets 1 --times 300 --tmag-min 9 --tmag-max 9.1'\n"
        "for words in (simulate, 'todo tpf-primaries DIR', 'run DIR --workers 0'):\n"
        "    subprocess.run([sys.executable, '-m', 'photometry', *words.split()], check=True)\n"
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
        timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def _cube(place):
    """Code that makes the image cube of the page on full-frame images."""
    return (
        "import subprocess, sys, pathlib, shutil\n"
        "if not list(pathlib.Path('cube').glob('*.hdf5')):\n"
        "    for words in (['simulate', 'ffi', 'cube', '--size', '256', '--frames', '12', "
        "'--stars', '30'],\n"
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
                found.append((where, re.split(r" && |; ", match[1])[0].rstrip(";")))
    return found


@pytest.mark.parametrize(("where", "line"), commands(), ids=lambda value: value[:60])
def test_each_command_that_is_shown_exists_with_its_options(where, line):
    _check_command(where, line)


def _check_command(where, line):
    """That a command and its options exist."""
    words = shlex.split(line.replace("...", "").replace("…", ""))
    command, context = cli, click.Context(cli, info_name="photometry")
    while words and isinstance(command, click.Group) and not words[0].startswith("-"):
        following = command.get_command(context, words[0])
        if following is None:  # photometry todo TEMPLATE is photometry todo make TEMPLATE
            command = command.commands.get("make", command) if command is not cli else cli
            break
        name = words.pop(0)
        command, context = following, click.Context(following, info_name=name, parent=context)
    assert command is not cli, f"{where}: photometry {line}"
    options = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    options |= {"--help", "-h"}
    for word in words[: words.index("--") if "--" in words else None]:
        if word.startswith("--"):
            assert word.split("=")[0] in options, f"{where}: photometry {line}"


def test_each_page_is_listed_once_on_the_start_page():
    index = (ROOT / "docs" / "index.md").read_text()
    trees = re.findall(r"```\{toctree\}\n(.*?)```", index, re.S)
    listed = [line for tree in trees for line in tree.splitlines() if line and line[0] != ":"]
    pages = {page.stem for page in (ROOT / "docs").glob("*.md")} - {"index"}
    assert sorted(name for name in listed if "/" not in name) == sorted(pages)


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


@pytest.fixture(scope="module")
def update_outputs():
    """The script that keeps the outputs of pages up to date, as a module."""
    return _module("update_outputs")


def _module(name):
    docs = str(ROOT / "docs")
    sys.path.insert(0, docs)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(docs)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_help_that_a_page_shows_is_the_help_of_today(page, update_outputs):
    """Where this fails: python docs/update_outputs.py"""
    assert update_outputs.stale(page) == []


def test_the_reference_of_commands_is_made_from_the_program(update_outputs):
    """Where this fails: python docs/update_outputs.py"""
    shown = update_outputs.shown_examples()
    assert (ROOT / "docs" / "commands.md").read_text() == update_outputs.commands(shown)


# Commands without an example in the reference, and why.
WITHOUT_EXAMPLE = {
    "demo": "README.md shows all that it prints",
    "chain web": "serves pages until it is stopped",
    "transients ensemble": "docs/transients.md: needs a night of optical frames",
    "transients emulate": "sends images to whoever connects",
}


def test_every_command_has_an_example_with_real_output(update_outputs):
    """Where this fails: add it to docs/examples.py, then python docs/update_outputs.py --run"""
    shown = update_outputs.shown_examples()
    names = {" ".join(words) for words in every_command(cli, [])}
    assert names - set(shown) == set(WITHOUT_EXAMPLE)
    for words, text in _module("examples").EXAMPLES.items():
        lines = update_outputs.lines_of(text)
        assert [line for line in lines if f"$ {line}\n" not in shown[words]] == []
        assert any(f"photometry {words.removesuffix(' make')}" in line for line in text.split("$"))


def every_command(command, words):
    """The words of each command that is no group."""
    if not isinstance(command, click.Group):
        yield words
        return
    for name in command.list_commands(click.Context(command)):
        yield from every_command(command.get_command(click.Context(command), name), [*words, name])


@pytest.mark.slow
def test_examples_print_what_the_reference_shows(update_outputs, tmp_path):
    """Where this fails: python docs/update_outputs.py --run"""
    shown, printed = update_outputs.shown_examples(), update_outputs.run_examples(tmp_path)
    different = {words: update_outputs.differences(shown[words], printed[words]) for words in shown}
    assert {words: lines for words, lines in different.items() if lines} == {}


@pytest.mark.slow
@pytest.mark.parametrize("page", _module("update_outputs").RUN, ids=lambda page: page.stem)
def test_blocks_of_tutorial_and_porting_pages_print_what_they_show(page, update_outputs, tmp_path):
    """Where this fails: python docs/update_outputs.py --run"""
    text = page.read_text()
    assert update_outputs.differences(text, update_outputs.run_page(text, tmp_path)) == []


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("2026-11-28T18:33:48Z: 5 OK", "2027-01-02T00:00:00Z: 5 OK", True),
        ("speed 2.93 targets/s,  0.06 s each", "speed 512 targets/s, 1.1 s each", True),
        ("depth 3038 ppm", "depth 3040 ppm", True),
        ("depth 3038 ppm", "depth 3400 ppm", False),
        ("TIC 100001363", "TIC 100001364", False),
        ("5 OK, 1 ERROR", "5 OK, 1 WARNING", False),
        ("a\nb", "a", False),
    ],
)
def test_outputs_are_compared_but_for_the_machine_and_the_moment(one, other, alike, update_outputs):
    assert (update_outputs.differences(one, other) == []) == alike


def names_of_ours():
    """(page, name) of each name of ours in the tables of the porting pages."""
    found = []
    for page in sorted((ROOT / "docs").glob("porting-from-*.md")):
        for row in re.findall(r"^\|(.*)\|$", page.read_text(), re.M):
            ours = row.split("|")[1]
            found += [(page.stem, name) for name in re.findall(r"`([^`]+)`", ours)]
    return found


HOMES = ("", "photometry.", "photometry.lightcurve.", "photometry.events.")


@pytest.mark.parametrize(("page", "name"), names_of_ours(), ids=lambda value: value)
def test_each_name_of_ours_on_a_porting_page_exists(page, name):
    if name.startswith("photometry "):
        _check_command(page, name.removeprefix("photometry "))
    else:
        assert any(_exists(home + name) for home in HOMES), name


def _exists(name):
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        for part in parts[length:]:
            found = getattr(found, part, None)
        return found is not None
    return False


@pytest.mark.slow
def test_the_demo_prints_what_the_readme_shows(update_outputs, tmp_path):
    (shown,) = [
        match[1] for match in re.finditer(r"```console\n(\n1\. Simulate.*?)```", README, re.S)
    ]
    printed = update_outputs.transcript("$ photometry demo", tmp_path).partition("\n")[2]
    lines = [
        pair for pair in update_outputs.differences(shown, printed) if "mpiexec" not in pair[0]
    ]
    assert lines == []


# Pages whose commands are about DIR, a folder of target pixel files.
OF_A_FOLDER = (
    "README.md",
    "index.md",
    "running.md",
    "lightcurves.md",
    "verify-doctor-jobscript.md",
    "when-something-goes-wrong.md",
)
STARS = (25155310, 100002722)  # that the pages name


def blocks_of_commands():
    """(page:line, [commands]) of each block of those pages that shows commands."""
    found = {}
    for where, line in commands():
        page = where.split(":")[0]
        if page in OF_A_FOLDER and "demo/" not in line and "--help" not in line:
            found.setdefault(where, []).append(line)
    return list(found.items())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "lines"), blocks_of_commands(), ids=[where for where, _ in blocks_of_commands()]
)
def test_each_block_of_commands_can_be_typed_as_it_stands(
    where, lines, tmp_path, make_tpf, update_outputs
):
    """Exit code 1 is for light curves too short to be searched, and too few to have trends."""
    folder = tmp_path / "DIR"
    folder.mkdir()
    for starid in STARS:
        name = f"tess2018206045859-s0001-{starid:016d}-0120-s_tp.fits"
        make_tpf(folder / name, star_image(), starid=starid, sector=1, camera=1, ccd=1, tmag=9.5)
    begin = [] if {"todo tpf DIR", "quick DIR"} & {line.strip() for line in lines} else [
        "todo tpf DIR", "run DIR --workers 0"]  # fmt: skip
    (tmp_path / "data").symlink_to(folder)
    (tmp_path / "OUTPUT_FOLDER").symlink_to(folder / "lightcurves")
    for line in [*begin, *lines]:
        line = line.replace("STARID", str(STARS[0]))
        done = subprocess.run(
            ["bash", "-c", f"{update_outputs.SHELL}photometry {line}"], cwd=tmp_path, text=True,
            capture_output=True, timeout=600, stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.returncode in (0, 1), f"{line}: {done.stderr}"
        assert "Traceback" not in done.stderr, line
