"""Which extraction belongs to which source: de Ruiter radii, candidate pairs, and the pruning of
many-to-many. Arrays only.

de Ruiter, Willis & Arp 1977, A&AS 28, 211: the distance in units of its error. The cases are those
of Scheers 2011, "Transient and variable radio sources in the LOFAR sky", chapter 3.
"""

from dataclasses import dataclass

import numpy as np

from ... import sky
from ...errors import ArgumentError

POLAR = 89.0
"""deg; nearer to a pole, right ascensions say nothing: offsets and means are taken in a plane that
touches the sky."""

TIE = 1e-9
"""Radii of one extraction that differ relatively by less are equal: rounding must not decide."""

TIES = ("pair", "lowest_id")
MANY_TO_ONE = ("both", "nearest")


def alpha(theta, decl):
    """Half the range in right ascension of a circle on the sky, deg; 180 where it comes near a
    pole.

    Parameters
    ----------
    theta : float or array, deg, radius of the circle
    decl : float or array, deg, of its centre
    """
    theta, decl = np.broadcast_arrays(np.asarray(theta, float), np.asarray(decl, float))
    t, d = np.radians(theta), np.radians(decl)
    with np.errstate(divide="ignore"):
        width = np.degrees(np.arctan(np.sin(t) / np.sqrt(np.abs(np.cos(d - t) * np.cos(d + t)))))
    return np.where(np.abs(decl) + theta > 89.9, 180.0, width)


def wrapped(angle):
    """An angle, deg, brought to [-180, 180)."""
    return (np.asarray(angle) + 180.0) % 360.0 - 180.0


def offsets(ra1, decl1, ra2, decl2):
    """How far the second of two near positions lies east and north of the first.

    Parameters
    ----------
    ra1, decl1, ra2, decl2 : (n,) arrays, deg

    Returns
    -------
    east, north : (n,) arrays, deg on the sky
    """
    east = wrapped(ra2 - ra1) * np.cos(np.radians((decl1 + decl2) / 2))
    north = np.asarray(decl2 - decl1, float).copy()
    polar = np.maximum(np.abs(decl1), np.abs(decl2)) > POLAR
    if np.any(polar):
        first, second = (
            sky.unit_vectors(ra1[polar], decl1[polar]),
            sky.unit_vectors(ra2[polar], decl2[polar]),
        )
        ra, decl = (np.radians(a) for a in sky.angles(first + second))
        step = np.degrees(second - first)
        east[polar] = -np.sin(ra) * step[0] + np.cos(ra) * step[1]
        north[polar] = (
            -np.sin(decl) * (np.cos(ra) * step[0] + np.sin(ra) * step[1]) + np.cos(decl) * step[2]
        )
    return east, north


@dataclass
class Pairs:
    """Candidate pairs of sources and extractions.

    Attributes
    ----------
    source, extraction : (n,) int arrays, indices into the two lists
    radius : (n,) array, de Ruiter radius
    distance : (n,) array, arcsec
    """

    source: np.ndarray
    extraction: np.ndarray
    radius: np.ndarray
    distance: np.ndarray

    def __len__(self):
        return len(self.source)

    def select(self, mask):
        """The pairs where ``mask`` is True, or those of an array of indices."""
        return Pairs(
            self.source[mask], self.extraction[mask], self.radius[mask], self.distance[mask]
        )

    def counts(self):
        """How many candidates the source, and the extraction, of each pair has: two (n,) int
        arrays."""
        return (
            np.bincount(self.source, minlength=1)[self.source],
            np.bincount(self.extraction, minlength=1)[self.extraction],
        )


def candidate_pairs(sources, extractions, limit, deruiter_radius):
    """All pairs nearer than ``limit`` and than the de Ruiter radius.

    Parameters
    ----------
    sources, extractions : dicts of (n,) arrays ``ra, decl, ew, ns``: position and its 1-sigma
        errors east and north, deg
    limit : float, deg
    deruiter_radius : float

    Returns
    -------
    Pairs, by extraction, then distance
    """
    # from the shorter list into the tree of the longer one would be quicker; the order counts more
    extraction, source, distance = sky.match_all(
        extractions["ra"], extractions["decl"], sources["ra"], sources["decl"], limit
    )
    a = {name: values[source] for name, values in sources.items()}
    b = {name: values[extraction] for name, values in extractions.items()}
    east, north = offsets(a["ra"], a["decl"], b["ra"], b["decl"])
    radius = np.sqrt(
        east**2 / (a["ew"] ** 2 + b["ew"] ** 2) + north**2 / (a["ns"] ** 2 + b["ns"] ** 2)
    )
    near = (radius < deruiter_radius) & (distance < limit)
    return Pairs(source, extraction, radius, distance * 3600).select(near)


def prune(pairs, flux, *, ties="pair", own_source_first=True):
    """Take many-to-many groups apart: of an extraction's pairs within such a group, only that of
    smallest radius stays.

    Done once, for each extraction, so that one-to-many and many-to-one may be what is left over.

    Parameters
    ----------
    pairs : Pairs
    flux : (n_extractions,) array; of extractions that tie, the brighter chooses first
    ties : 'pair' or 'lowest_id'
        Equal radii: a source that no other extraction has chosen, so that two and two become two
        pairs; or the source of lowest index.
    own_source_first : bool
        An extraction whose nearest source has no other candidate leaves the groups of its other
        sources; False, as in the original: it may still be one side of such a source's split

    Returns
    -------
    Pairs
    """
    if ties not in TIES:
        raise ArgumentError(f"ties={ties!r}: expected one of {', '.join(TIES)}")
    per_source, per_extraction = pairs.counts()
    tangled = np.flatnonzero((per_source > 1) & (per_extraction > 1))
    if not len(tangled):
        return pairs
    keep = np.ones(len(pairs), bool)
    keep[tangled] = False
    if own_source_first:
        nearest = np.full(pairs.extraction.max() + 1, np.inf)
        alone = np.setdiff1d(np.arange(len(pairs)), tangled)
        np.minimum.at(nearest, pairs.extraction[alone], pairs.radius[alone])
        tangled = tangled[pairs.radius[tangled] <= nearest[pairs.extraction[tangled]]]
        if not len(tangled):
            return pairs.select(keep)
    group = pairs.select(tangled)
    order = np.lexsort((group.source, group.distance, group.radius, group.extraction))
    starts = np.flatnonzero(np.diff(group.extraction[order], prepend=-1))
    best = order[starts]
    sizes = np.diff(np.append(starts, len(order)))
    tied = []
    for number in np.flatnonzero(sizes > 1):
        members = order[starts[number] : starts[number] + sizes[number]]
        equal = group.radius[members] <= group.radius[members[0]] * (1 + TIE)
        if equal.sum() > 1:
            tied.append((number, members[equal]))
    if ties == "pair":
        taken = set(np.delete(group.source[best], [number for number, _ in tied]).tolist())
        tied.sort(
            key=lambda item: (-flux[group.extraction[item[1][0]]], group.extraction[item[1][0]])
        )
        for number, members in tied:
            members = members[np.argsort(group.source[members])]
            best[number] = next((m for m in members if group.source[m] not in taken), members[0])
            taken.add(int(group.source[best[number]]))
    else:
        for number, members in tied:
            best[number] = members[np.argmin(group.source[members])]
    keep[tangled[best]] = True
    return pairs.select(keep)


def keep_nearest(pairs):
    """Of each extraction, only the pair of smallest radius, then distance, then index of the
    source.
    """
    order = np.lexsort((pairs.source, pairs.distance, pairs.radius, pairs.extraction))
    first = np.diff(pairs.extraction[order], prepend=-1) != 0
    return pairs.select(np.sort(order[first]))
