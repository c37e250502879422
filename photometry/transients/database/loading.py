"""The running catalogue of a dataset read from its database."""

from array import array
from datetime import datetime

import numpy as np
import sqlalchemy as sa

from . import schema

_RUNCAT, _FLUX, _ASSOC = schema.runningcatalog, schema.runningcatalog_flux, schema.assocxtrsource
_EPOCH = datetime(1970, 1, 1)


def seconds(time):
    """A naive UTC datetime as seconds since 1970."""
    return (time - _EPOCH).total_seconds()


def load(runcats):
    """Read a `catalogue.Catalogue` from its database, in place."""
    database, of_dataset = runcats.database, _RUNCAT.c.dataset == runcats.dataset_id
    first = schema.extractedsource.join(
        schema.image, schema.image.c.id == schema.extractedsource.c.image
    )
    query = (
        sa.select(*_RUNCAT.c, schema.image.c.taustart_ts)
        .join_from(_RUNCAT, first, schema.extractedsource.c.id == _RUNCAT.c.xtrsrc)
        .where(of_dataset)
        .order_by(_RUNCAT.c.id)
    )
    columns = database.columns(query)
    times = columns.pop("taustart_ts")
    if not len(times):
        return
    runcats.append_sources({**columns, "first_seen": [seconds(t) for t in times]})
    row_of = dict(zip(columns["id"].tolist(), range(len(times)), strict=True))
    query = sa.select(*_FLUX.c).join(_RUNCAT, _RUNCAT.c.id == _FLUX.c.runcat).where(of_dataset)
    columns = database.columns(query.order_by(_FLUX.c.id))
    if len(columns["id"]):
        rows = np.array([row_of[i] for i in columns["runcat"].tolist()])
        runcats.append_fluxes({**columns, "row": rows})
    _load_points(runcats)
    _load_links(runcats, row_of, of_dataset)
    runcats.sources.loaded()
    runcats.fluxes.loaded()
    runcats.touched = set(row_of.values())


def _load_points(runcats):
    """Light curves and associations, a hundred thousand rows at a time: they may be ten
    million."""
    image, x = schema.image, schema.extractedsource
    query = sa.select(image.c.id, image.c.band, image.c.stokes, image.c.taustart_ts)
    images = {
        row.id: (row.band, row.stokes, seconds(row.taustart_ts))
        for row in runcats.database.rows(query.where(image.c.dataset == runcats.dataset_id))
    }
    ids = runcats.sources["id"]
    query = sa.select(_ASSOC.c.id, _ASSOC.c.runcat, x.c.f_int, x.c.image)
    query = query.join_from(_ASSOC, x, x.c.id == _ASSOC.c.xtrsrc).order_by(_ASSOC.c.id)
    parts = []
    for part in runcats.database.chunks(query):
        row = np.minimum(np.searchsorted(ids, part["runcat"]), len(ids) - 1)
        mine = ids[row] == part["runcat"]
        numbers, which = np.unique(part["image"][mine], return_inverse=True)
        of_image = np.array([images[number] for number in numbers.tolist()]).reshape(-1, 3)
        flux_row = np.full(mine.sum(), -1)
        for key, table in runcats.flux_tables.items():
            of_key = (of_image[which, :2] == key).all(axis=1)
            flux_row[of_key] = table[row[mine][of_key]]
        parts.append((part["id"][mine], row[mine], flux_row, part["f_int"][mine],
                      of_image[which, 2]))  # fmt: skip
    number, row, flux_row, flux, time = (np.concatenate(a) for a in zip(*parts, strict=True))
    for source, start, end in _groups(order := np.argsort(row, kind="stable"), row):
        runcats.associations[source] = array("q", number[order[start:end]].tobytes())
    # a source that split without its other bands still has their associations
    has_row = np.flatnonzero(flux_row >= 0)
    flux_row, flux, time = flux_row[has_row], flux[has_row], time[has_row]
    for k, start, end in _groups(order := np.lexsort((flux, flux_row)), flux_row):
        runcats.points[k] = array("d", flux[order[start:end]].tobytes())
    for k, _, end in _groups(order := np.lexsort((has_row, time, flux_row)), flux_row):
        runcats.fluxes["last_flux"][k] = flux[order[end - 1]]
        runcats.fluxes["last_time"][k] = time[order[end - 1]]


def _load_links(runcats, row_of, of_dataset):
    table, new, image, x = (
        schema.assocskyrgn,
        schema.newsource,
        schema.image,
        schema.extractedsource,
    )
    query = sa.select(table.c.runcat, table.c.skyrgn).join(_RUNCAT, _RUNCAT.c.id == table.c.runcat)
    for runcat, region in runcats.database.rows(query.where(of_dataset).order_by(table.c.id)):
        runcats.members.setdefault(region, {})[row_of[runcat]] = None
    query = (
        sa.select(new.c.id, new.c.runcat, x.c.f_int, image.c.rms_min, image.c.rms_max)
        .join_from(new, _RUNCAT, _RUNCAT.c.id == new.c.runcat)
        .join(x, x.c.id == new.c.trigger_xtrsrc)
        .join(image, image.c.id == new.c.previous_limits_image)
        .where(of_dataset)
        .order_by(new.c.id)
    )
    for number, runcat, flux, rms_min, rms_max in runcats.database.rows(query):
        runcats.add_new_source(row_of[runcat], number, flux, rms_min, rms_max)
    query = sa.select(schema.varmetric.c.runcat).join(
        _RUNCAT, _RUNCAT.c.id == schema.varmetric.c.runcat
    )
    runcats.has_varmetric = {
        row_of[row.runcat] for row in runcats.database.rows(query.where(of_dataset))
    }


def _groups(order, values):
    """Where equal ones of ``values[order]`` begin and end: (value, start, end), as ints."""
    values = values[order]
    starts = np.flatnonzero(np.diff(values, prepend=-1))
    ends = np.append(starts[1:], len(values))
    return zip(values[starts].tolist(), starts.tolist(), ends.tolist(), strict=True)
