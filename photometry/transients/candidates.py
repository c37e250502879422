"""One HTML page of the candidates of a dataset: what each looked like before, during and after, its
light curve, V against eta, sky."""

import io
import logging

import numpy as np
import sqlalchemy as sa

from ..errors import BadInputError
from .database import schema
from .export import (
    candidate_table,
    catalog_table,
    last_dataset,
    mjd,
    overview,
    variability_limits,
    variable_sources,
)
from .steps import stored_image

log = logging.getLogger(__name__)

CUTOUT = 24
"""px; half the side of a cut-out."""

CUTOUT_SIZE = 196
"""px on the screen."""

FORCED, BLIND, NEW, STEADY = "#c2571a", "#2a78b5", "#c62828", "#7a8791"


def write_candidates(database, path, *, dataset_id=None, limit=50):
    """Write the page, one file that opens offline; returns the number of candidates.

    Parameters
    ----------
    database : Database
    path : path
    dataset_id : int, the last one by default
    limit : int, show at most so many candidates, the most significant ones
    """
    from ..report.html import ink

    # also while figures are written: their ids are made then
    with ink():
        return _write_page(database, path, last_dataset(database, dataset_id), limit)


def _write_page(database, path, dataset_id, limit):
    from ..report.html import Page, facts, figure, figures, link, table

    catalog = catalog_table(database, dataset_id)
    candidates = candidate_table(database, dataset_id, catalog)
    (summary,) = overview(database, dataset_id)
    page = Page(
        f"Transient candidates of dataset {dataset_id}", summary["description"],
        "Fluxes in Jy, or in the unit of the pixels of optical images. Positions J2000 in degrees.",
    )  # fmt: skip
    page.section("Summary", facts({
        "candidates": len(candidates), "sources": summary["sources"],
        "measurements": summary["measurements"],
        "timesteps": summary["timesteps_done"],
        "timesteps that failed": summary["timesteps_failed"],
        "images": summary["images"], "images rejected": summary["rejected"],
        "images skipped": len(summary["skipped"]),
    }))  # fmt: skip
    page.section(
        "All sources",
        figures(
            figure(plot_variability(catalog, candidates), "Variability: sources above both lines "
                                                          "vary; new sources are red, variable "
                                                          "ones blue."),
            figure(plot_sky(catalog, candidates), "Sky: new sources are red, variable ones blue, "
                                                  "monitored positions crosses."),
        ),
    )  # fmt: skip
    shown = candidates[:limit]
    if len(shown):
        rows = [
            {
                "source": link(str(c["source"]), f"#source-{c['source']}"), "kind": str(c["kind"]),
                "ra": round(float(c["ra"]), 5),
                "decl": round(float(c["decl"]), 5), "max flux": float(c["max_flux"]),
                "V": round(float(c["v"]), 4),
                "eta": round(float(c["eta"]), 2), "points": int(c["n_fluxes"]),
                "S/N limit": float(c["sigma_rms_max"]),
            }
            for c in shown
        ]  # fmt: skip
        page.section(
            "Candidates",
            table(rows, total=len(candidates)),
            note="S/N limit: peak flux over the highest noise of the deepest earlier image.",
        )
    else:
        page.section("Candidates", "There is no new and no variable source.")
    cutouts = _Cutouts(database, dataset_id)
    for candidate in shown:
        _add_candidate(page, database, candidate, cutouts)
    page.write(path)
    return len(candidates)


def _add_candidate(page, database, candidate, cutouts):
    from ..report.html import facts, figure, figures

    number = int(candidate["source"])
    points = _points(database, number)
    during = int(candidate["image"])
    if during < 0:
        during = max(
            (p for p in points if p.band == candidate["band"]), key=lambda p: p.f_int
        ).image
    pictures = cutouts.around(candidate, during)
    page.section(
        f"Source {number}: {candidate['kind']}",
        facts({
            "position": f"{candidate['ra']:.5f} {candidate['decl']:+.5f}",
            "V": float(candidate["v"]),
            "eta": float(candidate["eta"]), "points": int(candidate["n_fluxes"]),
            "max flux": float(candidate["max_flux"]),
            "mean flux": float(candidate["mean_flux"]),
        }),
        figures(*pictures),
        figure(plot_lightcurve(points), "Light curve: filled: detected; open: forced fit."),
        anchor=f"source-{number}",
    )  # fmt: skip


def _points(database, runcat):
    pair, x, image = schema.assocxtrsource, schema.extractedsource, schema.image
    query = (
        sa.select(
            image.c.id.label("image"),
            image.c.taustart_ts,
            image.c.tau_time,
            image.c.band,
            image.c.freq_eff,
            x.c.f_int,
            x.c.f_int_err,
            x.c.extract_type,
        )
        .join_from(pair, x, x.c.id == pair.c.xtrsrc)
        .join(image, image.c.id == x.c.image)
        .where(pair.c.runcat == runcat)
        .order_by(image.c.taustart_ts, image.c.band)
    )
    return database.rows(query)


def _figure(width, height):
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width, height), dpi=150)
    return fig, fig.add_subplot()


def plot_lightcurve(points):
    """A matplotlib Figure of fluxes against time, a colour per band.

    Parameters
    ----------
    points : list of rows ``taustart_ts, tau_time, band, freq_eff, f_int, f_int_err, extract_type``
    """
    from ..report.html import ink

    with ink():
        fig, ax = _figure(8, 2.6)
        bands = sorted({p.band for p in points})
        for i, band in enumerate(bands):
            mine = [p for p in points if p.band == band]
            times = np.array([mjd(p.taustart_ts, p.tau_time) for p in mine])
            flux, error = np.array([p.f_int for p in mine]), np.array([p.f_int_err for p in mine])
            forced = np.array([p.extract_type != 0 for p in mine])
            color = f"C{i}" if len(bands) > 1 else BLIND
            for mask, face in ((forced, "none"), (~forced, color)):
                label = (
                    f"{mine[0].freq_eff / 1e6:.4g} MHz"
                    if face != "none" and len(bands) > 1
                    else None
                )
                ax.errorbar(
                    times[mask],
                    flux[mask],
                    error[mask],
                    fmt="o",
                    ms=4,
                    mfc=face,
                    mec=color,
                    ecolor=color,
                    lw=0.8,
                    label=label,
                )
        ax.axhline(0, lw=0.5, color=STEADY)
        ax.set_xlabel("MJD (UTC)")
        ax.set_ylabel("flux")
        ax.ticklabel_format(axis="x", useOffset=False)
        if len(bands) > 1:
            ax.legend(fontsize=7)
        fig.tight_layout()
    return fig


def plot_variability(catalog, candidates):
    """A matplotlib Figure of V against eta.

    Parameters
    ----------
    catalog, candidates : tables of `export`
    """
    from ..report.html import ink

    v, eta = np.asarray(catalog["v"], float), np.asarray(catalog["eta"], float)
    drawn = (v > 0) & (eta > 0)
    varies = variable_sources(catalog)
    is_new = np.isin(catalog["source"], [c["source"] for c in candidates if "new" in c["kind"]])
    with ink():
        fig, ax = _figure(4.6, 3.8)
        for mask, color, size in (
            (~varies & ~is_new, STEADY, 8),
            (varies & ~is_new, BLIND, 20),
            (is_new, NEW, 20),
        ):
            ax.scatter(
                eta[mask & drawn],
                v[mask & drawn],
                s=size,
                color=color,
                lw=0,
                rasterized=len(v) > 2000,
            )
        for row in np.flatnonzero(drawn & (varies | is_new))[:40]:
            ax.annotate(
                str(catalog["source"][row]),
                (eta[row], v[row]),
                fontsize=6,
                xytext=(3, 2),
                textcoords="offset points",
            )
        v_limit, eta_limit = variability_limits(catalog)
        ax.axvline(eta_limit, lw=0.7, ls="--", color=STEADY)
        if v_limit > 0:
            ax.axhline(v_limit, lw=0.7, ls="--", color=STEADY)
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlabel("eta (reduced chi-square of a constant source)")
        ax.set_ylabel("V (scatter / mean)")
        fig.tight_layout()
    return fig


def plot_sky(catalog, candidates):
    """A matplotlib Figure of the positions of all sources.

    Parameters
    ----------
    catalog, candidates : tables of `export`
    """
    from ..report.html import ink
    from .database.matching import wrapped

    ra, decl = np.asarray(catalog["ra"], float), np.asarray(catalog["decl"], float)
    kinds = {int(c["source"]): str(c["kind"]) for c in candidates}
    is_new = np.array(["new" in kinds.get(int(s), "") for s in catalog["source"]], bool)
    varies = np.array(["variable" in kinds.get(int(s), "") for s in catalog["source"]], bool)
    watched = np.asarray(catalog["monitored"], bool)
    middle = ra[0] if len(ra) else 0
    x = middle + wrapped(ra - middle)
    with ink():
        fig, ax = _figure(4.6, 3.8)
        plain = ~is_new & ~varies & ~watched
        ax.scatter(x[plain], decl[plain], s=6, color=STEADY, lw=0, rasterized=len(ra) > 2000)
        ax.scatter(x[watched], decl[watched], s=24, marker="x", color=STEADY, lw=0.8)
        ax.scatter(x[varies & ~is_new], decl[varies & ~is_new], s=24, color=BLIND, lw=0)
        ax.scatter(x[is_new], decl[is_new], s=24, color=NEW, lw=0)
        for row in np.flatnonzero(is_new | varies)[:40]:
            ax.annotate(
                str(catalog["source"][row]),
                (x[row], decl[row]),
                fontsize=6,
                xytext=(3, 2),
                textcoords="offset points",
            )
        ax.invert_xaxis()
        if len(ra):
            ax.set_aspect(1 / max(np.cos(np.radians(np.median(decl))), 0.1), adjustable="datalim")
        ax.ticklabel_format(useOffset=False)
        ax.set_xlabel("right ascension (deg)")
        ax.set_ylabel("declination (deg)")
        fig.tight_layout()
    return fig


class _Cutouts:
    """Pictures of the surroundings of a source in the images before, at and after one."""

    def __init__(self, database, dataset_id):
        self._database, self._opened = database, {}
        table, rejected = schema.image, schema.rejection
        bad = sa.select(rejected.c.image).where(rejected.c.image == table.c.id)
        query = sa.select(
            table.c.id, table.c.url, table.c.band, table.c.taustart_ts, table.c.skyrgn
        )
        query = query.where(table.c.dataset == dataset_id, ~bad.exists()).order_by(
            table.c.taustart_ts
        )
        self._images = database.rows(query)

    def around(self, candidate, during):
        from ..report.html import picture

        here = next((i for i in self._images if i.id == during), None)
        if here is None:
            return []
        same = [i for i in self._images if i.band == here.band and i.skyrgn == here.skyrgn]
        during_at = next(k for k, i in enumerate(same) if i.id == during)
        chosen = [("before", during_at - 1), ("during", during_at), ("after", during_at + 1)]
        stamps = {
            name: (same[k], self._stamp(same[k], float(candidate["ra"]), float(candidate["decl"])))
            for name, k in chosen
            if 0 <= k < len(same)
        }
        values = [stamp for _, stamp in stamps.values() if stamp is not None]
        if not values:
            return []
        # one scale for the three: what changes shows
        level = np.concatenate([stamp[np.isfinite(stamp)] for stamp in values])
        low, high = np.percentile(level, 1), level.max()
        parts = []
        for name, _ in chosen:
            image, stamp = stamps.get(name, (None, None))
            if stamp is None:
                continue
            caption = f"{name}: {image.taustart_ts:%Y-%m-%d %H:%M:%S}"
            parts.append(picture(cutout_png(stamp, low, high), caption))
        return parts

    def _stamp(self, row, ra, decl):
        image = self._open(row)
        if image is None:
            return None
        x, y = image.wcs.world_to_pixel_values(ra, decl)
        if not (np.isfinite(x) and np.isfinite(y)):
            return None
        column, line = round(float(x)), round(float(y))
        stamp = np.full((2 * CUTOUT + 1, 2 * CUTOUT + 1), np.nan)
        n_rows, n_columns = image.shape
        rows = slice(max(line - CUTOUT, 0), min(line + CUTOUT + 1, n_rows))
        columns = slice(max(column - CUTOUT, 0), min(column + CUTOUT + 1, n_columns))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return None
        top, left = rows.start - line + CUTOUT, columns.start - column + CUTOUT
        part = image.pixels[rows, columns]
        stamp[top : top + part.shape[0], left : left + part.shape[1]] = part
        return stamp

    def _open(self, row):
        """An image from its file, or where that is gone from the database; None where neither has
        it."""
        if row.id not in self._opened:
            while len(self._opened) > 6:
                del self._opened[next(iter(self._opened))]
            self._opened[row.id] = self._read(row)
        return self._opened[row.id]

    def _read(self, row):
        try:
            image = stored_image(self._database, row)
            _ = image.pixels
        except BadInputError as error:
            log.warning("no cut-out: %s", error)
            return None
        return image


def cutout_png(stamp, low, high):
    """A PNG (bytes) of some pixels, north up, with marks that point at the middle.

    Parameters
    ----------
    stamp : (n, n) array; NaN are drawn grey
    low, high : float, values that are drawn white and black
    """
    from PIL import Image, ImageDraw

    scaled = np.arcsinh(8 * np.clip((stamp - low) / max(high - low, 1e-30), 0, 1)) / np.arcsinh(8)
    grey = np.where(np.isfinite(stamp), 255 * (1 - scaled), 160)
    image = Image.fromarray(np.nan_to_num(grey, nan=160).astype(np.uint8)[::-1])
    image = image.resize((CUTOUT_SIZE, CUTOUT_SIZE), Image.Resampling.NEAREST).convert("RGB")
    draw, middle, gap, length = ImageDraw.Draw(image), CUTOUT_SIZE / 2, 16, 18
    for dx, dy in ((1, 0), (0, -1)):
        start, end = gap, gap + length
        draw.line(
            [middle + dx * start, middle + dy * start, middle + dx * end, middle + dy * end],
            fill=NEW,
            width=2,
        )
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
