"""Simulated catalogues of a field, epoch by epoch and without pixels, and how well they were
associated."""

import numpy as np
import sqlalchemy as sa


def simulated_catalogues(
    n_sources, n_epochs, *, seed=1, completeness=0.98, error=2.0, width=2.0, pairs=0.01
):
    """Catalogues of a field without pixels: yield (index of the true source, records as of
    `database.RECORD`) per epoch.

    Parameters
    ----------
    n_sources, n_epochs : int
    seed : int
    completeness : float, fraction of the sources that an epoch has
    error : float, arcsec, of positions
    width : float, deg, of the field
    pairs : float, fraction of the sources that have another one within a few errors, which is where
        mistakes are made
    """
    rng = np.random.default_rng([seed, 11])
    decl = 30 + rng.uniform(-width / 2, width / 2, n_sources)
    ra = 120 + rng.uniform(-width / 2, width / 2, n_sources) / np.cos(np.radians(decl))
    close = np.arange(int(pairs * n_sources) // 2) * 2
    decl[close + 1] = decl[close] + rng.uniform(2, 8, len(close)) * error / 3600
    ra[close + 1] = ra[close]
    flux = 1e-2 * np.exp(rng.uniform(0, 3, n_sources))
    for _ in range(n_epochs):
        seen = np.flatnonzero(rng.random(n_sources) < completeness)
        seen = seen[rng.permutation(len(seen))]
        n = len(seen)
        east, north = error / 3600 * rng.standard_normal((2, n))
        measured = flux[seen] + 1e-3 * rng.standard_normal(n)
        value = np.full(n, 1e-3)
        one, zero = np.ones(n), np.zeros(n)
        yield seen, np.column_stack([
            ra[seen] + east / np.cos(np.radians(decl[seen])), decl[seen] + north,
            error / 3600 * one, error / 3600 * one,
            measured, value, measured, value, measured / 1e-3, one, one, zero, zero, zero,
            error * one, one, one, one,
        ])  # fmt: skip


def associate_catalogues(
    dataset_id, catalogues, *, database=None, expiration=10, on_epoch=None, **association
):
    """Take catalogues through the database as the pipeline does, a transaction per epoch; sources
    that are missing are forced.

    Parameters
    ----------
    dataset_id : int
    catalogues : iterable of (index of the true source, records), see `simulated_catalogues`
    expiration : int
    on_epoch : callable(number, seconds), optional
    association : see `database.associate_extracted_sources`

    Returns
    -------
    truth : (n_extractions + 1,) int array, index of the true source by id of the extraction; -1 for
        forced fits
    """
    import time
    from datetime import datetime, timedelta

    from ..transients import database as db

    database = db.current(database)
    truth = [np.array([-1])]
    for number, (source, records) in enumerate(catalogues):
        begin = time.perf_counter()
        with database.transaction():
            image = db.insert_image(
                dataset_id, 150e6, 1e6, datetime(2024, 1, 1) + timedelta(hours=number), 60.0, 3.0,
                3.0, 0.0, -1e-3, 1e-3,
                f"epoch {number}", 120.0, 30.0, 5.0, 1e-3, rms_min=1e-3, rms_max=1e-3,
                detection_thresh=8, analysis_thresh=3,
                database=database,
            )  # fmt: skip
            db.insert_extracted_sources(image, records, database=database)
            db.associate_extracted_sources(image, database=database, **association)
            missing = db.get_nulldetections(image, expiration, database=database)
            forced = np.tile(records[:1], (len(missing), 1))
            forced[:, :2] = np.reshape([(ra, decl) for _, ra, decl in missing], (-1, 2))
            forced[:, [4, 6]] = 0.0
            ids = [runcat for runcat, _, _ in missing]
            db.insert_extracted_sources(
                image, forced, "ff_nd", ff_runcat_ids=ids, database=database
            )
            db.associate_nd(image, database=database)
            db.varmetric(dataset_id, database=database)
            db.record_timestep(
                dataset_id,
                db.get_image(image, database=database).taustart_ts,
                "done",
                1,
                0,
                database=database,
            )
        truth += [source, np.full(len(missing), -1)]
        if on_epoch is not None:
            on_epoch(number, time.perf_counter() - begin)
    return np.concatenate(truth)


def count_mistakes(database, dataset_id, truth):
    """How the sources of a running catalogue compare with the true ones.

    Parameters
    ----------
    database : Database
    dataset_id : int
    truth : (n_extractions + 1,) int array, see `associate_catalogues`

    Returns
    -------
    dict of ints
        ``sources``, of the catalogue; ``true_sources``, seen at least once; ``split``, true sources
        that are most of two or more sources; ``merged``, sources with at least a fifth of their
        detections from each of two true ones; ``confused``, detections that are with a source of
        which most are another true one's; ``detections``; ``missing``, detections that are with no
        source
    """
    points = _light_curves(database, dataset_id)
    extraction = points["xtrsrc"]
    blind = truth[extraction] >= 0
    source, true = points["runcat"][blind], truth[extraction[blind]]
    detections = np.flatnonzero(truth >= 0)
    key, counts = np.unique(np.stack([source, true]), axis=1, return_counts=True)
    order = np.lexsort((-counts, key[0]))
    key, counts = key[:, order], counts[order]
    first = np.diff(key[0], prepend=-1) != 0
    total = np.bincount(source)
    fifth = counts >= 0.2 * total[key[0]]
    majority = key[1][first]
    return {
        "sources": int(first.sum()),
        "true_sources": len(np.unique(truth[detections])),
        "split": int((np.bincount(majority) > 1).sum()),
        "merged": int((np.bincount(key[0][fifth]) > 1).sum()),
        "confused": int(counts[~first].sum()),
        "detections": len(detections),
        "missing": len(np.setdiff1d(detections, extraction)),
    }


def table_errors(database, dataset_id, truth):
    """How far the tables are from what follows from their light curves, computed anew: two passes
    over all measurements, no running means.

    Parameters
    ----------
    database : Database, with one band
    dataset_id : int
    truth : (n_extractions + 1,) int array, see `associate_catalogues`

    Returns
    -------
    dict
        ``datapoints``, ``f_datapoints``, ``extractions`` : ints, rows whose number is wrong;
        ``position`` : arcsec, ``flux``, ``v``, ``eta``, ``median`` : relative, the largest
        difference
    """
    from ..transients.database import schema

    points = _light_curves(database, dataset_id)
    source, runcat = schema.runningcatalog, schema.runningcatalog_flux
    metric = schema.varmetric
    query = (
        sa.select(source, runcat.c.f_datapoints, runcat.c.avg_f_int, metric.c.v_int,
                  metric.c.eta_int, metric.c.lightcurve_median)
        .join_from(source, runcat, runcat.c.runcat == source.c.id)
        .join(metric, metric.c.runcat == source.c.id)
        .where(source.c.dataset == dataset_id)
        .order_by(source.c.id)
    )  # fmt: skip
    tables = database.columns(query)
    order = np.lexsort((points["f_int"], points["runcat"]))
    points = {name: values[order] for name, values in points.items()}
    ids, start, n = np.unique(points["runcat"], return_index=True, return_counts=True)
    blind = points["extract_type"] == 0
    flux, weight = points["f_int"], 1 / points["f_int_err"] ** 2

    def total(values):
        return np.add.reduceat(values, start)

    mean = total(flux) / n
    weighted = total(weight * flux) / total(weight)
    with np.errstate(divide="ignore", invalid="ignore"):
        several = np.maximum(n - 1, 1)
        v = np.sqrt(total((flux - np.repeat(mean, n)) ** 2) / several) / mean
        eta = total(weight * (flux - np.repeat(weighted, n)) ** 2) / several
    median = (flux[start + (n - 1) // 2] + flux[start + n // 2]) / 2
    position = blind / points["uncertainty_ns"] ** 2
    decl = total(position * points["decl"]) / total(position)
    extracted = schema.extractedsource
    n_extractions = database.scalar(
        sa.select(sa.func.count())
        .select_from(extracted)
        .join(schema.image, schema.image.c.id == extracted.c.image)
        .where(schema.image.c.dataset == dataset_id)
    )

    def worst(name, values):
        return float(np.max(np.abs(tables[name] - values) / np.maximum(np.abs(values), 1e-9)))

    same = np.array_equal(ids, tables["id"])
    return {
        "sources": 0 if same else abs(len(ids) - len(tables["id"])) or 1,
        "extractions": abs(n_extractions - (len(truth) - 1)),
        "datapoints": int((total(blind.astype(int)) != tables["datapoints"]).sum()),
        "f_datapoints": int((n != tables["f_datapoints"]).sum()),
        "position": float(np.max(np.abs(decl - tables["wm_decl"]))) * 3600,
        "flux": worst("avg_f_int", mean),
        "v": worst("v_int", np.where(n > 1, v, 0)),
        "eta": worst("eta_int", np.where(n > 1, eta, 0)),
        "median": worst("lightcurve_median", median),
    }


def _light_curves(database, dataset_id):
    """All measurements of all sources of a dataset as arrays."""
    from ..transients.database import schema

    pair, x = schema.assocxtrsource, schema.extractedsource
    runcat = schema.runningcatalog
    ids = database.columns(sa.select(runcat.c.id).where(runcat.c.dataset == dataset_id))["id"]
    # the table as it lies: joined to the catalogue, SQLite would read all of it for each source
    query = sa.select(
        pair.c.runcat, pair.c.xtrsrc, x.c.extract_type, x.c.f_int, x.c.f_int_err, x.c.decl,
        x.c.uncertainty_ns,
    ).join_from(pair, x, x.c.id == pair.c.xtrsrc)  # fmt: skip
    chunks = list(database.chunks(query.order_by(pair.c.id)))
    columns = {name: np.concatenate([c[name] for c in chunks]) for name in chunks[0]}
    mine = np.isin(columns["runcat"], ids)
    return {name: values[mine] for name, values in columns.items()}
