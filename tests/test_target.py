import gzip
import re

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from photometry.catalog.tables import make_catalog
from photometry.errors import BadInputError, SettingsError, TargetNotFoundError
from photometry.methods.prf import GaussianPRF
from photometry.pixels.find import identify
from photometry.simulate.targetpixels import TargetPixelSettings, simulate_target_pixel_files
from photometry.status import STATUS
from photometry.target import photometry, plot_path

PIPELINE = {"aperture": {"mask": "pipeline"}}
PIXEL = 21 / 3600  # deg
SHAPE = (15, 15)


def task_of(path):
    return {"priority": 1, "datasource": "tpf", "method": None, **identify(path)}


def task(starid, datasource="tpf", **others):
    common = {"sector": 5, "camera": 2, "ccd": 3, "cadence": 120}
    return {
        "priority": 7,
        "starid": starid,
        "datasource": datasource,
        "method": None,
        **common,
        **others,
    }


def read_lightcurve(folder, result):
    return fits.getdata(folder / result["details"]["filepath_lightcurve"], "LIGHTCURVE")


# Stars with known truth


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A folder of simulated target pixel files, and the truth about the isolated ones."""
    folder = tmp_path_factory.mktemp("simulated")
    settings = TargetPixelSettings(
        targets=12, times=2000, tmag_min=8, tmag_max=12, isolated=1.0, transits=0.5, variables=0
    )
    return folder, simulate_target_pixel_files(folder, settings)


@pytest.fixture(scope="module", params=["own", "pipeline"])
def measured(request, simulated, tmp_path_factory):
    """Results and light curves of the simulated stars: list of (truth, result, light curve,
    APERTURE image).
    """
    folder, truth = simulated
    output = tmp_path_factory.mktemp("output")
    settings = {"aperture": {"mask": request.param}}
    found = []
    for star in truth:
        result = photometry(
            task_of(folder / star["file"]),
            input_folder=folder,
            output_folder=output,
            settings=settings,
        )
        path = output / result["details"]["filepath_lightcurve"]
        found.append(
            (star, result, fits.getdata(path, "LIGHTCURVE"), fits.getdata(path, "APERTURE"))
        )
    return found


def test_flux_is_the_known_fraction_of_the_truth(measured):
    for star, result, _, bits in measured:
        row1, row2, column1, column2 = result["details"]["stamp"]
        fraction = GaussianPRF().evaluate(
            star["row"], star["column"], np.arange(row1, row2), np.arange(column1, column2)
        )
        expected = star["flux"] * fraction[(bits & 2) != 0].sum()
        assert result["details"]["mean_flux"] == pytest.approx(expected, rel=0.01)
        assert result["status"] is STATUS.OK


def test_errors_are_the_scatter_of_the_flux(measured):
    for star, _, curve, _ in measured:
        if star["transit_depth"] > 0:
            continue
        good = curve["QUALITY"] == 0
        scatter = np.median(np.abs(np.diff(curve["FLUX_RAW"][good]))) / np.sqrt(2) / 0.6745
        assert scatter == pytest.approx(np.median(curve["FLUX_RAW_ERR"][good]), rel=0.2)


def test_injected_transits_come_back(measured):
    n_seen = 0
    for star, _, curve, _ in measured:
        if not star["transit_depth"] > 0:
            continue
        good = (curve["QUALITY"] == 0) & np.isfinite(curve["FLUX_RAW"])
        time, flux = curve["TIME"][good], curve["FLUX_RAW"][good]
        phase = (time - star["transit_epoch"] + star["transit_period"] / 2) % star["transit_period"]
        distance = np.abs(phase - star["transit_period"] / 2)
        middle, outside = (
            distance < 0.2 * star["transit_duration"],
            distance > 0.6 * star["transit_duration"],
        )
        error = np.std(flux[outside]) / np.median(flux) / np.sqrt(max(middle.sum(), 1))
        if middle.sum() < 20 or error > 0.03 * star["transit_depth"]:
            continue  # too shallow to be measured to 10 %
        n_seen += 1
        depth = 1 - np.mean(flux[middle]) / np.mean(flux[outside])
        assert depth == pytest.approx(star["transit_depth"], rel=0.1)
    assert n_seen >= 2


def test_centroid_is_where_the_star_is(measured):
    for star, result, _, _ in measured:
        assert result["details"]["pos_centroid"] == pytest.approx(
            (star["column"], star["row"]), abs=0.2
        )


# Several stars on one stamp


def paint(*stars, n_times=40):
    """Images of round stars (row, column, tmag) and noise."""
    rows, columns = np.indices(SHAPE)
    image = np.zeros(SHAPE)
    for row, column, tmag in stars:
        flux = 10 ** (-0.4 * (tmag - 20.54))
        image += flux * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 2) / (2 * np.pi)
    return image + np.random.default_rng(1).normal(0, 1, (n_times, *SHAPE))


def write_catalog(folder, stars):
    """The catalogue of the CCD, with stars (starid, row, column, tmag) at their pixels of the stamp
    of `make_tpf`.
    """
    starid, row, column, tmag = zip(*stars, strict=True)
    ra = 100 - (np.array(column) - 2) * PIXEL / np.cos(np.radians(30))
    decl = -30 + (np.array(row) - 2) * PIXEL
    columns = {
        "starid": starid,
        "ra_J2000": ra,
        "decl_J2000": decl,
        "pm_ra": 0.0,
        "pm_decl": 0.0,
        "tmag": tmag,
        "teff": 5e3,
    }
    make_catalog(
        Table({name: np.broadcast_to(values, len(starid)) for name, values in columns.items()}),
        folder,
        5,
        2,
        3,
    )


@pytest.fixture
def field(tmp_path, make_tpf):
    """Primary 1234 at pixel (2, 2), secondary 77 far from it, and 88 in the mask of the primary."""
    folder = tmp_path / "input"
    folder.mkdir()
    stars = [(1234, 2.0, 2.0, 9.0), (77, 10.0, 11.0, 10.0), (88, 3.0, 2.0, 13.0)]
    make_tpf(folder / "star.fits", paint(*[star[1:] for star in stars]), tmag=9.0)
    write_catalog(folder, stars)
    return folder


def test_secondary_target_gets_its_own_light_curve(field, tmp_path):
    result = photometry(task(77, "tpf:1234"), input_folder=field, output_folder=tmp_path)
    assert result["status"] is STATUS.OK
    assert result["details"]["mean_flux"] == pytest.approx(10 ** (-0.4 * (10 - 20.54)), rel=0.02)
    assert result["details"]["pos_centroid"] == pytest.approx((45 + 11, 100 + 10), abs=0.05)
    assert fits.getheader(tmp_path / result["details"]["filepath_lightcurve"])["TICID"] == 77


def test_secondary_target_in_the_mask_of_the_primary_is_skipped_without_a_file(field, tmp_path):
    result = photometry(task(88, "tpf:1234"), input_folder=field, output_folder=tmp_path / "out")
    assert result["status"] is STATUS.SKIPPED
    assert result["details"]["skip_targets"] == [1234]
    assert "filepath_lightcurve" not in result["details"]
    assert not (tmp_path / "out").exists()


def test_stars_in_the_mask_are_reported(field, tmp_path):
    result = photometry(task(1234), input_folder=field, output_folder=tmp_path)
    assert result["details"]["skip_targets"] == [88]
    ratio = 10 ** (-0.4 * (13 - 9))
    assert result["details"]["contamination"] == pytest.approx(ratio / (1 + ratio))


def test_secondary_target_that_is_in_no_catalogue_is_not_found(field, tmp_path):
    with pytest.raises(TargetNotFoundError, match="star 99, tpf:1234"):
        photometry(task(99, "tpf:1234"), input_folder=field, output_folder=tmp_path)


def test_pipeline_mask_is_not_taken_for_a_secondary_target(field, tmp_path):
    with pytest.raises(
        BadInputError, match="its aperture is not for TIC 77, a secondary target; use mask='own'"
    ):
        photometry(
            task(77, "tpf:1234"), input_folder=field, output_folder=tmp_path, settings=PIPELINE
        )


# The result


def test_result_has_all_that_the_todo_file_wants(field, tmp_path):
    wanted = task(1234, tmag=9.0)
    result = photometry(wanted, input_folder=field, output_folder=tmp_path)
    assert result | wanted == result
    assert (result["status"], result["method_used"]) == (STATUS.OK, "aperture")
    assert result["time"] > 0
    names = (
        "filepath_lightcurve mean_flux variance variability rms_hour ptp pos_centroid "
        "contamination mask_size edge_flux"
    )
    names += " stamp stamp_resizes skip_targets errors inputs method_hash version"
    assert set(result["details"]) == set(names.split())
    assert result["details"]["stamp"] == (100, 115, 45, 60)
    curve = read_lightcurve(tmp_path, result)
    assert np.median(curve["FLUX_RAW"]) == pytest.approx(result["details"]["mean_flux"], rel=1e-6)


def test_metrics_see_only_times_of_good_quality(tmp_path, make_tpf):
    images = paint((7, 7, 9.0))
    images[5:10] *= 100
    quality = np.zeros(40, int)
    quality[5:10] = 2  # safe mode
    make_tpf(tmp_path / "star.fits", images, QUALITY=quality, APERTURE=np.full(SHAPE, 3))
    result = photometry(
        task(1234), input_folder=tmp_path, output_folder=tmp_path, settings=PIPELINE
    )
    everything = photometry(
        task(1234),
        input_folder=tmp_path,
        output_folder=tmp_path,
        settings={**PIPELINE, "good_quality": 0},
    )
    assert result["details"]["variance"] < 1e-4
    assert everything["details"]["variance"] > 100


@pytest.mark.filterwarnings("error")
def test_target_without_a_good_time_is_measured_with_a_warning(tmp_path, make_tpf):
    make_tpf(tmp_path / "star.fits", paint((2, 2, 9.0)), QUALITY=np.full(40, 2))
    result = photometry(task(1234), input_folder=tmp_path, output_folder=tmp_path)
    assert result["status"] is STATUS.WARNING
    assert result["details"]["errors"] == [
        "no flux at any of the 0 times of good quality, among 40 times in all"
    ]
    assert "mean_flux" not in result["details"]
    assert np.nanmedian(read_lightcurve(tmp_path, result)["FLUX_RAW"]) == pytest.approx(
        10 ** (0.4 * 11.54), rel=0.02
    )


def test_without_a_catalogue_contamination_is_unknown_everywhere(tmp_path, make_tpf):
    make_tpf(tmp_path / "star.fits", paint((2, 2, 9.0), (4, 6, 9.4)))
    result = photometry(task(1234), input_folder=tmp_path, output_folder=tmp_path)
    assert "contamination" not in result["details"]
    header = fits.getheader(tmp_path / result["details"]["filepath_lightcurve"])
    assert header["CONTAM"] is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"FLUX_ERR": np.full((40, *SHAPE), np.nan)}, "the pixels have no errors"),
        (
            {"FLUX": -paint((7, 7, 9.0))},
            r"the median flux is -4.*e\+04 e-/s: no star has a negative",
        ),
    ],
)
def test_flux_without_errors_and_negative_flux_are_warnings(tmp_path, make_tpf, changes, message):
    make_tpf(tmp_path / "star.fits", **{"flux": paint((7, 7, 9.0)), **changes})
    result = photometry(
        task(1234), input_folder=tmp_path, output_folder=tmp_path, settings=PIPELINE
    )
    assert result["status"] is STATUS.WARNING
    assert re.search(message, result["details"]["errors"][-1])
    curve = read_lightcurve(tmp_path, result)
    if "FLUX_ERR" in changes:
        assert np.isnan(curve["FLUX_RAW_ERR"]).all()


def test_same_task_gives_the_same_file(field, tmp_path):
    first, second = (
        photometry(task(1234), input_folder=field, output_folder=tmp_path / name) for name in "ab"
    )
    assert first["details"] == second["details"]
    paths = [tmp_path / name / first["details"]["filepath_lightcurve"] for name in "ab"]
    assert gzip.decompress(paths[0].read_bytes()) == gzip.decompress(paths[1].read_bytes())


def test_plot_is_a_picture_beside_the_light_curve(field, tmp_path):
    result = photometry(task(1234), input_folder=field, output_folder=tmp_path, plot=True)
    picture = tmp_path / plot_path(result["details"]["filepath_lightcurve"])
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.parent == (tmp_path / result["details"]["filepath_lightcurve"]).parent


def test_unknown_setting_is_refused_by_name(field, tmp_path):
    with pytest.raises(SettingsError, match="maskk"):
        photometry(
            task(1234),
            input_folder=field,
            output_folder=tmp_path,
            settings={"aperture": {"maskk": "own"}},
        )
    with pytest.raises(SettingsError, match=r"aperture\.mask='other'.*own.*pipeline"):
        photometry(
            task(1234),
            input_folder=field,
            output_folder=tmp_path,
            settings={"aperture": {"mask": "other"}},
        )


def test_file_of_another_star_than_its_name_says_is_refused(tmp_path, make_tpf):
    make_tpf(
        tmp_path / f"tess2019085135100-s0005-{1234:016d}-0140-s_tp.fits",
        paint((2, 2, 9.0)),
        starid=4321,
    )
    with pytest.raises(BadInputError, match=r"starid 4321 \(expected 1234\)"):
        photometry(task(1234), input_folder=tmp_path, output_folder=tmp_path)


# Real files


@pytest.mark.real_data
@pytest.mark.filterwarnings("error")
def test_pipeline_mask_gives_the_official_light_curve(shared_data, tmp_path):
    path = shared_data / "tpf" / "tess25155310-s01-first-cadences.fits.gz"
    result = photometry(
        task_of(path), input_folder=path.parent, output_folder=tmp_path, settings=PIPELINE
    )
    ours = read_lightcurve(tmp_path, result)
    official = fits.getdata(
        shared_data / "lc" / "tess2018206045859-s0001-0000000025155310-0120-s_lc.fits", 1
    )[: len(ours)]
    assert result["status"] is STATUS.OK
    np.testing.assert_array_equal(ours["TIME"], official["TIME"])
    np.testing.assert_array_equal(ours["CADENCENO"], official["CADENCENO"])
    np.testing.assert_array_equal(ours["QUALITY"], official["QUALITY"])
    np.testing.assert_allclose(ours["FLUX_RAW"], official["SAP_FLUX"], rtol=1e-6)
    np.testing.assert_allclose(ours["FLUX_BKG"], official["SAP_BKG"], rtol=1e-6)
    np.testing.assert_allclose(ours["FLUX_RAW_ERR"], official["SAP_FLUX_ERR"], rtol=0.01)
    np.testing.assert_allclose(ours["MOM_CENTR1"], official["MOM_CENTR1"], atol=1e-5)
    np.testing.assert_allclose(ours["MOM_CENTR2"], official["MOM_CENTR2"], atol=1e-5)


REAL_FILES = [
    "kic12644712-q12-500cad_tpf.fits",
    "kic12644774-q12-500cad_tpf.fits",
    "kic12644778-q12-500cad_tpf.fits",
    "kic12644783-q12-500cad_tpf.fits",
    "kic12644822-q12-500cad_tpf.fits",
    "kic8462852-q08-100cad_tpf.fits",
    "kplr008462852-2009131105131_lpd-targ.fits",
    "kplr008462852-2013131215648_lpd-targ.fits",
    "ktwo221312395-c91_lpd-targ.fits.gz",
    "tess25155310-s01-first-cadences.fits.gz",
]


@pytest.mark.real_data
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", REAL_FILES)
def test_every_good_real_file_gives_a_light_curve(shared_data, tmp_path, name):
    path = shared_data / "tpf" / name
    result = photometry(task_of(path), input_folder=path.parent, output_folder=tmp_path)
    assert result["status"] in (STATUS.OK, STATUS.WARNING)
    curve = read_lightcurve(tmp_path, result)
    good = curve["QUALITY"] == 0
    assert np.isfinite(curve["FLUX_RAW"][good]).mean() > 0.99
    assert (curve["FLUX_RAW"][good & np.isfinite(curve["FLUX_RAW"])] > 0).all()


@pytest.mark.real_data
def test_the_dip_of_boyajian_s_star_is_there(shared_data, tmp_path):
    path = shared_data / "tpf" / "kplr008462852-2013131215648_lpd-targ.fits"
    result = photometry(
        task_of(path), input_folder=path.parent, output_folder=tmp_path, settings=PIPELINE
    )
    curve = read_lightcurve(tmp_path, result)
    flux = curve["FLUX_RAW"] / np.nanmedian(curve["FLUX_RAW"])
    deepest = np.nanargmin(flux)
    assert curve["TIME"][deepest] == pytest.approx(1568.48, abs=0.02)
    assert flux[deepest] == pytest.approx(0.923, abs=0.002)


@pytest.mark.real_data
@pytest.mark.parametrize(
    "name", ["test-tpf-kplr-tabby-corrupted.fits", "test-tpf-tess-pimen-corrupted-at-header.fits"]
)
def test_real_broken_file_is_found_and_refused(shared_data, tmp_path, name):
    path = shared_data / "tpf_broken" / name
    broken = {"cadence": 120} | {
        key: value for key, value in task_of(path).items() if value is not None
    }
    with pytest.raises(BadInputError, match=f"{name}: truncated"):
        photometry(broken, input_folder=path.parent, output_folder=tmp_path)


@pytest.mark.parametrize(
    ("name", "value"), [("tmag", "n/a"), ("sector", "x"), ("starid", "12 a"), ("datasource", None)]
)
def test_a_row_with_text_for_a_number_is_refused_by_name(tmp_path, name, value):
    with pytest.raises(BadInputError, match=f"{name}={value!r} in the TODO-file: expected a"):
        photometry(task(1) | {name: value}, input_folder=tmp_path, output_folder=tmp_path)
