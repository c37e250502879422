"""Methods by name. A method is a function ``method(stamp, settings) -> Extraction``.

Other packages add methods through the entry-point group ``photometry.methods``::

    [options.entry_points]
    photometry.methods =
        mine = my_package.module:function
"""

from importlib import import_module
from importlib.metadata import entry_points

from ..errors import SettingsError

GROUP = "photometry.methods"
BUILT_IN = {
    "aperture": "photometry.methods.aperture:aperture_photometry",
    "halo": "photometry.methods.halo:halo_photometry",
    "linpsf": "photometry.methods.psf:linpsf_photometry",
    "psf": "photometry.methods.psf:psf_photometry",
}


def get_method(name):
    """The function of a method.

    Parameters
    ----------
    name : str, or None for the default, 'aperture'

    Raises
    ------
    SettingsError : there is no method of that name
    """
    name = name or "aperture"
    if name in BUILT_IN:
        module, _, function = BUILT_IN[name].partition(":")
        return getattr(import_module(module), function)
    others = {point.name: point for point in entry_points(group=GROUP)}
    if name not in others:
        raise SettingsError(
            f"method={name!r}: expected {' or '.join(repr(n) for n in sorted(BUILT_IN | others))}"
        )
    return others[name].load()


def method_names():
    """Names of all methods, built in and installed."""
    return sorted({*BUILT_IN, *(point.name for point in entry_points(group=GROUP))})
