"""Optical frames: their stars, their point spread function, and frames without coordinates matched
by their patterns of stars.

Patterns are matched by astroalign (Beroiz, Cabral & Sanchez 2020, Astronomy and Computing 32,
100384): triangles of bright stars, so that shifts, turns (a meridian flip) and clouds do not
matter. The match is then refined on all stars in common.
"""

import logging

import numpy as np

from ..errors import BadInputError

log = logging.getLogger(__name__)

MIN_STARS = 6
"""Stars that two frames need in common."""

PATTERN_STARS = (20, 40)
"""Brightest stars whose triangles are compared: at first, and where that fails. The time that a
frame without a pattern in common takes rises with their square: 0.05 s, and 1 s more."""

ARCSEC_PER_RADIAN = 206264.806

_FIELDS = ("x", "y", "flux", "half_light", "peak")


def find_stars(pixels, *, threshold=5.0, limit=2000):
    """Stars of a frame, brightest first.

    Parameters
    ----------
    pixels : (n_rows, n_columns) array
    threshold : float, noises
    limit : int, at most so many

    Returns
    -------
    dict of (n,) arrays ``x, y`` (px), ``flux`` and ``peak`` above the background, ``half_light``
    (px), and ``elongation``
    """
    import sep

    usable = np.isfinite(pixels)
    clean = np.ascontiguousarray(np.where(usable, pixels, 0), dtype=np.float32)
    background = sep.Background(clean, mask=~usable, bw=64, bh=64)
    clean = clean - background.back()
    if not background.globalrms > 0:
        return {name: np.zeros(0) for name in (*_FIELDS, "elongation")}
    sep.set_extract_pixstack(max(300_000, clean.size // 2))
    objects = sep.extract(clean, threshold, err=background.globalrms, mask=~usable, minarea=5)
    # flags: truncated at the edge, or blended
    objects = objects[(objects["flag"] & 8) == 0]
    objects = objects[np.argsort(-objects["flux"], kind="stable")][:limit]
    radius, _ = sep.flux_radius(
        clean,
        objects["x"],
        objects["y"],
        6.0 * np.maximum(objects["a"], 1),
        0.5,
        normflux=None,
        mask=~usable,
    )
    stars = {name: np.asarray(objects[name], float) for name in ("x", "y", "flux", "peak")}
    elongation = objects["a"] / np.maximum(objects["b"], 1e-6)
    return {**stars, "half_light": np.asarray(radius, float), "elongation": elongation}


def measure_psf(pixels):
    """Full width at half maximum of the stars of a frame, px; NaN where there are fewer than three.

    Of a Gaussian, half of the light lies within half of that.
    """
    stars = find_stars(pixels, threshold=8.0, limit=500)
    top = np.nanmax(pixels) - np.nanmedian(pixels) if len(stars["x"]) else 0
    good = (stars["elongation"] < 1.6) & (stars["half_light"] > 0.6) & (stars["peak"] < 0.8 * top)
    radii = stars["half_light"][good][:100]
    if len(radii) < 3:
        return float("nan")
    # galaxies and blends are wider than stars
    radii = radii[radii < 2 * np.percentile(radii, 20)]
    return float(2 * np.median(radii))


def match(stars, reference):
    """The affine map from a frame to a reference frame.

    Parameters
    ----------
    stars, reference : dicts of arrays ``x, y``, brightest first

    Returns
    -------
    matrix : (2, 3) array: reference = matrix[:, :2] @ (x, y) + matrix[:, 2]
    n : int, stars in common
    scatter : float, px, of these about the map

    Raises
    ------
    BadInputError : no pattern in common
    """
    import astroalign
    from scipy.spatial import cKDTree

    frame, target = (np.column_stack([s["x"], s["y"]]) for s in (stars, reference))
    if len(frame) < MIN_STARS:
        raise BadInputError(f"{len(frame)} stars; at least {MIN_STARS} are needed to match a frame")
    transform = None
    for n in PATTERN_STARS:
        try:
            transform, _ = astroalign.find_transform(frame[:n], target[:n], max_control_points=n)
            break
        except (astroalign.MaxIterError, ValueError, TypeError):
            continue
    if transform is None:
        raise BadInputError(
            f"no pattern in common with the reference frame among {len(frame)} stars"
        )
    matrix = np.asarray(transform.params)[:2]
    tree = cKDTree(target)
    for radius in (4.0, 2.0, 1.0, 1.0):
        distance, index = tree.query(_apply(matrix, frame), distance_upper_bound=radius)
        pairs = np.flatnonzero(np.isfinite(distance))
        # each star once: the nearer one has it
        pairs = pairs[np.argsort(distance[pairs], kind="stable")]
        pairs = pairs[np.unique(index[pairs], return_index=True)[1]]
        if len(pairs) < MIN_STARS:
            raise BadInputError(
                f"{len(pairs)} stars in common with the reference frame; at least {MIN_STARS} are "
                f"needed"
            )
        design = np.column_stack([frame[pairs], np.ones(len(pairs))])
        matrix = np.linalg.lstsq(design, target[index[pairs]], rcond=None)[0].T
    residual = _apply(matrix, frame[pairs]) - target[index[pairs]]
    scale = np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    if not 0.9 < scale < 1.1:
        raise BadInputError(f"the match changes the scale by {scale:.2f}: it is a chance one")
    return matrix, len(pairs), float(np.sqrt((residual**2).sum(axis=1).mean()))


def _apply(matrix, positions):
    return positions @ matrix[:, :2].T + matrix[:, 2]


def has_coordinates(header):
    """Whether a header says where on the sky its pixels are."""
    kinds = {str(header.get(f"CTYPE{i}", "")).strip()[:4].rstrip("-") for i in (1, 2)}
    return {"RA", "DEC"} <= kinds or {"GLON", "GLAT"} <= kinds


def reference_wcs(header):
    """Coordinates for a frame that has none, from where it says it points, and its optics.

    Without these it is put at right ascension 180, declination 0, with 1 arcsec per pixel:
    positions are relative then.
    """
    from astropy import units as u
    from astropy.coordinates import Angle
    from astropy.wcs import WCS

    wcs = WCS(naxis=2)
    ra, decl = 180.0, 0.0
    for ra_key, decl_key in (("OBJCTRA", "OBJCTDEC"), ("RA", "DEC")):
        if ra_key in header and decl_key in header:
            try:
                texts = str(header[ra_key]), str(header[decl_key])
                hours = ":" in texts[0] or " " in texts[0].strip()
                ra = Angle(texts[0], u.hourangle if hours else u.deg).deg
                decl = Angle(texts[1], u.deg).deg
                break
            except ValueError:
                log.warning("%s = %r is not a position", ra_key, header[ra_key])
    scale = 1.0
    if header.get("FOCALLEN") and header.get("XPIXSZ"):
        scale = float(header["XPIXSZ"]) * 1e-3 / float(header["FOCALLEN"]) * ARCSEC_PER_RADIAN
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra % 360, decl]
    wcs.wcs.crpix = [header["NAXIS1"] / 2 + 0.5, header["NAXIS2"] / 2 + 0.5]
    wcs.wcs.cd = np.array([[-scale, 0], [0, scale]]) / 3600
    return wcs


def mapped_header(header, wcs, matrix):
    """A frame's header with the coordinates that follow from its map to a reference frame.

    Parameters
    ----------
    header : astropy.io.fits.Header
    wcs : astropy.wcs.WCS of the reference frame
    matrix : (2, 3) array, see `match`
    """
    cd = wcs.pixel_scale_matrix @ matrix[:, :2]
    crpix = np.linalg.solve(matrix[:, :2], wcs.wcs.crpix - 1 - matrix[:, 2]) + 1
    mapped = header.copy()
    for key in ("CDELT1", "CDELT2", "CROTA1", "CROTA2", "PC1_1", "PC1_2", "PC2_1", "PC2_2"):
        mapped.remove(key, ignore_missing=True)
    for i in (0, 1):
        mapped[f"CTYPE{i + 1}"] = wcs.wcs.ctype[i]
        mapped[f"CRVAL{i + 1}"] = float(wcs.wcs.crval[i])
        mapped[f"CRPIX{i + 1}"] = float(crpix[i])
        mapped[f"CUNIT{i + 1}"] = "deg"
        for j in (0, 1):
            mapped[f"CD{i + 1}_{j + 1}"] = float(cd[i, j])
    return mapped


def match_series(paths, runner, reference=""):
    """Give coordinates to frames that have none, from those of a reference frame.

    Parameters
    ----------
    paths : list of paths, or of (header, pixels)
    runner : runner.Runner
    reference : str, path of the reference frame; by default the earliest one with at least 0.8 of
        the stars that the richest has

    Returns
    -------
    images : list of ImageAccessor, in the order of ``paths``, without those that cannot be matched
    skipped : dict, path -> reason
    reference : str, path of the reference frame
    """
    from .accessors import ImageAccessor

    skipped, frames = {}, {}
    names = [_name(path, number) for number, path in enumerate(paths)]
    for path, name, found in zip(
        paths, names, runner.map_each("stars_of_frame", paths), strict=True
    ):
        if isinstance(found, BadInputError):
            skipped[name] = str(found)
        else:
            frames[name] = (*found, path)
    if not frames:
        return [], skipped, reference
    if reference not in frames:
        reference = _choose_reference(frames)
    header, target, psf, _ = frames[reference]
    from .accessors import wcs_of

    wcs = wcs_of(header, reference) if has_coordinates(header) else reference_wcs(header)
    others = [(name, stars) for name, (_, stars, _, _) in frames.items() if name != reference]
    matches = runner.map_each("match_frame", others, [target])
    maps = dict(zip((name for name, _ in others), matches, strict=True))
    maps[reference] = np.eye(2, 3)
    images = []
    for name, (header, _, psf, path) in frames.items():
        try:
            if isinstance(maps[name], BadInputError):
                raise maps[name]
            header = mapped_header(header, wcs, maps[name])
            header.setdefault("FILTER", "clear")
            if np.isfinite(psf):
                scale = np.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix @ maps[name][:, :2])))
                header["PSF_FWHM"] = float(psf * scale * 3600)
            pixels = path[1] if isinstance(path, tuple) else None
            images.append(ImageAccessor(header, pixels, name))
        except BadInputError as error:
            skipped[name] = str(error) if name in str(error) else f"{name}: {error}"
    return images, skipped, reference


def _name(path, number):
    if isinstance(path, tuple):
        return str(path[0].get("FILENAME", f"frame {number}"))
    return str(path)


def _choose_reference(frames):
    most = max(len(stars["x"]) for _, stars, _, _ in frames.values())
    rich = [name for name, (_, stars, _, _) in frames.items() if len(stars["x"]) >= 0.8 * most]
    return min(rich, key=lambda name: (str(frames[name][0].get("DATE-OBS", "")), name))
