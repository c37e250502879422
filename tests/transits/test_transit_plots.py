"""The pictures show what they should; what they look like was looked at."""

import dataclasses

import numpy as np
import pytest
from transit_examples import planet

from photometry.lightcurve import LightcurveArbitraryRaster, plot_lightcurve
from photometry.transits import find_transits, plot_folded, plot_periodogram, plot_search

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def found():
    times, flux = planet()
    flags = np.zeros(times.size)
    flags[10:20] = 1
    lc = LightcurveArbitraryRaster(
        times, flux, flags=flags, metadata={"object": "TIC 1", "time_reference": 2457000}
    )
    return lc, *find_transits(lc)


def test_light_curve_plot_has_all_samples_and_marks_the_transits(found):
    lc, signal, _ = found
    axes = plot_lightcurve(lc, trend=np.ones(len(lc)), transits=signal.times(0, 40))
    lines = {line.get_label(): line for line in axes.lines}
    assert len(lines["flagged"].get_xdata()) == 10
    assert len(lines["good"].get_xdata()) == len(lc) - 10
    assert len(lines["transits"].get_xdata()) == signal.transit_count
    assert axes.get_xlabel() == "time (BJD - 2457000, days)"
    assert axes.get_title() == "TIC 1"


def test_folded_plot_has_model_of_the_fitted_depth_around_zero(found):
    lc, signal, _ = found
    axes = plot_folded(lc, signal)
    model = next(line for line in axes.lines if line.get_label() == "model")
    assert model.get_ydata().min() == pytest.approx(-1e3 * signal.depth)
    assert model.get_xdata()[np.argmin(model.get_ydata())] == pytest.approx(0, abs=0.1)


def test_periodogram_plot_peaks_at_the_period(found):
    _, signal, periodogram = found
    axes = plot_periodogram(periodogram, signal=signal)
    line = max(axes.lines, key=lambda line: len(line.get_xdata()))
    assert line.get_xdata()[np.argmax(line.get_ydata())] == pytest.approx(signal.period, rel=0.01)
    assert axes.get_xscale() == "log"


def test_periodogram_plot_says_which_other_periods_the_gaps_allow(found):
    _, signal, periodogram = found
    assert "gaps" not in plot_periodogram(periodogram, signal=signal).get_title()
    other = dataclasses.replace(signal, possible_periods=(signal.period, 2 * signal.period))
    title = plot_periodogram(periodogram, signal=other).get_title()
    assert f"the gaps allow {2 * signal.period:.5g} d as well" in title


def test_search_plot_is_written_also_where_nothing_was_found(found, tmp_path):
    lc, signal, periodogram = found
    plot_search(lc, signal, periodogram).savefig(tmp_path / "found.png", dpi=50)
    flat = LightcurveArbitraryRaster(lc.times, np.ones(len(lc)))
    plot_search(flat, *find_transits(flat)).savefig(tmp_path / "flat.png", dpi=50)
    assert (tmp_path / "found.png").stat().st_size > 10_000
    assert (tmp_path / "flat.png").stat().st_size > 1_000
