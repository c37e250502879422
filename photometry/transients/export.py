"""What comes out: catalogue, light curves and candidates as tables, a `Lightcurve` per source, and
an overview."""

from pathlib import Path

import numpy as np
import sqlalchemy as sa

from ..constants import DAY, MAD_TO_SIGMA
from ..errors import ArgumentError, WrongUseError
from ..files import atomic_write
from .database import current, lightcurve, schema

MJD = 2400000.5
"""Light curves count days from here (JD): Modified Julian Dates."""

OUTLIER = {"eta": 3.0, "v": 1.0}
"""A source varies if both lie so many sigma above those of the others, in their logarithms
(Rowlinson et al. 2019, Astronomy and Computing 27, 111). eta has the significance; V of steady
sources differs by their brightness, and guards against significance without size."""

MIN_POINTS = 3
"""Points that a light curve needs for its V and eta to be judged."""

_EPOCH_MJD = 40587.0  # 1970-01-01
SUFFIXES = {"parquet": ".parquet", "ecsv": ".ecsv", "votable": ".xml"}


def last_dataset(database, dataset_id=None):
    """A dataset's number: the one given, which must be there, or the last one."""
    table = schema.dataset
    if dataset_id is None:
        dataset_id = database.scalar(sa.select(sa.func.max(table.c.id)))
        if dataset_id is None:
            raise WrongUseError("the database has no dataset yet")
    elif database.scalar(sa.select(table.c.id).where(table.c.id == dataset_id)) is None:
        raise WrongUseError(f"there is no dataset {dataset_id}")
    return dataset_id


def mjd(time, exposure=0.0):
    """Modified Julian Date (UTC) of the middle of an exposure.

    Parameters
    ----------
    time : datetime, UTC, its start
    exposure : float, s
    """
    from .database.loading import seconds

    return _EPOCH_MJD + (seconds(time) + (exposure or 0) / 2) / DAY


def read_lightcurve(runcat_id, *, band=None, database=None):
    """The light curve of a source: integrated fluxes at the middles of the exposures.

    Parameters
    ----------
    runcat_id : int
    band : int, optional
        Id of a frequency band; by default that with the most points

    Returns
    -------
    LightcurveArbitraryRaster
        times in days, Modified Julian Dates (UTC); fluxes in Jy, or in the unit of the pixels of
        optical images; forced fits are among the samples, and ``metadata["forced"]`` says which
    """
    from ..lightcurve import LightcurveArbitraryRaster

    database = current(database)
    rows = lightcurve(runcat_id, database=database)
    if not rows:
        raise WrongUseError(f"source {runcat_id}: there is none with measurements")
    bands = [row.band for row in rows]
    band = max(sorted(set(bands)), key=bands.count) if band is None else band
    rows = [row for row in rows if row.band == band]
    if not rows:
        raise WrongUseError(f"source {runcat_id} has no measurement in band {band}")
    runcat = schema.runningcatalog
    source = database.rows(sa.select(runcat).where(runcat.c.id == int(runcat_id)))[0]
    metadata = {
        "object": f"source {runcat_id}",
        "runcat": int(runcat_id),
        "band": int(band),
        "ra": source.wm_ra,
        "decl": source.wm_decl,
        "time_reference": MJD,
        "forced": [row.extract_type != 0 for row in rows],
    }
    return LightcurveArbitraryRaster(
        np.array([mjd(row.taustart_ts, row.tau_time) for row in rows]),
        np.array([row.f_int for row in rows]),
        np.array([row.f_int_err for row in rows]),
        metadata=metadata,
    )


def catalog_table(database, dataset_id):
    """The running catalogue with its variability, as `astropy.table.Table`."""
    r, v, b = schema.runningcatalog, schema.varmetric, schema.frequencyband
    flux = schema.runningcatalog_flux
    query = (
        sa.select(
            r.c.id.label("source"), r.c.wm_ra.label("ra"), r.c.wm_decl.label("decl"),
            (r.c.wm_uncertainty_ew * 3600).label("ra_uncertainty"),
            (r.c.wm_uncertainty_ns * 3600).label("decl_uncertainty"),
            r.c.datapoints, r.c.mon_src.label("monitored"), r.c.forcedfits_count,
            v.c.v_int.label("v"), v.c.eta_int.label("eta"),
            v.c.band, b.c.freq_central.label("frequency"), flux.c.f_datapoints.label("n_fluxes"),
            flux.c.avg_f_int.label("mean_flux"), v.c.lightcurve_max.label("max_flux"),
            v.c.lightcurve_median.label("median_flux"),
        )
        .join_from(r, v, v.c.runcat == r.c.id)
        .join(b, b.c.id == v.c.band)
        .join(flux, (flux.c.runcat == r.c.id) & (flux.c.band == v.c.band))
        .where(r.c.dataset == dataset_id)
        .order_by(r.c.id)
    )  # fmt: skip
    units = {
        "ra": "deg",
        "decl": "deg",
        "ra_uncertainty": "arcsec",
        "decl_uncertainty": "arcsec",
        "frequency": "Hz",
    }
    return _table(
        database.columns(query),
        units | dict.fromkeys(("mean_flux", "max_flux", "median_flux"), "Jy"),
    )


def lightcurve_table(database, dataset_id):
    """All measurements of all sources, by source and time."""
    pair, x, image = schema.assocxtrsource, schema.extractedsource, schema.image
    query = sa.select(
        image.c.id, image.c.taustart_ts, image.c.tau_time, image.c.band, image.c.freq_eff
    )
    images = database.columns(query.where(image.c.dataset == dataset_id).order_by(image.c.id))
    starts = [mjd(t) for t in images["taustart_ts"].tolist()]
    exposure = images["tau_time"].astype(float)
    query = (
        sa.select(
            pair.c.runcat.label("source"), x.c.f_int.label("flux"), x.c.f_int_err.label("flux_err"),
            x.c.f_peak.label("peak"), x.c.f_peak_err.label("peak_err"),
            x.c.det_sigma.label("significance"), x.c.extract_type, x.c.image,
        )
        .join_from(pair, x, x.c.id == pair.c.xtrsrc)
        .order_by(pair.c.id)
    )  # fmt: skip
    parts = []
    for part in database.chunks(query):
        mine = np.isin(part["image"], images["id"])
        parts.append({name: values[mine] for name, values in part.items()})
    parts = parts or [{c.key: np.zeros(0, int) for c in query.selected_columns}]
    points = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    of_image = np.searchsorted(images["id"], points["image"])
    start = np.array(starts, float)[of_image]
    order = np.lexsort((images["band"][of_image], start, points["source"]))
    of_image, start = of_image[order], start[order]
    points = {name: values[order] for name, values in points.items()}
    columns = {
        "source": points.pop("source"),
        "mjd": start + np.nan_to_num(exposure)[of_image] / 2 / DAY,
        "exposure": exposure[of_image],
        "band": images["band"][of_image],
        "frequency": images["freq_eff"][of_image],
        **points,
    }
    units = {"mjd": "d", "exposure": "s", "frequency": "Hz"}
    return _table(columns, units | dict.fromkeys(("flux", "flux_err", "peak", "peak_err"), "Jy"))


def _table(columns, units):
    from astropy.table import Table

    table = Table({name: values for name, values in columns.items()})
    for name, unit in units.items():
        table[name].unit = unit
    return table


def variability_limits(catalog):
    """V and eta above which a source varies: two floats.

    Parameters
    ----------
    catalog : table with columns ``v, eta, n_fluxes``
    """
    v, eta = np.asarray(catalog["v"], float), np.asarray(catalog["eta"], float)
    judged = (np.asarray(catalog["n_fluxes"]) >= MIN_POINTS) & (v > 0) & (eta > 0)
    if judged.sum() < 5:
        # nothing to compare with: a reduced chi-square above 5 is no constant source
        return 0.0, 5.0
    limits = []
    for name, values in (("v", v), ("eta", eta)):
        logarithm = np.log10(values[judged])
        middle = np.median(logarithm)
        spread = MAD_TO_SIGMA * np.median(np.abs(logarithm - middle))
        limits.append(10 ** (middle + OUTLIER[name] * max(spread, 0.02)))
    return tuple(limits)


def variable_sources(catalog):
    """Which sources of a catalogue vary more than the others.

    Parameters
    ----------
    catalog : table with columns ``v, eta, n_fluxes, monitored``

    Returns
    -------
    (n_sources,) bool array
    """
    v_limit, eta_limit = variability_limits(catalog)
    return (
        (np.asarray(catalog["n_fluxes"]) >= MIN_POINTS)
        & (np.asarray(catalog["v"], float) > v_limit)
        & (np.asarray(catalog["eta"], float) > eta_limit)
        & ~np.asarray(catalog["monitored"], bool)
    )


def candidate_table(database, dataset_id, catalog=None):
    """New sources and variable ones, most significant first.

    Parameters
    ----------
    database : Database
    dataset_id : int
    catalog : table, optional, see `catalog_table`
    """
    catalog = catalog_table(database, dataset_id) if catalog is None else catalog
    n, i = schema.newsource, schema.image
    x, r = schema.extractedsource, schema.runningcatalog
    query = (
        sa.select(
            n.c.runcat,
            n.c.newsource_type,
            x.c.image,
            x.c.f_int,
            x.c.f_peak,
            i.c.rms_max,
            i.c.rms_min,
        )
        .join_from(n, r, r.c.id == n.c.runcat)
        .join(x, x.c.id == n.c.trigger_xtrsrc)
        .join(i, i.c.id == n.c.previous_limits_image)
        .where(r.c.dataset == dataset_id)
    )
    new = {row.runcat: row for row in database.rows(query)}
    varies = variable_sources(catalog)
    kinds = {1: "new, likely", 0: "new, possible"}
    rows = []
    for row, variable in zip(catalog, varies, strict=True):
        source = int(row["source"])
        newsource = new.get(source)
        if newsource is None and not variable:
            continue
        kind = kinds[newsource.newsource_type] if newsource else ""
        rows.append({
            "source": source, "ra": float(row["ra"]), "decl": float(row["decl"]),
            "kind": ", ".join(filter(None, [kind, "variable" * bool(variable)])),
            "v": float(row["v"]), "eta": float(row["eta"]), "n_fluxes": int(row["n_fluxes"]),
            "mean_flux": float(row["mean_flux"]), "max_flux": float(row["max_flux"]),
            "band": int(row["band"]),
            "sigma_rms_min": newsource.f_peak / newsource.rms_min if newsource else np.nan,
            "sigma_rms_max": newsource.f_peak / newsource.rms_max if newsource else np.nan,
            "image": newsource.image if newsource else -1,
        })  # fmt: skip
    rows.sort(
        key=lambda row: (
            -(row["sigma_rms_max"] if row["kind"].startswith("new") else 0),
            -row["eta"],
        )
    )
    from astropy.table import Table

    names = (
        "source",
        "ra",
        "decl",
        "kind",
        "v",
        "eta",
        "n_fluxes",
        "mean_flux",
        "max_flux",
        "band",
        "sigma_rms_min",
        "sigma_rms_max",
        "image",
    )
    if not rows:
        kinds = [int, float, float, "U40", float, float, int, float, float, int, float, float, int]
        table = Table(names=names, dtype=kinds)
    else:
        table = Table(rows=rows, names=names)
    for name, unit in {"ra": "deg", "decl": "deg", "mean_flux": "Jy", "max_flux": "Jy"}.items():
        table[name].unit = unit
    return table


def export_dataset(database, folder, *, dataset_id=None, kind="parquet"):
    """Write ``catalog``, ``lightcurves`` and ``candidates`` into a folder; returns the paths.

    Parameters
    ----------
    database : Database
    folder : path, made if it is not there
    dataset_id : int, the last one by default
    kind : 'parquet', 'ecsv' or 'votable'
    """
    if kind not in SUFFIXES:
        raise ArgumentError(f"kind={kind!r}: expected one of {', '.join(SUFFIXES)}")
    dataset_id = last_dataset(database, dataset_id)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    catalog = catalog_table(database, dataset_id)
    tables = {
        "catalog": catalog,
        "lightcurves": lightcurve_table(database, dataset_id),
        "candidates": candidate_table(database, dataset_id, catalog),
    }
    paths = []
    for name, table in tables.items():
        table.meta["dataset"] = int(dataset_id)
        paths.append(folder / f"{name}{SUFFIXES[kind]}")
        with atomic_write(paths[-1]) as part:
            _write(table, part, kind)
    return paths


def _write(table, path, kind):
    if kind == "parquet":
        try:
            import pyarrow  # noqa: F401 - astropy says less clearly what is missing
        except ImportError:
            raise WrongUseError(
                "Parquet needs pyarrow: pip install 'photometry[parquet]'"
            ) from None
        table.write(path, format="parquet", overwrite=True)
    elif kind == "votable":
        table.write(path, format="votable", overwrite=True)
    else:
        table.write(path, format="ascii.ecsv", overwrite=True)


def write_lightcurves(database, folder, *, dataset_id=None):
    """One file per source in our archive's text format; returns how many.

    Parameters
    ----------
    database : Database
    folder : path, made if it is not there
    dataset_id : int, the last one by default
    """
    dataset_id = last_dataset(database, dataset_id)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    table = schema.runningcatalog
    rows = database.rows(
        sa.select(table.c.id).where(table.c.dataset == dataset_id).order_by(table.c.id)
    )
    for row in rows:
        lightcurve = read_lightcurve(row.id, database=database)
        lightcurve.to_file(folder / f"source{row.id:06d}.txt.gz")
    return len(rows)


def overview(database, dataset_id=None):
    """How far datasets are: a list of dicts, of one dataset or of all."""
    table = schema.dataset
    query = sa.select(table).order_by(table.c.id)
    if dataset_id is not None:
        query = query.where(table.c.id == last_dataset(database, dataset_id))
    return [_overview_of(database, row) for row in database.rows(query)]


def _overview_of(database, dataset):
    step, image, skipped = schema.timestep, schema.image, schema.skippedimage
    why, text, x = schema.rejection, schema.rejectreason, schema.extractedsource
    r, n = schema.runningcatalog, schema.newsource
    steps = database.rows(
        sa.select(step).where(step.c.dataset == dataset.id).order_by(step.c.taustart_ts)
    )
    mine = image.c.dataset == dataset.id
    count = sa.func.count()
    rejections = database.rows(
        sa.select(image.c.url, text.c.description, why.c.comment)
        .join_from(why, image, image.c.id == why.c.image)
        .join(text, text.c.id == why.c.rejectreason)
        .where(mine)
        .order_by(why.c.id)
    )
    left_out = database.rows(
        sa.select(skipped).where(skipped.c.dataset == dataset.id).order_by(skipped.c.id)
    )
    return {
        "dataset": dataset.id,
        "description": dataset.description,
        "finished": bool(dataset.finished),
        "process_start_ts": dataset.process_start_ts,
        "process_end_ts": dataset.process_end_ts,
        "timesteps_done": sum(row.status == "done" for row in steps),
        "timesteps_failed": sum(row.status != "done" for row in steps),
        "images": database.scalar(sa.select(count).select_from(image).where(mine)),
        "rejected": len(rejections),
        "measurements": database.scalar(
            sa.select(count).select_from(x.join(image, image.c.id == x.c.image)).where(mine)
        ),
        "sources": database.scalar(
            sa.select(count).select_from(r).where(r.c.dataset == dataset.id)
        ),
        "new_sources": database.scalar(
            sa.select(count)
            .select_from(n.join(r, r.c.id == n.c.runcat))
            .where(r.c.dataset == dataset.id)
        ),
        "skipped": {row.url: row.reason for row in left_out},
        "failures": {str(row.taustart_ts): row.message for row in steps if row.status != "done"},
        "rejections": {row.url: f"{row.description}: {row.comment}" for row in rejections},
    }
