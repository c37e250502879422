"""`Lightcurve` and its two kinds: samples at any times, and samples at a fixed step.

Times are in days. A flag is 0 for a good sample; any other value means that it should not be used.
A sample whose flux is not a number is always flagged.
"""

import logging
from collections.abc import Mapping

import numpy as np

from ..errors import BadInputError
from ..files import GZIP_MAGIC
from ..notebook import Shown, notebook_axes
from . import formats, views

log = logging.getLogger(__name__)


class Lightcurve(Shown):
    """What every light curve can do, whatever its views.

    Parameters
    ----------
    metadata : dict, optional
        Plain values by name: ``orbital_period`` [d], ``mes``, ``time_reference`` [JD]…

    Attributes
    ----------
    metadata : dict, a copy
    fluxes, uncertainties, flags : (n_samples,) arrays
    flags_set : bool, whether flags were given
    """

    def __init__(self, metadata=None):
        self.metadata = plain_values(metadata or {})

    @staticmethod
    def read(path, *, flux=None, cut_off_time=None):
        """Read a light curve of any format that we know, see `photometry.lightcurve.formats`.

        Parameters
        ----------
        path : path of a FITS file (SPOC, TESS-SPOC, QLP, TASOC, Kepler, K2, K2SC, K2SFF), of our
            text or binary archive, of LCSG text, or of a plain text table (time in days, flux,
            error); each possibly gzipped
        flux : str, optional
            The column to take from a FITS file; by default the pipeline's corrected flux
        cut_off_time : float, optional
            Leave out samples later than this [d]

        Returns
        -------
        LightcurveArbitraryRaster

        Raises
        ------
        BadInputError : the file is not a light curve; one message says what was found
        """
        return _until(
            LightcurveArbitraryRaster(*formats.read_samples(path, flux=flux)), cut_off_time
        )

    def _set_samples(self, fluxes, uncertainties, flags):
        self.flags_set = flags is not None
        self.fluxes = fluxes
        self.uncertainties = np.zeros(fluxes.shape) if uncertainties is None else uncertainties
        self.flags = np.zeros(fluxes.shape) if flags is None else flags
        for name in ("fluxes", "uncertainties", "flags"):
            _check_array(name, getattr(self, name), len(fluxes))
        unflagged = ~np.isfinite(self.fluxes) & (self.flags == 0)
        if unflagged.any():
            self.flags = np.where(unflagged, 1, self.flags)

    def __len__(self):
        return len(self.fluxes)

    def _shown(self):
        target = self.metadata.get("object", self.metadata.get("filename", ""))
        days = self.duration() if len(self) else 0
        line = f"{target} {len(self)} samples, {days:.3f} d".strip()
        values = [(name, value) for name, value in self.metadata.items() if np.ndim(value) == 0]
        pairs = [("samples", len(self)), ("good", int(self.good().sum())), *values]
        return type(self).__name__, line, pairs

    def plot(self, axes=None, **options):
        """Draw flux against time; a folded light curve against time from its epoch.

        Parameters
        ----------
        axes : matplotlib axes, optional
            By default those of a new figure, which a notebook shows below the cell
        **options : see `photometry.lightcurve.plot_lightcurve`

        Returns
        -------
        matplotlib axes; ``axes.figure.savefig(path)`` writes them
        """
        from .views import plot_lightcurve

        axes = notebook_axes(figsize=(10, 3.5)) if axes is None else axes
        return plot_lightcurve(self, axes, **options)

    def fold(self, period, epoch=None):
        """Fold at a period.

        Parameters
        ----------
        period : float, days
        epoch : float, days, optional
            The time that comes to the middle, as that of a transit; by default the first one

        Returns
        -------
        LightcurveArbitraryRaster, whose times are days from the nearest epoch, from minus to plus
        half a period, in rising order

        Raises
        ------
        ArgumentError : the period is not a number above zero
        """
        return views.fold(self, period, epoch)

    def get_fluxes(self):
        """(n_samples,) array"""
        return self.fluxes

    def get_uncertainties(self):
        """(n_samples,) array, same unit as the fluxes; zeros where they are not known"""
        return self.uncertainties

    def get_flags(self):
        """(n_samples,) array, 0 for a good sample"""
        return self.flags

    def duration(self):
        """Last time minus first time [d]"""
        return self.get_time_of_point(len(self) - 1) - self.get_time_of_point(0)

    def good(self):
        """(n_samples,) bool array: not flagged"""
        return self.flags == 0

    def with_samples(self, times, fluxes, uncertainties=None, flags=None):
        """A `LightcurveArbitraryRaster` of other samples with the metadata of this light curve.

        Parameters
        ----------
        times : (n,) array, days
        fluxes, uncertainties : (n,) arrays, unit of the fluxes
        flags : (n,) array, 0 for a good sample
        """
        return LightcurveArbitraryRaster(times, fluxes, uncertainties, flags, self.metadata)

    def to_file(self, target_path, binary=False, gzipped=True):
        """Write to our archive: text (times in seconds, flux, flag, uncertainty) or numpy's binary
        format.

        Parameters
        ----------
        target_path : path, written atomically
        binary : bool
            Binary rather than text; never gzipped
        gzipped : bool
            Gzip the text, whatever the name of the file

        Returns
        -------
        dict of ``binary`` and ``gzipped``, what `from_file` needs to know
        """
        return formats.write_archive(self, target_path, binary=binary, gzipped=gzipped)

    def to_timeseries(self):
        """As `astropy.timeseries.TimeSeries`, see `photometry.lightcurve.formats.to_timeseries`."""
        return formats.to_timeseries(self)

    def to_lightkurve(self):
        """As a light curve of lightkurve, see `photometry.lightcurve.formats.to_lightkurve`."""
        return formats.to_lightkurve(self)

    @staticmethod
    def from_timeseries(series, *, flux="flux"):
        """From `astropy.timeseries.TimeSeries` or `lightkurve.LightCurve` (which is one)."""
        return LightcurveArbitraryRaster(*formats.from_timeseries(series, flux=flux))

    from_lightkurve = from_timeseries

    def __add__(self, other):
        return views.add(self, other) if isinstance(other, Lightcurve) else NotImplemented

    def __sub__(self, other):
        return views.subtract(self, other) if isinstance(other, Lightcurve) else NotImplemented

    def __mul__(self, other):
        return views.multiply(self, other) if isinstance(other, Lightcurve) else NotImplemented


class LightcurveArbitraryRaster(Lightcurve):
    """A light curve sampled at any times.

    Parameters
    ----------
    times : (n_samples,) array, days, all finite
    fluxes : (n_samples,) array, relative (about 1) or e-/s
    uncertainties : (n_samples,) array, optional
        1 sigma, same unit; zeros where not known
    flags : (n_samples,) array, optional
        0 for a good sample
    metadata : dict, optional

    Raises
    ------
    AssertionError : an argument is not a numpy array
    ValueError : lengths differ, or a time is not a number
    """

    def __init__(self, times, fluxes, uncertainties=None, flags=None, metadata=None):
        super().__init__(metadata)
        _check_array("fluxes", fluxes, None)
        _check_array("times", times, len(fluxes))
        if not np.isfinite(times).all():
            first = np.argmin(np.isfinite(times))
            raise ValueError(
                f"times[{first}] is not a finite number of days; leave such samples out"
            )
        self.times = times
        self._set_samples(fluxes, uncertainties, flags)

    @classmethod
    def from_file(cls, file_path, file_metadata=None, cut_off_time=None):
        """Read a file of our archive.

        Parameters
        ----------
        file_path : path
        file_metadata : dict, optional
            Becomes the light curve's metadata. Its ``binary`` and ``gzipped`` may be missing: the
            file's first bytes show them
        cut_off_time : float, optional
            Leave out samples later than this [d]
        """
        metadata = plain_values(file_metadata or {})
        return _until(cls(*formats.read_archive(file_path, metadata)), cut_off_time)

    def get_time_of_point(self, index):
        """Time of a sample [d]; NaN where ``index`` is out of range"""
        return float(self.times[index]) if 0 <= index < len(self.times) else float("nan")

    def get_times(self):
        """(n_samples,) array, days"""
        return self.times

    def estimate_sampling_interval(self):
        """Step of the raster [d], robust against missing samples, see
        `views.estimate_interval`."""
        return views.estimate_interval(self.times)

    def check_fixed_step(self, verbose=True, max_errors=6):
        """Number of points of the ideal raster that have no sample within 1e-4 day.

        Parameters
        ----------
        verbose : bool
            Log the missing points
        max_errors : int
            Log at most so many
        """
        grid = views.ideal_grid(self.times)
        missing = views.nearest_sample(self.times, grid) < 0
        if verbose:
            _log_missing(grid[missing], max_errors)
        return int(missing.sum())

    def to_fixed_step(self, verbose=True, max_errors=6):
        """As a light curve of fixed step. Missing samples get the median flux and flag 1.

        Returns
        -------
        LightcurveFixedStep, from the first time to the last one, the last excluded
        """
        grid = views.ideal_grid(self.times)
        index = views.nearest_sample(self.times, grid)
        missing = index < 0
        if verbose:
            _log_missing(grid[missing], max_errors)
        filled = [np.where(missing, fill, values[index]) for values, fill in self._with_fills()]
        return LightcurveFixedStep(
            self.times[0], self.estimate_sampling_interval(), *filled, metadata=self.metadata
        )

    def _with_fills(self):
        """The columns, each with the value that a missing sample gets."""
        good = self.fluxes[self.good()]
        return (
            (self.fluxes, np.median(good) if good.size else 1.0),
            (self.uncertainties, 0),
            (self.flags, 1),
        )

    def truncate_to_length(self, maximum_time, minimum_time=0):
        """A new light curve of the samples with ``minimum_time`` <= t < ``maximum_time`` [d]"""
        return self.select((self.times >= minimum_time) & (self.times < maximum_time))

    def select(self, mask):
        """A new light curve of the samples where ``mask`` is True (bool array, slice or indices)"""
        columns = (a[mask] for a in (self.times, self.fluxes, self.uncertainties, self.flags))
        return LightcurveArbitraryRaster(*columns, metadata=self.metadata)

    def with_fluxes(self, fluxes, uncertainties=None):
        """The same light curve with other fluxes (and uncertainties)"""
        uncertainties = self.uncertainties if uncertainties is None else uncertainties
        return LightcurveArbitraryRaster(
            self.times, fluxes, uncertainties, self.flags, self.metadata
        )


class LightcurveFixedStep(Lightcurve):
    """A light curve sampled at a fixed step: sample ``i`` is at ``time_start + i * time_step``.

    Parameters
    ----------
    time_start, time_step : float, days
    fluxes, uncertainties, flags, metadata : as in `LightcurveArbitraryRaster`
    """

    def __init__(
        self, time_start, time_step, fluxes, uncertainties=None, flags=None, metadata=None
    ):
        super().__init__(metadata)
        if not (np.isfinite(time_start) and np.isfinite(time_step) and time_step > 0):
            raise ValueError(
                f"time_start={time_start!r}, time_step={time_step!r}: "
                "expected days, a step above zero"
            )
        _check_array("fluxes", fluxes, None)
        self.time_start = float(time_start)
        self.time_step = float(time_step)
        self._set_samples(fluxes, uncertainties, flags)

    @property
    def times(self):
        """(n_samples,) array, days"""
        return self.time_start + np.arange(len(self)) * self.time_step

    def get_time_of_point(self, index):
        """Time that belongs to an index [d], also beyond the samples"""
        return self.time_start + index * self.time_step

    def get_times(self):
        """(n_samples,) array, days"""
        return self.times

    def estimate_sampling_interval(self):
        """The step [d]"""
        return self.time_step

    def check_fixed_step(self, verbose=True, max_errors=6):
        """0: nothing can be missing"""
        return 0

    def to_fixed_step(self, verbose=True, max_errors=6):
        """This light curve"""
        return self

    def to_arbitrary_raster(self):
        """The same samples as `LightcurveArbitraryRaster`"""
        return LightcurveArbitraryRaster(
            self.times, self.fluxes, self.uncertainties, self.flags, self.metadata
        )

    def truncate_to_length(self, maximum_time, minimum_time=0):
        """A new light curve of the samples with ``minimum_time`` <= t < ``maximum_time`` [d]"""
        times = self.times
        inside = np.flatnonzero((times >= minimum_time) & (times < maximum_time))
        first, end = (inside[0], inside[-1] + 1) if inside.size else (0, 0)
        columns = (a[first:end] for a in (self.fluxes, self.uncertainties, self.flags))
        return LightcurveFixedStep(
            self.get_time_of_point(first), self.time_step, *columns, metadata=self.metadata
        )

    def with_fluxes(self, fluxes, uncertainties=None):
        """The same light curve with other fluxes (and uncertainties)"""
        uncertainties = self.uncertainties if uncertainties is None else uncertainties
        return LightcurveFixedStep(
            self.time_start, self.time_step, fluxes, uncertainties, self.flags, self.metadata
        )


def read_lcsg_lightcurve(file_path, gzipped=None, cut_off_time=None):
    """Read a light curve of PLATO's stitching group, see `photometry.lightcurve.formats`.

    Parameters
    ----------
    file_path : path
    gzipped : bool, optional
        Insist that the file is, or is not, gzipped; by default its first bytes show it
    cut_off_time : float, optional
        Leave out samples later than this [d]

    Returns
    -------
    LightcurveArbitraryRaster, whose metadata also has ``filename``. Uncertainties are 0 where the
    file has none

    Raises
    ------
    BadInputError : with the number of the bad line
    """
    if gzipped is not None:
        with open(file_path, "rb") as file:
            is_gzipped = file.read(2) == GZIP_MAGIC
        if is_gzipped != bool(gzipped):
            raise BadInputError(
                f"{file_path}: is {'' if is_gzipped else 'not '}gzipped, "
                f"but gzipped={gzipped!r} was given"
            )
    text = formats.decode(formats.read_bytes(file_path), file_path)
    return _until(LightcurveArbitraryRaster(*formats.lcsg_samples(text, file_path)), cut_off_time)


def _until(lc, cut_off_time):
    return lc if cut_off_time is None else lc.select(lc.times <= cut_off_time)


def plain_values(metadata):
    """A copy of ``metadata`` with objects that have a ``.value`` (metadata items) replaced by
    it."""
    if not isinstance(metadata, Mapping):
        raise TypeError(
            f"metadata is a {type(metadata).__name__}; expected a dict of values by name"
        )
    return {key: getattr(item, "value", item) for key, item in metadata.items()}


def _check_array(name, array, length):
    if not isinstance(array, np.ndarray):
        raise AssertionError(
            f"{name} is a {type(array).__name__}; a light curve takes numpy arrays"
        )
    if array.ndim != 1 or (length is not None and len(array) != length):
        raise ValueError(
            f"{name} has shape {array.shape}; expected one value per flux ({length} samples)"
        )


def _log_missing(missing_times, max_errors):
    for time in missing_times[:max_errors]:
        log.warning("no sample at %.6f d", time)
    if len(missing_times) > max_errors:
        log.warning("and %d more points without a sample", len(missing_times) - max_errors)
