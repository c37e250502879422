"""Transit science: searches, their quality control, synthesis of light curves with transits.

Names are imported when they are first used; the searches need numba (extra ``search``).
"""

from .. import lazy_names

_HOMES = {
    "BoxPeriodogram": "bls",
    "box_periodogram": "bls",
    "search_boxes": "bls",
    "TransitPeriodogram": "tls",
    "transit_periodogram": "tls",
    "edge_effect_periodogram": "bls",
    "QuasiPeriodicSearch": "qats",
    "quasi_periodic_search": "qats",
    "TransitSignal": "fit",
    "fit_transit": "fit",
    "find_planets": "planets",
    "find_transits": "planets",
    "search_lightcurve": "planets",
    "vet": "vetting",
    "signal_at": "vetting",
    "Verdict": "vetting",
    "part_depths": "planets",
    "centroid_offset": "dips",
    "difference_offset": "dips",
    "plot_vetting": "plots",
    "separation": "transit_model",
    "transit_flux": "transit_model",
    "TransitSpecs": "synthesis",
    "synthesize_transits": "synthesis",
    "StarSpecs": "stars",
    "synthesize_star": "stars",
    "PslsSpecs": "stars",
    "synthesize_psls": "stars",
    "plot_folded": "plots",
    "plot_periodogram": "plots",
    "plot_search": "plots",
}
__all__ = list(_HOMES)
_find, __dir__ = lazy_names(__name__, _HOMES)


def __getattr__(name):
    try:
        return _find(name)
    except ModuleNotFoundError as error:
        if error.name != "numba":
            raise
        from ..errors import WrongUseError

        raise WrongUseError(
            "transit searches need numba: pip install 'photometry[search]'"
        ) from error
