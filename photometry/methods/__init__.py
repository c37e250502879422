"""Methods: from the pixels of a target to its light curve. `get_method` knows them by name.

A method is a function ``method(stamp, settings) -> Extraction``.

A method of one's own is named by where it is, ``'module:function'``; a package may give it a short
name through the entry-point group ``photometry.methods``::

    [options.entry_points]
    photometry.methods =
        mine = my_package.module:function

If the function has an attribute ``settings``, a subclass of `photometry.settings.Section`, that is
its section ``[photometry.NAME]`` of the settings, with the short name or that of the function.
"""

import functools
import sys
from importlib import import_module
from pathlib import Path

from ..errors import SettingsError

GROUP = "photometry.methods"
BUILT_IN = {
    "aperture": "photometry.methods.aperture:aperture_photometry",
    "halo": "photometry.methods.halo:halo_photometry",
    "linpsf": "photometry.methods.psf:linpsf_photometry",
    "psf": "photometry.methods.psf:psf_photometry",
}


@functools.lru_cache
def get_method(name=None):
    """The function of a method; its section of the settings is known from then on.

    Parameters
    ----------
    name : str, or None for the default, 'aperture'

    Raises
    ------
    SettingsError : there is no method of that name, or it cannot be imported
    """
    name = name or "aperture"
    if name in BUILT_IN:
        return _load(name, BUILT_IN[name])
    from importlib.metadata import entry_points

    from ..settings import did_you_mean, register_section

    if ":" in name:
        function, section = _load(name, name), name.rpartition(":")[2]
    else:
        others = {point.name: point.value for point in entry_points(group=GROUP)}
        if name not in others:
            names = sorted(BUILT_IN | others)
            raise SettingsError(
                f"method={name!r}:{did_you_mean(name, names)} expected "
                f"{' or '.join(map(repr, names))}, "
                "or a function of your own as 'module:function'"
            )
        function, section = _load(name, others[name]), name
    if (declared := getattr(function, "settings", None)) is not None:
        register_section(f"photometry.{section}", declared)
    return function


def _load(name, location):
    """The function at ``module:function``; modules in the current folder are found, however the
    program was started.
    """
    module, _, function = location.partition(":")
    here = str(Path.cwd())
    try:
        if name == location and here not in sys.path:
            sys.path.append(here)
        loaded = import_module(module)
    except Exception as error:
        raise SettingsError(
            f"method={name!r}: {module!r} cannot be imported: {error!r}; expected 'module:function'"
        ) from error
    if not callable(method := getattr(loaded, function, None)):
        from ..settings import did_you_mean

        names = [other for other in vars(loaded) if not other.startswith("_")]
        raise SettingsError(
            f"method={name!r}: {module} has no function "
            f"{function!r};{did_you_mean(function, names)}"
        )
    return method
