"""Simulated target pixel files: format against a real one and lightkurve, pixels against the truth beside them."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from photometry.catalog.ccd import open_catalog
from photometry.errors import SettingsError, WrongUseError
from photometry.methods.prf import GaussianPRF
from photometry.simulate.saturation import bleed
from photometry.simulate.signals import transit
from photometry.simulate.targetpixels import TargetPixelSettings, simulate_target_pixel_files

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
    from photometry.pixels.targetpixelfile import read_target_pixel_file

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
    """The fit of a PRF to the mean image, less the pointing, finds the star where the file's WCS puts the catalogue position."""
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
            lambda p, image=image, grid=grid: (p[0] * GaussianPRF().evaluate(p[1], p[2], grid, grid) - image).ravel(),
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
    pairs = {"1CRPX": "CRPIX1", "2CRPX": "CRPIX2", "1CRVL": "CRVAL1", "2CRVL": "CRVAL2", "11PC": "PC1_1", "12PC": "PC1_2",
             "21PC": "PC2_1", "22PC": "PC2_2", "1CDLT": "CDELT1", "2CDLT": "CDELT2"}  # fmt: skip
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
    """Without jitter and signals, a pixel is constant: what is left is noise, with the coherent error of the background."""
    settings = TargetPixelSettings(
        targets=2, times=2000, jitter=0.0, transits=0, variables=0, isolated=1
    )
    for row in simulate_target_pixel_files(tmp_path, settings):
        data, *_ = pixels(tmp_path, row)
        use = good(data)
        flux = data["FLUX"][use] - np.polyval(np.polyfit(np.arange(use.sum()), data["FLUX"][use].reshape(use.sum(), -1), 2), np.arange(use.sum())[:, None]).reshape(-1, 11, 11)  # fmt: skip
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


def test_catalogue_of_somebody_else_is_not_overwritten(tmp_path):
    (tmp_path / "catalog.ecsv").write_text("mine")
    with pytest.raises(WrongUseError, match="not simulated"):
        simulate_target_pixel_files(tmp_path, TargetPixelSettings(targets=1, times=10))
    assert (tmp_path / "catalog.ecsv").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"targets": 0}, "targets=0: expected 1 to"),
        ({"isolated": 1.5}, "isolated=1.5: expected 0 to 1"),
        ({"transits": 0.7, "variables": 0.7}, "sum of at most 1"),
        ({"targets": 2, "saturated": 2, "truncated": 1}, "more than the 2 targets"),
        ({"tmag_min": 13.0}, "tmag_min=13.0"),
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
