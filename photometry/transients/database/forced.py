"""Sources to be measured though they were not detected: null detections and monitoring
positions."""

import logging

import numpy as np
import sqlalchemy as sa

from ... import sky
from . import schema
from .association import FIRST_MONITORED, MONITORED, NULL_DETECTION
from .catalogue import catalogue
from .connection import current
from .extractions import extractions_of
from .loading import seconds
from .matching import offsets
from .records import get_image, get_monitor_entries

log = logging.getLogger(__name__)


def get_nulldetections(image_id, expiration=10, *, database=None):
    """Known sources that an image should show and does not.

    Parameters
    ----------
    image_id : int, of an image whose detections are associated
    expiration : int
        Leave out sources that were forced so often since their last detection

    Returns
    -------
    list of (id of the source, ra, decl), deg, in the order of the ids
    """
    database = current(database)
    image = get_image(image_id, database=database)
    known = catalogue(database, image.dataset)
    rows = np.fromiter(known.members.get(image.skyrgn, {}), int)
    sources = known.sources
    wanted = (
        known.alive[rows]
        & ~sources["mon_src"][rows]
        & (sources["first_seen"][rows] < seconds(image.taustart_ts))
        & (sources["forcedfits_count"][rows] < expiration)
    )
    pair, x = schema.assocxtrsource, schema.extractedsource
    query = sa.select(pair.c.runcat).join_from(x, pair, pair.c.xtrsrc == x.c.id)
    seen = [row.runcat for row in database.rows(query.where(x.c.image == int(image_id)))]
    rows = np.sort(rows[wanted & ~np.isin(sources["id"][rows], seen)])
    return list(
        zip(*(sources[name][rows].tolist() for name in ("id", "wm_ra", "wm_decl")), strict=True)
    )


def associate_nd(image_id, *, database=None):
    """Take the forced fits at null detections of an image into the light curves of their
    sources."""
    database = current(database)
    with database.transaction():
        image = get_image(image_id, database=database)
        known = catalogue(database, image.dataset)
        fits = extractions_of(database, image_id, "ff_nd")
        if not len(fits["id"]):
            return
        rows, fits = _living(known, fits)
        known.sources.set(rows, {"forcedfits_count": known.sources["forcedfits_count"][rows] + 1})
        statistics = known.add_points(
            rows, image.band, image.stokes, seconds(image.taustart_ts), fits
        )
        distance = 3600 * sky.separation(
            known.sources["wm_ra"][rows], known.sources["wm_decl"][rows], fits["ra"], fits["decl"]
        )
        known.write()
        columns = {
            "xtrsrc": fits["id"],
            "type": NULL_DETECTION,
            "distance_arcsec": distance,
            "r": 0.0,
        }
        known.write_associations(rows, {**columns, **statistics})


def _living(known, fits):
    """Rows of the sources that forced fits were made for, and the fits of those that are still
    there."""
    ids = known.sources["id"]
    rows = np.searchsorted(ids, fits["ff_runcat"])
    there = (rows < len(ids)) & (ids[np.minimum(rows, len(ids) - 1)] == fits["ff_runcat"])
    there[there] &= known.alive[rows[there]]
    if not there.all():
        log.warning("%d forced fits of sources that have split since are not used", (~there).sum())
    return rows[there], {name: values[there] for name, values in fits.items()}


def get_monitor_requests(image_id, *, database=None):
    """Monitoring positions that lie within the circle of an image: list of (id in ``monitor``, ra,
    decl), deg."""
    database = current(database)
    image = get_image(image_id, database=database)
    entries = get_monitor_entries(image.dataset, database=database)
    if not entries:
        return []
    region = schema.skyregion
    centre = database.rows(sa.select(region).where(region.c.id == image.skyrgn))[0]
    requests = []
    for entry in entries:
        distance = float(sky.separation(entry.ra, entry.decl, centre.centre_ra, centre.centre_decl))
        if distance < centre.xtr_radius:
            requests.append((entry.id, entry.ra, entry.decl))
        else:
            log.warning(
                "image %d: monitoring position %.5f, %.5f is not in the field",
                image_id,
                entry.ra,
                entry.decl,
            )
    return requests


def associate_ms(image_id, *, database=None):
    """Take the forced fits at monitoring positions of an image into light curves of their own."""
    database = current(database)
    with database.transaction():
        image = get_image(image_id, database=database)
        known = catalogue(database, image.dataset)
        fits = extractions_of(database, image_id, "ff_ms")
        if not len(fits["id"]):
            return
        entries = {
            entry.id: entry.runcat
            for entry in get_monitor_entries(image.dataset, database=database)
        }
        runcats = np.array([entries[int(m)] or 0 for m in fits["ff_monitor"]])
        first = runcats == 0
        rows = np.zeros(len(runcats), int)
        if first.any():
            begun = {name: values[first] for name, values in fits.items()}
            rows[first] = known.add_sources(begun, seconds(image.taustart_ts), mon_src=True)
        rows[~first] = np.searchsorted(known.sources["id"], runcats[~first])
        east, north = offsets(
            known.sources["wm_ra"][rows], known.sources["wm_decl"][rows], fits["ra"], fits["decl"]
        )
        variance_ew = known.sources["wm_uncertainty_ew"][rows] ** 2 + fits["uncertainty_ew"] ** 2
        variance_ns = known.sources["wm_uncertainty_ns"][rows] ** 2 + fits["uncertainty_ns"] ** 2
        radius = np.sqrt(east**2 / variance_ew + north**2 / variance_ns)
        known.update_positions(rows, fits)
        statistics = known.add_points(
            rows, image.band, image.stokes, seconds(image.taustart_ts), fits
        )
        known.write()
        columns = {"xtrsrc": fits["id"], "type": np.where(first, FIRST_MONITORED, MONITORED)}
        columns |= {"distance_arcsec": 3600 * np.hypot(east, north), "r": radius}
        known.write_associations(rows, {**columns, **statistics})
        numbers, ids = fits["ff_monitor"][first].astype(int), known.sources["id"][rows[first]]
        database.update(schema.monitor, {"id": numbers, "runcat": ids})
