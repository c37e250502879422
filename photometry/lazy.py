"""Names of a package that are imported when they are first used, so that importing the package is
quick.
"""

from importlib import import_module


def lazy_names(package, homes):
    """``__getattr__`` and ``__dir__`` for the ``__init__`` of a package (PEP 562).

    Parameters
    ----------
    package : str, its ``__name__``
    homes : dict, name -> module of the package that it lives in; ``''``: the name is a module
        itself
    """

    def getter(name):
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if not homes[name]:
            return import_module(f".{name}", package)
        return getattr(import_module(f".{homes[name]}", package), name)

    return getter, lambda: sorted(homes)
