"""The running catalogue of a dataset in memory: one row per source, one per source, band and Stokes
parameter.

It is read from the database when first needed, changed in memory by whole arrays, and written
through before the transaction that changed it ends. What grows with the number of epochs (the
fluxes of each light curve, sorted, for its median; the ids of each source's associations) is held
in compact arrays, so that an epoch costs the same however many there were.
"""

from array import array
from bisect import insort

import numpy as np

from ... import sky
from .. import variability
from . import schema
from .loading import load
from .matching import POLAR, wrapped
from .rows import Rows

NEGATIVE_ZERO = 8e-14
"""deg; a mean right ascension less than this below 0 is 0, not 360."""

_RUNCAT, _FLUX, _ASSOC = schema.runningcatalog, schema.runningcatalog_flux, schema.assocxtrsource


class Catalogue:
    """The running catalogue of one dataset.

    Parameters
    ----------
    database : Database
    dataset_id : int

    Attributes
    ----------
    sources : Rows of ``runningcatalog``, with ``first_seen``: start of the image of its first
        extraction, s since 1970
    fluxes : Rows of ``runningcatalog_flux``, with ``row`` of its source, and flux and time of its
        last point
    alive, flux_alive : (n,) bool arrays; False for sources that have split, and their fluxes
    members : dict, id of a sky region -> dict with the rows of its sources as keys, oldest first
    new_sources : dict, row of a source -> dict of ``newsource`` id and the two ``sigma_rms``
    touched : set of rows whose ``varmetric`` is not up to date
    """

    def __init__(self, database, dataset_id):
        self.database, self.dataset_id = database, int(dataset_id)
        self.sources = Rows(_RUNCAT, extra=["first_seen"])
        self.fluxes = Rows(_FLUX, extra=["row", "last_flux", "last_time"])
        self._alive, self._flux_alive = [], []
        self.points, self.associations = [], []
        self.members, self.new_sources = {}, {}
        self.touched, self.has_varmetric = set(), set()
        self.flux_tables = {}
        self._deleted = []
        load(self)

    @property
    def alive(self):
        return np.array(self._alive, bool)

    @property
    def flux_alive(self):
        return np.array(self._flux_alive, bool)

    # Sources

    def append_sources(self, columns):
        rows = self.sources.append(columns)
        self._alive += [True] * len(rows)
        self.associations += [array("q") for _ in rows]
        return rows

    def add_sources(self, extractions, first_seen, mon_src=False):
        """New sources at the positions of extractions (dict of arrays), without points yet; returns
        their rows.

        Parameters
        ----------
        extractions : dict of (k,) arrays, columns of ``extractedsource``
        first_seen : float, s since 1970, start of their image
        mon_src : bool, they are monitoring positions
        """
        n = len(extractions["id"])
        ids = self.database.new_ids(_RUNCAT, n)
        rows = self.append_sources(
            {
                "id": ids,
                "xtrsrc": extractions["id"],
                "dataset": self.dataset_id,
                "wm_ra": extractions["ra"],
                "wm_decl": extractions["decl"],
                "first_seen": first_seen,
                "mon_src": mon_src,
            }
        )
        return rows

    def update_positions(self, rows, extractions):
        """Take one more position into the weighted means of sources.

        Parameters
        ----------
        rows : (k,) int array, each at most once
        extractions : dict of (k,) arrays, columns of ``extractedsource``
        """
        old = self.sources.take(rows)
        n = old["datapoints"]
        weight = {
            "ra": 1 / extractions["uncertainty_ew"] ** 2,
            "decl": 1 / extractions["uncertainty_ns"] ** 2,
        }
        # right ascension on the side of 0 where the source is
        position = {
            "ra": old["wm_ra"] + wrapped(extractions["ra"] - old["wm_ra"]),
            "decl": extractions["decl"],
        }
        exact = extractions["ra"] == old["wm_ra"]
        position["ra"] = np.where(exact, extractions["ra"], position["ra"])
        new = {"datapoints": n + 1}
        for name in ("ra", "decl"):
            new[f"avg_weight_{name}"] = (n * old[f"avg_weight_{name}"] + weight[name]) / (n + 1)
            new[f"avg_w{name}"] = (n * old[f"avg_w{name}"] + weight[name] * position[name]) / (
                n + 1
            )
            new[f"wm_{name}"] = new[f"avg_w{name}"] / new[f"avg_weight_{name}"]
            new[f"avg_{name}_err"] = (n * old[f"avg_{name}_err"] + extractions[f"{name}_err"]) / (
                n + 1
            )
        new["wm_uncertainty_ew"] = 1 / np.sqrt((n + 1) * new["avg_weight_ra"])
        new["wm_uncertainty_ns"] = 1 / np.sqrt((n + 1) * new["avg_weight_decl"])
        _mean_near_pole(new, old, extractions, weight)
        turns = np.floor(np.where(np.abs(new["wm_ra"]) < NEGATIVE_ZERO, 0, new["wm_ra"]) / 360)
        new["avg_wra"] -= 360 * turns * new["avg_weight_ra"]
        new["wm_ra"] = np.maximum(new["wm_ra"] - 360 * turns, 0.0)
        new["zone"] = np.floor(new["wm_decl"]).astype(int)
        new["x"], new["y"], new["z"] = sky.unit_vectors(new["wm_ra"], new["wm_decl"])
        self.sources.set(rows, new)

    # Fluxes

    def append_fluxes(self, columns):
        rows = self.fluxes.append({**columns, "last_time": -np.inf})
        self._flux_alive += [True] * len(rows)
        self.points += [array("d") for _ in rows]
        for key in set(
            zip(
                self.fluxes["band"][rows].tolist(),
                self.fluxes["stokes"][rows].tolist(),
                strict=True,
            )
        ):
            of_key = rows[
                (self.fluxes["band"][rows] == key[0]) & (self.fluxes["stokes"][rows] == key[1])
            ]
            self._table_of(key)[self.fluxes["row"][of_key].astype(int)] = of_key
        return rows

    def _table_of(self, key):
        """Row in ``fluxes`` by row in ``sources`` for a band and Stokes parameter; -1 where there
        is none."""
        table = self.flux_tables.get(key, np.zeros(0, int))
        if len(table) < len(self.sources):
            longer = np.full(max(len(self.sources), 2 * len(table)), -1)
            longer[: len(table)] = table
            table = self.flux_tables[key] = longer
        return table

    def add_points(self, rows, band, stokes, time, extractions):
        """Take one more flux into the light curves of sources, also a first one of a band.

        Parameters
        ----------
        rows : (k,) int array of sources, each at most once
        band, stokes : ints
        time : float, s since 1970
        extractions : dict of (k,) arrays, columns of ``extractedsource``

        Returns
        -------
        dict of (k,) arrays ``v_int, eta_int, f_datapoints``, after these points
        """
        rows = np.asarray(rows)
        absent = rows[self._table_of((band, stokes))[rows] < 0]
        if len(absent):
            self.append_fluxes(
                {
                    "id": self.database.new_ids(_FLUX, len(absent)),
                    "runcat": self.sources["id"][absent],
                    "row": absent,
                    "band": band,
                    "stokes": stokes,
                }
            )
        k = self._table_of((band, stokes))[rows]
        old = self.fluxes.take(k)
        n = old["f_datapoints"]
        new = {"f_datapoints": n + 1}
        for kind in ("f_peak", "f_int"):
            flux, weight = extractions[kind], 1 / extractions[f"{kind}_err"] ** 2
            for name, value in (
                (f"avg_{kind}", flux),
                (f"avg_{kind}_sq", flux**2),
                (f"avg_{kind}_weight", weight),
                (f"avg_weighted_{kind}", weight * flux),
                (f"avg_weighted_{kind}_sq", weight * flux**2),
            ):
                new[name] = (n * old[name] + value) / (n + 1)
        state = {
            "n": n,
            "mean": old["avg_f_int"],
            "m2": old["f_int_m2"],
            "weight_sum": n * old["avg_f_int_weight"],
            "wmean": old["f_int_wmean"],
            "wm2": old["f_int_wm2"],
        }
        flux = extractions["f_int"]
        state = variability.update(state, flux, 1 / extractions["f_int_err"] ** 2)
        new |= {"avg_f_int": state["mean"], "f_int_m2": state["m2"]}
        new |= {"f_int_wmean": state["wmean"], "f_int_wm2": state["wm2"]}
        later = time >= old["last_time"]
        new["last_flux"] = np.where(later, flux, old["last_flux"])
        new["last_time"] = np.maximum(time, old["last_time"])
        self.fluxes.set(k, new)
        for number, value in zip(k.tolist(), flux.tolist(), strict=True):
            insort(self.points[number], value)
        self.touched.update(rows.tolist())
        v, eta = variability.v_and_eta(state["n"], state["mean"], state["m2"], state["wm2"])
        return {"v_int": v, "eta_int": eta, "f_datapoints": state["n"]}

    def flux_rows(self, row):
        """Rows in ``fluxes`` of one source, oldest first."""
        rows = [
            int(table[row])
            for table in self.flux_tables.values()
            if row < len(table) and table[row] >= 0
        ]
        return sorted(rows)

    # Association rows, membership, splitting

    def write_associations(self, rows, columns):
        """Insert into ``assocxtrsource``; ``columns``: dict of arrays or values, without ``id`` and
        ``runcat``."""
        if not len(rows):
            return
        ids = self.database.insert(_ASSOC, {"runcat": self.sources["id"][rows], **columns})
        for row, number in zip(np.asarray(rows).tolist(), ids.tolist(), strict=True):
            self.associations[row].append(number)

    def add_members(self, region, rows, distance):
        """Link sources to a sky region; ``distance``: (k,) array, deg, to its centre.

        Parameters
        ----------
        region : int, id of the sky region
        rows : (k,) int array of sources
        distance : (k,) array, deg
        """
        if not len(rows):
            return
        columns = {"runcat": self.sources["id"][rows], "skyrgn": region, "distance_deg": distance}
        self.database.insert(schema.assocskyrgn, columns)
        self.members.setdefault(region, {}).update(dict.fromkeys(np.asarray(rows).tolist()))

    def add_new_source(self, row, number, flux, rms_min, rms_max):
        """Remember that a source is a new one, by the limits of an earlier image.

        Parameters
        ----------
        row : int, of the source
        number : int, id in ``newsource``
        flux : float, Jy, of its first detection
        rms_min, rms_max : float, Jy, of the earlier image
        """
        self.new_sources[row] = {
            "newsource": number,
            "sigma_rms_min": flux / rms_min,
            "sigma_rms_max": flux / rms_max,
        }

    def add_copy(self, row, xtrsrc, first_seen, keep_bands):
        """A new source with the past of another one, for each side of a split; returns its row.

        Parameters
        ----------
        row : int, the source that splits
        xtrsrc : int, id of the extraction that the copy begins with
        first_seen : float, s since 1970, of that extraction
        keep_bands : None, or the only (band, stokes) whose fluxes are copied
        """
        columns = {name: [values] for name, values in self.sources.take(row).items()}
        columns |= {
            "id": self.database.new_ids(_RUNCAT, 1),
            "xtrsrc": [xtrsrc],
            "first_seen": [first_seen],
        }
        copy = int(self.append_sources(columns)[0])
        for k in self.flux_rows(row):
            key = int(self.fluxes["band"][k]), int(self.fluxes["stokes"][k])
            if keep_bands is not None and key != keep_bands:
                continue
            columns = {name: [values] for name, values in self.fluxes.take(k).items()}
            last_time = columns["last_time"]
            columns |= {
                "id": self.database.new_ids(_FLUX, 1),
                "runcat": [self.sources["id"][copy]],
                "row": [copy],
            }
            new = int(self.append_fluxes(columns)[0])
            self.fluxes.set([new], {"last_time": last_time})
            self.points[new] = array("d", self.points[k])
        self.touched.add(copy)
        return copy

    def remove(self, row):
        """Delete a source that has split, with all that points to it."""
        self._alive[row] = False
        for k in self.flux_rows(row):
            self._flux_alive[k] = False
        for rows in self.members.values():
            rows.pop(row, None)
        self.new_sources.pop(row, None)
        self.touched.discard(row)
        self.has_varmetric.discard(row)
        runcat = int(self.sources["id"][row])
        for table in (schema.varmetric, schema.newsource, schema.assocskyrgn, _FLUX):
            self.database.change(table.delete().where(table.c.runcat == runcat))
        numbers = self.associations[row].tolist()
        for start in range(0, len(numbers), 500):
            self.database.change(
                _ASSOC.delete().where(_ASSOC.c.id.in_(numbers[start : start + 500]))
            )
        self.associations[row] = array("q")
        self._deleted.append(runcat)

    def write(self):
        """Write what has changed; within the transaction of the change."""
        self.sources.write(self.database, self.alive)
        self.fluxes.write(self.database, self.flux_alive)
        for runcat in self._deleted:
            self.database.change(_RUNCAT.delete().where(_RUNCAT.c.id == runcat))
        self._deleted = []


def _mean_near_pole(new, old, extractions, weight):
    """Replace means of right ascension and declination by those of directions, in place, for
    sources near a pole."""
    polar = np.abs(extractions["decl"]) > POLAR
    if not polar.any():
        return
    n = old["datapoints"][polar]
    before = (
        n
        * old["avg_weight_ra"][polar]
        * sky.unit_vectors(old["wm_ra"][polar], old["wm_decl"][polar])
    )
    now = weight["ra"][polar] * sky.unit_vectors(
        extractions["ra"][polar], extractions["decl"][polar]
    )
    for name, values in zip(("ra", "decl"), sky.angles(before + now), strict=True):
        new[f"wm_{name}"][polar] = values
        new[f"avg_w{name}"][polar] = values * new[f"avg_weight_{name}"][polar]


def catalogue(database, dataset_id):
    """The running catalogue of a dataset, from memory where it is up to date."""
    if dataset_id not in database.catalogues:
        database.catalogues[dataset_id] = Catalogue(database, dataset_id)
    return database.catalogues[dataset_id]
