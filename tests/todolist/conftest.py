"""Tiny folders of target pixel files whose TODO-file can be worked out by hand."""

import numpy as np
import pytest
from astropy.table import Table

from photometry.simulate import spacecraft
from photometry.simulate.spacecraft import simulate_pointing
from photometry.simulate.tpffile import file_name, row_type, write_target_pixel_file

CAMERA_CENTRE = (84.0, -66.0)
SIZE = 11


class Sky:
    """A CCD on which stars are put by their detector position; knows which files and which
    catalogue there are.
    """

    def __init__(self, folder, sector=1, camera=1, ccd=1):
        self.folder, self.sector, self.camera, self.ccd = folder, sector, camera, ccd
        self.wcs = spacecraft.ccd_wcs(ccd, *CAMERA_CENTRE)
        self.stars = []
        folder.mkdir(exist_ok=True, parents=True)

    def star(self, starid, row, column, tmag):
        """Put a star into the catalogue."""
        ra, decl = (float(angle) for angle in self.wcs.wcs_pix2world(column, row, 1))
        self.stars.append((starid, ra, decl, tmag))
        return ra, decl

    def tpf(
        self, starid, row, column, tmag, *, cadence=120, collected=None, subfolder=".", name=None
    ):
        """Write a target pixel file of 11x11 pixels, with the star in the middle one, of 3
        exposures without light.
        """
        ra, decl = self.star(starid, row, column, tmag)
        corner = (round(column) - SIZE // 2, round(row) - SIZE // 2)
        aperture = np.ones((SIZE, SIZE), dtype=int) if collected is None else collected.astype(int)
        aperture[SIZE // 2, SIZE // 2] |= 2
        table = np.zeros(3, row_type((SIZE, SIZE)))
        table["TIME"] = simulate_pointing(3, cadence, self.sector, np.random.default_rng(1)).time
        stamp = {
            "sector": self.sector,
            "camera": self.camera,
            "ccd": self.ccd,
            "cadence": cadence,
            "aperture": aperture,
        }
        stamp |= {
            "wcs": spacecraft.local_wcs(self.wcs, column, row, corner),
            "column": corner[0],
            "row": corner[1],
        }
        target = {
            "starid": starid,
            "ra": ra,
            "decl": decl,
            "pm_ra": 0.0,
            "pm_decl": 0.0,
            "tmag": tmag,
            "teff": 5777.0,
        }
        path = self.folder / subfolder / (name or file_name(starid, self.sector, cadence))
        path.parent.mkdir(exist_ok=True, parents=True)
        stamp |= {"crowding": 1.0, "captured": 1.0}
        write_target_pixel_file(path, target | {"logg": 4.4, "radius": 1.0}, stamp, [table], 3)
        return path

    def catalog(self):
        """Write catalog.ecsv with all stars."""
        stars = {row[0]: row for row in self.stars}
        table = Table(rows=list(stars.values()), names=("starid", "ra_J2000", "decl_J2000", "tmag"))
        table.write(self.folder / "catalog.ecsv", overwrite=True)


@pytest.fixture
def sky(tmp_path):
    return Sky(tmp_path / "data")


@pytest.fixture
def rows():
    """Reads the rows of a folder's TODO-file as dicts, in the order of their priority."""
    import contextlib
    import sqlite3

    def read(folder):
        with contextlib.closing(sqlite3.connect(folder / "todo.sqlite")) as conn:
            conn.row_factory = sqlite3.Row
            return [dict(row) for row in conn.execute("SELECT * FROM todolist ORDER BY priority")]

    return read
