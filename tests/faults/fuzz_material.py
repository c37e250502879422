"""Sound files of every kind that is read, and ways to damage them, for `test_fuzz`."""

import contextlib
import gzip
import re
import shutil
import sqlite3
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

from photometry.catalog.tables import make_catalog, read_stars
from photometry.chains.connect import Database
from photometry.chains.definition import read_definition
from photometry.chains.interface import dump
from photometry.chains.jobs import submit
from photometry.chains.settings import load_chain_settings
from photometry.events import Arguments, Event
from photometry.events.sharedqueue import SharedEventQueue
from photometry.lightcurve.lightcurve import LightcurveArbitraryRaster
from photometry.pixels.find import write_index
from photometry.prepare.driver import prepare
from photometry.simulate.fullframe import simulate_full_frames
from photometry.simulate.imageseries import RadioSeries, Source
from photometry.simulate.targetpixels import TargetPixelSettings, simulate_target_pixel_files
from photometry.target import photometry
from photometry.taskmanager import TaskManager, create_todo
from photometry.transients import configuration as conf
from photometry.transients.settings import JobSettings, ProjectSettings

TEMPLATES = Path(__file__).parents[2] / "todo_templates" / "chains"
PLACE = {"sector": 1, "camera": 1, "ccd": 1}


def make_all(folder):
    """Make sound files; returns dict of kind -> path (a file, or a folder where several files
    belong together).
    """
    made = {}
    tpf = folder / "tpf"
    settings = TargetPixelSettings(targets=1, times=12, stamp="6x5")
    truth = simulate_target_pixel_files(tpf, settings)
    made["tpf"] = made["tpf in a folder"] = tpf / truth["file"][0]
    made["truth.ecsv"] = tpf / "truth.ecsv"
    made["catalog.ecsv"] = tpf / "catalog.ecsv"
    stars = read_stars(tpf / "catalog.ecsv")
    for ending, form in (("csv", "ascii.csv"), ("fits", "fits"), ("vot", "votable")):
        path = folder / f"stars.{ending}"
        Table(stars, meta={}).write(path, format=form)
        made[f"catalog.{ending}"] = path
    made["catalog.sqlite"] = make_catalog(stars, folder, 1, 1, 1)
    made["tpf_files.sqlite"] = write_index(tpf, [(truth["starid"][0], 1, 120, made["tpf"].name)])
    ffi = folder / "ffi"
    simulate_full_frames(ffi, size=32, n_frames=6, stars=5, fainter=0.0, cosmic_rays=False)
    prepare(ffi)
    made["ffi"] = sorted((ffi / "ffi").glob("*.fits"))[0]
    made["cube"] = made["cube in a folder"] = ffi / "sector001_camera1_ccd1.hdf5"
    made["ffi in a folder"] = _among_sound_ones(sorted((ffi / "ffi").glob("*.fits")), folder)
    made["template"] = folder / "mine.toml"
    made["template"].write_text(
        'source = "tpf"\ntmag_min = 3.5\nfaint_limit = 14.0\n[[method]]\nuse = "halo"\ntmag_max = '
        "4.0\n[[exclude]]\nstarid = [7]\n"
    )
    made["settings"] = folder / "photometry.toml"
    made["settings"].write_text(
        "[run]\nmax_attempts = 4\n[photometry]\nfaint_limit = "
        "14.0\n[photometry.aperture]\nthreshold = 0.7\n"
    )
    made |= _runs(folder)
    time = np.arange(50) * 0.02
    curve = LightcurveArbitraryRaster(
        time, 1 + 0.01 * np.sin(time), np.full(50, 1e-3), np.zeros(50)
    )
    made["lightcurve.txt"] = folder / "curve.dat.gz"
    curve.to_file(made["lightcurve.txt"])
    made["lightcurve.fits"] = _spoc_light_curve(folder / "curve_lc.fits", time)
    made["image"] = folder / "image.fits"
    header = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 20.0}
    header |= {"CDELT1": -0.01, "CDELT2": 0.01, "CRPIX1": 4.0, "CRPIX2": 4.0}
    fits.PrimaryHDU(np.ones((8, 9)), fits.Header(header)).writeto(made["image"])
    made["product"] = _product(made["tpf"], truth["starid"][0], folder / "product")
    return made | _chains(folder / "chains") | _transients(folder / "transients") | _events(folder)


def _product(tpf, starid, folder):
    """A light curve that we made."""
    task = {"priority": 1, "starid": starid, **PLACE, "cadence": 120, "datasource": "tpf"}
    task |= {"tmag": 9.0, "method": None}
    (folder / "lightcurves").mkdir(parents=True)
    photometry(task, input_folder=tpf.parent, output_folder=folder / "lightcurves")
    (path,) = folder.rglob("*_lc.fits.gz")
    plain = folder / path.name.removesuffix(".gz")
    plain.write_bytes(gzip.decompress(path.read_bytes()))
    return plain


def _chains(folder):
    """A chain as JSON and as TOML, settings, and the dump of a task database."""
    folder.mkdir()
    made = {
        kind: folder / f"three.{kind.rpartition('.')[2]}" for kind in ("chain.json", "chain.toml")
    }
    for path in made.values():
        shutil.copy(TEMPLATES / f"three_nulls{path.suffix}", path)
    made["chains.toml"] = folder / "chains.toml"
    made["chains.toml"].write_text(
        'queue = "sql"\nmax_attempts = 4\ndatabase_patience = 0.5\ndatabase = "a.sqlite"\n'
    )
    made["dump"] = folder / "dump.gz"
    database = Database(folder / "chains.sqlite", patience=0.5)
    database.migrate()
    submit(read_definition(made["chain.json"]), database, load_chain_settings({"home": folder}))
    dump(database, made["dump"])
    database.close()
    return made


def _transients(folder):
    """A job of three small images: its settings, its list of images, one of the images."""
    (folder / "job").mkdir(parents=True)
    images = RadioSeries(n_epochs=3, shape=(64, 64), sources=(Source(123.0, 30.0, 0.1),)).write(
        folder / "job"
    )
    (folder / conf.PIPELINE_FILE).write_text(conf.template(ProjectSettings()))
    job = folder / "job" / conf.JOB_FILE
    job.write_text(conf.template(JobSettings()))
    listed = folder / "job" / conf.IMAGES_FILE
    listed.write_text("".join(f"{Path(image).name}\n" for image in images))
    return {
        "job": job,
        "pipeline.cfg": folder / conf.PIPELINE_FILE,
        "list of images": listed,
        "image of a job": Path(images[1]),
    }


def _events(folder):
    """A configuration of a pipeline, and a queue with two events."""
    configuration = folder / "events.cfg"
    configuration.write_text("[DEFAULT]\nname = 'mine'\nsettle_time = 3\n[BLUE]\nn = 1\n")
    queue = SharedEventQueue(folder / "events.sqlite")
    for i in range(2):
        queue.put(Event("next_file", Arguments(name=f"{i}.fits")))
    queue.close()
    return {"events.cfg": configuration, "events.sqlite": folder / "events.sqlite"}


def _among_sound_ones(paths, folder):
    """A folder with images, the first to be damaged, the others under names of no images yet."""
    together = folder / "images"
    together.mkdir()
    for path in paths[1:4]:
        shutil.copy(path, together / f"{path.name}.sound")
    return Path(shutil.copy(paths[0], together))


def _spoc_light_curve(path, time):
    columns = [fits.Column("TIME", "D", array=time + 1325)]
    columns += [fits.Column(name, "E", array=np.ones(50)) for name in ("SAP_FLUX", "PDCSAP_FLUX")]
    columns += [fits.Column("QUALITY", "J", array=np.zeros(50, int))]
    primary = fits.PrimaryHDU()
    primary.header.update({"TELESCOP": "TESS", "TICID": 5, "OBJECT": "TIC 5", "SECTOR": 1})
    table = fits.BinTableHDU.from_columns(columns, name="LIGHTCURVE")
    table.header.update({"TIMEDEL": 0.02, "BJDREFI": 2457000, "BJDREFF": 0.0})
    fits.HDUList([primary, table]).writeto(path)
    return path


def _runs(folder):
    """A finished run, and one that was killed in memory mode: TODO-file, journal, lock, summary."""
    rows = [
        {"starid": 100 + i, **PLACE, "cadence": 120, "datasource": "tpf", "tmag": 5.0 + i}
        for i in range(12)
    ]
    done, killed = folder / "done", folder / "killed"
    for where in (done, killed):
        where.mkdir()
        create_todo(where / "todo.sqlite", rows)
    with TaskManager(done, summary=done / "summary.json") as manager:
        _some_results(manager)
    manager = TaskManager(killed, load_into_memory=True, summary=killed / "summary.json")
    _some_results(manager)
    copied = folder / "left"
    shutil.copytree(killed, copied)
    manager.close()
    (lock,) = copied.glob("*.lock")
    (folder / "lock").mkdir()
    lock.replace(folder / "lock" / lock.name)
    shutil.copy(done / "todo.sqlite", folder / "lock")
    (journal,) = (path for path in copied.iterdir() if "journal" in path.name)
    return {
        "todo": done / "todo.sqlite",
        "summary": done / "summary.json",
        "journal": copied / journal.name,
        "lock": folder / "lock" / lock.name,
    }


def _some_results(manager):
    for i in range(6):
        task = manager.get_task()
        manager.start_task(task["priority"])
        details = {"mean_flux": 100.0 + i, "errors": ["no flux"] * (i == 3)}
        status = 2 if i == 3 else 1
        manager.save_result(task | {"status": status, "time": 1.0, "details": details})


# Damage: each takes (path, rng) and changes the file in place


def flip_bits(path, rng):
    """One to eight bits, half of the time near the beginning, where headers are."""
    content = bytearray(path.read_bytes())
    reach = min(len(content), 8000) if rng.random() < 0.5 else len(content)
    for _ in range(rng.integers(1, 9)):
        content[rng.integers(reach)] ^= 1 << rng.integers(8)
    path.write_bytes(content)


def cut(path, rng):
    """Everything from some byte on is missing."""
    content = path.read_bytes()
    path.write_bytes(content[: rng.integers(len(content))])


def overwrite(path, rng):
    """A stretch of zeros, of ones, or of anything."""
    content = bytearray(path.read_bytes())
    n = min(int(rng.integers(1, 600)), len(content))
    start = rng.integers(len(content) - n + 1)
    filling = [bytes(n), b"\xff" * n, rng.bytes(n)][rng.integers(3)]
    content[start : start + n] = filling
    path.write_bytes(content)


def wrong_type(path, rng):
    """A value of another type or far outside its range, by the kind of the file."""
    content = path.read_bytes()
    if content.startswith(b"SIMPLE"):
        _wrong_card(path, content, rng)
    elif content.startswith(b"SQLite"):
        _wrong_cell(path, rng)
    elif content.startswith(b"\x89HDF"):
        _wrong_attribute(path, rng)
    else:
        _wrong_word(path, content, rng)


DAMAGE = (flip_bits, cut, overwrite, wrong_type)
_CARD_VALUES = (
    ("'abc     '", "T", "-1", "0", "1E400", "99999999999999999999", "", "NaN", "'"),
    "1.5",
)
_WORDS = (
    "null",
    '"abc"',
    "-1",
    "1e400",
    "[]",
    "{}",
    "9" * 30,
    "true",
    "nan",
    "",
    "\x00",
    "é",
    "0.5",
)


def _wrong_card(path, content, rng):
    values = (*_CARD_VALUES[0], _CARD_VALUES[1])
    cards = [
        i for i in range(0, len(content), 80) if re.match(rb"[A-Z0-9_-]+ *= ", content[i : i + 80])
    ]
    where = cards[rng.integers(len(cards))]
    card = content[where : where + 10] + str(values[rng.integers(len(values))]).rjust(20).encode()
    path.write_bytes(content[:where] + card.ljust(80)[:80] + content[where + 80 :])


def _wrong_cell(path, rng):
    values = ("abc", b"\xff\xfe", None, -1, 2**62, 1e300, float("inf"), "", "7")
    with contextlib.closing(sqlite3.connect(path)) as conn, contextlib.suppress(sqlite3.Error):
        query = "SELECT name FROM sqlite_master WHERE type='table' AND name NOT LIKE 'sqlite_%'"
        tables = [name for (name,) in conn.execute(query)]
        table = tables[rng.integers(len(tables))]
        columns = [row[1] for row in conn.execute(f"PRAGMA table_info({table})")]
        column = columns[rng.integers(len(columns))]
        value = values[rng.integers(len(values))]
        where = "" if rng.random() < 0.3 else "WHERE rowid=1 "
        conn.execute("PRAGMA ignore_check_constraints=ON")
        conn.execute(f"UPDATE OR IGNORE {table} SET {column}=? {where}", (value,))
        conn.commit()


def _wrong_attribute(path, rng):
    import h5py

    values = ("abc", -1, 2**40, 1.5, np.nan, np.zeros(3), "", "{}")
    value = values[rng.integers(len(values))]
    with h5py.File(path, "r+") as file:
        names = [*file.attrs, *file]
        name = names[rng.integers(len(names))]
        if name in file.attrs:
            del file.attrs[name]
            if rng.random() < 0.8:
                file.attrs[name] = value
        else:
            del file[name]
            if rng.random() < 0.8:
                file[name] = value


def _wrong_word(path, content, rng):
    """A number or a quoted text of JSON, TOML, CSV and their like, replaced, or a line doubled or
    left out.
    """
    text = content.decode("latin-1")
    places = [
        m.span() for m in re.finditer(r'-?\d+(?:\.\d+)?(?:e-?\d+)?|"[^"\n]*"|\b[a-z_]+\b', text)
    ]
    if not places or rng.random() < 0.15:
        lines = text.splitlines(keepends=True)
        i = rng.integers(len(lines))
        lines[i] = lines[i] * int(rng.integers(0, 3))
        path.write_bytes("".join(lines).encode("latin-1"))
        return
    start, stop = places[rng.integers(len(places))]
    word = _WORDS[rng.integers(len(_WORDS))]
    path.write_bytes(text[:start].encode("latin-1") + word.encode() + text[stop:].encode("latin-1"))


def copy_of(path, folder):
    """A copy of a file in a new folder, with the files beside it that belong to it (of a killed
    run).
    """
    folder = Path(folder)
    for whole in path.parents:
        if whole.name == "transients":  # a job needs its project
            shutil.copytree(whole, folder)
            return folder / path.relative_to(whole)
    if path.parent.name in ("done", "left", "lock", "images"):
        shutil.copytree(path.parent, folder)
    else:
        folder.mkdir(parents=True)
        shutil.copy(path, folder)
    return folder / path.name
