"""Synthetic light curves: golden values of the specification, and that every spec takes effect."""

import shutil
import sys

import numpy as np
import pytest

from photometry.constants import EASConstants
from photometry.errors import TargetError, WrongUseError
from photometry.transits import (
    PslsSpecs,
    TransitSpecs,
    synthesize_psls,
    synthesize_star,
    synthesize_transits,
)
from photometry.transits.stars import Oscillations, coloured_noise, psls_config

GOLDEN = {
    "duration": 240,
    "planet_radius": 4 * 0.08911486,
    "orbital_period": 50,
    "semi_major_axis": 0.4,
    "orbital_angle": 0,
    "sampling_cadence": 900,
    "mes_assume_noise": 0.000315,
}


def test_constants_are_those_of_the_specification():
    c = EASConstants()
    assert (c.day, c.month, c.year, c.phy_AU, c.Rearth, c.plato_noise) == (
        1,
        28,
        365.25,
        149597870700,
        0.08911486,
        0.000315,
    )
    assert (c.sun_radius, c.earth_radius, c.jupiter_radius) == (6.955e8, 6.371e6, 7.1492e7)


@pytest.mark.parametrize(("engine", "precision"), [("batman", 1e-13), ("own", 1e-6)])
def test_golden_values_of_the_demo_light_curve(engine, precision):
    if engine == "batman":
        pytest.importorskip("batman")
    metadata = synthesize_transits(GOLDEN, engine=engine).metadata
    assert metadata["star_radius"] == 9.728361215240866
    assert (metadata["pixels_in_transit"], metadata["pixels_out_of_transit"]) == (95, 22945)
    assert metadata["integrated_transit_power"] == pytest.approx(0.12223895045742617, rel=precision)
    assert metadata["mes"] == pytest.approx(238.8847941922455, rel=precision)


@pytest.mark.real_data
def test_golden_values_are_in_the_metadata_of_the_demo_file(shared_data):
    from photometry.lightcurve import Lightcurve

    theirs, ours = (
        Lightcurve.read(shared_data / "plato/demo_superearth.gz").metadata,
        synthesize_transits(GOLDEN).metadata,
    )
    for key in (
        "star_radius",
        "planet_radius",
        "pixels_in_transit",
        "pixels_out_of_transit",
        "sampling_cadence",
        "orbital_period",
    ):
        assert ours[key] == pytest.approx(theirs[key], rel=1e-15)
    assert ours["mes"] == pytest.approx(theirs["mes"], rel=1e-6)


def test_defaults_are_those_of_the_specification():
    specs = TransitSpecs()
    assert (
        specs.duration,
        specs.t0,
        specs.eccentricity,
        specs.planet_radius,
        specs.orbital_period,
    ) == (
        730,
        1,
        0,
        1,
        365,
    )
    assert (specs.semi_major_axis, specs.noise, specs.sampling_cadence, specs.threads) == (
        1,
        0,
        25,
        1,
    )
    assert specs.settings()["orbital_angle"] == 0
    assert specs.settings()["mes_assume_noise"] == 0


def test_impact_parameter_wins_over_the_angle_and_clears_it():
    specs = TransitSpecs(impact_parameter=0.5, orbital_angle=3.0)
    assert "orbital_angle" not in specs.settings()
    expected = 90 - np.degrees(np.arcsin(0.5 / specs.semi_major_axis_in_radii))
    assert specs.inclination == pytest.approx(expected)


@pytest.mark.parametrize(
    ("specs", "mes"),
    [({"noise": 0.0}, 1e8), ({"planet_radius": 0.0}, 0.0), ({"orbital_angle": 60.0}, 0.0)],
)
def test_mes_is_capped_without_noise_and_zero_without_transit(specs, mes):
    assert (
        synthesize_transits({"duration": 2, "sampling_cadence": 600, **specs}).metadata["mes"]
        == mes
    )


def test_noise_scales_with_the_cadence_and_a_seed_repeats_it():
    specs = {
        "duration": 100,
        "planet_radius": 0,
        "sampling_cadence": 900,
        "noise": 0.000315,
        "seed": 4,
    }
    a, b = synthesize_transits(specs), synthesize_transits(specs)
    np.testing.assert_array_equal(a.fluxes, b.fluxes)
    assert np.std(a.fluxes) == pytest.approx(0.000315 * np.sqrt(25 / 900), rel=0.03)
    np.testing.assert_allclose(a.uncertainties, 0.000315 / 6)


def test_transits_come_at_t0_and_eccentricity_shortens_those_at_periastron():
    # Winn (2010), equation 16, omega 90 deg
    base = {
        "duration": 40,
        "orbital_period": 10,
        "semi_major_axis": 0.09,
        "sampling_cadence": 300,
        "t0": 3.0,
    }
    circular, eccentric = (
        synthesize_transits(base),
        synthesize_transits({**base, "eccentricity": 0.4}),
    )
    for lc in (circular, eccentric):
        dips = lc.times[lc.fluxes < 1]
        np.testing.assert_allclose(np.mod(dips - 3.0 + 5, 10) - 5, 0, atol=0.15)
        assert len(np.unique(np.rint((dips - 3) / 10))) == 4
    ratio = eccentric.metadata["pixels_in_transit"] / circular.metadata["pixels_in_transit"]
    assert ratio == pytest.approx(np.sqrt(1 - 0.4**2) / 1.4, rel=0.05)


def test_limb_darkening_makes_the_middle_deeper():
    base = {"duration": 2, "sampling_cadence": 600, "planet_radius": 1.0}
    dark, uniform = (
        synthesize_transits({**base, "limb_darkening": (0.5, 0.2)}),
        synthesize_transits({**base, "limb_darkening": (0, 0)}),
    )
    assert uniform.fluxes.min() == pytest.approx(1 - (1 / 9.728361215240866) ** 2, rel=1e-9)
    assert dark.fluxes.min() < uniform.fluxes.min()


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ({"nois": 1}, "unknown spec 'nois'; accepted are duration, t0"),
        ({"duration": 0}, "duration=0: expected a number, above 0"),
        ({"eccentricity": 1.0}, "eccentricity=1.0: expected a number, 0 to below 1"),
        ({"planet_radius": "1"}, "planet_radius='1'"),
        ({"semi_major_axis": 0.001}, "runs into the star"),
        ({"t0": float("nan")}, "t0=nan: expected a number, finite"),
        ({"orbital_angle": "x"}, "orbital_angle='x'"),
        ({"impact_parameter": -0.1}, "impact_parameter=-0.1: expected a number, 0 or more"),
        ({"mes_assume_noise": -1}, "mes_assume_noise=-1"),
        ({"seed": 1.5}, "seed=1.5: expected a number, whole, 0 or more"),
        ({"limb_darkening": [0.5]}, r"limb_darkening=\[0.5\]: expected two numbers"),
        ({"limb_darkening": [0.5, None]}, "limb_darkening=None: expected a number, finite"),
    ],
)
def test_wrong_specs_get_one_message(specs, message):
    with pytest.raises(WrongUseError, match=message):
        synthesize_transits(specs)


def test_coloured_noise_has_the_spectrum_that_was_asked_for():
    noise = coloured_noise(
        lambda nu: np.where(nu < 100, 2.0, 0.5), 2**16, 600.0, np.random.default_rng(1)
    )
    density = np.abs(np.fft.rfft(noise)) ** 2 * 2 * 600.0 / len(noise) * 1e-6  # ppm^2/muHz
    nu = np.fft.rfftfreq(len(noise), 600.0) * 1e6
    averaging = np.sinc(nu * 1e-6 * 600.0) ** 2
    for band, expected in (((5, 95), 2.0), ((105, 600), 0.5)):
        inside = (nu > band[0]) & (nu < band[1])
        assert np.mean(density[inside] / averaging[inside]) == pytest.approx(expected, rel=0.05)


def test_the_sun_oscillates_at_3090_and_135_microhertz_and_its_granulation_is_some_tens_of_ppm():
    sun = Oscillations(5777.0, 4.438)
    assert (sun.numax, sun.delta_nu) == pytest.approx((3090, 135.1))
    modes = sun.modes()
    radial = modes[::3, 0]
    np.testing.assert_allclose(np.diff(radial), 135.1, rtol=1e-6)
    nu = np.arange(1, 8333, 0.1)
    assert (
        30 < np.sqrt(np.sum(sun.granulation(nu)) * 0.1) < 70
    )  # ppm; Kallinger et al. (2014), figure 8


def test_star_has_noise_of_nsr_transits_at_t0_and_depth_of_its_radius():
    base = {
        "duration": 30.0,
        "sampling_cadence": 600.0,
        "orbital_period": 10.0,
        "t0": 2.0,
        "semi_major_axis": 0.1,
        "master_seed": 1,
    }
    quiet = {**base, "enable_oscillations": False}
    noisy = synthesize_star({**quiet, "enable_transits": False})
    assert np.std(noisy.fluxes) == pytest.approx(73e-6 * np.sqrt(6 / 24), rel=0.05)
    assert np.std(
        synthesize_star({**quiet, "nsr": 730.0, "enable_transits": False}).fluxes
    ) == pytest.approx(730e-6 / 2, rel=0.05)
    lc = synthesize_star({**quiet, "planet_radius": 0.5})
    assert (
        abs(lc.times[np.argmin(lc.fluxes)] - 2.0) % 10 < 0.2
        or abs(lc.times[np.argmin(lc.fluxes)] - 2.0) % 10 > 9.8
    )
    wide = synthesize_star({**quiet, "planet_radius": 0.5, "star_radius": 2 * 9.728361215240866})
    assert (1 - wide.fluxes.min()) / (1 - lc.fluxes.min()) == pytest.approx(0.25, rel=0.1)
    assert np.std(
        synthesize_star({**base, "mode": "red_giant", "enable_transits": False}).fluxes
    ) > 3 * np.std(noisy.fluxes)


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ({"mode": "dwarf"}, "mode='dwarf': expected main_sequence or red_giant"),
        ({"enable_transits": "maybe"}, "enable_transits='maybe': expected true or false"),
        ({"master_seed": "x"}, "master_seed='x': expected a number, whole"),
    ],
)
def test_wrong_specs_of_a_star_get_one_message(specs, message):
    with pytest.raises(WrongUseError, match=message):
        synthesize_star(specs)


def test_seed_may_come_as_a_whole_float_as_chains_render_it():
    specs = {"duration": 1, "sampling_cadence": 900, "noise": 1e-3}
    one, other = (synthesize_transits({**specs, "seed": seed}).fluxes for seed in (3, 3.0))
    np.testing.assert_array_equal(one, other)


# PSLS

SHORT = {
    "duration": 20.0,
    "sampling_cadence": 900.0,
    "orbital_period": 8.0,
    "t0": 2.5,
    "semi_major_axis": 0.1,
    "planet_radius": 1.0,
}
psls = pytest.mark.skipif(
    not (shutil.which("psls") or shutil.which("psls.py")),
    reason="the program psls is not installed",
)


def test_psls_configuration_has_nsr_and_no_transit():
    config = psls_config(PslsSpecs(nsr=120.0, number_camera_groups=2))
    assert config["Instrument"]["RandomNoise"] == {"Enable": 1, "Type": "User", "NSR": 120.0}
    assert config["Instrument"]["GroupID"] == [1, 2]
    assert config["Transit"]["Enable"] == 0
    assert config["Instrument"]["IntegrationTime"] == 22.0
    assert psls_config(PslsSpecs(mode="red_giant"))["Star"]["ModelType"] == "UP"


def test_absent_psls_and_wrong_specs_are_reported_in_a_message(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WrongUseError, match="PSLS is not installed"):
        synthesize_psls(SHORT)
    with pytest.raises(WrongUseError, match="unknown spec 'threads'"):
        synthesize_psls({"threads": 1})
    with pytest.raises(WrongUseError, match="multiples of 25 s"):
        synthesize_psls({"sampling_cadence": 30.0})
    with pytest.raises(WrongUseError, match="needs systematics_table"):
        synthesize_psls({"enable_systematics": True})


def test_psls_that_fails_is_quoted(tmp_path):
    program = tmp_path / "psls"
    program.write_text(f"#!{sys.executable}\nraise SystemExit('no such star')\n")
    program.chmod(0o755)
    with pytest.raises(TargetError, match="ended with 1 and without a light curve: no such star"):
        synthesize_psls(SHORT, program=program)


@psls
def test_psls_light_curve_has_our_transits_and_the_noise_of_nsr():
    lc, noisy = (
        synthesize_psls(SHORT),
        synthesize_psls({**SHORT, "nsr": 2000.0, "enable_transits": False}),
    )
    assert lc.times[0] == 0
    assert len(lc) == 1920
    dips = lc.times[lc.fluxes < 0.995]
    np.testing.assert_allclose(np.mod(dips - 2.5 + 4, 8) - 4, 0, atol=0.2)
    assert np.std(noisy.fluxes) == pytest.approx(2000e-6 * np.sqrt(4 / 24), rel=0.1)
    np.testing.assert_array_equal(synthesize_psls(SHORT).fluxes, lc.fluxes)
    graze = synthesize_psls({**SHORT, "impact_parameter": 0.9})
    assert graze.metadata["pixels_in_transit"] < lc.metadata["pixels_in_transit"]
