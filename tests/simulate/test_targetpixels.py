"""Simulated target pixel files: format against a real one and lightkurve, pixels against the truth
beside them.
"""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import EarthLocation, SkyCoord
from astropy.io import fits
from astropy.table import Table
from astropy.time import Time
from astropy.wcs import WCS

from photometry.catalog.ccd import open_catalog
from photometry.constants import MISSIONS
from photometry.errors import SettingsError, WrongUseError
from photometry.methods.prf import GaussianPRF
from photometry.pixels.find import find_target_pixel_file
from photometry.pixels.targetpixelfile import read_target_pixel_file
from photometry.pixels.tess import earth_position, satellite_position
from photometry.simulate.field import transit
from photometry.simulate.fullframe import simulate_full_frames
from photometry.simulate.spacecraft import bleed
from photometry.simulate.targetpixels import TargetPixelSettings, simulate_target_pixel_files
from photometry.sky import unit_vectors

REAL = Path(__file__).parents[3] / "shared/data/tpf/tess25155310-s01-first-cadences.fits.gz"
SETTINGS = TargetPixelSettings(
    targets=12,
    times=600,
    seed=5,
    isolated=0.5,
    transits=0.5,
    variables=0.25,
    saturated=1,
    truncated=1,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tpf")
    simulate_target_pixel_files(folder, SETTINGS)
    return folder


@pytest.fixture(scope="module")
def truth(folder):
    return Table.read(folder / "truth.ecsv")


def ordinary(truth):
    return truth[~truth["saturated"] & ~truth["truncated"]]


def pixels(folder, row):
    with fits.open(folder / row["file"]) as hdulist:
        return hdulist[1].data.copy(), hdulist[1].header, hdulist[2].data.copy(), hdulist[2].header


def good(data):
    return (data["QUALITY"] == 0) & np.isfinite(data["TIME"])


@pytest.mark.real_data
@pytest.mark.skipif(not REAL.is_file(), reason="no real target pixel file")
def test_extensions_columns_and_keywords_are_those_of_a_real_file(folder, truth):
    with fits.open(REAL) as real, fits.open(folder / ordinary(truth)[0]["file"]) as ours:
        assert [(h.name, type(h)) for h in ours] == [(h.name, type(h)) for h in real]
        for n in (1, 3):
            assert [(c.name, c.format, c.unit, c.null, c.dim) for c in ours[n].columns] == [
                (c.name, c.format, c.unit, c.null, c.dim) for c in real[n].columns
            ]
        not_known = {"CHECKSUM", "COMMENT", "CDPP0_5", "CDPP1_0", "CDPP2_0"}
        for n in range(4):
            missing = {key for key in real[n].header if key not in ours[n].header} - not_known
            assert {key for key in missing if not key.startswith(("TMOFST", "MEANBLC"))} == set()
            kinds = {
                key: (type(ours[n].header[key]), type(real[n].header[key]))
                for key in ours[n].header
                if key in real[n].header
            }
            assert {key: kind for key, kind in kinds.items() if kind[0] is not kind[1]} == {}


def test_files_are_valid_fits(folder, truth):
    for row in truth[~truth["truncated"]]:
        with fits.open(folder / row["file"]) as hdulist:
            hdulist.verify("exception")
            assert (folder / row["file"]).stat().st_size % 2880 == 0


def test_lightkurve_opens_a_file_with_its_target_time_and_quality(folder, truth):
    import lightkurve

    row = ordinary(truth)[0]
    data, *_ = pixels(folder, row)
    exposed = np.isfinite(data["TIME"])
    tpf = lightkurve.read(str(folder / row["file"]), quality_bitmask="none")
    assert tpf.targetid == row["starid"]
    assert tpf.flux.shape == data["FLUX"].shape
    assert (tpf.time.value[exposed] == data["TIME"][exposed]).all()
    assert (tpf.quality == data["QUALITY"]).all()
    # Its own sum over the pipeline's aperture gives the flux that was put in.
    lightcurve = tpf[good(data)].to_lightcurve(aperture_mask="pipeline")
    assert np.nanmedian(lightcurve.flux.value) == pytest.approx(row["aperture_flux"], rel=5e-3)
    tpf.hdu.close()


def test_our_own_reader_takes_the_files(folder, truth):
    row = truth[truth["saturated"]][0]
    stamp = read_target_pixel_file(folder / row["file"])
    assert (stamp.target.starid, stamp.sector, stamp.camera, stamp.ccd, stamp.cadence) == (
        row["starid"],
        1,
        1,
        1,
        120,
    )
    assert stamp.shape[0] > stamp.shape[1] == 11


def test_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path):
    digests = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        simulate_target_pixel_files(
            tmp_path / name, TargetPixelSettings(targets=3, times=60, seed=seed)
        )
        files = sorted((tmp_path / name).iterdir())
        digests.append([hashlib.sha256(f.read_bytes()).hexdigest() for f in files])
    assert digests[0] == digests[1]
    assert not set(digests[0]) & set(digests[2])


def test_how_many_pixels_are_computed_at_once_does_not_matter(tmp_path, monkeypatch):
    settings = TargetPixelSettings(targets=2, times=100)
    simulate_target_pixel_files(tmp_path / "a", settings)
    monkeypatch.setattr("photometry.simulate.targetpixels.PIECE", 17 * 121)
    truth = simulate_target_pixel_files(tmp_path / "b", settings)
    for name in truth["file"]:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_wcs_maps_a_star_of_the_catalogue_to_the_pixels_where_it_was_painted(folder, truth):
    """The fit of a PRF to the mean image, less the pointing, finds the star where the file's WCS
    puts the catalogue position.
    """
    from scipy.optimize import least_squares

    catalog = open_catalog(folder, 1, 1, 1)
    for row in ordinary(truth)[ordinary(truth)["isolated"]][:3]:
        data, _, _, header = pixels(folder, row)
        use = good(data)
        image, motion = (
            data["FLUX"][use].mean(axis=0),
            [data[f"POS_CORR{n}"][use].mean() for n in (1, 2)],
        )
        star = catalog.star(row["starid"])
        column, rw = WCS(header).wcs_world2pix(star["ra"], star["decl"], 0)
        grid = np.arange(11)
        fit = least_squares(
            lambda p, image=image, grid=grid: (
                p[0] * GaussianPRF().evaluate(p[1], p[2], grid, grid) - image
            ).ravel(),
            [image.sum(), 5, 5], x_scale=[row["flux"], 1, 1],
        )  # fmt: skip
        assert fit.x[1:] - motion[::-1] == pytest.approx([float(rw), float(column)], abs=3e-3)
        assert fit.x[0] == pytest.approx(row["flux"], rel=0.01)


def test_catalogue_moves_its_stars_by_proper_motion_to_where_they_were_painted(folder, truth):
    catalog = open_catalog(folder, 1, 1, 1)
    for row in truth:
        star = catalog.star(row["starid"])
        assert (star["ra"], star["decl"]) == (
            pytest.approx(row["ra"], abs=1e-8),
            pytest.approx(row["decl"], abs=1e-8),
        )
    stars = Table.read(folder / "catalog.ecsv")
    assert (
        np.abs(stars["decl_J2000"] - catalog.stars()["decl"]).max() > 0.1 / 3600
    )  # 18 years of 20 mas/yr


def test_column_wcs_of_the_table_is_the_wcs_of_the_aperture(folder, truth):
    _, table, _, aperture = pixels(folder, ordinary(truth)[0])
    n = [table[f"TTYPE{i}"] for i in range(1, 12)].index("FLUX") + 1
    pairs = {
        "1CRPX": "CRPIX1", "2CRPX": "CRPIX2", "1CRVL": "CRVAL1", "2CRVL": "CRVAL2",
        "11PC": "PC1_1", "12PC": "PC1_2", "21PC": "PC2_1", "22PC": "PC2_2",
        "1CDLT": "CDELT1", "2CDLT": "CDELT2",
    }  # fmt: skip
    assert [table[f"{a}{n}"] for a in pairs] == [aperture[b] for b in pairs.values()]
    assert (table[f"1CRV{n}P"], table[f"2CRV{n}P"]) == (aperture["CRVAL1P"], aperture["CRVAL2P"])


def test_target_is_in_the_middle_of_its_stamp_at_its_detector_position(folder, truth):
    for row in ordinary(truth):
        _, header, aperture, _ = pixels(folder, row)
        middle = (
            header["2CRV5P"] + aperture.shape[0] // 2,
            header["1CRV5P"] + aperture.shape[1] // 2,
        )
        assert np.abs(np.subtract(middle, (row["row"], row["column"]))).max() <= 0.5


def test_flux_in_a_large_aperture_is_the_magnitude_s(folder, truth):
    for row in ordinary(truth)[ordinary(truth)["isolated"]]:
        data, *_ = pixels(folder, row)
        use = good(data)
        if np.isfinite(row["transit_period"]):
            use &= (
                transit(
                    data["TIME"],
                    *(row[f"transit_{n}"] for n in ("period", "epoch", "duration", "depth")),
                )
                == 1
            )
        grid = np.arange(11)
        inside = (
            GaussianPRF()
            .evaluate(
                row["row"] - round(row["row"]) + 5,
                row["column"] - round(row["column"]) + 5,
                grid,
                grid,
            )
            .sum()
        )
        expected = 10 ** (-0.4 * (row["tmag"] - 20.54)) * inside
        assert 0.9 < inside < 1
        assert np.median(data["FLUX"][use].sum(axis=(1, 2))) == pytest.approx(expected, rel=5e-3)


def test_scatter_of_each_pixel_is_its_flux_err(tmp_path):
    """Without jitter and signals, a pixel is constant: what is left is noise, with the coherent
    error of the background.
    """
    settings = TargetPixelSettings(
        targets=2, times=2000, jitter=0.0, transits=0, variables=0, isolated=1
    )
    for row in simulate_target_pixel_files(tmp_path, settings):
        data, *_ = pixels(tmp_path, row)
        use = good(data)
        flux = data["FLUX"][use] - np.polyval(
            np.polyfit(np.arange(use.sum()), data["FLUX"][use].reshape(use.sum(), -1), 2),
            np.arange(use.sum())[:, None],
        ).reshape(-1, 11, 11)
        expected = np.sqrt(
            data["FLUX_ERR"][use].mean(axis=0) ** 2 + data["FLUX_BKG_ERR"][use].mean(axis=0) ** 2
        )
        ratio = flux.std(axis=0) / expected
        assert ratio.mean() == pytest.approx(1, abs=0.01)
        assert np.abs(ratio - 1).max() < 5 / np.sqrt(2 * use.sum())


def test_scatter_of_the_aperture_sum_is_the_one_in_the_truth(tmp_path):
    settings = TargetPixelSettings(targets=4, times=2000, jitter=0.0, transits=0, variables=0)
    for row in simulate_target_pixel_files(tmp_path, settings):
        data, _, aperture, _ = pixels(tmp_path, row)
        use, mask = good(data), (aperture & 2) > 0
        flux = data["FLUX"][use][:, mask].sum(axis=1)
        differences = np.diff(flux) / np.sqrt(2)
        assert differences.std() == pytest.approx(row["aperture_noise"], rel=0.08)


def test_transits_have_the_depth_and_the_times_of_the_truth(folder, truth):
    for row in ordinary(truth)[np.isfinite(ordinary(truth)["transit_period"])]:
        data, _, aperture, _ = pixels(folder, row)
        use, mask = good(data), (aperture & 2) > 0
        time, flux = data["TIME"][use], data["FLUX"][use][:, mask].sum(axis=1)
        phase = (time - row["transit_epoch"] + row["transit_period"] / 2) % row[
            "transit_period"
        ] - row["transit_period"] / 2
        flat, out = (
            np.abs(phase) < 0.3 * row["transit_duration"],
            np.abs(phase) > 0.55 * row["transit_duration"],
        )
        depth = 1 - np.median(flux[flat]) / np.median(flux[out])
        error = (
            1.5
            * row["aperture_noise"]
            / row["aperture_flux"]
            * np.sqrt(1 / flat.sum() + 1 / out.sum())
        )
        assert depth == pytest.approx(row["transit_depth"] * row["crowding"], abs=4 * error + 3e-4)


def test_motion_in_pos_corr_moves_the_centroid_by_as_much(folder, truth):
    row = ordinary(truth)[ordinary(truth)["isolated"]][0]
    data, *_ = pixels(folder, row)
    use = good(data)
    box = data["FLUX"][use][:, 2:9, 2:9]
    weight = box.sum(axis=(1, 2))
    for axis, name in ((2, "POS_CORR1"), (1, "POS_CORR2")):
        moments = box.sum(axis=3 - axis) @ np.arange(7) / weight
        slope = np.polyfit(data[name][use], moments, 1)[0]
        assert slope == pytest.approx(1, abs=0.15)  # the box cuts the wings


def test_flagged_and_lost_exposures_are_there(folder, truth):
    data, *_ = pixels(folder, ordinary(truth)[0])
    lost = np.isnan(data["TIME"])
    assert 0 < lost.mean() < 0.1
    assert np.isnan(data["FLUX"][lost]).all()
    assert (data["QUALITY"][lost] != 0).all()
    assert (data["RAW_CNTS"][lost] == -1).all()
    assert {8, 128, 4096} <= set(data["QUALITY"])
    bright = (data["QUALITY"] & 4096) > 0
    assert np.nanmedian(data["FLUX_BKG"][bright & ~lost]) > 2 * np.nanmedian(
        data["FLUX_BKG"][~bright]
    )


def test_saturated_star_is_clipped_at_the_full_well_and_keeps_its_flux(folder, truth):
    row = truth[truth["saturated"]][0]
    data, *_ = pixels(folder, row)
    image = data["FLUX"][good(data)].mean(axis=0)
    assert image.max() == pytest.approx(200_000 / 1.98, rel=0.01)
    assert (image > 0.95 * 200_000 / 1.98).sum() >= 5
    assert image.sum() == pytest.approx(row["flux"], rel=0.03)  # wings outside the stamp


def test_bleeding_keeps_the_charge_and_goes_up_and_down_alike():
    image = np.zeros((2, 21, 3))
    image[0, 10, 1] = 7.0
    after = bleed(image, full_well=1.0)
    assert after[0, :, 1].tolist() == [0.0] * 7 + [1.0] * 7 + [0.0] * 7
    assert after.sum() == pytest.approx(image.sum())
    assert (after[1] == 0).all()


def test_truncated_file_names_its_target_and_ends_early(folder, truth):
    row = truth[truth["truncated"]][0]
    with open(folder / row["file"], "rb") as file:
        assert fits.Header.fromfile(file)["TICID"] == row["starid"]
    sizes = {f: (folder / f).stat().st_size for f in ordinary(truth)["file"]}
    assert (folder / row["file"]).stat().st_size < 0.7 * max(sizes.values())


def test_isolated_targets_have_no_other_star_in_their_stamp_and_the_others_have(truth):
    assert (truth["stars_in_stamp"][truth["isolated"]] == 1).all()
    assert (truth["stars_in_stamp"][~truth["isolated"]] >= 2).all()
    assert truth["isolated"].sum() == 6


def test_other_simulation_in_the_folder_is_replaced_only_when_asked(tmp_path):
    first = simulate_target_pixel_files(tmp_path, TargetPixelSettings(targets=2, times=10))
    simulate_target_pixel_files(tmp_path, TargetPixelSettings(targets=2, times=10))
    with pytest.raises(WrongUseError, match="simulation with other settings"):
        simulate_target_pixel_files(tmp_path, TargetPixelSettings(targets=1, times=10, seed=9))
    second = simulate_target_pixel_files(
        tmp_path, TargetPixelSettings(targets=1, times=10, seed=9), overwrite=True
    )
    assert {f.name for f in tmp_path.glob("*.fits")} == set(second["file"])
    assert not set(first["file"]) & set(second["file"])


@pytest.mark.parametrize(
    "name", ["catalog.ecsv", "tess2018206045859-s0001-1-0120-s_tp.fits", "todo.sqlite"]
)
def test_a_folder_that_holds_anything_else_is_refused_and_left_as_it_is(tmp_path, name):
    (tmp_path / name).write_text("mine")
    for simulate in (
        lambda: simulate_target_pixel_files(tmp_path, TargetPixelSettings(targets=1, times=10)),
        lambda: simulate_full_frames(tmp_path, size=16, n_frames=2, stars=1),
    ):
        with pytest.raises(
            WrongUseError, match=f"is not empty .it has {name}.*choose a new folder"
        ):
            simulate()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"targets": 0}, "targets=0: expected 1 to"),
        ({"isolated": 1.5}, "isolated=1.5: expected 0 to 1"),
        ({"transits": 0.7, "variables": 0.7}, "sum of at most 1"),
        ({"targets": 2, "saturated": 2, "truncated": 1}, "more than the 2 targets"),
        ({"tmag_min": 13.0}, "tmag_min=13.0"),
        ({"decl": 200.0}, "decl=200.0: expected -90 to 90"),
        ({"ra": float("nan")}, "ra=nan: expected 0 to 360"),
        (
            {"stamp": "4 by 6"},
            "stamp='4 by 6': expected pixels, as in 11, or rows and columns, as in 4x6",
        ),
        ({"stamp": "2x6"}, "stamp=2: expected 3 to 101"),
        ({"mission": "PLATO"}, "mission='PLATO': expected TESS, Kepler, K2"),
        ({"mission": "Kepler", "cadence": 120}, "cadence=120: expected 1800 or 60 for Kepler"),
        ({"mission": "K2", "camera": 5}, "camera=5: expected a module"),
    ],
)
def test_settings_outside_their_range_are_refused_by_name(options, message):
    with pytest.raises(SettingsError, match=message):
        TargetPixelSettings(**options)


def test_other_prf_than_the_analytic_one_is_used_when_given(tmp_path):
    class Shifted(GaussianPRF):
        def render(self, flux, row, column, rows, columns):
            return super().render(flux, row + 1, column, rows, columns)

    settings = TargetPixelSettings(targets=1, times=20, isolated=1)
    flux = [
        pixels(tmp_path / name, simulate_target_pixel_files(tmp_path / name, settings, prf=prf)[0])[
            0
        ]["FLUX"][1:].mean(axis=0)
        for name, prf in {"plain": GaussianPRF(), "shifted": Shifted()}.items()
    ]
    assert np.argmax(flux[1].sum(axis=1)) == np.argmax(flux[0].sum(axis=1)) + 1


class TestMissions:
    """Kepler and K2 have other detectors, zero points, names, keywords and flags than TESS."""

    @pytest.fixture(scope="class", params=["Kepler", "K2"])
    def mission(self, request):
        return MISSIONS[request.param]

    @pytest.fixture(scope="class")
    def made(self, mission, tmp_path_factory):
        folder = tmp_path_factory.mktemp(mission.name)
        settings = TargetPixelSettings(
            mission=mission.name,
            targets=6,
            times=300,
            stamp=13,
            isolated=1,
            transits=0.5,
            variables=0,
        )
        return folder, simulate_target_pixel_files(folder, settings), settings

    def test_our_reader_and_lightkurve_take_the_files_for_what_they_are(self, mission, made):
        import lightkurve

        folder, truth, settings = made
        stamp = read_target_pixel_file(folder / truth["file"][0])
        assert (stamp.mission, stamp.cadence, stamp.sector) == (mission.name, 1800, settings.sector)
        assert (stamp.camera, stamp.ccd, stamp.time_reference) == (13, 1, 2454833)
        assert stamp.target.tmag == pytest.approx(truth["tmag"][0])
        assert stamp.target.pm_ra == pytest.approx(truth["pm_ra"][0])
        tpf = lightkurve.read(str(folder / truth["file"][0]), quality_bitmask="none")
        assert type(tpf).__name__ == "KeplerTargetPixelFile"
        assert (tpf.targetid, tpf.mission) == (truth["starid"][0], mission.name)
        assert tpf.time.format == "bkjd"
        tpf.hdu.close()

    def test_flux_is_that_of_the_magnitude_in_the_missions_band(self, made):
        """Kepler gets 1.74e5 e-/s from a star of magnitude 12 (Kepler Instrument Handbook, section
        5.1).
        """
        folder, truth, _ = made
        assert truth["flux"] == pytest.approx(
            1.74e5 * 10 ** (-0.4 * (truth["tmag"] - 12)), rel=0.01
        )
        for row in truth:
            data, *_ = pixels(folder, row)
            light = np.nansum(data["FLUX"][good(data)], axis=(1, 2))
            outside = np.median(light)
            assert outside == pytest.approx(row["flux"], rel=0.02)

    def test_cadences_are_those_of_the_spacecraft_not_half_an_hour(self, made):
        folder, truth, _ = made
        data, header, *_ = pixels(folder, truth[0])
        step = np.nanmedian(np.diff(data["TIME"])) * 86400
        assert step == pytest.approx(1765.46, abs=0.2)  # 270 frames of 6.539 s
        assert header["TIMEDEL"] * 86400 == pytest.approx(1765.46, abs=0.01)
        assert header["EXPOSURE"] / header["TELAPSE"] == pytest.approx(0.9206, abs=1e-3)

    def test_transits_have_the_depth_and_the_times_of_the_truth(self, made):
        folder, truth, _ = made
        for row in truth[np.isfinite(truth["transit_period"])]:
            data, *_ = pixels(folder, row)
            light = np.nansum(data["FLUX"], axis=(1, 2))
            model = transit(
                np.nan_to_num(data["TIME"]),
                *(row[f"transit_{name}"] for name in ("period", "epoch", "duration", "depth")),
            )
            full = good(data) & (model < 1 - 0.99 * row["transit_depth"])
            out = good(data) & (model == 1)
            depth = 1 - np.mean(light[full]) / np.median(light[out])
            assert depth == pytest.approx(row["transit_depth"], rel=0.1)

    def test_names_are_found_as_those_of_the_mission(self, mission, made):
        folder, truth, settings = made
        task = {"starid": int(truth["starid"][0]), "datasource": "tpf", "sector": settings.sector}
        found = find_target_pixel_file(folder, task | {"cadence": 1800})
        assert found.name == truth["file"][0]
        assert found.name.startswith({"Kepler": "kplr", "K2": "ktwo"}[mission.name])

    def test_keywords_and_columns_are_in_the_real_files_too(self, made):
        folder, truth, _ = made
        real = sorted(REAL.parent.glob("kplr*")) + sorted(REAL.parent.glob("ktwo*"))
        if not real:
            pytest.skip("no real target pixel file")
        ours = fits.open(folder / truth["file"][0])
        theirs = fits.open(real[0])
        with ours, theirs:
            assert [hdu.name for hdu in ours] == [hdu.name for hdu in theirs]
            names = [column.name for column in theirs[1].columns if column.name != "RB_LEVEL"]
            assert [column.name for column in ours[1].columns] == names
            for n, extra in ((0, {"SIMDATA", "CAMPAIGN"}), (2, {"SIMDATA", "WCSNAMEP"})):
                assert set(ours[n].header) - set(theirs[n].header) <= extra


class TestAwkwardData:
    """What real files have, so that whoever reads them can be tested on it."""

    def test_tiny_stamps_have_the_rows_and_columns_asked_for(self, tmp_path):
        settings = TargetPixelSettings(mission="Kepler", targets=2, times=60, stamp="4x6")
        truth = simulate_target_pixel_files(tmp_path, settings)
        stamp = read_target_pixel_file(tmp_path / truth["file"][0])
        assert stamp.shape == (4, 6)
        assert truth["aperture_pixels"][0] > 1

    def test_empty_exposures_are_unflagged_and_hold_no_value(self, tmp_path):
        settings = TargetPixelSettings(targets=1, times=200, empty=13)
        truth = simulate_target_pixel_files(tmp_path, settings)
        stamp = read_target_pixel_file(tmp_path / truth["file"][0])
        empty = np.isnan(stamp.flux).all(axis=(1, 2)) & (stamp.quality == 0)
        assert np.count_nonzero(empty & np.isfinite(stamp.time)) == 13

    def test_errors_and_catalogue_can_be_missing(self, tmp_path):
        settings = TargetPixelSettings(targets=1, times=20, errors=False, catalog=False)
        truth = simulate_target_pixel_files(tmp_path, settings)
        stamp = read_target_pixel_file(tmp_path / truth["file"][0])
        assert np.isnan(stamp.flux_err).all()
        assert np.isfinite(stamp.flux).any()
        assert not (tmp_path / "catalog.ecsv").exists()


def test_times_are_barycentric_for_each_target(folder, truth):
    """Outside truth: astropy's light travel time for the centre of the Earth; from there on, what
    `tests/pixels/test_tess.py` holds against the mission's own times.
    """
    for row in ordinary(truth)[:3]:
        data, *_ = pixels(folder, row)
        data = data[np.isfinite(data["TIME"])]
        correction = data["TIMECORR"].astype(float)
        geocentre = EarthLocation.from_geocentric(0, 0, 0, unit=units.m)
        times = Time(
            2457000, data["TIME"] - correction, format="jd", scale="tdb", location=geocentre
        )
        star = SkyCoord(row["ra"] * units.deg, row["decl"] * units.deg)
        expected = times.light_travel_time(star, ephemeris="builtin").to_value("s")
        found = correction * 86400
        assert np.abs(found - expected).max() < 1.5  # TESS is up to 1.4 s of light from the Earth
        days = data["TIME"] - correction
        from_earth = satellite_position(days, 2457000)[0] - earth_position(days, 2457000)
        towards_star = from_earth @ unit_vectors(row["ra"], row["decl"])
        assert np.allclose(found, expected + towards_star, atol=0.01)
