"""The picture of a target, of `photometry.methods.extraction`."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from psf_stamps import make_stamp

from photometry.errors import TargetTimeoutError
from photometry.methods import extraction as pictures
from photometry.methods.aperture import measure
from photometry.settings import photometry_settings
from photometry.status import STATUS

pytest.importorskip("matplotlib")
SETTINGS = photometry_settings(None)


@pytest.fixture
def figure(monkeypatch):
    """The figures that were drawn, kept to look into."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    drawn = []

    def keep(canvas, *arguments, **options):
        drawn.append(canvas.figure)
        return FigureCanvasAgg.print_to_buffer(canvas)

    monkeypatch.setattr(FigureCanvasAgg, "print_png", keep)
    return drawn


def draw(tmp_path, stamp, good=None, mask=None, **changes):
    mask = mask if mask is not None else stamp.sumimage > 0.1 * np.nanmax(stamp.sumimage)
    extraction = dataclasses.replace(measure(stamp, mask, method="aperture"), **changes)
    good = np.ones(len(stamp.time), bool) if good is None else good
    pictures.plot_target(tmp_path / "star.png", stamp, extraction, good)
    return extraction


def panels(figure):
    return {axes.get_label(): axes for axes in figure.axes}


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(np.nan, "unknown"), (0.0, "0 %"), (2.2e-16, "< 0.1 %"), (0.0123, "1.2 %"), (0.43, "43 %")],
)
def test_a_fraction_is_written_as_people_read_it(fraction, text):
    assert pictures.percentage(fraction) == text


@pytest.mark.parametrize(
    ("mission", "text"),
    [
        ("TESS", "TIC 1, Tmag 9.00, sector 1, 1800 s"),
        ("Kepler", "KIC 1, Kp 9.00, quarter 1, 1800 s"),
        ("K2", "EPIC 1, Kp 9.00, campaign 1, 1800 s"),
    ],
)
def test_title_names_star_and_band_and_says_unknown(mission, text):
    stamp, _ = make_stamp([9.0], [7], [7], mission=mission, n_times=12)
    extraction = measure(stamp, np.eye(15) > 0, method="aperture", contamination=np.nan)
    assert pictures.title(stamp, extraction).startswith(text)
    assert pictures.title(stamp, extraction).endswith("15 pixels, contamination unknown")
    nameless = dataclasses.replace(stamp, target=dataclasses.replace(stamp.target, tmag=np.nan))
    assert f"{text.split()[2]} unknown, " in pictures.title(nameless, extraction)
    assert "nan" not in pictures.title(nameless, extraction)


def test_points_beyond_the_axis_are_marked_at_its_edge(tmp_path, figure):
    signal = np.ones((1, 2000))
    signal[0, 700] = 0.4  # one sample of 2000 is beyond the percentiles
    stamp, _ = make_stamp([9.0], [7], [7], n_times=2000, signal=signal)
    draw(tmp_path, stamp)
    axes = panels(figure[0])["flux"]
    low, _ = axes.get_ylim()
    assert low > -100  # ppt: the axis does not reach it
    below = [line for line in axes.lines if line.get_marker() == "v"]
    assert [line.get_xdata().tolist() for line in below] == [[stamp.time[700]]]
    assert below[0].get_ydata() == pytest.approx([low])


def test_axes_have_whole_pixels_no_offsets_a_colour_bar_a_legend_and_centroids(tmp_path, figure):
    stamp, _ = make_stamp([9.0, 11.0], [2, 3.1], [3, 5.2], shape=(5, 7), corner=(242, 1711))
    stamp.sumimage[0, 0] = np.nan
    draw(tmp_path, stamp)
    found = panels(figure[0])
    for axis in (found["image"].xaxis, found["image"].yaxis):
        assert all(float(tick).is_integer() for tick in axis.get_majorticklocs())
    for axes in found.values():
        for axis in (axes.xaxis, axes.yaxis):
            assert axis.get_major_formatter().get_offset() == ""
    assert any("e-/s" in axes.get_xlabel() for axes in figure[0].axes)  # the colour bar
    legend = [text.get_text() for text in figure[0].legends[0].get_texts()]
    named = ("target", "other stars", "pixels of the flux", "no data", "flagged", "beyond")
    for text in (*named, "centroid: column", "centroid: row"):
        assert any(text in entry for entry in legend), text


def test_the_colour_bar_has_no_tick_beyond_its_colours_and_a_panel_without_values_says_so(
    tmp_path, figure
):
    stamp, _ = make_stamp([9.0], [7], [7], n_times=12)
    stamp = dataclasses.replace(stamp, sumimage=stamp.sumimage + 900.0)  # a sky that is still there
    draw(tmp_path, stamp, background=np.full(12, np.nan))
    (bar,) = [axes for axes in figure[0].axes if "e-/s" in axes.get_xlabel()]
    low, high = bar.get_xlim()
    assert low >= 890
    assert all(low <= tick <= high for tick in bar.get_xticks())
    assert [text.get_text() for text in panels(figure[0])["background"].texts] == ["unknown"]


def test_a_stamp_of_1300_rows_is_shown_around_its_mask(tmp_path, figure):
    stamp, _ = make_stamp([9.0], [650], [5], shape=(1300, 11), n_times=12)
    mask = np.zeros(stamp.shape, bool)
    mask[600:700, 4:7] = True
    draw(tmp_path, stamp, mask=mask)
    axes = panels(figure[0])["image"]
    low, high = axes.get_ylim()
    assert 500 + 580 < low < 500 + 600 < 500 + 699 < high < 500 + 720
    box = axes.get_position()
    assert box.width > 0.2
    assert box.height > 0.4


@pytest.mark.parametrize("size", [1, 5, 24, 26, 400])
def test_window_holds_the_mask(size):
    for first in {0, size // 2, size - 1}:
        mask = np.zeros((size, 11), bool)
        mask[first] = True
        rows, columns = pictures.window(mask)
        assert rows.start <= first < rows.stop <= size
        assert rows.stop - rows.start >= min(size, 13)
        assert columns == slice(0, 11)


@pytest.mark.filterwarnings("error")
def test_a_target_without_any_flux_has_a_picture_too(tmp_path):
    stamp, _ = make_stamp([9.0], [7], [7], n_times=12)
    nothing = np.full(12, np.nan)
    draw(tmp_path, stamp, good=np.zeros(12, bool), flux=nothing, centroid=np.full((12, 2), np.nan))
    assert (tmp_path / "star.png").read_bytes().startswith(b"\x89PNG")


# A picture never fails a target


@pytest.fixture
def target(tmp_path, make_tpf):
    from photometry.target import photometry

    images = np.random.default_rng(1).normal(50, 1, (20, 11, 11))
    images[:, 1:4, 1:4] += 1000
    make_tpf(tmp_path / "star.fits", images)
    task = {"priority": 1, "starid": 1234, "sector": 5, "camera": 2, "ccd": 3, "cadence": 120}
    task |= {"datasource": "tpf", "method": None}
    return lambda: photometry(task, input_folder=tmp_path, output_folder=tmp_path, plot=True)


def test_a_picture_that_cannot_be_drawn_is_a_line_in_the_log(target, monkeypatch, caplog):
    def fail(*arguments):
        raise ModuleNotFoundError("No module named 'matplotlib'")

    monkeypatch.setattr("photometry.target.plot_target", fail)
    result = target()
    assert result["status"] in (STATUS.OK, STATUS.WARNING)
    assert "filepath_lightcurve" in result["details"]
    assert "the picture could not be drawn" in caplog.text


def test_time_limit_of_a_target_is_not_swallowed_by_its_picture(target, monkeypatch):
    def slow(*arguments):
        raise TargetTimeoutError("took longer than 1 s")

    monkeypatch.setattr("photometry.target.plot_target", slow)
    with pytest.raises(TargetTimeoutError):
        target()


@pytest.mark.slow
def test_run_without_matplotlib_says_so_once_and_makes_the_light_curves(tmp_path):
    code = """
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.partition(".")[0] == "matplotlib"
        return None if hidden else PathFinder.find_spec(name, path, target)

sys.meta_path[:] = [Without if finder is PathFinder else finder for finder in sys.meta_path]
from photometry.cli import main
main()
"""
    for words in (
        ["simulate", "tpf", tmp_path / "data", "--targets", "2", "--times", "20"],
        ["todo", "tpf", tmp_path / "data"],
        ["run", tmp_path / "data", "--plot", "--workers", "0"],
    ):
        command = [sys.executable, "-c", code, *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
    assert done.stderr.count("pictures need matplotlib: pip install 'photometry[plots]'") == 1
    assert list((tmp_path / "data" / "lightcurves").rglob("*.fits.gz"))
    assert not list((tmp_path / "data" / "lightcurves").rglob("*.png"))


@pytest.mark.slow
def test_run_says_once_that_there_is_no_catalogue(tmp_path):
    command = [sys.executable, "-m", "photometry"]
    folder = str(tmp_path / "data")
    for words in (
        ["simulate", "tpf", folder, "--targets", "2", "--times", "20", "--no-catalog"],
        ["todo", "tpf", folder],
        ["run", folder, "--workers", "0"],
    ):
        done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
    assert done.stderr.count("no star catalogue: contamination is unknown") == 1


def test_a_light_curve_file_without_coordinates_is_drawn_from_itself(tmp_path, figure):
    from matplotlib.collections import PathCollection

    from photometry.lightcurve.tasoc import write_lightcurve
    from photometry.report.plots import plot_file, read_curve

    stamp, _ = make_stamp([9.0, 11.0], [7, 3], [7, 4], n_times=12)
    extraction = draw(tmp_path, stamp, flux_err=np.full(12, np.nan))
    path = tmp_path / write_lightcurve(tmp_path, stamp, extraction, SETTINGS)
    plot_file(tmp_path / "again.png", read_curve(path))
    first, again = panels(figure[0]), panels(figure[-1])
    for name in ("flux", "centroid"):
        assert again[name].get_ylim() == pytest.approx(first[name].get_ylim(), rel=1e-3, abs=1e-3)
    for drawn in (first, again):
        (ring,) = [c for c in drawn["image"].collections if isinstance(c, PathCollection)]
        offset = list(map(float, ring.get_offsets()[0]))
        assert offset == pytest.approx([stamp.column + 4, stamp.row + 3], abs=1e-3)
