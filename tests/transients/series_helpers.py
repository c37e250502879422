"""Running simulated series, and the content of a database as plain values."""

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa

from photometry.simulate.imageseries import RadioSeries, simulated_series
from photometry.transients import configuration, main
from photometry.transients import database as db
from photometry.transients.database import schema
from photometry.transients.runner import Runner

# What differs between runs over the same images: when they ran, how often they were taken up, where
# the images are.
VARYING = {"process_start_ts", "process_end_ts", "rerun", "url", "message", "job"}


def settings(**sections):
    """Default settings without a systematic error of positions."""
    sections.setdefault("source_extraction", {})
    sections["source_extraction"] = {
        "ew_sys_err": 0.0,
        "ns_sys_err": 0.0,
        **sections["source_extraction"],
    }
    return configuration.job_settings(**sections)


def run_series(images, folder, job=None, monitor=None, runner=None, name="run.sqlite", **options):
    """Run images into a new database, which stays the current one; returns the dataset and the
    summary."""
    db.connect(Path(folder) / name)
    dataset = db.insert_dataset("series")
    if monitor:
        db.insert_monitor_positions(dataset, monitor)
    with runner or Runner("serial") as running:
        summary = main.run_batch(images, job or settings(), running, dataset, False, **options)
    return dataset, summary


def in_memory(series):
    """The images of a series, without files."""
    return [(header, pixels) for _, _, header, pixels in series.images()]


def content(database=None, tables=None):
    """All rows of all tables without what differs between runs over the same images, by table."""
    found = {}
    for name, table in schema.metadata.tables.items():
        if tables is None or name in tables:
            columns = [c for c in table.c if c.name not in VARYING]
            order = table.c.id if "id" in table.c else columns[0]
            rows = db.current(database).rows(sa.select(*columns).order_by(order))
            found[name] = [tuple(row) for row in rows]
    return found


def rows(name, *where):
    table = schema.metadata.tables[name]
    return db.current().rows(sa.select(table).where(*where).order_by(table.c.id))


def small_series(**options):
    """A quick series: 128 x 128 pixels, five sources."""
    values = {"n_epochs": 4, "n_steady": 2, "shape": (160, 160), "seed": 3, **options}
    series = simulated_series(
        **{
            k: v
            for k, v in values.items()
            if k not in RadioSeries.__dataclass_fields__ or k in ("n_epochs", "seed", "shape")
        }
    )
    return replace(
        series,
        **{
            k: v
            for k, v in options.items()
            if k in RadioSeries.__dataclass_fields__ and k not in ("n_epochs", "seed", "shape")
        },
    )


@contextmanager
def database(path):
    opened = db.connect(path)
    try:
        yield opened
    finally:
        db.disconnect()
