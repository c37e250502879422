"""The pipeline: every step as a function, and the runs that call them in their order.

The functions have the names and arguments of the LOFAR Transients Pipeline's ``tkp.main``. Image
work goes to a `Runner`; association and the database stay in this process. A timestep (the images
with one start time) is one transaction: done wholly, or not at all and done again by the next run.
"""

import logging
from pathlib import Path

import sqlalchemy as sa

from ..errors import BadInputError, PhotometryError, TryAgainError, WrongUseError
from ..processes import draining
from . import configuration, steps
from . import database as db
from .database import schema
from .runner import Runner
from .steps import Summary, group_per_timestep
from .timestep import (
    assocate_and_get_force_fits,
    associate_and_get_force_fits,
    do_forced_fits,
    extract_fits_from_files,
    extract_metadata,
    get_accessors,
    insert_and_associate_forced_fits,
    quality_check,
    source_extraction,
    store_extractions,
    store_image_data,
    store_image_metadata,
    timestamp_step,
    url_of,
    varmetric,
)

__all__ = [
    "assocate_and_get_force_fits",
    "associate_and_get_force_fits",
    "close_database",
    "consistency_check",
    "do_forced_fits",
    "extract_fits_from_files",
    "extract_metadata",
    "get_accessors",
    "get_metadata_for_sorting",
    "get_pipe_config",
    "get_runner",
    "initialise_dataset",
    "insert_and_associate_forced_fits",
    "load_images",
    "quality_check",
    "run",
    "run_batch",
    "run_stream",
    "setup",
    "source_extraction",
    "store_extractions",
    "store_image_data",
    "store_image_metadata",
    "timestamp_step",
    "varmetric",
]

log = logging.getLogger(__name__)

# Setting up


def run(job_name, supplied_mon_coords=None, *, strict=False, executor=None):
    """Run a job of the project in the current folder; continues where an earlier run of it ended.

    Parameters
    ----------
    job_name : str
    supplied_mon_coords : list of (ra, decl), deg, optional
        Positions to measure in every image of a new dataset
    strict : bool
        Stop at the first image or timestep that cannot be done
    executor : concurrent.futures.Executor, optional
        For the image work, in place of local processes (``mpi4py.futures``)

    Returns
    -------
    Summary
    """
    pipe_config = get_pipe_config(job_name)
    _job_folder(pipe_config)  # before a folder for logs is made
    handlers = steps.log_to_files(pipe_config.logging.log_dir, pipe_config.logging.debug)
    if pipe_config.logging.colorlog:
        steps.color_console()
    try:
        with get_runner(pipe_config, executor) as runner:
            job_dir, job_config, dataset_id = setup(pipe_config, supplied_mon_coords)
            try:
                options = {"copy_images": pipe_config.image_cache.copy_images, "strict": strict}
                if job_config.pipeline.mode == "stream":
                    return run_stream(runner, job_config, dataset_id, **options)
                images = load_images(job_name, job_dir)
                return run_batch(images, job_config, runner, dataset_id, **options)
            finally:
                close_database(dataset_id)
    finally:
        steps.stop_logging(handlers)


def get_pipe_config(job_name):
    """The settings of the project in the current folder, see `configuration.read_pipeline`."""
    return configuration.read_pipeline(job_name)


def get_runner(pipe_config, executor=None):
    """The `Runner` that the settings ask for; to be called before anything starts threads."""
    settings = pipe_config.parallelise
    method = "mpi" if executor is not None else settings.method
    return Runner(method, settings.cores, executor)


def setup(pipe_config, supplied_mon_coords=None):
    """Open the job's folder and database, and begin or continue its dataset.

    Returns
    -------
    job_dir : str
    job_config : settings of the job
    dataset_id : int
    """
    job_dir = _job_folder(pipe_config)
    url = configuration.url_of_database(pipe_config)
    db.claim(url)
    if pipe_config.database.dump_backup_copy:
        db.back_up(url)
    db.connect(url)
    job_config = configuration.read_job(job_dir / configuration.JOB_FILE)
    job_config["persistence"]["job_name"] = _job_in_database(pipe_config, job_dir, url)
    configuration.write_settings(pipe_config, job_config)
    job_config, dataset_id = initialise_dataset(job_config, supplied_mon_coords)
    return str(job_dir), job_config, dataset_id


def _job_folder(pipe_config):
    job_dir = Path(pipe_config.DEFAULT["job_directory"])
    if not job_dir.is_dir():
        raise WrongUseError(f"{job_dir}: no such folder; `photometry transients init` makes a job")
    return job_dir


def _job_in_database(pipe_config, job_dir, url):
    """The job's name as its datasets have it: where a database is shared, with its folder, as
    another project may have a job of that name."""
    name, job_dir = pipe_config.DEFAULT["job_name"], job_dir.resolve()
    own = isinstance(url, Path) and url.resolve().parent == job_dir
    return name if own else f"{name} in {job_dir}"[-200:]


def _claim_dataset(dataset_id):
    if not db.current().try_lock(dataset_id):
        raise WrongUseError(f"dataset {dataset_id} is in use by another run")


def initialise_dataset(job_config, supplied_mon_coords):
    """Begin a dataset, or continue one: with ``dataset_id`` -1 the job's unfinished one, if there
    is one.

    Parameters
    ----------
    job_config : settings of the job
    supplied_mon_coords : list of (ra, decl), deg, or None

    Returns
    -------
    job_config : of a continued dataset, the settings that it was begun with
    dataset_id : int
    """
    dataset_id = job_config["persistence"]["dataset_id"]
    job_name = job_config["persistence"].get("job_name", "")
    table = schema.dataset
    if dataset_id == -1:
        query = sa.select(sa.func.max(table.c.id)).where(table.c.job == job_name, ~table.c.finished)
        dataset_id = db.current().scalar(query) if job_name else None
        if dataset_id is None:
            dataset_id = _new_dataset(job_config, job_name, supplied_mon_coords)
            _claim_dataset(dataset_id)
            return job_config, dataset_id
        log.info("dataset %d of this job is not finished: continued", dataset_id)
    elif not db.current().rows(sa.select(table.c.id).where(table.c.id == dataset_id)):
        raise WrongUseError(f"dataset_id = {dataset_id}: there is no such dataset")
    _claim_dataset(dataset_id)
    stored = configuration.nested(db.fetch_config(dataset_id))
    _warn_of_differences(stored, job_config)
    if supplied_mon_coords:
        log.warning(
            "dataset %d is continued: monitoring positions are those it began with", dataset_id
        )
    # settings that are newer than the dataset
    stored = configuration.nested(
        {name: {**values, **stored.get(name, {})} for name, values in job_config.items()}
    )
    stored["persistence"]["dataset_id"] = dataset_id
    change = table.update().where(table.c.id == dataset_id)
    db.current().change(change.values(rerun=table.c.rerun + 1, finished=False, process_end_ts=None))
    return stored, dataset_id


def _new_dataset(job_config, job_name, supplied_mon_coords):
    extraction = job_config["source_extraction"]
    with db.current().transaction():
        dataset_id = db.insert_dataset(
            job_config["persistence"]["description"],
            job=job_name,
            detection_threshold=extraction["detection_threshold"],
            analysis_threshold=extraction["analysis_threshold"],
            assoc_radius=job_config["association"]["deruiter_radius"],
            backsize_x=extraction["back_size_x"],
            backsize_y=extraction["back_size_y"],
            margin_width=extraction["margin"],
        )
        db.insert_config(dataset_id, job_config)
        if supplied_mon_coords:
            db.insert_monitor_positions(dataset_id, supplied_mon_coords)
    return dataset_id


def _warn_of_differences(stored, given):
    for section, values in given.items():
        for key, value in values.items():
            old = stored.get(section, {}).get(key, value)
            if key not in ("dataset_id", "job_name") and old != value:
                log.warning(
                    "[%s] %s = %r is not used: the dataset was begun with %r",
                    section,
                    key,
                    value,
                    old,
                )


def load_images(job_name, job_dir):
    """The paths of a job's images, see `configuration.list_images`."""
    return configuration.list_images(job_dir)


def consistency_check():
    """Fail if a table has a row with id 0 or one that points to nothing."""
    db.consistency_check()


def close_database(dataset_id):
    """Note the end of the run, and close the database; also after failures."""
    try:
        db.update_dataset_process_end_ts(dataset_id)
    finally:
        db.disconnect()
        db.release()


# Runs


def run_batch(image_paths, job_config, runner, dataset_id, copy_images, *, strict=False):
    """Do all timesteps of some images in time order; those that are done already are left out.

    Parameters
    ----------
    image_paths : list of paths, or of images in memory
    job_config : settings of the job
    runner : Runner
    dataset_id : int
    copy_images : bool, keep pixels in the database
    strict : bool, stop at the first image or timestep that cannot be done

    Returns
    -------
    Summary
    """
    summary = Summary(dataset_id)
    db.current().index_lightcurves(False)
    if job_config["optical"]["match_stars"]:
        image_paths, skipped = _match_stars(image_paths, job_config, runner, dataset_id)
        _skip(summary, skipped, strict)
    groups, skipped = _sorted_images(runner, image_paths)
    _skip(summary, skipped, strict)
    finished = db.finished_timesteps(dataset_id)
    summary.n_timesteps = len(groups)
    stop = []
    with draining(lambda name: stop.append(name)):
        for time, images in groups:
            if time in finished:
                summary.done += 1
                _skip_late(summary, time, images, dataset_id, strict)
                continue
            if stop:
                log.warning("%s: stopped before the timestep of %s", stop[0], time)
                summary.stopped = True
                return summary
            _do_timestep(summary, time, images, job_config, runner, dataset_id, copy_images, strict)
    _finish(dataset_id)
    return summary


def _match_stars(image_paths, job_config, runner, dataset_id):
    """Optical frames with the coordinates that follow from their stars; the reference frame is kept
    with the dataset."""
    from .optical import match_series

    reference = job_config["optical"]["reference"]
    images, skipped, chosen = match_series(image_paths, runner, reference)
    if chosen != reference:
        job_config["optical"]["reference"] = chosen
        db.update_config(dataset_id, "optical", "reference", chosen)
    log.info("%d of %d frames matched to %s", len(images), len(image_paths), chosen)
    return images, skipped


def run_stream(runner, job_config, dataset_id, copy_images, *, strict=False):
    """Take images from the hosts and ports of the settings, a timestep at a time, until a signal
    asks to stop.

    Parameters
    ----------
    runner, job_config, dataset_id, copy_images, strict : see `run_batch`

    Returns
    -------
    Summary
    """
    from .stream import ImageStream, addresses

    settings = job_config["pipeline"]
    summary = Summary(dataset_id)
    db.current().index_lightcurves(False)
    finished = db.finished_timesteps(dataset_id)
    stream = ImageStream(
        addresses(settings["hosts"], settings["ports"]),
        pixel_order=settings["pixel_order"],
        group_timeout=settings["stream_timeout"],
    )
    with stream, draining(lambda name: stream.stop()):
        for time, images in stream.groups():
            if time in finished:
                _skip_late(summary, time, images, dataset_id, strict)
                continue
            summary.n_timesteps += 1
            _do_timestep(summary, time, images, job_config, runner, dataset_id, copy_images, strict)
            finished.add(time)
    _skip(summary, stream.rejected, strict)
    _finish(dataset_id)
    return summary


def _do_timestep(summary, time, images, job_config, runner, dataset_id, copy_images, strict):
    """One timestep, counted; what fails is written down with the names of its images."""
    skipped = {}
    try:
        with db.current().transaction():
            records = timestamp_step(
                runner, images, job_config, dataset_id, copy_images, skipped=skipped
            )
            if strict and skipped:
                raise BadInputError(next(iter(skipped.values())))
            n_rejected = sum(bool(record.rejected) for record in records)
            db.record_timestep(dataset_id, time, "done", len(records), n_rejected)
    except (sa.exc.OperationalError, OSError) as error:
        # a full disk, a server that is gone: the next timestep would fare no better
        raise TryAgainError(f"timestep of {time}: {getattr(error, 'orig', error)}") from error
    except (TryAgainError, WrongUseError):
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        names = ", ".join(url_of(image) for image in images)
        log.error("the timestep of %s failed (%s): %s", time, names, reason, exc_info=True)
        db.record_timestep(dataset_id, time, "failed", len(images), 0, f"{names}: {reason}")
        summary.failures[str(time)] = reason
        if strict:
            raise (
                error if isinstance(error, PhotometryError) else BadInputError(f"{names}: {reason}")
            ) from error
        return
    _skip(summary, skipped, strict)
    db.forget_skipped(dataset_id, [record.url for record in records])
    summary.count(records)
    log.info(
        "%s: %d images, %d sources, %d new, %d forced", time, len(records),
        sum(r.n_blind for r in records),
        sum(r.n_new_sources for r in records), sum(r.n_forced for r in records),
    )  # fmt: skip


def _skip(summary, skipped, strict):
    """Write down images that could not be used."""
    for url, reason in skipped.items():
        log.warning("skipped: %s", reason if url in reason else f"{url}: {reason}")
    if skipped:
        db.record_skipped(summary.dataset, skipped)
        summary.skipped.update(skipped)
        if strict:
            raise BadInputError(next(iter(skipped.values())))


def _skip_late(summary, time, images, dataset_id, strict):
    """Images whose timestep was done without them."""
    table = schema.image
    query = sa.select(table.c.url).where(table.c.dataset == dataset_id, table.c.taustart_ts == time)
    stored = {row.url for row in db.current().rows(query)}
    late = [url_of(image) for image in images if url_of(image)[:1024] not in stored]
    _skip(
        summary,
        {url: f"{url}: the timestep of {time} was done without this image" for url in late},
        strict,
    )


def _finish(dataset_id):
    table = schema.dataset
    db.current().change(table.update().where(table.c.id == dataset_id).values(finished=True))
    db.current().index_lightcurves(True)


def _sorted_images(runner, images):
    """Timesteps in time order, and what could not be opened: dict url -> reason."""
    metadatas = runner.map_each("get_metadata_for_ordering", images)
    pairs = list(zip(images, metadatas, strict=True))
    skipped = {
        url_of(image): str(entry) for image, entry in pairs if isinstance(entry, BadInputError)
    }
    good = [(image, *entry[1:]) for image, entry in pairs if not isinstance(entry, BadInputError)]
    return group_per_timestep(good), skipped


def get_metadata_for_sorting(runner, image_paths):
    """Open all images and group them; those that cannot be opened are left out with a warning.

    Returns
    -------
    list of (start time, [images]), in time order, each group by frequency
    """
    groups, skipped = _sorted_images(runner, image_paths)
    for reason in skipped.values():
        log.warning("skipped: %s", reason)
    if not groups:
        log.warning("there is no image that can be opened")
    return groups
