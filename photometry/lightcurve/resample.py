"""`LightcurveResampler`: light curves onto other rasters, conserving flux."""

import numpy as np

from .lightcurve import LightcurveArbitraryRaster

MIN_SAMPLES = 4


class LightcurveResampler:
    """Resamples one light curve onto other rasters.

    A sample stands for a pixel of constant flux whose edges are the midpoints to its neighbours. An output pixel is the
    mean over the input pixels that it overlaps, weighted by the overlap, so flux times width is conserved. Beyond the
    input the flux counts as 0, and as bad where flags are resampled.

    Parameters
    ----------
    input_lc : Lightcurve, sorted in time, at least 4 samples
    """

    def __init__(self, input_lc):
        if len(input_lc) < MIN_SAMPLES:
            raise AssertionError(f"{input_lc!r}: resampling needs at least {MIN_SAMPLES} samples")
        self.input_lc = input_lc
        self.edges = pixel_edges(input_lc.get_times())

    def match_to_other_lightcurve(self, other, resample_flags=True):
        """Onto the raster of ``other``; returns a new `LightcurveArbitraryRaster`."""
        return self.onto_raster(other.get_times(), resample_flags=resample_flags)

    def onto_raster(self, output_raster, resample_flags=True):
        """Onto the given times.

        Parameters
        ----------
        output_raster : (n_out,) array, days, sorted, at least 2
        resample_flags : bool
            A pixel is bad where more than half of it is bad or beyond the input. If False, flags are cleared

        Returns
        -------
        LightcurveArbitraryRaster, with the metadata of the input. Uncertainties are propagated:
        sqrt(sum (overlap/width * sigma)^2)
        """
        lc = self.input_lc
        times = np.asarray(output_raster, dtype=float)
        if np.array_equal(times, lc.get_times()):
            flags = lc.flags.copy() if resample_flags else None
            return LightcurveArbitraryRaster(
                times, lc.fluxes.copy(), lc.uncertainties.copy(), flags, lc.metadata
            )
        overlap, of_input, of_output = _overlaps(self.edges, pixel_edges(times))
        weight = overlap / np.diff(pixel_edges(times))[of_output]

        def total(values):
            return np.bincount(of_output, values, minlength=len(times))

        flux = total(weight * lc.fluxes[of_input])
        variance = total((weight * lc.uncertainties[of_input]) ** 2)
        flags = (
            (total(weight * (lc.flags[of_input] == 0)) < 0.5 - 1e-9).astype(float)
            if resample_flags
            else None
        )
        return LightcurveArbitraryRaster(times, flux, np.sqrt(variance), flags, lc.metadata)


def pixel_edges(times):
    """(n+1,) array: midpoints between the n sorted ``times``; the outermost pixels are symmetric around their time."""
    if len(times) < 2 or not (np.diff(times) > 0).all():
        raise ValueError(
            "a raster for resampling needs at least 2 times, each later than the one before"
        )
    middle = 0.5 * (times[1:] + times[:-1])
    return np.concatenate(
        [[1.5 * times[0] - 0.5 * times[1]], middle, [1.5 * times[-1] - 0.5 * times[-2]]]
    )


def _overlaps(input_edges, output_edges):
    """Where input and output pixels overlap: length of each overlap, index of its input pixel, of its output pixel."""
    cuts = np.union1d(input_edges, output_edges)
    middle, length = 0.5 * (cuts[1:] + cuts[:-1]), np.diff(cuts)
    of_input = np.searchsorted(input_edges, middle) - 1
    of_output = np.searchsorted(output_edges, middle) - 1
    both = (
        (of_input >= 0)
        & (of_input < len(input_edges) - 1)
        & (of_output >= 0)
        & (of_output < len(output_edges) - 1)
    )
    return length[both], of_input[both], of_output[both]
