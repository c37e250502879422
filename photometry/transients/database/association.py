"""Association of an image's sources with the running catalogue, and what is new."""

import logging

import numpy as np
import sqlalchemy as sa

from ... import sky
from ...errors import ArgumentError
from . import schema
from .catalogue import catalogue
from .connection import current
from .extractions import extractions_of
from .loading import seconds
from .matching import MANY_TO_ONE, candidate_pairs, keep_nearest, prune
from .records import get_image

log = logging.getLogger(__name__)

# Kinds of associations: column ``type`` of ``assocxtrsource``.
ONE_TO_MANY, ONE_TO_ONE, FIRST, COPIED, NULL_DETECTION, FIRST_MONITORED, MONITORED = (
    2,
    3,
    4,
    6,
    7,
    8,
    9,
)

LIKELY, POSSIBLE = 1, 0
"""Kinds of new sources: brighter than the limit of the noisiest, or only of the best part of an
earlier image."""


def associate_extracted_sources(
    image_id,
    deRuiter_r=5.68,
    beamwidths_limit=1.0,
    new_source_sigma_margin=3.0,
    *,
    ties="pair",
    own_source_first=True,
    fork_other_bands=True,
    many_to_one="both",
    database=None,
):
    """Find the source of each blind detection of an image, in one transaction.

    Parameters
    ----------
    image_id : int
    deRuiter_r : float, largest de Ruiter radius of a pair
    beamwidths_limit : float, largest distance of a pair, in semi-major axes of the beam
    new_source_sigma_margin : float, sigma above the detection threshold of earlier images that a
        new source has
    ties : 'pair' or 'lowest_id', see `matching.prune`
    own_source_first : bool, see `matching.prune`
    fork_other_bands : bool
        A source that splits passes the fluxes of its other bands to both sides (the original: to
        neither)

    many_to_one : 'both' or 'nearest'
        An extraction with several sources counts for all of them (as in the original), or for the
        nearest one

    Returns
    -------
    dict of the number of extractions by case: ``one_to_one, many_to_one, one_to_many, new`` and
    ``new_sources``, how many of these should have been seen before
    """
    if many_to_one not in MANY_TO_ONE:
        raise ArgumentError(
            f"many_to_one={many_to_one!r}: expected one of {', '.join(MANY_TO_ONE)}"
        )
    database = current(database)
    with database.transaction():
        image = get_image(image_id, database=database)
        detections = extractions_of(database, image_id, "blind")
        known = catalogue(database, image.dataset)
        pairs = _pairs(known, detections, beamwidths_limit * image.rb_smaj, deRuiter_r)
        pairs = prune(pairs, detections["f_peak"], ties=ties, own_source_first=own_source_first)
        pairs.source = np.flatnonzero(known.alive & ~known.sources["mon_src"])[pairs.source]
        if many_to_one == "nearest":
            pairs = keep_nearest(pairs)
        per_source, per_extraction = pairs.counts()
        once = _associate_once(known, image, detections, pairs.select(per_source == 1))
        forks = _split(known, image, detections, pairs.select(per_source > 1), fork_other_bands)
        fresh = np.setdiff1d(np.arange(len(detections["id"])), pairs.extraction)
        rows = _add_new(known, image, detections, fresh)
        first = known.add_points(
            rows, image.band, image.stokes, seconds(image.taustart_ts), _take(detections, fresh)
        )
        known.write()
        known.write_associations(*once)
        _write_forks(known, forks)
        columns = {
            "xtrsrc": detections["id"][fresh],
            "type": FIRST,
            "distance_arcsec": 0.0,
            "r": 0.0,
        }
        known.write_associations(rows, {**columns, **first})
        _join_regions(known, image, rows)
        n_new = _find_new_sources(
            known, image, rows, detections["id"][fresh], new_source_sigma_margin
        )
        known.write()
        return {
            "one_to_one": int(((per_source == 1) & (per_extraction == 1)).sum()),
            "many_to_one": len(
                np.unique(pairs.extraction[(per_source == 1) & (per_extraction > 1)])
            ),
            "one_to_many": int((per_source > 1).sum()),
            "new": len(rows),
            "new_sources": n_new,
        }


def _take(columns, rows):
    return {name: values[rows] for name, values in columns.items()}


def _pairs(known, detections, limit, deruiter_radius):
    """Candidate pairs; sources as numbers among those that are alive and not monitored."""
    rows = np.flatnonzero(known.alive & ~known.sources["mon_src"])
    sources = {
        "ra": known.sources["wm_ra"][rows],
        "decl": known.sources["wm_decl"][rows],
        "ew": known.sources["wm_uncertainty_ew"][rows],
        "ns": known.sources["wm_uncertainty_ns"][rows],
    }
    extractions = {
        "ra": detections["ra"],
        "decl": detections["decl"],
        "ew": detections["uncertainty_ew"],
        "ns": detections["uncertainty_ns"],
    }
    return candidate_pairs(sources, extractions, limit, deruiter_radius)


def _associate_once(known, image, detections, pairs):
    """One-to-one and many-to-one: each source takes its extraction. Returns the rows and columns of
    the associations."""
    extractions = _take(detections, pairs.extraction)
    known.update_positions(pairs.source, extractions)
    known.sources.set(pairs.source, {"forcedfits_count": 0})
    statistics = known.add_points(
        pairs.source, image.band, image.stokes, seconds(image.taustart_ts), extractions
    )
    columns = {
        "xtrsrc": extractions["id"],
        "type": ONE_TO_ONE,
        "distance_arcsec": pairs.distance,
        "r": pairs.radius,
    }
    return pairs.source, {**columns, **statistics}


def _split(known, image, detections, pairs, fork_other_bands):
    """One-to-many: a copy of the source for each of its extractions; returns (source, copies,
    association columns)."""
    forks, time = [], seconds(image.taustart_ts)
    keep = None if fork_other_bands else (image.band, image.stokes)
    for source in np.unique(pairs.source).tolist():
        mine = pairs.select(pairs.source == source)
        mine = mine.select(np.argsort(mine.extraction))
        extractions = _take(detections, mine.extraction)
        copies = np.array([known.add_copy(source, int(x), time, keep) for x in extractions["id"]])
        known.update_positions(copies, extractions)
        known.sources.set(copies, {"forcedfits_count": 0})
        statistics = known.add_points(copies, image.band, image.stokes, time, extractions)
        columns = {
            "xtrsrc": extractions["id"],
            "type": ONE_TO_MANY,
            "distance_arcsec": mine.distance,
            "r": mine.radius,
        }
        forks.append((source, copies, {**columns, **statistics}))
    return forks


def _write_forks(known, forks):
    """Copy the past of the sources that split, and delete them."""
    database, table = known.database, schema.assocxtrsource
    for source, copies, columns in forks:
        numbers = known.associations[source].tolist()
        names = ("xtrsrc", "distance_arcsec", "r", "loglr", "v_int", "eta_int", "f_datapoints")
        parts = [
            database.rows(
                sa.select(*(table.c[name] for name in names))
                .where(table.c.id.in_(numbers[start : start + 500]))
                .order_by(table.c.id)
            )
            for start in range(0, len(numbers), 500)
        ]
        past = [row for part in parts for row in part]
        for copy in copies.tolist():
            columns_of_past = dict(
                zip(names, (list(values) for values in zip(*past, strict=True)), strict=True)
            )
            known.write_associations(np.full(len(past), copy), {"type": COPIED, **columns_of_past})
        known.write_associations(copies, columns)
        _copy_links(known, source, copies)
        # earlier forced fits were made for a source that is no more
        heir, old = int(known.sources["id"][copies[0]]), int(known.sources["id"][source])
        fitted = schema.extractedsource
        for start in range(0, len(past), 500):
            part = [row.xtrsrc for row in past[start : start + 500]]
            mine = fitted.c.id.in_(part) & (fitted.c.ff_runcat == old)
            database.change(fitted.update().where(mine).values(ff_runcat=heir))
        known.remove(source)


def _copy_links(known, source, copies):
    """Give the copies of a source its sky regions and its row of ``newsource``."""
    database, old = known.database, int(known.sources["id"][source])
    table = schema.assocskyrgn
    for row in database.rows(sa.select(table).where(table.c.runcat == old).order_by(table.c.id)):
        known.add_members(row.skyrgn, copies, np.full(len(copies), row.distance_deg))
    table = schema.newsource
    for row in database.rows(sa.select(table).where(table.c.runcat == old).order_by(table.c.id)):
        columns = {"trigger_xtrsrc": row.trigger_xtrsrc, "newsource_type": row.newsource_type}
        columns["previous_limits_image"] = row.previous_limits_image
        runcats = known.sources["id"][copies]
        for copy, number in zip(
            copies.tolist(),
            database.insert(table, {"runcat": runcats, **columns}).tolist(),
            strict=True,
        ):
            known.new_sources[copy] = {**known.new_sources[source], "newsource": number}


def _add_new(known, image, detections, fresh):
    """New sources for the extractions that have none; returns their rows."""
    extractions = _take(detections, fresh)
    if not len(fresh):
        return np.zeros(0, int)
    rows = known.add_sources(extractions, seconds(image.taustart_ts))
    known.update_positions(rows, extractions)
    return rows


def _join_regions(known, image, rows):
    """Link new sources to the image's sky region, and to all others whose circle they lie in."""
    if not len(rows):
        return
    table = schema.skyregion
    regions = known.database.columns(
        sa.select(table).where(table.c.dataset == image.dataset).order_by(table.c.id)
    )
    ra, decl = known.sources["wm_ra"][rows], known.sources["wm_decl"][rows]
    for number, centre_ra, centre_decl, radius in zip(
        *(regions[name].tolist() for name in ("id", "centre_ra", "centre_decl", "xtr_radius")),
        strict=False,
    ):
        distance = sky.separation(ra, decl, centre_ra, centre_decl)
        inside = np.full(len(rows), True) if number == image.skyrgn else distance < radius
        known.add_members(number, rows[inside], distance[inside])


def _find_new_sources(known, image, rows, triggers, margin):
    """Note which of the new sources earlier images of this band would have shown; returns how
    many."""
    if not len(rows):
        return 0
    limits = _best_limits(known.database, image, margin)
    trigger_of = dict(zip(rows.tolist(), triggers.tolist(), strict=True))
    regions_of = {row: [] for row in trigger_of}
    for region in limits:
        for row in regions_of.keys() & known.members.get(region, {}).keys():
            regions_of[row].append(region)
    table, n = schema.extractedsource, 0
    ids = list(trigger_of.values())
    flux = {
        r.id: r
        for start in range(0, len(ids), 500)
        for r in known.database.rows(
            sa.select(table.c.id, table.c.f_peak, table.c.f_int).where(
                table.c.id.in_(ids[start : start + 500])
            )
        )
    }
    for row, regions in regions_of.items():
        if not regions:
            continue
        low, high, limits_image, rms_min, rms_max = min(limits[region] for region in regions)
        trigger = flux[trigger_of[row]]
        if trigger.f_peak <= low:
            continue
        columns = {"runcat": known.sources["id"][row], "trigger_xtrsrc": trigger.id}
        columns["newsource_type"] = LIKELY if trigger.f_peak > high else POSSIBLE
        number = known.database.insert(
            schema.newsource, {**columns, "previous_limits_image": limits_image}
        )[0]
        known.add_new_source(row, int(number), trigger.f_int, rms_min, rms_max)
        known.touched.add(row)
        n += 1
    return n


def _best_limits(database, image, margin):
    """For each sky region with earlier good images of this band: limits low, high, id, rms_min,
    rms_max of the deepest."""
    table = schema.image
    rejected = sa.select(schema.rejection.c.image).where(schema.rejection.c.image == table.c.id)
    query = sa.select(
        table.c.id, table.c.skyrgn, table.c.rms_min, table.c.rms_max, table.c.detection_thresh
    )
    query = query.where(
        table.c.dataset == image.dataset,
        table.c.band == image.band,
        table.c.taustart_ts < image.taustart_ts,
        table.c.rms_min > 0,
        table.c.rms_max > 0,
        ~rejected.exists(),
    )
    best = {}
    for row in database.rows(query.order_by(table.c.id)):
        factor = row.detection_thresh + margin
        limit = (row.rms_min * factor, row.rms_max * factor, row.id, row.rms_min, row.rms_max)
        best[row.skyrgn] = min(best.get(row.skyrgn, limit), limit)
    return best
