"""The functions of the original: names, arguments, and what each returns."""

import inspect
from datetime import datetime

import pytest
import sqlalchemy as sa
from series_helpers import content, in_memory, rows, settings, small_series

from photometry.transients import database as db
from photometry.transients import main, steps
from photometry.transients.accessors import ImageAccessor, open_image
from photometry.transients.finder import Extraction
from photometry.transients.runner import Runner

# the page of the original's documentation; two are of its module ``steps``
FUNCTIONS = {
    "assocate_and_get_force_fits": "db_image, job_config",
    "associate_and_get_force_fits": "db_image, job_config",
    "close_database": "dataset_id",
    "consistency_check": "",
    "do_forced_fits": "runner, all_forced_fits",
    "extract_fits_from_files": "runner, paths",
    "extract_metadata": "job_config, accessors, runner",
    "get_accessors": "runner, all_images",
    "get_metadata_for_sorting": "runner, image_paths",
    "get_pipe_config": "job_name",
    "get_runner": "pipe_config",
    "initialise_dataset": "job_config, supplied_mon_coords",
    "insert_and_associate_forced_fits": "all_fits, job_config",
    "load_images": "job_name, job_dir",
    "quality_check": "db_images, accessors, job_config, runner",
    "run": "job_name, supplied_mon_coords=None",
    "run_batch": "image_paths, job_config, runner, dataset_id, copy_images",
    "run_stream": "runner, job_config, dataset_id, copy_images",
    "setup": "pipe_config, supplied_mon_coords=None",
    "source_extraction": "accessors, job_config, runner",
    "store_extractions": "images, extraction_results, job_config",
    "store_image_data": "db_images, fits_datas, fits_headers",
    "store_image_metadata": "metadatas, job_config, dataset_id",
    "timestamp_step": "runner, images, job_config, dataset_id, copy_images",
    "varmetric": "dataset_id",
}


@pytest.mark.parametrize(("name", "arguments"), FUNCTIONS.items())
def test_each_function_takes_the_arguments_of_the_original(name, arguments):
    parameters = inspect.signature(getattr(main, name)).parameters.values()
    expected = [entry for entry in arguments.split(", ") if entry]
    own = [str(p) for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    if name == "get_runner":  # ours may be given an executor
        own.remove("executor=None")
    assert own == expected
    assert name in main.__all__
    # what is ours beside these has a default
    assert all(p.default is not p.empty for p in parameters if p.kind is p.KEYWORD_ONLY)


def test_the_misspelt_function_has_both_names():
    assert main.assocate_and_get_force_fits is main.associate_and_get_force_fits


def test_grouping_is_a_step_of_its_own():
    early, late = datetime(2024, 1, 1), datetime(2024, 1, 2)
    found = steps.group_per_timestep([("c", late, 1.0), ("b", early, 2.0), ("a", early, 1.0)])
    assert found == [(early, ["a", "b"]), (late, ["c"])]


def test_the_steps_called_one_by_one_give_the_tables_of_a_timestep(tmp_path):
    series = small_series(n_epochs=3, frequencies=(150e6, 170e6))
    images, job, runner = in_memory(series), settings(), Runner("serial")
    watched = [(123.01, 30.0)]
    db.connect(tmp_path / "one.sqlite")
    dataset = main.initialise_dataset(job, watched)[1]
    groups = main.get_metadata_for_sorting(runner, images)
    assert [time for time, _ in groups] == sorted(time for time, _ in groups)
    assert [len(group) for _, group in groups] == [2, 2, 2]
    records = [main.timestamp_step(runner, group, job, dataset, False) for _, group in groups]
    expected = content()
    for row in (row for group in records for row in group):
        image = next(image for image in rows("image") if image.id == row.image)
        assert row[:2] == (image.rms_qc, image.band)
        assert not row.rejected
    db.disconnect()

    db.connect(tmp_path / "two.sqlite")
    dataset = main.initialise_dataset(job, watched)[1]
    for _, group in groups:
        accessors = main.get_accessors(runner, group)
        assert all(isinstance(accessor, ImageAccessor) for accessor in accessors)
        metadatas = main.extract_metadata(job, accessors, runner)
        assert all(metadata["rms_qc"] > 0 for metadata in metadatas)
        db_images = main.store_image_metadata(metadatas, job, dataset)
        good = main.quality_check(db_images, accessors, job, runner)
        assert [image for image, _ in good] == db_images
        results = main.source_extraction([accessor for _, accessor in good], job, runner)
        assert all(isinstance(result, Extraction) for result in results)
        assert all(0 < result.rms_min < result.rms_max for result in results)
        main.store_extractions(db_images, results, job)
        requests = []
        for image, accessor in good:
            positions, ids = main.assocate_and_get_force_fits(image, job)
            assert len(positions) == len(ids) >= 1  # the monitoring position at least
            requests.append((accessor, image.id, positions, ids, job["source_extraction"]))
        fits = main.do_forced_fits(runner, requests)
        assert [number for _, _, number in fits] == [image.id for image in db_images]
        main.insert_and_associate_forced_fits(fits, job)
        main.varmetric(dataset)
    assert content() == expected
    main.consistency_check()
    main.close_database(dataset)


def test_pixels_are_stored_as_they_are(tmp_path):
    series, runner = small_series(n_epochs=1), Runner("serial")
    paths = series.write(tmp_path / "images")
    db.connect(tmp_path / "copies.sqlite")
    job, dataset = main.initialise_dataset(settings(), None)
    accessors = main.get_accessors(runner, paths)
    db_images = main.store_image_metadata(
        main.extract_metadata(job, accessors, runner), job, dataset
    )
    datas, headers = main.extract_fits_from_files(runner, paths)
    main.store_image_data(db_images, datas, headers)
    (kept,) = db.current().rows(sa.select(db.schema.imagedata))
    pixels, header = steps.pixels_from_bytes(kept.fits_data, kept.fits_header)
    assert (pixels == open_image(paths[0]).pixels).all()
    assert header["BMAJ"] == open_image(paths[0]).header["BMAJ"]
    main.close_database(dataset)


def test_a_dataset_of_an_older_version_is_continued_with_the_defaults_of_newer_settings(tmp_path):
    db.connect(tmp_path / "old.sqlite")
    _job, dataset = main.initialise_dataset(settings(quality={"rms_rej_sigma": 4.0}), None)
    db.current().execute("DELETE FROM config WHERE key = 'own_source_first'")
    changed = settings(persistence={"dataset_id": dataset})
    continued, number = main.initialise_dataset(changed, None)
    assert number == dataset
    assert continued["association"]["own_source_first"] is True
    assert continued["quality"]["rms_rej_sigma"] == 4.0
    main.close_database(dataset)
