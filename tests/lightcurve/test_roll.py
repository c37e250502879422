"""What K2's roll does goes, the star stays: simulated pixels with known truth, and a real star
that another program corrected.
"""

import shutil

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from running import photometry

from photometry.errors import BadInputError
from photometry.flags import DEFAULT_BITMASK
from photometry.lightcurve import LightcurveArbitraryRaster, cdpp
from photometry.lightcurve.correct import correct_file, lightcurve_files
from photometry.lightcurve.roll import arc_length, roll


def about(times, position, **more):
    """Metadata of a light curve of K2."""
    unknown = np.full((len(times), 2), np.nan)
    return {
        "path": "star_lc.fits",
        "mission": "K2",
        "pos_corr": position,
        "centroid": unknown,
    } | more


def rolling(seed, *, drift=5e-3, noise=2e-4, days=60.0, star=0.0):
    """Light curve of a star that rolls each 6 hours; its flux depends on the position."""
    rng = np.random.default_rng(seed)
    times = np.arange(0, days, 1 / 49)
    roll = (times / 0.25 % 1 - 0.5) * (1 + 0.3 * np.sin(times / 9)) + 0.02 * rng.normal(
        size=times.size
    )
    position = np.column_stack([roll, 0.4 * roll + 0.1 * roll**2])
    flux = (1 + star) * (1 + drift * (roll - 0.8 * roll**2) * (1 + 0.2 * np.cos(times / 20)))
    flux = 1e4 * (flux + noise * rng.normal(size=times.size))
    metadata = about(times, position + 0.003 * rng.normal(size=position.shape))
    errors = np.full(times.size, 1e4 * noise)
    return LightcurveArbitraryRaster(times, flux, errors, metadata=metadata)


def test_a_path_is_as_long_as_the_curve():
    x = np.random.default_rng(3).uniform(-1, 1, 2000)
    arc = arc_length(np.column_stack([x, 0.3 * x**2]))
    end = np.linspace(-1, 1, 100_001)
    whole = np.sum(np.hypot(np.diff(end), np.diff(0.3 * end**2)))
    assert np.ptp(arc) == pytest.approx(whole, rel=0.01)
    assert abs(np.corrcoef(np.argsort(np.argsort(arc)), np.argsort(np.argsort(x)))[0, 1]) > 0.999


@pytest.mark.parametrize("seed", [601, 602, 603])
def test_the_roll_goes_and_sines_and_transits_stay(seed):
    times = rolling(seed).times
    transits = -2e-3 * (np.abs((times - 3.1) % 7.7 - 3.85) < 0.08)
    for period in (1.5, 3.0, 10.0):
        star = 4e-3 * np.sin(2 * np.pi * times / period)
        lc = rolling(seed, star=star + transits)
        fluxes, errors, cards = roll(lc)
        values = {key: value for key, value, _ in cards}
        both = np.column_stack([star, transits, np.ones(times.size)])
        amplitude, depth, _ = np.linalg.lstsq(both, fluxes, rcond=None)[0]
        assert 0.95 < amplitude < 1.05, period
        assert 0.98 < depth < 1.02, period
        residual = fluxes - both @ [amplitude, depth, 0]
        assert np.std(residual) < 1.2 * 2e-4, period
        assert 0.95 < np.std(residual) / np.median(errors) < 1.2
        assert values["CTNOISE1"] < values["CTNOISE0"]
        assert (values["CTPOS"], values["CTPIX"]) == ("POS_CORR", 0)


def test_a_star_that_does_not_feel_the_roll_is_left_alone():
    lc = rolling(604, drift=0.0)
    fluxes, _, _ = roll(lc)
    change = fluxes - lc.fluxes / np.median(lc.fluxes)
    assert np.std(change) < 0.1 * 2e-4


def test_the_centroid_serves_where_the_file_has_no_other_position():
    lc = rolling(605)
    lc.metadata["centroid"] = lc.metadata["pos_corr"]
    lc.metadata["pos_corr"] = np.full_like(lc.metadata["centroid"], np.nan)
    fluxes, _, cards = roll(lc)
    assert dict(card[:2] for card in cards)["CTPOS"] == "MOM_CENTR"
    assert np.std(fluxes) < 1.2 * 2e-4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mission": "TESS"}, "of TESS; the method roll is for K2 alone"),
        ({"mission": "Kepler"}, "of Kepler; the method roll is for K2 alone"),
        ({"pos_corr": np.full((2940, 2), np.nan)}, "no position in POS_CORR1"),
        ({"pos_corr": np.zeros((2940, 2))}, "no position in POS_CORR1"),
    ],
)
def test_what_does_not_roll_is_refused_in_one_line(change, message):
    lc = rolling(606)
    lc.metadata |= change
    with pytest.raises(BadInputError, match=message) as caught:
        roll(lc)
    assert "\n" not in str(caught.value)


def test_few_samples_are_refused_with_their_number():
    lc = rolling(607, days=1.5)
    with pytest.raises(BadInputError, match=r"74 good samples with a position; .* needs 100"):
        roll(lc)


@pytest.fixture(scope="module")
def synthetic(shared_data, tmp_path_factory):
    """The synthetic pixels, whose star's numbers are names, as light curves of a run."""
    folder = tmp_path_factory.mktemp("synthetic")
    signals = {}
    for number, path in enumerate(sorted((shared_data / "tpf_synthetic").glob("*.fits.gz")), 1):
        with fits.open(path) as hdulist:
            header = hdulist[0].header
            header["KEPLERID"], header["MISSION"], header["CAMPAIGN"] = number, "K2", 7
            header["MODULE"], header["OUTPUT"], header["KEPMAG"] = 13, 1, 12.0
            signals[number] = np.array(hdulist[3].data["NOISELESS_INPUT"], dtype=float)
            hdulist[:3].writeto(folder / f"ktwo{number:09d}-c07_lpd-targ.fits.gz")
    assert photometry("todo", "tpf", folder).returncode == 0
    assert photometry("run", folder, "--workers", 0).returncode == 0
    return folder, signals


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.parametrize("pixels", [True, False])
def test_synthetic_pixels_give_the_known_signal(synthetic, tmp_path, pixels):
    folder, signals = synthetic
    work = shutil.copytree(folder / "lightcurves", tmp_path / "lightcurves")
    options = ["--pixels", folder] if pixels else []
    done = photometry("correct", work, *options)
    assert (done.returncode, done.stderr) == (0, "")
    for number, signal in signals.items():
        (path,) = work.rglob(f"ktwo{number:011d}-*_lc.fits.gz")
        header, table = fits.getheader(path, 1), fits.getdata(path, 1)
        assert header["CORRMETH"] == "roll"
        assert (header["CTPIX"] > 5) == pixels
        corrected, star = 1e-6 * table["FLUX_CORR"], signal / np.median(signal) - 1
        assert np.std(corrected - star) < 1.1e-4
        if np.ptp(signal) > 0:
            assert np.corrcoef(corrected, star)[0, 1] >= 0.95
            assert 0.95 <= np.polyfit(star, corrected, 1)[0] <= 1.05


@pytest.mark.real_data
@pytest.mark.slow
def test_a_real_rotator_is_as_quiet_and_as_variable_as_in_another_program(shared_data):
    """EPIC 211117077, a rotator of 3 days, and K2SC's correction of it."""
    table = fits.getdata(shared_data / "lc" / "ktwo211117077-c04_llc.fits", 1)
    k2sc = "hlsp_k2sc_k2_llc_211117077-c04_kepler_v2_lc.fits"
    theirs = fits.getdata(shared_data / "lc" / k2sc, "PDC")
    good = np.isfinite(table["TIME"]) & np.isfinite(table["SAP_FLUX"])
    good &= table["SAP_QUALITY"] & DEFAULT_BITMASK["K2"] == 0
    times = table["TIME"][good]
    position = np.column_stack([table["POS_CORR1"], table["POS_CORR2"]])[good].astype(float)
    flux, error = (table[name][good].astype(float) for name in ("SAP_FLUX", "SAP_FLUX_ERR"))
    lc = LightcurveArbitraryRaster(times, flux, error, metadata=about(times, position))
    fluxes, errors, _ = roll(lc)
    ours = np.isfinite(fluxes)
    corrected = LightcurveArbitraryRaster(times[ours], fluxes[ours], errors[ours])
    assert cdpp(lc) > 6000
    assert cdpp(corrected) <= 4000

    their_flux = theirs["flux"] + theirs["trtime"] - np.nanmedian(theirs["trtime"])
    known = np.isfinite(their_flux)

    def amplitude(times, flux, period=3.003):
        angle = 2 * np.pi * times / period
        design = np.column_stack([np.ones(len(times)), np.cos(angle), np.sin(angle)])
        return np.hypot(*np.linalg.lstsq(design, flux / np.median(flux), rcond=None)[0][1:])

    ratio = amplitude(times[ours], fluxes[ours])
    ratio /= amplitude(theirs["time"][known], their_flux[known])
    assert 0.95 <= ratio <= 1.05
    # not only the sine: all of the variation
    common, mine, other = np.intersect1d(
        table["CADENCENO"][good][ours], theirs["cadence"][known], return_indices=True
    )
    both = fluxes[ours][mine], their_flux[known][other] / np.median(their_flux[known])
    assert len(common) > 3000
    assert 0.95 <= np.polyfit(both[1], both[0], 1)[0] <= 1.05


@pytest.mark.slow
@pytest.mark.parametrize("seed", [502])
def test_simulated_pixels_lose_their_roll_and_keep_their_signals(tmp_path, seed):
    options = ("--mission", "K2", "--targets", 8, "--times", 1500, "--seed", seed)
    assert photometry("simulate", "tpf", tmp_path, *options).returncode == 0
    assert photometry("todo", "tpf", tmp_path).returncode == 0
    assert photometry("run", tmp_path, "--workers", 0).returncode == 0
    assert photometry("correct", tmp_path).returncode == 0
    truth = Table.read(tmp_path / "truth.ecsv")
    ratios, pixels = [], 0
    for path in lightcurve_files(tmp_path / "lightcurves"):
        star = truth[truth["starid"] == int(path.name[4:15])]
        header, table = fits.getheader(path, 1), fits.getdata(path, 1)
        assert header["CORRMETH"] == "roll"
        ratios.append(header["CTNOISE1"] / header["CTNOISE0"])
        pixels += header["CTPIX"] > 0
        if not len(star):
            continue
        (star,) = star
        times, corrected = table["TIME"], 1e-6 * table["FLUX_CORR"]
        raw = table["FLUX_RAW"] / np.nanmedian(table["FLUX_RAW"])
        known = np.isfinite(corrected)
        if star["variable_period"] > 0:
            angle = 2 * np.pi * times[known] / star["variable_period"]
            design = np.column_stack([np.ones(known.sum()), np.cos(angle), np.sin(angle)])
            before, after = (
                np.hypot(*np.linalg.lstsq(design, flux[known], rcond=None)[0][1:])
                for flux in (raw, corrected)
            )
            assert after == pytest.approx(before, rel=0.05)
        if star["transit_period"] > 0:
            period, duration = star["transit_period"], star["transit_duration"]
            phase = (times - star["transit_epoch"] + period / 2) % period - period / 2
            inside = known & (np.abs(phase) < 0.3 * duration)
            beside = known & (np.abs(phase) > duration) & (np.abs(phase) < 3 * duration)
            before, after = (
                np.median(flux[beside]) - np.median(flux[inside]) for flux in (raw, corrected)
            )
            assert after == pytest.approx(before, rel=0.03, abs=2e-4)
    assert max(ratios) <= 1.05
    assert np.median(ratios) < 0.9
    assert pixels > 1


def test_light_curves_of_tess_refuse_the_method_in_one_line(tmp_path):
    from photometry.simulate.ensemble import ensemble, write_ensemble

    paths = write_ensemble(tmp_path, ensemble(608, n_stars=3, n_times=200))
    done = photometry("correct", tmp_path, "--method", "roll")
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line]
    assert "none of the 3 light curves has a name of K2" in line
    with pytest.raises(BadInputError, match="of TESS"):
        correct_file(paths[0], method="roll")
    paths[0].write_bytes(b"no light curve")
    done = photometry("correct", paths[0], "--method", "roll")
    assert done.returncode == 1
    assert f"{paths[0]}: not a FITS file" in done.stderr
