"""What is derived from the tables: variability of each source, light curves, checks; and the record
of timesteps."""

import numpy as np
import sqlalchemy as sa

from ...errors import WrongUseError
from .. import variability
from . import schema
from .catalogue import catalogue
from .connection import current


def varmetric(dataset_id, *, database=None):
    """Bring ``varmetric`` up to date: one row per source, of the band whose last point is
    brightest.

    Only sources that changed since the last call are looked at.
    """
    database = current(database)
    with database.transaction():
        known = catalogue(database, dataset_id)
        fluxes = known.fluxes
        touched = np.zeros(len(known.sources), bool)
        touched[list(known.touched)] = True
        candidates = np.flatnonzero(known.flux_alive & touched[fluxes["row"].astype(int)])
        if not len(candidates):
            return
        # of each source, the band whose last point is brightest; of equal ones the latest, then the
        # last band
        keys = (fluxes[name][candidates] for name in ("band", "last_time", "last_flux", "row"))
        order = np.lexsort(tuple(keys))
        row_of = fluxes["row"][candidates][order].astype(int)
        last = np.append(np.diff(row_of) != 0, True)
        k, rows = candidates[order][last], row_of[last]
        v, eta = variability.v_and_eta(
            *(fluxes[name][k] for name in ("f_datapoints", "avg_f_int", "f_int_m2", "f_int_wm2"))
        )
        points = [known.points[number] for number in k.tolist()]
        columns = {
            "id": known.sources["id"][rows],
            "runcat": known.sources["id"][rows],
            "v_int": v,
            "eta_int": eta,
            "band": fluxes["band"][k],
            "lightcurve_max": np.array([p[-1] for p in points]),
            "lightcurve_avg": fluxes["avg_f_int"][k],
            "lightcurve_median": np.array([_median(p) for p in points]),
        }
        rows = rows.tolist()
        nothing = {"newsource": None, "sigma_rms_min": None, "sigma_rms_max": None}
        new = [known.new_sources.get(row, nothing) for row in rows]
        columns |= {name: np.array([entry[name] for entry in new], object) for name in nothing}
        exists = np.array([row in known.has_varmetric for row in rows])
        database.update(
            schema.varmetric, {name: values[exists] for name, values in columns.items()}
        )
        database.insert(
            schema.varmetric, {name: values[~exists] for name, values in columns.items()}
        )
        known.has_varmetric.update(rows)
        known.touched.clear()


def _median(points):
    """Of a sorted array."""
    middle = len(points) // 2
    return points[middle] if len(points) % 2 else (points[middle - 1] + points[middle]) / 2


def lightcurve(runcat_id, *, database=None):
    """All measurements of a source.

    Returns
    -------
    list of rows ``taustart_ts, tau_time, f_int, f_int_err, f_peak, f_peak_err, band, stokes,
    xtrsrc, extract_type, image, type``, by time, then band
    """
    pair, x, image = schema.assocxtrsource, schema.extractedsource, schema.image
    query = (
        sa.select(
            image.c.taustart_ts,
            image.c.tau_time,
            x.c.f_int,
            x.c.f_int_err,
            x.c.f_peak,
            x.c.f_peak_err,
            image.c.band,
            image.c.stokes,
            x.c.id.label("xtrsrc"),
            x.c.extract_type,
            image.c.id.label("image"),
            pair.c.type,
        )
        .join_from(pair, x, x.c.id == pair.c.xtrsrc)
        .join(image, image.c.id == x.c.image)
        .where(pair.c.runcat == int(runcat_id))
        .order_by(image.c.taustart_ts, image.c.band, x.c.id)
    )
    return current(database).rows(query)


def consistency_check(*, database=None):
    """Fail if a table has a row with id 0, or one that points to a row that is not there.

    Raises
    ------
    WrongUseError : naming the table, the column and the first such row
    """
    database = current(database)
    for table in schema.metadata.sorted_tables:
        if "id" not in table.c:
            continue
        if table.name != "rejectreason" and database.scalar(
            sa.select(sa.func.count()).where(table.c.id == 0)
        ):
            raise WrongUseError(f"table {table.name} has a row with id 0")
        for key in table.foreign_keys:
            there = sa.select(key.column).where(key.column == key.parent).correlate(table)
            query = sa.select(table.c.id).where(key.parent.is_not(None), ~there.exists()).limit(1)
            if key.column.table is table:
                continue
            if (wrong := database.scalar(query)) is not None:
                raise WrongUseError(
                    f"table {table.name}, row {wrong}: column {key.parent.name} points to no row "
                    f"of {key.column.table.name}"
                )


def record_timestep(
    dataset_id, taustart_ts, status, n_images, n_rejected, message=None, *, database=None
):
    """Note how a timestep went.

    Parameters
    ----------
    dataset_id : int
    taustart_ts : datetime
    status : 'done' or 'failed'
    n_images, n_rejected : int
    message : str or None, why it failed
    """
    database, table = current(database), schema.timestep
    with database.transaction():
        same = (table.c.dataset == dataset_id) & (table.c.taustart_ts == taustart_ts)
        database.change(table.delete().where(same))
        number = int(database.new_ids(table, 1)[0])
        values = {"id": number, "dataset": dataset_id, "taustart_ts": taustart_ts, "status": status}
        values |= {"n_images": n_images, "n_rejected": n_rejected, "message": message}
        database.change(table.insert().values(values))


def finished_timesteps(dataset_id, *, database=None):
    """Start times of the timesteps of a dataset that are done: a set of datetimes."""
    table = schema.timestep
    query = sa.select(table.c.taustart_ts).where(
        table.c.dataset == dataset_id, table.c.status == "done"
    )
    return {row.taustart_ts for row in current(database).rows(query)}


def record_skipped(dataset_id, skipped, *, database=None):
    """Note images that could not be used: dict url -> reason. Earlier notes on them are
    replaced.

    Parameters
    ----------
    dataset_id : int
    skipped : dict
    """
    database, table = current(database), schema.skippedimage
    with database.transaction():
        for url, reason in skipped.items():
            same = (table.c.dataset == dataset_id) & (table.c.url == url[:1024])
            database.change(table.delete().where(same))
            database.insert(table, {"dataset": dataset_id, "url": url[:1024], "reason": reason})


def forget_skipped(dataset_id, urls, *, database=None):
    """Images that can be used by now are not skipped any more.

    Parameters
    ----------
    dataset_id : int
    urls : list of str
    """
    database, table = current(database), schema.skippedimage
    if not database.rows(sa.select(table.c.id).where(table.c.dataset == dataset_id)):
        return
    with database.transaction():
        for url in urls:
            same = (table.c.dataset == dataset_id) & (table.c.url == url[:1024])
            database.change(table.delete().where(same))


def delete_dataset(dataset_id, *, database=None):
    """Delete a dataset with all that belongs to it."""
    database = current(database)
    runcats = sa.select(schema.runningcatalog.c.id).where(
        schema.runningcatalog.c.dataset == dataset_id
    )
    images = sa.select(schema.image.c.id).where(schema.image.c.dataset == dataset_id)
    with database.transaction():
        database.catalogues.clear()
        for table in reversed(schema.metadata.sorted_tables):
            for name, owners in (("dataset", [dataset_id]), ("runcat", runcats), ("image", images)):
                if name in table.c and table.name not in ("image",) * (name == "image"):
                    database.change(table.delete().where(table.c[name].in_(owners)))
                    break
        database.change(schema.dataset.delete().where(schema.dataset.c.id == dataset_id))
