"""Transients: images in time order to a running catalogue, light curves and candidates.

`photometry.transients.main` holds the steps in their order; `photometry.transients.database` the
tables and what is done with them; the other modules are plain functions of arrays. Names are
imported when they are first used.
"""

from .. import lazy_names

_HOMES = {
    "connect": "database",
    "export_dataset": "export",
    "find_sources": "finder",
    "measure_at": "finder",
    "open_image": "accessors",
    "read_lightcurve": "export",
    "run": "main",
    "write_candidates": "candidates",
}
__all__ = list(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
