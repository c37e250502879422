"""Images and measurements of the oracle tests: a default image, a default source, and the database
they go into."""

from datetime import datetime, timedelta

import numpy as np
import sqlalchemy as sa

from photometry.transients import database as db
from photometry.transients.database import schema

O = 20 / 3600  # noqa: E741 - the letters of the oracles: 20 and 1 arcsec in degrees
T = 1 / 3600
START = datetime(2012, 1, 1)
ASSOCIATION = {"deRuiter_r": 3.717, "beamwidths_limit": 1, "new_source_sigma_margin": 3}


def image(dataset, day=0, **changes):
    """Store the default image of the oracles, one per day; returns its id."""
    values = {
        "freq_eff": 140e6,
        "freq_bw": 2e6,
        "taustart_ts": START + timedelta(days=day),
        "tau_time": 300,
        "beam_smaj_pix": 2.7,
        "beam_smin_pix": 2.3,
        "beam_pa_rad": 1.7,
        "deltax": -0.01111,
        "deltay": 0.01111,
        "url": f"image{day}.fits",
        "centre_ra": 123.0,
        "centre_decl": 10.0,
        "xtr_radius": 10.0,
        "rms_qc": 1e-4,
        "rms_min": 1e-4,
        "rms_max": 3e-4,
        "detection_thresh": 6,
        "analysis_thresh": 3,
    }
    return db.insert_image(dataset=dataset, **(values | changes))


def source(ra=123.123, decl=10.5, flux=0.015, flux_err=5e-4, radius=10.0, systematic=20.0):
    """The 18 numbers of the default source of the oracles."""
    fit = [5 / 3600, 6 / 3600]
    fluxes = [flux, flux_err, flux, flux_err]
    return [ra, decl, *fit, *fluxes, 15.0, 1, 1, 45, systematic, systematic, radius, 1, 1, 1]


def associate(image_id, sources, **changes):
    """Store blind detections of an image and associate them."""
    db.insert_extracted_sources(image_id, sources)
    return db.associate_extracted_sources(image_id, **(ASSOCIATION | changes))


def series(positions, days, dataset=None, **options):
    """The same sources in images of so many days; returns the dataset."""
    dataset = db.insert_dataset("oracle") if dataset is None else dataset
    for day in range(days):
        associate(image(dataset, day, **options.get("image", {})), positions)
    return dataset


def runcats(dataset):
    """The running catalogue with the fluxes of its (single) band, by position."""
    r, f = schema.runningcatalog, schema.runningcatalog_flux
    query = sa.select(r, *(c for c in f.c if c.name not in ("id", "runcat"))).join_from(
        r, f, f.c.runcat == r.c.id
    )
    return db.current().rows(
        query.where(r.c.dataset == dataset).order_by(r.c.wm_ra, r.c.wm_decl, f.c.band)
    )


def associations(runcat):
    """The association rows of a source, in their order."""
    table = schema.assocxtrsource
    return db.current().rows(sa.select(table).where(table.c.runcat == runcat).order_by(table.c.id))


def types(runcat):
    return [row.type for row in associations(runcat)]


def table(name, dataset=None):
    """All rows of a table, by id."""
    found = schema.metadata.tables[name]
    query = sa.select(found)
    if dataset is not None:
        query = query.where(found.c.dataset == dataset)
    return db.current().rows(query.order_by(found.c.id))


def close(value, expected, relative=1e-7):
    """Whether two numbers agree to the tolerance of the oracles."""
    return np.allclose(value, expected, rtol=relative, atol=1e-12)
