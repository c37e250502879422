"""The handler of a run with ``--inject``: the photometry of a target with signals in its pixels,
and into which light they go: the target's own, pixel by pixel.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from ..errors import BadInputError
from ..methods.psf import at_mean_pointing, with_reference_fluxes
from ..methods.scene import make_scene
from ..pixels.stamp import mean_image
from ..target import photometry
from .recovery import cards, recover, signals_for
from .signals import relative_flux

# of a star's flux: faint wings, so that a pixel far from all stars, as one that charge has run
# into, belongs to the one that is nearest and brightest
WING = 1e-9


def own_fraction(stamp, settings):
    """Which fraction of the light in each pixel is the target's.

    The stars are those of the catalogue, or peaks of the image where there is none; their fluxes
    are fitted to the sum image with the PRF of the stamp.

    Parameters
    ----------
    stamp : Stamp with its stars and its sum image
    settings : PhotometrySettings

    Returns
    -------
    (n_rows, n_columns) array
    """
    if stamp.has_catalog and len(stamp.catalog) == 1:
        return np.ones(stamp.shape)
    try:
        centred, prf, shift = at_mean_pointing(stamp, settings)
        scene = with_reference_fluxes(make_scene(centred, prf, shift), centred)
    except BadInputError:  # no pixel below saturation: the stamp is the target's
        return np.ones(stamp.shape)
    rows, columns = (
        first + np.arange(size)
        for first, size in zip((stamp.row, stamp.column), stamp.shape, strict=True)
    )
    distance = (rows[:, None] - scene.row[:, None, None]) ** 2 + (
        columns - scene.column[:, None, None]
    ) ** 2
    response = prf.evaluate(scene.row, scene.column, rows, columns) + WING / (1 + distance) ** 1.5
    light = np.clip(scene.reference_flux, 0, None)[:, None, None] * response
    total = light.sum(axis=0)
    total[scene.used] += np.clip(scene.fixed, 0, None)
    return np.divide(light[0], total, out=np.zeros_like(total), where=total > 0)


def inject(stamp, good, signals, settings):
    """The stamp with signals in the light of its target.

    Parameters
    ----------
    stamp : Stamp with its stars and its sum image
    good : (n_times,) bool array, times of good quality
    signals : list of dict, see `signals`
    settings : PhotometrySettings

    Returns
    -------
    Stamp, with a new sum image; what varies is the light that was measured, its noise with it
    """
    added = relative_flux(signals, stamp.time, stamp.cadence) - 1
    changed = np.flatnonzero(added)
    if not len(changed):
        return stamp
    factor = 1 + added[changed, None, None] * own_fraction(stamp, settings)
    flux = stamp.flux.copy()
    flux[changed] = flux[changed] * factor
    return dataclasses.replace(stamp, flux=flux, sumimage=mean_image(flux, good))


@dataclass(frozen=True)
class Injection:
    """What `target.photometry` does differently for a target with signals.

    Parameters
    ----------
    signals : list of dict, see `signals`
    search : str, how to search for them: 'bls', 'tls' or 'none'
    """

    signals: list
    search: str = "tls"

    def into(self, stamp, good, settings):
        """The stamp with the signals, see `inject`.

        Parameters
        ----------
        stamp : Stamp with its stars and its sum image
        good : (n_times,) bool array, times of good quality
        settings : PhotometrySettings
        """
        return inject(stamp, good, self.signals, settings)

    def cards(self, stamp, extraction, good):
        """Header cards on what went in and what came out, see `recovery`.

        Parameters
        ----------
        stamp : Stamp
        extraction : Extraction
        good : (n_times,) bool array, times of good quality
        """
        return cards(recover(stamp, extraction, good, self.signals, search=self.search))


def injected_photometry(task, *, truth, search="tls", **options):
    """The light curve of a target with signals in its pixels.

    Parameters
    ----------
    task : dict
    truth : path of the table of signals, ``injected.ecsv``
    search : str, see `Injection`
    **options : see `target.photometry`

    Returns
    -------
    dict : the Result
    """
    signals = signals_for(truth, task["starid"])
    return photometry(task, injection=Injection(signals, search), **options)
