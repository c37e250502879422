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
    from ..transients.database import schema

    pair, runcat = schema.assocxtrsource, schema.runningcatalog
    query = sa.select(pair.c.runcat, pair.c.xtrsrc).join(runcat, runcat.c.id == pair.c.runcat)
    columns = database.columns(query.where(runcat.c.dataset == dataset_id))
    of_pair = truth[columns["xtrsrc"].astype(int)]
    blind = of_pair >= 0
    source, true = columns["runcat"][blind].astype(int), of_pair[blind].astype(int)
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
        "missing": len(np.setdiff1d(detections, columns["xtrsrc"].astype(int))),
    }
