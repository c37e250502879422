"""One timestep: its images opened, judged, searched, associated and measured, each step a function.

The functions have the names and arguments of the original's; `main` has them too.
"""

import logging
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from ..errors import BadInputError
from . import database as db
from . import steps
from .database import schema
from .quality import RMS, Rejection, check_history
from .steps import ImageRecord

log = logging.getLogger(__name__)


def url_of(image):
    """The name of an image for people: of a path, an accessor, or (header, pixels)."""
    if isinstance(image, tuple):
        return str(image[0].get("FILENAME", "image"))
    return str(getattr(image, "url", "") or (image if isinstance(image, (str, Path)) else "image"))


def timestamp_step(runner, images, job_config, dataset_id, copy_images, *, skipped=None):
    """All steps for the images of one timestep, in one transaction.

    Parameters
    ----------
    runner : Runner
    images : list of paths or images in memory
    job_config : settings of the job
    dataset_id : int
    copy_images : bool, keep pixels in the database
    skipped : dict, optional
        Gets url -> reason for images that cannot be used; without it they are warnings

    Returns
    -------
    list of ImageRecord, one per image: ``(rms_qc, band, ...)``
    """
    skipped = {} if skipped is None else skipped
    accessors = _good(runner.map_each("get_accessors", images), images, skipped)
    metadatas, accessors = _metadata(job_config, accessors, runner, skipped)
    with db.current().transaction():
        db_images = store_image_metadata(metadatas, job_config, dataset_id)
        if copy_images:
            fits_datas, fits_headers = extract_fits_from_files(runner, accessors)
            store_image_data(db_images, fits_datas, fits_headers)
        elif job_config["optical"]["match_stars"]:
            for image, accessor in zip(db_images, accessors, strict=True):
                db.insert_imagedata(image.id, accessor.header.tostring(sep="\n"), None)
        good = quality_check(db_images, accessors, job_config, runner)
        # an image whose pixels turn out to be of no use is rejected like one of bad quality
        results = runner.map_each(
            "extract_sources", [a for _, a in good], [job_config["source_extraction"]]
        )
        for (image, _), result in zip(good, results, strict=True):
            if isinstance(result, BadInputError):
                db.reject(image.id, 0, str(result))
        kept = [
            (g, r) for g, r in zip(good, results, strict=True) if not isinstance(r, BadInputError)
        ]
        good = [pair for pair, _ in kept]
        store_extractions([image for image, _ in good], [r for _, r in kept], job_config)
        counts = {image.id: _associate(image, job_config) for image, _ in good}
        requests = [
            (a, image.id, *_requests(image, job_config), job_config["source_extraction"])
            for image, a in good
        ]
        insert_and_associate_forced_fits(do_forced_fits(runner, requests), job_config)
        varmetric(dataset_id)
        records = [_record(image, counts.get(image.id)) for image in db_images]
    for reason in skipped.values():
        log.debug("skipped: %s", reason)
    return records


def _record(image, counts):
    rejected = "; ".join(db.isrejected(image.id))
    table = schema.extractedsource
    query = sa.select(table.c.extract_type, sa.func.count()).where(table.c.image == image.id)
    n = {row[0]: row[1] for row in db.current().rows(query.group_by(table.c.extract_type))}
    counts = counts or {"new": 0, "new_sources": 0}
    return ImageRecord(
        image.rms_qc, image.band, image.id, image.url, rejected, n.get(0, 0), counts["new"],
        counts["new_sources"],
        n.get(1, 0), n.get(2, 0),
    )  # fmt: skip


def _good(results, images, skipped):
    """Results without the bad ones, whose reasons go to ``skipped``."""
    for image, result in zip(images, results, strict=True):
        if isinstance(result, BadInputError):
            skipped[url_of(image)] = str(result)
    return [result for result in results if not isinstance(result, BadInputError)]


def get_accessors(runner, all_images):
    """Images opened; those that cannot be are left out with a warning."""
    skipped = {}
    accessors = _good(runner.map_each("get_accessors", all_images), all_images, skipped)
    for reason in skipped.values():
        log.warning("skipped: %s", reason)
    return accessors


def extract_metadata(job_config, accessors, runner):
    """What the rows of ``image`` need, a dict per image, with the noise ``rms_qc``.

    Parameters
    ----------
    job_config : settings of the job
    accessors : list of ImageAccessor
    runner : Runner
    """
    settings = job_config["persistence"]
    return runner.map(
        "extract_metadatas", accessors, [settings["rms_est_sigma"], settings["rms_est_fraction"]]
    )


def _metadata(job_config, accessors, runner, skipped):
    """As `extract_metadata`, with the accessors in the same order; bad images are left out."""
    settings = job_config["persistence"]
    args = [settings["rms_est_sigma"], settings["rms_est_fraction"]]
    results = runner.map_each("extract_metadatas", accessors, args)
    pairs = [
        (r, a) for r, a in zip(results, accessors, strict=True) if not isinstance(r, BadInputError)
    ]
    metadatas = _good(results, accessors, skipped)
    return metadatas, [accessor for _, accessor in pairs]


def store_image_metadata(metadatas, job_config, dataset_id):
    """Insert images; returns their rows, sorted by start time as far as it differs.

    Parameters
    ----------
    metadatas : list of dict, see `extract_metadata`
    job_config : settings of the job
    dataset_id : int
    """
    settings, rows = job_config["source_extraction"], []
    for metadata in metadatas:
        values = dict(metadata)
        # a circle that reaches beyond what can be measured would claim sources that the image
        # cannot show
        reach = values.pop("half_size", np.inf) - settings["margin"] - values["beam_smaj_pix"]
        radius = max(min(settings["extraction_radius_pix"], reach), 1.0)
        values["xtr_radius"] = radius * abs(values["deltax"])
        values["freq_bw_max"] = job_config["persistence"]["bandwidth_max"]
        rows.append(db.get_image(db.insert_image(dataset_id, **values)))
    return sorted(rows, key=lambda row: row.taustart_ts)


def extract_fits_from_files(runner, paths):
    """Pixels and header texts of images: two lists."""
    images = runner.map("open_as_fits", paths)
    return [pixels for pixels, _ in images], [header for _, header in images]


def store_image_data(db_images, fits_datas, fits_headers):
    """Keep pixels and headers in ``imagedata``.

    Parameters
    ----------
    db_images : list of rows of ``image``
    fits_datas : list of (n_rows, n_columns) arrays
    fits_headers : list of str
    """
    for image, pixels, header in zip(db_images, fits_datas, fits_headers, strict=True):
        db.insert_imagedata(image.id, header, steps.pixels_to_bytes(pixels))


def quality_check(db_images, accessors, job_config, runner):
    """Judge images; the bad ones get a row in ``rejection``.

    Parameters
    ----------
    db_images : list of rows of ``image``
    accessors : list, in the same order
    job_config : settings of the job
    runner : Runner

    Returns
    -------
    list of (row, accessor) of the good ones
    """
    limits = {name: dict(job_config[name]) for name in ("quality", "quality_lofar")}
    rms = [np.nan if image.rms_qc is None else image.rms_qc for image in db_images]
    rejections = runner.map_each(
        "quality_reject_check", list(zip(accessors, rms, strict=True)), [limits]
    )
    good, n = [], limits["quality"]["rms_est_history"]
    for image, accessor, noise, rejection in zip(
        db_images, accessors, rms, rejections, strict=True
    ):
        if isinstance(rejection, BadInputError):
            rejection = Rejection(RMS, str(rejection))
        if rejection is None:
            history = _noise_history(image, n)
            rejection = check_history(noise, history, n, limits["quality"]["rms_rej_sigma"])
        if rejection is None:
            good.append((image, accessor))
        else:
            log.warning("image %s rejected: %s", image.url, rejection.comment)
            db.reject(image.id, rejection.reason, rejection.comment)
    return good


def _noise_history(image, n):
    table = schema.image
    query = sa.select(table.c.rms_qc).where(
        table.c.dataset == image.dataset,
        table.c.band == image.band,
        table.c.taustart_ts < image.taustart_ts,
        table.c.rms_qc.is_not(None),
    )
    rows = db.current().rows(query.order_by(table.c.taustart_ts.desc(), table.c.id.desc()).limit(n))
    return np.array([row.rms_qc for row in rows])


def source_extraction(accessors, job_config, runner):
    """The sources of images: a list of `finder.Extraction`.

    Parameters
    ----------
    accessors : list of ImageAccessor
    job_config : settings of the job
    runner : Runner
    """
    return runner.map("extract_sources", accessors, [job_config["source_extraction"]])


def store_extractions(images, extraction_results, job_config):
    """Keep the blind detections of images, and the extremes of their noise.

    Parameters
    ----------
    images : list of rows of ``image``
    extraction_results : list of `finder.Extraction`
    job_config : settings of the job
    """
    settings = job_config["source_extraction"]
    axes = job_config["association"]["use_axis_errors"]
    for image, result in zip(images, extraction_results, strict=True):
        sources, scale = result.sources, 1.0
        if result.is_optical and job_config["optical"]["calibrate"]:
            scale = db.flux_scale(image.id, sources)
            sources = scaled(sources, scale)
        db.update_image(
            image.id, rms_min=result.rms_min * scale, rms_max=result.rms_max * scale,
            flux_scale=scale,
            detection_thresh=settings["detection_threshold"],
            analysis_thresh=settings["analysis_threshold"],
        )  # fmt: skip
        db.insert_extracted_sources(image.id, sources, use_axis_errors=axes)


def scaled(records, scale):
    """Records of `database.RECORD` with fluxes, and their errors, times a factor."""
    records = records.copy()
    records[:, 4:8] *= scale
    return records


def assocate_and_get_force_fits(db_image, job_config):
    """Associate the blind detections of an image, and say where it has to be measured besides.

    Parameters
    ----------
    db_image : row of ``image``
    job_config : settings of the job

    Returns
    -------
    positions : list of (ra, decl), deg
    ids : list of ('ff_nd', id of the source) or ('ff_ms', id in ``monitor``)
    """
    _associate(db_image, job_config)
    return _requests(db_image, job_config)


associate_and_get_force_fits = assocate_and_get_force_fits


def _associate(db_image, job_config):
    settings = job_config["association"]
    return db.associate_extracted_sources(
        db_image.id, deRuiter_r=settings["deruiter_radius"],
        beamwidths_limit=settings["beamwidths_limit"],
        new_source_sigma_margin=job_config["transient_search"]["new_source_sigma_margin"],
        ties=settings["ties"], own_source_first=settings["own_source_first"],
        fork_other_bands=settings["fork_other_bands"], many_to_one=settings["many_to_one"],
    )  # fmt: skip


def _requests(db_image, job_config):
    """What an image has to be measured at; asked when all bands of the timestep are associated, as
    a band may split a source."""
    missing = db.get_nulldetections(db_image.id, job_config["source_extraction"]["expiration"])
    watched = db.get_monitor_requests(db_image.id)
    positions = [(ra, decl) for _, ra, decl in (*missing, *watched)]
    ids = [("ff_nd", number) for number, _, _ in missing]
    return positions, ids + [("ff_ms", number) for number, _, _ in watched]


def do_forced_fits(runner, all_forced_fits):
    """Measure at given positions.

    Parameters
    ----------
    runner : Runner
    all_forced_fits : list of (accessor, image id, positions, ids, settings of source extraction)

    Returns
    -------
    list of ((n, 20) fits, n ids, image id); what cannot be measured is missing
    """
    wanted = [entry for entry in all_forced_fits if len(entry[2])]
    if not wanted:
        return []
    settings = wanted[0][4]
    found = runner.map(
        "forced_fits", [(a, positions, ids) for a, _, positions, ids, _ in wanted], [settings]
    )
    return [(fits, ids, entry[1]) for (fits, ids), entry in zip(found, wanted, strict=True)]


def insert_and_associate_forced_fits(all_fits, job_config):
    """Keep forced fits and take them into their light curves.

    Parameters
    ----------
    all_fits : list of (fits, ids, image id), see `do_forced_fits`
    job_config : settings of the job
    """
    for fits, ids, image_id in all_fits:
        fits = scaled(fits, db.get_image(image_id).flux_scale)
        for kind, name, associate in (
            ("ff_nd", "ff_runcat_ids", db.associate_nd),
            ("ff_ms", "ff_monitor_ids", db.associate_ms),
        ):
            rows = [i for i, (of_kind, _) in enumerate(ids) if of_kind == kind]
            if rows:
                db.insert_extracted_sources(
                    image_id, fits[rows], kind, **{name: [ids[i][1] for i in rows]}
                )
                associate(image_id)


def varmetric(dataset_id):
    """Bring the variability of all sources that have changed up to date."""
    db.varmetric(dataset_id)
