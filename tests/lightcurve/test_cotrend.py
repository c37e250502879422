"""Common trends go, the star stays: ensembles with known truth, seeds that nothing was tuned on."""

import numpy as np
import pytest
from scipy.ndimage import uniform_filter1d

from photometry.errors import BadInputError
from photometry.lightcurve.basis import basis_vectors, prior, with_stars
from photometry.lightcurve.cotrend import (
    Fit,
    fit,
    flat_prior,
    model,
    remove,
    shrunk,
)
from photometry.lightcurve.vectors import (
    own_scattered_light,
    read_vectors,
    vectors_name,
    write_vectors,
)
from photometry.simulate.ensemble import ensemble

BIN = 13  # samples of 30 minutes in 6.5 h


def fitted(stars, **options):
    """Vectors of an ensemble, and what they make of each of its stars."""
    index = np.arange(len(stars.flux))
    position = (stars.column, stars.row, stars.tmag)
    extra = {"level": stars.level, "background": stars.background}
    basis = basis_vectors(stars.relative, *position, index, stars.time, **extra, **options)
    before = prior(basis, *position, stars.level, index)
    return basis, fit(basis.vectors, basis.time, stars.relative, before)


def binned(flux):
    n = flux.shape[1] // BIN
    means = flux[:, : n * BIN].reshape(len(flux), n, BIN).mean(axis=2)
    return means - means.mean(axis=1, keepdims=True)


def noise_over_photons(stars, corrected):
    """rms over 6.5 h of what is not the star, over the photon noise of 6.5 h."""
    return np.std(binned(corrected - stars.star), axis=1) / (stars.noise / np.sqrt(BIN))


def amplitudes(stars, corrected, period):
    """Measured over injected amplitude of the sines of a period."""
    truth = stars.truth
    sines = (truth["kind"] == "rotation") & (truth["period"] == period)
    star = stars.star[sines] - stars.star[sines].mean(axis=1, keepdims=True)
    return np.sum(corrected[sines] * star, axis=1) / np.sum(star**2, axis=1)


def transit_depths(stars, corrected):
    """Measured over injected depth of the planets, against the flux beside each transit."""
    ratios = []
    for i in np.flatnonzero(stars.truth["kind"] == "planet"):
        inside = stars.star[i] < -0.99 * stars.truth["depth"][i]
        near = np.convolve(stars.star[i] < 0, np.ones(25), "same") > 0
        beside = near & (stars.star[i] == 0)
        depth = corrected[i, beside].mean() - corrected[i, inside].mean()
        ratios.append(depth / stars.truth["depth"][i])
    return np.array(ratios)


def check(stars, corrected):
    """The figures that cotrending has to reach; returns what fails."""
    noise = noise_over_photons(stars, corrected)
    missed = []
    if not np.median(noise) <= 1.25:
        missed.append(f"noise: median {np.median(noise):.2f}")
    if not np.percentile(noise, 90) <= 4:
        missed.append(f"noise: 90th percentile {np.percentile(noise, 90):.2f}")
    for period in (1, 2, 3, 5, 7, 10, 13):
        ratio = amplitudes(stars, corrected, period)
        low = 0.9 if period == 13 else 0.95
        if not low <= np.median(ratio) <= 1.05:
            missed.append(f"{period} d: median amplitude {np.median(ratio):.2f}")
        if period < 13 and not np.percentile(ratio, 10) >= 0.85:
            missed.append(f"{period} d: 10th percentile {np.percentile(ratio, 10):.2f}")
    if not 0.98 <= np.median(transit_depths(stars, corrected)) <= 1.02:
        missed.append(f"transits {np.median(transit_depths(stars, corrected)):.3f}")
    return missed


@pytest.fixture(scope="module", params=[101, 102, 103])
def trended(request):
    stars = ensemble(request.param)
    return stars, *fitted(stars)


@pytest.mark.slow
def test_trends_go_and_stars_stay(trended):
    stars, basis, found = trended
    trend, _ = model(found, basis.vectors)
    assert check(stars, stars.relative - trend) == []


@pytest.mark.slow
def test_least_squares_with_eight_vectors_would_fail(trended):
    stars, *_ = trended
    index = np.arange(len(stars.flux))
    basis = basis_vectors(
        stars.relative, stars.column, stars.row, stars.tmag, index, stars.time, n_vectors=8
    )
    flux = stars.relative - stars.relative.mean(axis=1, keepdims=True)
    assert any(
        "amplitude" in line for line in check(stars, flux - flux @ basis.vectors.T @ basis.vectors)
    )


@pytest.mark.slow
def test_the_error_of_the_trend_is_its_error(trended):
    stars, basis, found = trended
    trend, error = model(found, basis.vectors, basis.error)
    truth = stars.trend - stars.trend.mean(axis=1, keepdims=True)
    deviation = np.abs(trend - truth)[:, ::40] / error[:, ::40]
    assert 0.7 < np.median(deviation) / 0.6745 < 1.3


@pytest.mark.slow
def test_neither_variable_stars_nor_eclipses_shape_the_vectors(trended):
    stars, basis, _ = trended
    strong = (stars.truth["kind"] == "rotation") & (stars.truth["amplitude"] > 10 * stars.noise)
    assert np.isin(basis.starid, np.flatnonzero(strong)).sum() == 0


def without_trend(stars, basis, found, i):
    """The flux of a star as `correct` makes it, about 0."""
    one = slice(i, i + 1)
    alone = Fit(found.weights[one], found.covariance[one], found.noise[one], found.kept[one])
    flux = 1 + stars.relative[i]

    def corrected(part):
        trend, error = model(part, basis.vectors)
        return flux - trend[0], error[0]

    return remove(stars.time, flux, alone, corrected, hours=1.0).fluxes - 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", [104])
def test_without_trends_no_star_gets_noisier_or_loses_its_variation(seed):
    stars = ensemble(seed, strength=0.0)
    basis, found = fitted(stars)
    corrected = np.array([without_trend(stars, basis, found, i) for i in range(len(stars.flux))])
    before, after = (
        np.std(uniform_filter1d(flux, BIN, axis=1), axis=1) for flux in (stars.relative, corrected)
    )
    assert (after / before).max() < 1.02
    # in bins of one phase, whose scatter is less certain
    rise = np.std(binned(corrected), axis=1) / np.std(binned(stars.relative), axis=1)
    assert np.percentile(rise, 99) < 1.02
    for period in (1, 2, 3, 5, 7, 10, 13):
        assert np.median(amplitudes(stars, corrected, period)) >= 0.97


def test_the_number_of_vectors_is_that_of_the_trends():
    stars = ensemble(105, n_stars=500, n_times=700)
    basis, _ = fitted(stars, min_quiet=50)
    assert 4 <= len(basis.vectors) <= 7
    assert basis.additive.sum() == 1
    assert np.abs(basis.vectors[0] @ stars.vectors[3]) > 0.95 * np.linalg.norm(
        stars.vectors[3] - stars.vectors[3].mean()
    )
    assert basis.vectors @ basis.vectors.T == pytest.approx(np.eye(len(basis.vectors)), abs=1e-9)


def test_a_star_never_is_in_its_own_prior():
    stars = ensemble(106, n_stars=400, n_times=600)
    basis, _ = fitted(stars, min_quiet=50)
    position = (basis.column[:1], basis.row[:1], basis.tmag[:1], [1.0])
    changed = basis.weights.copy()
    changed[0] += 1e3
    other = type(basis)(**{**basis.__dict__, "weights": changed})
    same = prior(basis, *position, basis.starid[:1]), prior(other, *position, basis.starid[:1])
    assert np.array_equal(same[0].mean, same[1].mean)
    foreign = prior(other, *position, [-5]).mean
    assert not np.allclose(foreign, same[0].mean)


def test_the_fit_of_a_star_does_not_depend_on_the_others_with_it():
    stars = ensemble(107, n_stars=400, n_times=600)
    basis, found = fitted(stars, min_quiet=50)
    one = slice(17, 18)
    before = prior(basis, stars.column, stars.row, stars.tmag, stars.level, np.arange(400))
    alone = fit(
        basis.vectors,
        basis.time,
        stars.relative[one],
        type(before)(before.mean[one], before.covariance[one]),
    )
    assert alone.weights == pytest.approx(found.weights[one], rel=1e-5, abs=1e-9)


def test_gaps_of_a_star_do_not_bias_its_weights():
    stars = ensemble(108, n_stars=400, n_times=600)
    basis, whole = fitted(stars, min_quiet=50)
    flux = stars.relative.copy()
    flux[:, 100:160] = np.nan
    position = (stars.column, stars.row, stars.tmag)
    found = fit(basis.vectors, basis.time, flux, prior(basis, *position, stars.level))
    quiet = stars.truth["kind"] == "quiet"
    difference = np.std((found.weights - whole.weights)[quiet] @ basis.vectors, axis=1)
    assert np.median(difference / stars.noise[quiet]) < 0.3


def test_too_few_quiet_stars_are_refused_with_their_number():
    stars = ensemble(109, n_stars=60, n_times=300)
    with pytest.raises(BadInputError, match="vectors need 150 quiet ones"):
        fitted(stars)
    variables = ensemble(110, n_stars=300, n_times=400, fractions=(0, 1, 0, 0, 0))
    with pytest.raises(BadInputError, match=r"\d+ quiet stars among 300; vectors need 290"):
        fitted(variables, min_quiet=290)
    nothing = np.full((200, 50), np.nan)
    with pytest.raises(BadInputError, match="0 stars with values"):
        basis_vectors(nothing, *np.zeros((3, 200)), np.arange(200), np.arange(50.0))


def test_vectors_are_read_back_as_they_were_written(tmp_path):
    stars = ensemble(111, n_stars=400, n_times=500)
    about = {
        "mission": "TESS",
        "sector": 7,
        "camera": 2,
        "ccd": 3,
        "cadence": 1800,
        "areas": [231, 232],
    }
    basis, _ = fitted(stars, min_quiet=50, header=about)
    path = tmp_path / vectors_name(about)
    assert path.name == "tess-s0007-2-3-a231-232-c1800-cbv.fits"
    write_vectors(path, basis, np.arange(400))
    again, members = read_vectors(path, (2, 3))
    for name in ("cadenceno", "time", "vectors", "additive", "starid", "weights", "tmag"):
        assert np.array_equal(getattr(again, name), getattr(basis, name)), name
    assert again.error == pytest.approx(basis.error, rel=1e-14)
    assert list(members) == list(range(400))
    assert (again.header["sector"], again.header["cadence"]) == (7, 1800)
    with pytest.raises(BadInputError, match="no vectors of detector 1, 1"):
        read_vectors(path, (1, 1))
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(BadInputError):
        read_vectors(path, (2, 3))


def test_the_weights_of_ones_own_stars_come_to_the_missions_vectors():
    stars = ensemble(112, n_stars=400, n_times=500)
    basis, _ = fitted(stars, min_quiet=50)
    empty = np.zeros(0)
    bare = type(basis)(**{**basis.__dict__, "weights": np.zeros((0, len(basis.vectors))),
                          **dict.fromkeys(("starid", "column", "row", "tmag"), empty)})  # fmt: skip
    position = (stars.column, stars.row, stars.tmag, np.arange(400))
    ours = with_stars(bare, stars.relative, *position, level=stars.level, min_quiet=50)
    assert len(ours.starid) >= 50
    assert with_stars(bare, stars.relative, *position, level=stars.level, min_quiet=400) is bare


@pytest.mark.real_data
def test_the_missions_files_are_read(shared_data):
    path = shared_data / "cbv" / "kplr2011073133259-q08-d25_lcbv.fits"
    basis, members = read_vectors(path, (16, 4))
    assert members is None
    assert (basis.header["mission"], basis.header["sector"]) == ("Kepler", 8)
    assert basis.header["cadence"] == pytest.approx(1765, abs=1)
    assert basis.vectors @ basis.vectors.T == pytest.approx(np.eye(16), abs=1e-9)
    with pytest.raises(BadInputError, match="no vectors of detector 9, 9"):
        read_vectors(path, (9, 9))
    # cut to 100 cadences, this one holds the constants with which a gap is filled
    tess = shared_data / "cbv" / "tess2019085135100-s0010-2-4-0140-s_cbv.fits"
    with pytest.raises(BadInputError, match="none of the 16 vectors varies"):
        read_vectors(tess, (2, 4))


def test_no_prior_is_least_squares_for_a_star_that_does_not_vary():
    rng = np.random.default_rng(5)
    time = np.arange(800) / 48
    vectors = np.linalg.qr(rng.normal(size=(800, 3)) - 0.0)[0].T
    vectors -= vectors.mean(axis=1, keepdims=True)
    flux = 0.01 * vectors.sum(axis=0, keepdims=True) * 20 + 1e-4 * rng.normal(size=(1, 800))
    found = fit(vectors, time, flux, flat_prior(flux, vectors))
    direct = np.linalg.lstsq(vectors.T, flux[0], rcond=None)[0]
    assert found.weights[0] == pytest.approx(direct, abs=4e-4)
    half = shrunk(found, 0.5)
    assert isinstance(half, Fit)
    assert half.weights == pytest.approx(found.weights / 2)


SCATTERED, DESAT = 4096, 32


@pytest.mark.parametrize("sector", [5, 19, 20, 60])
def test_scattered_light_is_flagged_by_the_stars_own_background(sector):
    flux = np.full(1000, 500.0)
    background = np.full(1000, 900.0)
    background[400:420] += 1500  # more than 500 + 900: photon noise is over 1.4 times the median
    background[500:520] += 1300  # less
    of_the_ccd = np.zeros(1000, int)
    of_the_ccd[600:700] = SCATTERED | DESAT
    about = {"mission": "TESS", "sector": sector}
    quality = own_scattered_light(of_the_ccd, flux, background, **about)
    assert (quality[400:420] == SCATTERED).all()
    assert (quality[500:520] == 0).all()
    # until sector 19 the mission flags the whole CCD, from 20 on the target
    assert (quality[600:700] == (DESAT if sector < 20 else SCATTERED | DESAT)).all()
    assert quality[:400].sum() == quality[700:].sum() == 0
    bright = own_scattered_light(of_the_ccd, 100 * flux, background, **about)
    assert (bright[400:420] == 0).all()


def test_scattered_light_of_other_missions_and_of_unknown_backgrounds_stays_as_it_was():
    flux, background, quality = np.full(50, 5.0), np.linspace(0, 1e4, 50), np.full(50, SCATTERED)
    kepler = own_scattered_light(quality, flux, background, mission="Kepler", sector=3)
    assert np.array_equal(kepler, quality)
    unknown = own_scattered_light(quality, flux, background * np.nan, mission="TESS", sector=3)
    assert np.array_equal(unknown, quality)
