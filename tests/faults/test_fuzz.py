"""Damaged files of every kind that is read end in success or in one message, never in a traceback.

The seed is fixed: a case that fails is named by kind, damage and number, and comes again. 33 kinds
x 4 kinds of damage x `CASES` files.
"""

import contextlib
import io
import os
import shutil
import warnings

import numpy as np
import pytest
from fuzz_material import DAMAGE, PLACE, copy_of, make_all

from photometry.catalog.ccd import open_catalog
from photometry.catalog.tables import read_stars
from photometry.chains.settings import load_chain_settings
from photometry.cli import main
from photometry.errors import PhotometryError
from photometry.events.config import ConfigClass
from photometry.fitsfile import kind_of_file, read_image
from photometry.lightcurve import Lightcurve
from photometry.pixels.cubestamp import Area, stamp_from_cube
from photometry.pixels.find import find_target_pixel_file, identify, lookup
from photometry.pixels.imagecube import ImageCube
from photometry.pixels.stamp import Target
from photometry.pixels.targetpixelfile import read_target_pixel_file
from photometry.prepare.ffi import read_frames
from photometry.prepare.frames import headers_of, wcs_of
from photometry.report.plots import read_curve
from photometry.settings import load_settings
from photometry.taskmanager import TaskManager
from photometry.todolist.make import load_template
from photometry.todolist.pixelfiles import inspect_file
from photometry.transients.database import disconnect

SEED = 20261128
CASES = 14


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    return make_all(tmp_path_factory.mktemp("sound"))


def read_tpf(path):
    for read in (kind_of_file, identify, inspect_file, read_target_pixel_file):
        read(path)


def find_tpf(path):
    """An index, and the search for a file that it may or may not name."""
    starid = 5
    lookup(path.parent, starid, 1, 120)
    task = {"starid": starid, "datasource": "tpf", "sector": 1, "cadence": 120}
    find_target_pixel_file(path.parent, task)


def read_ffi(path):
    for frame in read_frames(path):
        wcs_of(headers_of(frame)[1], path)
        frame.read_flux()
        frame.read_error()


def prepare_folder(path):
    """A damaged image among sound ones; the sound ones become a cube."""
    for other in sorted(path.parent.glob("*.fits.sound")):
        other.rename(other.with_suffix(""))
    assert command("prepare", path.parent, "--workers", 1, "--quiet") in (0, 1)
    (cube,) = path.parent.glob("*.hdf5")
    with ImageCube(cube) as cube:
        assert cube.n_times in (3, 4)


def list_cube(path):
    command("todo", "ffi", path.parent, "--quiet")


def read_cube(path):
    with ImageCube(path) as cube:
        stamp = stamp_from_cube(cube, Target(1, 90.0, -60.0, 10.0), Area(2, 9, 3, 9))
        assert stamp.flux.shape == (cube.n_times, 7, 6)
        cube.sumimage, cube.header, cube.primary_header, cube.filenames  # noqa: B018
        cube.footprint()


def read_catalog(path):
    catalog = open_catalog(path.parent, **PLACE)
    catalog.cone(84.0, -66.0, 5.0)
    catalog.polygon([(80, -70), (90, -70), (90, -60), (80, -60)])
    catalog.star(100000001)
    catalog.stars(), len(catalog)


def make_target_list(path):
    """The whole way of a folder with one damaged file: TODO-file, then what a run would read."""
    command("todo", "tpf", path.parent, "--quiet")


def look_at_run(path):
    command("status", path.parent)
    command("status", path.parent, "--json")
    command("verify", path.parent)
    command("run", path.parent, "--dry-run")
    command("log", path.parent)
    command("retry", path.parent, "--dry-run")


def open_run(path):
    with TaskManager(path.parent, read_only=True) as manager:
        manager.get_number_tasks()
    with TaskManager(path.parent, load_into_memory=True) as manager:
        manager.get_number_tasks(tmag_max=9)
        while task := manager.get_task():
            manager.start_task(task["priority"])
            manager.save_result(task | {"status": 1, "time": 1.0, "details": {}})


def read_settings(path):
    load_settings(path)


def command(*words):
    """Run a verb in this process; returns its exit code, AssertionError for that of a defect."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            main([str(word) for word in words])
        except SystemExit as end:
            code = end.code or 0
    assert code in (0, 1, 2, 3), f"{words[0]} ended with {code}: {errors.getvalue()[-2000:]}"
    assert "Traceback" not in errors.getvalue(), errors.getvalue()[-2000:]
    return code


def plan_chain(path):
    command("chain", "run", path, "--dry-run", "--home", path.parent)


def read_chain_settings(path):
    load_chain_settings({"home": path.parent})


def restore_chains(path):
    command("chain", "restore", path, "--home", path.parent)
    command("chain", "status", "--home", path.parent)


def run_job(path):
    """The whole job of images, whichever of its files is damaged."""
    project = next(p for p in path.parents if (p / "pipeline.cfg").exists())
    before = os.getcwd()
    os.chdir(project)
    try:
        command("transients", "run", "job", "--quiet")
        command("transients", "status", "job")
    finally:
        os.chdir(before)
        disconnect()


def read_product(path):
    Lightcurve.read(path)
    read_curve(path)
    command("correct", path.parent, "--method", "biweight", "--dry-run")


def read_events_settings(path):
    ConfigClass(path).check()


def look_at_queue(path):
    command("events", "info", "--queue", path)
    command("events", "info", "--queue", path, "--json")
    command("events", "retry", "--queue", path)


KINDS = {
    "tpf": read_tpf,
    "tpf in a folder": make_target_list,
    "tpf_files.sqlite": find_tpf,
    "ffi": read_ffi,
    "ffi in a folder": prepare_folder,
    "cube": read_cube,
    "cube in a folder": list_cube,
    "catalog.ecsv": read_stars,
    "catalog.csv": read_stars,
    "catalog.fits": read_stars,
    "catalog.vot": read_stars,
    "catalog.sqlite": read_catalog,
    "template": load_template,
    "settings": read_settings,
    "todo": open_run,
    "todo, looked at": look_at_run,
    "journal": open_run,
    "lock": open_run,
    "summary": look_at_run,
    "lightcurve.fits": Lightcurve.read,
    "lightcurve.txt": Lightcurve.read,
    "image": read_image,
    "product": read_product,
    "chain.json": plan_chain,
    "chain.toml": plan_chain,
    "chains.toml": read_chain_settings,
    "dump": restore_chains,
    "job": run_job,
    "pipeline.cfg": run_job,
    "list of images": run_job,
    "image of a job": run_job,
    "events.cfg": read_events_settings,
    "events.sqlite": look_at_queue,
}


def outcome(read, path):
    """None for success or a message; else what is wrong."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(path)
    except PhotometryError as error:
        text = str(error)
        if not text or "\n" in text or "Traceback" in text:
            return f"message {text!r}"
    except Exception as error:  # noqa: BLE001 - whatever else comes is a finding
        return f"{type(error).__name__}: {error}"
    return None


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_damage_costs_one_message(material, tmp_path, kind, damage):
    findings = {}
    source = material[kind.partition(",")[0]]
    for number in range(CASES):
        rng = np.random.default_rng([SEED, list(KINDS).index(kind), DAMAGE.index(damage), number])
        path = copy_of(source, tmp_path / f"{number}")
        damage(path, rng)
        problem = outcome(KINDS[kind], path)
        if problem:
            findings[number] = problem
        shutil.rmtree(path.parent)
    assert findings == {}


@pytest.mark.parametrize("kind", KINDS)
def test_sound_files_pass(material, tmp_path, kind):
    path = copy_of(material[kind.partition(",")[0]], tmp_path / "sound")
    if kind in ("tpf_files.sqlite", "lock"):
        with pytest.raises(PhotometryError):
            KINDS[kind](path)
    else:
        KINDS[kind](path)


def test_there_are_a_thousand_cases():
    assert len(KINDS) * len(DAMAGE) * CASES >= 1000
