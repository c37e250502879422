"""The same images give the same tables, however they come and whatever interrupts the run."""

import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from running import MPIEXEC, environment
from series_helpers import content, in_memory, rows, run_series, settings, small_series

from photometry.errors import BadInputError, WrongUseError
from photometry.transients import configuration, main
from photometry.transients import database as db
from photometry.transients.accessors import open_image
from photometry.transients.runner import Runner
from photometry.transients.stream import Emulator, ImageStream

SCRIPT = Path(__file__).parents[2] / "run_scripts" / "run_transients.py"

JOB = """[source_extraction]
ew_sys_err = 0
ns_sys_err = 0
"""


@pytest.fixture(scope="module")
def series():
    return small_series(n_epochs=6, frequencies=(150e6, 170e6))


@pytest.fixture(scope="module")
def expected(series, tmp_path_factory):
    """The tables of an uninterrupted run in one process."""
    images = [open_image(image) for image in in_memory(series)]
    run_series(images, tmp_path_factory.mktemp("expected"))
    found = content()
    db.disconnect()
    assert len(found["assocxtrsource"]) > 20
    assert found["newsource"]
    return found


@pytest.fixture
def project(series, tmp_path, monkeypatch):
    """A project with a job over files of the series."""
    monkeypatch.chdir(tmp_path)
    paths = series.write(tmp_path / "images")
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / configuration.JOB_FILE).write_text(JOB)
    (tmp_path / "job" / configuration.IMAGES_FILE).write_text("../images/*.fits\n")
    (tmp_path / configuration.PIPELINE_FILE).write_text("[parallelise]\nmethod = serial\n")
    return paths


def tables_of(folder):
    with db.Database(Path(folder) / "job" / "transients.sqlite", read_only=True) as database:
        return comparable(content(database))


def comparable(tables):
    """Without the settings and the dataset's row, which name the job."""
    return {name: found for name, found in tables.items() if name not in ("config", "dataset")}


def start(*command, **variables):
    return subprocess.Popen(
        [*command, sys.executable, str(SCRIPT), "job"], env=environment(**variables),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def test_files_in_any_order_give_the_same_tables(series, expected, tmp_path):
    paths = series.write(tmp_path / "images")
    shuffled = [paths[i] for i in np.random.default_rng(4).permutation(len(paths))]
    run_series(shuffled, tmp_path)
    assert comparable(content()) == comparable(expected)
    db.disconnect()


def test_processes_give_the_same_tables(series, expected, tmp_path):
    run_series(series.write(tmp_path / "images"), tmp_path, runner=Runner("multiproc", 2))
    assert comparable(content()) == comparable(expected)
    db.disconnect()


@pytest.mark.mpi
@pytest.mark.slow
def test_ranks_of_mpi_give_the_same_tables(project, expected, tmp_path):
    job = start(MPIEXEC, "-n", "3")
    try:
        output, _ = job.communicate(timeout=600)
    finally:
        job.kill()
    assert job.returncode == 0, output
    assert tables_of(tmp_path) == comparable(expected)


@pytest.mark.parametrize("order", ["rows", "columns"])
def test_a_stream_gives_the_same_tables_and_the_last_group_too(series, expected, tmp_path, order):
    timesteps = [[series.image(epoch, band) for band in range(2)] for epoch in range(6)]
    db.connect(tmp_path / "stream.sqlite")
    dataset = db.insert_dataset("stream")
    job = settings()
    with Emulator((0, 0)) as emulator:
        sender = threading.Thread(
            target=emulator.send, args=(timesteps,), kwargs={"pixel_order": order, "chunk": 20_000}
        )
        sender.start()
        senders = [("127.0.0.1", port) for port in emulator.ports]
        with ImageStream(senders, pixel_order=order, group_timeout=60, reconnect=False) as stream:
            for when, images in stream.groups():
                summary = main.Summary(dataset)
                main._do_timestep(
                    summary, when, images, job, Runner("serial"), dataset, False, True
                )
        sender.join(timeout=30)
    main._finish(dataset)
    assert comparable(content()) == comparable(expected)
    db.disconnect()


class Killed(BaseException):
    """What a kill does to a transaction, within this process."""


@pytest.mark.parametrize(
    "step", ["associate_extracted_sources", "associate_nd", "varmetric", "record_timestep"]
)
def test_a_run_interrupted_within_any_step_continues_to_the_same_tables(
    series, expected, tmp_path, monkeypatch, step
):
    images = [open_image(image) for image in in_memory(series)]
    path = tmp_path / "killed.sqlite"
    db.connect(path)
    dataset = db.insert_dataset("killed")
    original, calls = getattr(db, step), []

    def interrupted(*args, **options):
        calls.append(step)
        original(*args, **options)
        if len(calls) % 2 == 0:
            raise Killed

    interruptions = 0
    for _ in range(20):
        with monkeypatch.context() as patch:
            if interruptions < 3:
                patch.setattr(db, step, interrupted)
            try:
                main.run_batch(images, settings(), Runner("serial"), dataset, False)
                break
            except Killed:
                interruptions += 1
                db.disconnect()
                db.connect(path)
    assert interruptions >= 1
    assert comparable(content()) == comparable(expected)
    db.disconnect()


@pytest.mark.slow
def test_a_killed_process_is_continued_by_the_next_run(project, expected, tmp_path):
    database = tmp_path / "job" / "transients.sqlite"
    for n_steps in (1, 3):
        job = start()
        try:
            limit = time.monotonic() + 120
            while _steps_done(database) < n_steps and job.poll() is None:
                assert time.monotonic() < limit
                time.sleep(0.005)
        finally:
            job.send_signal(signal.SIGKILL)
            job.communicate()
    final = start()
    output, _ = final.communicate(timeout=600)
    assert final.returncode == 0, output
    assert tables_of(tmp_path) == comparable(expected)
    with db.Database(database, read_only=True) as opened:
        assert len(opened.rows(sa.select(db.schema.dataset))) == 1


def _steps_done(path):
    if not path.is_file() or not path.stat().st_size:
        return 0
    try:
        with db.Database(path, read_only=True) as database:
            return len(database.rows(sa.select(db.schema.timestep)))
    except (sa.exc.OperationalError, WrongUseError, main.TryAgainError):
        return 0


@pytest.mark.slow
def test_sigterm_ends_a_run_after_its_timestep_with_exit_code_3(project, expected, tmp_path):
    job = start()
    try:
        limit = time.monotonic() + 120
        while _steps_done(tmp_path / "job" / "transients.sqlite") < 1 and job.poll() is None:
            assert time.monotonic() < limit
            time.sleep(0.005)
        job.terminate()
        output, _ = job.communicate(timeout=600)
    finally:
        job.kill()
    assert job.returncode in (0, 3), output
    final = start()
    final.communicate(timeout=600)
    assert final.returncode == 0
    assert tables_of(tmp_path) == comparable(expected)


def test_a_second_run_of_the_same_database_is_refused(project, tmp_path):
    main.setup(main.get_pipe_config("job"))
    try:
        second = start()
        output, _ = second.communicate(timeout=600)
        assert second.returncode == 2
        assert "in use" in output
    finally:
        main.close_database(1)


def test_bad_images_are_skipped_named_and_counted(project, series, tmp_path):
    folder = tmp_path / "images"
    (folder / "a_text.fits").write_text("no image")
    (folder / "half.fits").write_bytes(project[2].read_bytes()[:20_000])
    (folder / "none.fits").write_bytes(b"")
    from astropy.io import fits

    with fits.open(project[0]) as hdus:
        hdus[0].header.remove("BMAJ")
        hdus.writeto(folder / "no_beam.fits")
    with fits.open(project[0]) as hdus:
        hdus[0].header["CUNIT1"] = "arcsec"
        hdus.writeto(folder / "arcsec.fits")
    job = start()
    output, _ = job.communicate(timeout=600)
    assert job.returncode == 1
    for name in ("a_text", "half", "none", "no_beam", "arcsec"):
        assert f"{name}.fits" in output
    with db.Database(tmp_path / "job" / "transients.sqlite", read_only=True) as database:
        assert len(database.rows(sa.select(db.schema.skippedimage))) == 5
        assert len(database.rows(sa.select(db.schema.image))) == 12
    with pytest.raises(BadInputError):
        main.run("job", strict=True)


def test_a_timestep_that_fails_leaves_nothing_behind_and_is_named(series, tmp_path, monkeypatch):
    images = [open_image(image) for image in in_memory(series)]
    calls = []

    def failing(image_id, *args, **options):
        calls.append(image_id)
        if len(calls) == 3:
            raise RuntimeError("a defect")
        return original_associate(image_id, *args, **options)

    original_associate = db.associate_extracted_sources
    monkeypatch.setattr(db, "associate_extracted_sources", failing)
    _, summary = run_series(images, tmp_path)
    assert (summary.done, summary.failed) == (5, 1)
    (failed,) = (row for row in rows("timestep") if row.status == "failed")
    assert "a defect" in failed.message
    assert "00001-150.000MHz.fits" in failed.message
    assert len(rows("image")) == 10
    db.consistency_check()
    # and the next run of that dataset does it
    monkeypatch.undo()
    again = main.run_batch(images, settings(), Runner("serial"), 1, False)
    assert (again.done, again.failed) == (6, 0)
    db.disconnect()


def test_quality_rejects_an_image_with_its_reason_and_the_run_goes_on(tmp_path):
    from dataclasses import replace

    series = small_series(n_epochs=4)
    images = in_memory(series)
    noisy = replace(series, noise=0.5)
    images[2] = noisy.image(2)
    images[3] = (images[3][0], np.zeros_like(images[3][1]))
    run_series(images, tmp_path, settings(quality={"rms_est_max": 0.1}))
    assert [row.rejectreason for row in rows("rejection")] == [0, 5]
    assert "noise of 0." in rows("rejection")[0].comment
    assert len(rows("image")) == 4
    db.disconnect()


@pytest.mark.slow
def test_on_a_shared_server_jobs_of_one_name_are_apart_killed_and_side_by_side(
    project, expected, tmp_path
):
    """PostgreSQL: one job is killed three times while another project has a job of the same name
    at work."""
    from servers import temporary_database

    from photometry.transients.database import schema

    steps = sa.select(schema.timestep.c.id).where(schema.timestep.c.dataset == 1)
    with temporary_database("postgresql") as url:
        other = tmp_path / "other"
        shutil.copytree(tmp_path / "job", other / "job")
        (other / "job" / configuration.IMAGES_FILE).write_text(f"{tmp_path}/images/*.fits\n")
        for folder in (tmp_path, other):
            text = f"[parallelise]\nmethod = serial\n[database]\ndatabase = {url}\n"
            (folder / configuration.PIPELINE_FILE).write_text(text.replace("%", "%%"))
        with db.Database(str(url)) as database:
            for n_steps in (1, 2, 4):
                job = start()
                try:
                    limit = time.monotonic() + 120
                    while len(database.rows(steps)) < n_steps and job.poll() is None:
                        assert time.monotonic() < limit
                        time.sleep(0.005)
                finally:
                    job.kill()
                    job.communicate()
            beside = subprocess.Popen(
                [sys.executable, str(SCRIPT), "job"], env=environment(), cwd=other,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip
            last = start()
            for process in (last, beside):
                output, _ = process.communicate(timeout=600)
                assert process.returncode == 0, output
            assert len(database.rows(sa.select(schema.dataset))) == 2
            db.consistency_check(database=database)
            for number in (1, 2):
                light_curves = [
                    (source.ra, source.decl, source.points) for source in _sources(database, number)
                ]
                assert light_curves == _expected_sources(expected)


def _sources(database, dataset):
    table = db.schema.runningcatalog
    columns = table.c.wm_ra.label("ra"), table.c.wm_decl.label("decl")
    query = sa.select(*columns, table.c.datapoints.label("points"))
    return database.rows(query.where(table.c.dataset == dataset).order_by(table.c.id))


def _expected_sources(expected):
    names = [column.name for column in db.schema.runningcatalog.c]
    wanted = [names.index(name) for name in ("wm_ra", "wm_decl", "datapoints")]
    return [tuple(row[index] for index in wanted) for row in expected["runningcatalog"]]
