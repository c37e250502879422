"""Rows that are stored once: datasets and their configuration, images, bands, sky regions,
extractions, what was skipped."""

import ast
import logging
from datetime import datetime, timezone

import numpy as np
import sqlalchemy as sa

from ... import sky
from ...errors import ArgumentError, WrongUseError
from . import schema
from .catalogue import catalogue
from .connection import current

log = logging.getLogger(__name__)

REGION_TOLERANCE = 0.1
"""Pointings and radii that differ by less than this part of a beam are one sky region."""


def now():
    """Now, UTC, as the database has it: without a time zone."""
    return datetime.now(timezone.utc).replace(tzinfo=None)


def insert_dataset(description, *, database=None, **settings):
    """Begin a dataset; returns its id.

    Parameters
    ----------
    description : str
    settings : further columns of ``dataset``, for example ``detection_threshold``
    """
    database, table = current(database), schema.dataset
    with database.transaction():
        number = int(database.new_ids(table, 1)[0])
        values = {"id": number, "description": str(description)[:100], "process_start_ts": now()}
        database.change(table.insert().values(values | settings))
    return number


def update_dataset_process_end_ts(dataset_id, *, database=None):
    """Note that a run over a dataset has ended now."""
    table = schema.dataset
    statement = table.update().where(table.c.id == dataset_id).values(process_end_ts=now())
    current(database).change(statement)


def insert_config(dataset_id, settings, *, database=None):
    """Store settings (dict of dicts: section -> key -> int, float, str or bool) with a dataset.

    Parameters
    ----------
    dataset_id : int
    settings : dict of dicts
    """
    database = current(database)
    with database.transaction():
        for section, values in settings.items():
            for key, value in values.items():
                kind = type(value).__name__
                if kind not in ("str", "int", "float", "bool"):
                    raise ArgumentError(
                        f"{section}.{key} is a {kind}; expected int, float, str or bool"
                    )
                columns = {"section": section, "key": key, "type": kind}
                columns["value"] = value if kind == "str" else repr(value)
                database.insert(schema.config, {"dataset": dataset_id, **columns})


def update_config(dataset_id, section, key, value, *, database=None):
    """Change one setting (text) stored with a dataset.

    Parameters
    ----------
    dataset_id : int
    section, key, value : str
    """
    table = schema.config
    same = (table.c.dataset == dataset_id) & (table.c.section == section) & (table.c.key == key)
    current(database).change(table.update().where(same).values(value=value))


def fetch_config(dataset_id, *, database=None):
    """The settings stored with a dataset, each of the type it had: dict of dicts."""
    table, settings = schema.config, {}
    query = sa.select(table).where(table.c.dataset == dataset_id).order_by(table.c.id)
    for row in current(database).rows(query):
        value = row.value if row.type == "str" else ast.literal_eval(row.value)
        settings.setdefault(row.section, {})[row.key] = value
    return settings


def insert_monitor_positions(dataset_id, positions, *, database=None):
    """Positions to measure in every image, (n, 2) ra and decl, deg.

    Parameters
    ----------
    dataset_id : int
    positions : (n, 2) array, deg
    """
    positions = np.asarray(positions, float).reshape(-1, 2)
    wrong = ~np.isfinite(positions).all(axis=1) | (np.abs(positions[:, 1]) > 90)
    if wrong.any():
        ra, decl = positions[np.argmax(wrong)]
        raise ArgumentError(f"monitoring position {ra}, {decl}: expected ra and decl in degrees")
    columns = {"ra": positions[:, 0] % 360, "decl": positions[:, 1]}
    current(database).insert(schema.monitor, {"dataset": dataset_id, **columns})


def get_monitor_entries(dataset_id, *, database=None):
    """The rows of ``monitor`` of a dataset."""
    table = schema.monitor
    query = sa.select(table).where(table.c.dataset == dataset_id).order_by(table.c.id)
    return current(database).rows(query)


def insert_image(
    dataset,
    freq_eff,
    freq_bw,
    taustart_ts,
    tau_time,
    beam_smaj_pix,
    beam_smin_pix,
    beam_pa_rad,
    deltax,
    deltay,
    url,
    centre_ra,
    centre_decl,
    xtr_radius,
    rms_qc,
    freq_bw_max=0.0,
    rms_min=None,
    rms_max=None,
    detection_thresh=None,
    analysis_thresh=None,
    *,
    stokes=1,
    database=None,
):
    """Store an image, with its band and sky region where they are new; returns its id.

    Parameters
    ----------
    dataset : int
    freq_eff, freq_bw : float, Hz
    taustart_ts : datetime, UTC, start of the exposure
    tau_time : float, s
    beam_smaj_pix, beam_smin_pix, beam_pa_rad : float, semi axes (half widths at half maximum) in
        pixels, angle in rad
    deltax, deltay : float, deg per pixel
    url : str
    centre_ra, centre_decl, xtr_radius : float, deg, the circle in which sources are looked for
    rms_qc : float, Jy, noise in the middle
    freq_bw_max : float, Hz; not 0: replaces ``freq_bw`` where bands are compared
    rms_min, rms_max : float, Jy, extremes of the noise, where they are known already
    detection_thresh, analysis_thresh : float, sigma, of source extraction
    stokes : int, 1 for I
    """
    database, table = current(database), schema.image
    with database.transaction():
        number = int(database.new_ids(table, 1)[0])
        rb_smaj, rb_smin = beam_smaj_pix * abs(deltax), beam_smin_pix * abs(deltay)
        values = {
            "id": number,
            "dataset": dataset,
            "band": get_band(dataset, freq_eff, freq_bw, freq_bw_max, database=database),
            "skyrgn": get_skyregion(
                dataset,
                centre_ra,
                centre_decl,
                xtr_radius,
                REGION_TOLERANCE * rb_smaj,
                database=database,
            ),
            "stokes": stokes,
            "tau_time": tau_time,
            "freq_eff": freq_eff,
            "freq_bw": freq_bw,
            "taustart_ts": taustart_ts,
            "rb_smaj": rb_smaj,
            "rb_smin": rb_smin,
            "rb_pa": float(np.degrees(beam_pa_rad)),
            "deltax": deltax,
            "deltay": deltay,
            "fwhm_arcsec": float(2 * np.sqrt(rb_smaj * rb_smin) * 3600),
            "rms_qc": rms_qc,
            "rms_min": rms_min,
            "rms_max": rms_max,
            "detection_thresh": detection_thresh,
            "analysis_thresh": analysis_thresh,
            "url": str(url)[:1024],
        }
        values = {name: _plain(value) for name, value in values.items()}
        database.change(table.insert().values(values))
    return number


def _plain(value):
    """A numpy number as Python's; NaN as NULL."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and np.isnan(value) else value


def update_image(image_id, *, database=None, **values):
    """Change columns of an image: ``rms_min, rms_max, detection_thresh, analysis_thresh``."""
    table = schema.image
    values = {name: _plain(value) for name, value in values.items()}
    current(database).change(table.update().where(table.c.id == image_id).values(values))


def get_image(image_id, *, database=None):
    """The row of an image."""
    rows = current(database).rows(sa.select(schema.image).where(schema.image.c.id == int(image_id)))
    if not rows:
        raise WrongUseError(f"image {image_id}: there is none in the database")
    return rows[0]


def get_band(dataset_id, freq_eff, freq_bw, freq_bw_max=0.0, *, database=None):
    """The id of the first band of a dataset that overlaps, or of a new one.

    Parameters
    ----------
    dataset_id : int
    freq_eff, freq_bw : float, Hz
    freq_bw_max : float, Hz; not 0: replaces ``freq_bw``
    """
    database, table = current(database), schema.frequencyband
    width = freq_bw_max or freq_bw
    low, high = freq_eff - width / 2, freq_eff + width / 2
    query = sa.select(table).where(table.c.dataset == dataset_id).order_by(table.c.id)
    for row in database.rows(query):
        span = max(high, row.freq_high) - min(low, row.freq_low)
        if span < width + (row.freq_high - row.freq_low):
            return row.id
    values = {"freq_central": freq_eff, "freq_low": low, "freq_high": high}
    return int(database.insert(table, {"dataset": dataset_id, **values})[0])


def get_skyregion(dataset_id, centre_ra, centre_decl, xtr_radius, tolerance=0.0, *, database=None):
    """The id of the sky region of a pointing, or of a new one, which is then linked to the known
    sources inside it.

    Parameters
    ----------
    dataset_id : int
    centre_ra, centre_decl, xtr_radius : float, deg
    tolerance : float, deg, by which centre and radius may differ
    """
    database, table = current(database), schema.skyregion
    centre_ra = float(centre_ra) % 360
    query = sa.select(table).where(table.c.dataset == dataset_id).order_by(table.c.id)
    regions = database.columns(query)
    if len(regions["id"]):
        distance = sky.separation(
            regions["centre_ra"], regions["centre_decl"], centre_ra, centre_decl
        )
        same = (distance <= tolerance) & (abs(regions["xtr_radius"] - xtr_radius) <= tolerance)
        if same.any():
            return int(regions["id"][np.argmax(same)])
    with database.transaction():
        x, y, z = sky.unit_vectors(centre_ra, centre_decl).tolist()
        columns = {"dataset": dataset_id, "centre_ra": centre_ra, "centre_decl": float(centre_decl)}
        columns |= {"xtr_radius": float(xtr_radius), "x": x, "y": y, "z": z}
        number = int(database.insert(table, columns)[0])
        sources = catalogue(database, dataset_id)
        ra, decl = sources.sources["wm_ra"], sources.sources["wm_decl"]
        distance = sky.separation(ra, decl, centre_ra, centre_decl)
        inside = np.flatnonzero((distance < xtr_radius) & sources.alive)
        sources.add_members(number, inside, distance[inside])
    return number


def reject(image_id, reason, comment="", *, database=None):
    """Note that an image is not to be used; ``reason``: a key of `schema.REJECT_REASONS`.

    Parameters
    ----------
    image_id : int
    reason : int
    comment : str, with the numbers
    """
    columns = {"image": image_id, "rejectreason": reason, "comment": str(comment)[:512]}
    current(database).insert(schema.rejection, columns)


def isrejected(image_id, *, database=None):
    """Why an image was rejected, a list of messages; empty where it was not."""
    why, text = schema.rejection, schema.rejectreason
    query = sa.select(text.c.description, why.c.comment).join_from(
        why, text, text.c.id == why.c.rejectreason
    )
    rows = current(database).rows(query.where(why.c.image == image_id).order_by(why.c.id))
    return [f"{row.description}: {row.comment}" for row in rows]


def insert_imagedata(image_id, header, data, *, database=None):
    """Store an image's header text and the bytes of its pixels, to be shown beside its
    candidates.

    Parameters
    ----------
    image_id : int
    header : str, cards with line ends
    data : bytes of (n_rows, n_columns) float32, or None
    """
    columns = {"image": image_id, "fits_header": header, "fits_data": data}
    current(database).insert(schema.imagedata, columns)
