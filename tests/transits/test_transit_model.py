"""The transit model against integration on a grid of pixels, geometry, and batman."""

import numpy as np
import pytest

from photometry.transits.transit_model import (
    disc_flux,
    inclination_of_impact,
    intensity,
    separation,
    transit_flux,
    true_anomaly,
)


def pixel_flux(z, p, u1, u2, n=2000):
    """Flux by summing the intensity over n x n pixels of the disc, planet at (z, 0)."""
    x = (np.arange(n) + 0.5) / n * 2 - 1
    r2 = x[:, None] ** 2 + x**2
    star = np.where(r2 < 1, intensity(np.sqrt(r2), u1, u2), 0)
    hidden = (x - z) ** 2 + x[:, None] ** 2 < p**2
    return 1 - star[hidden].sum() / star.sum()


@pytest.mark.parametrize(
    ("z", "p"),
    [
        (0, 0.1),
        (0.3, 0.1),
        (0.05, 0.1),
        (0.95, 0.1),
        (1.05, 0.1),
        (0.5, 0.5),
        (0.2, 0.7),
        (0.9, 0.03),
    ],
)
def test_flux_is_that_of_a_pixelated_star(z, p):
    assert transit_flux(np.array([z]), p, 0.4, 0.25)[0] == pytest.approx(
        pixel_flux(z, p, 0.4, 0.25), abs=2e-5
    )


def test_uniform_star_loses_the_area_of_the_planet():
    assert transit_flux(np.array([0.4]), 0.1, 0, 0)[0] == pytest.approx(1 - 0.01, abs=1e-12)


def test_planet_larger_than_the_star_hides_it_and_one_outside_hides_nothing():
    assert transit_flux(np.array([0.0]), 1.2)[0] == pytest.approx(0, abs=1e-9)
    np.testing.assert_array_equal(transit_flux(np.array([1.2, 5, np.inf]), 0.1), 1)
    assert transit_flux(np.array([0.0]), 0.0)[0] == 1


def test_disc_flux_of_the_whole_star_is_the_closed_form():
    assert disc_flux(1.0, 0.3, 0.2) == pytest.approx(np.pi * (1 - 0.3 / 3 - 0.2 / 6))


def test_circular_orbit_is_at_its_impact_parameter_in_mid_transit_and_behind_half_a_period_later():
    orbit = {
        "period": 10.0,
        "t0": 2.5,
        "semi_major_axis": 15.0,
        "inclination": inclination_of_impact(0.4, 15.0),
    }
    at = separation(np.array([2.5, 12.5, 7.5, 5.0]), **orbit)
    np.testing.assert_allclose(at[:2], 0.4, atol=1e-9)
    assert at[2] == np.inf
    assert at[3] in (np.inf, pytest.approx(15.0, rel=1e-6))


@pytest.mark.parametrize(("eccentricity", "omega"), [(0.3, 90.0), (0.6, 200.0), (0.8, -30.0)])
def test_eccentric_orbit_crosses_at_t0_at_the_impact_parameter_and_as_fast_as_kepler_says(
    eccentricity, omega
):
    axis, period, t0 = 20.0, 12.0, 3.3
    orbit = {
        "semi_major_axis": axis,
        "period": period,
        "t0": t0,
        "eccentricity": eccentricity,
        "omega": omega,
    }
    inclination = inclination_of_impact(0.25, axis, eccentricity, omega)
    assert separation(np.array([t0]), inclination=inclination, **orbit)[0] == pytest.approx(
        0.25, abs=1e-7
    )
    # Winn (2010), equation 16: speed across the star relative to a circular orbit is (1 + e sin
    # w)/sqrt(1 - e^2)
    speed = separation(t0 + np.array([-1e-4, 1e-4]), inclination=90.0, **orbit).mean() / 1e-4
    expected = (
        2
        * np.pi
        * axis
        / period
        * (1 + eccentricity * np.sin(np.radians(omega)))
        / np.sqrt(1 - eccentricity**2)
    )
    assert speed == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("eccentricity", [0.0, 0.1, 0.7, 0.97])
def test_true_anomaly_solves_keplers_equation(eccentricity):
    mean = np.linspace(-3.1, 3.1, 41)
    true = true_anomaly(mean, eccentricity)
    eccentric = 2 * np.arctan(np.sqrt((1 - eccentricity) / (1 + eccentricity)) * np.tan(true / 2))
    np.testing.assert_allclose(eccentric - eccentricity * np.sin(eccentric), mean, atol=1e-10)


def test_impact_parameter_beyond_the_orbit_is_refused():
    with pytest.raises(ValueError, match="expected 0 to 5"):
        inclination_of_impact(6.0, 5.0)


@pytest.mark.parametrize(
    ("eccentricity", "omega", "p"),
    [(0, 90, 0.1), (0.3, 90, 0.03), (0.5, 200, 0.1), (0.2, -90, 0.3)],
)
def test_light_curve_is_that_of_batman(eccentricity, omega, p):
    batman = pytest.importorskip("batman")
    times = np.linspace(0, 30, 6001)
    orbit = batman.TransitParams()
    orbit.t0, orbit.per, orbit.rp, orbit.a, orbit.inc, orbit.ecc, orbit.w = (
        1.3,
        10,
        p,
        15,
        88.5,
        eccentricity,
        omega,
    )
    orbit.limb_dark, orbit.u = "quadratic", [0.1, 0.3]
    ours = separation(
        times,
        period=10,
        t0=1.3,
        semi_major_axis=15,
        inclination=88.5,
        eccentricity=eccentricity,
        omega=omega,
    )
    np.testing.assert_allclose(
        transit_flux(ours, p), batman.TransitModel(orbit, times).light_curve(orbit), atol=2e-8
    )
