"""Association and running means: inputs and numbers of the original pipeline (spec, sections 15.1
and 15.2)."""

import pytest
from oracle import (
    O,
    T,
    associate,
    associations,
    close,
    image,
    runcats,
    series,
    source,
    table,
    types,
)

from photometry.transients import database as db

pytestmark = pytest.mark.usefixtures("database")


def test_three_steady_sources_are_three_rows_whose_errors_shrink_with_the_root_of_n():
    dataset = series([source(ra) for ra in (123.123, 125.123, 127.123)], days=8)
    rows = runcats(dataset)
    assert [row.datapoints for row in rows] == [8, 8, 8]
    for row, ra in zip(rows, (123.123, 125.123, 127.123), strict=True):
        assert close([row.wm_ra, row.wm_decl], [ra, 10.5])
        assert close(row.wm_uncertainty_ew * 3600, 22.360679775 / 8**0.5)
        assert close(row.avg_f_int_weight, 4e6)
        assert close(row.avg_weighted_f_int, 6e4)
        assert close(row.avg_weighted_f_int_sq, 900)
        assert close(row.avg_f_int_sq, 2.25e-4)
        points = associations(row.id)
        assert [point.type for point in points] == [4] + [3] * 7
        assert [(p.r, p.v_int, p.eta_int) for p in points] == [(0, 0, 0)] * 8


def test_de_ruiter_radius_distance_and_weighted_mean():
    dataset = db.insert_dataset("radius")
    for day, ra in enumerate((10.00, 10.02)):
        number = image(dataset, day, centre_ra=10, centre_decl=0)
        associate(number, [source(ra, 0, systematic=0)], deRuiter_r=100)
    (row,) = runcats(dataset)
    last = associations(row.id)[-1]
    assert close(last.r, 5.091168825)
    assert close(last.distance_arcsec, 72)
    assert close(row.wm_ra, 10.01)
    assert close(row.wm_uncertainty_ew * 3600, 10 / 2**0.5)


def test_a_source_that_splits_passes_its_past_to_both():
    dataset = db.insert_dataset("one-to-many")
    associate(image(dataset, 0), [source(123.1235, 10.55)])
    associate(image(dataset, 1), [source(123.12349, 10.549), source(123.12351, 10.551)])
    rows = runcats(dataset)
    assert [row.datapoints for row in rows] == [2, 2]
    assert close(
        [(r.wm_ra, r.wm_decl) for r in rows], [(123.123495, 10.5495), (123.123505, 10.5505)], 1e-9
    )
    for row in rows:
        assert types(row.id) == [6, 2]
        assert close(associations(row.id)[-1].r, 0.113847497, 1e-6)
        assert close(associations(row.id)[-1].distance_arcsec, 3.600174, 1e-6)
    assert {row.id for row in table("runningcatalog")} == {2, 3}
    db.consistency_check()


def test_many_to_many_with_one_nearest_source_becomes_one_to_many():
    dataset = db.insert_dataset("many-to-many")
    associate(image(dataset, 0), [source(123 - O, systematic=0), source(123 + O, systematic=0)])
    found = [source(123 + T, 10.5 + O, systematic=0), source(123 + T, 10.5 - O, systematic=0)]
    associate(image(dataset, 1), found)
    rows = runcats(dataset)
    assert [row.datapoints for row in rows] == [1, 2, 2]
    assert close([row.wm_ra for row in rows], [122.994444444, 123.002916667, 123.002916667], 1e-11)
    assert close(rows[0].wm_decl, 10.5)
    assert close([row.wm_decl for row in rows[1:]], [10.497222222, 10.502777778], 1e-10)
    last = [associations(row.id)[-1] for row in rows[1:]]
    assert [types(row.id) for row in rows[1:]] == [[6, 2], [6, 2]]
    assert close([p.distance_arcsec for p in last], [27.368185, 27.367956], 1e-6)
    assert close(sorted(p.r for p in last), [1.935206700, 1.935222905], 1e-8)


def test_many_to_many_that_ties_becomes_two_pairs():
    dataset = db.insert_dataset("tie")
    associate(image(dataset, 0), [source(123 - O, systematic=0), source(123 + O, systematic=0)])
    associate(
        image(dataset, 1),
        [source(123, 10.5 + O, systematic=0), source(123, 10.5 - O, systematic=0)],
    )
    rows = runcats(dataset)
    assert [row.datapoints for row in rows] == [2, 2]
    assert [types(row.id) for row in rows] == [[4, 3], [4, 3]]
    assert len({associations(row.id)[-1].xtrsrc for row in rows}) == 2


@pytest.mark.parametrize(("first", "n_sources"), [(True, 2), (False, 3)])
def test_an_extraction_with_a_source_of_its_own_splits_another_only_as_in_the_original(
    first, n_sources
):
    dataset = db.insert_dataset("two sources")
    # the second extraction lies beside the second source, and within the radius of the first one
    associate(image(dataset, 0), [source(123.0, 10.5), source(123.0, 10.5 + 170 / 3600)])
    found = [source(123.0, 10.5 - 60 / 3600), source(123.0, 10.5 + 95 / 3600)]
    associate(image(dataset, 1), found, own_source_first=first)
    assert len(table("runningcatalog")) == n_sources


def test_right_ascension_zero_stays_zero():
    dataset = series([source(0, 0)], days=5, image={"centre_ra": 0, "centre_decl": 0})
    (row,) = runcats(dataset)
    assert row.wm_ra == 0.0
    assert row.datapoints == 5


def test_means_across_right_ascension_zero():
    dataset = db.insert_dataset("ra 0")
    for day, ra in enumerate((359.999, 0.001, 0.003, 359.997)):
        associate(image(dataset, day, centre_ra=0, centre_decl=0), [source(ra, 0)])
    (row,) = runcats(dataset)
    assert row.datapoints == 4
    assert min(row.wm_ra, 360 - row.wm_ra) < 1e-9


def test_sources_around_the_pole_stay_apart():
    at = (0, 0.1, 45, 90, 179.9, 180, 180.1, 270, 359.9)
    pole = {"centre_ra": 0, "centre_decl": 90, "xtr_radius": 80}
    dataset = series([source(ra, 85) for ra in at], days=4, image=pole)
    rows = runcats(dataset)
    assert [row.datapoints for row in rows] == [4] * 9
    assert close([row.wm_ra for row in rows], at)
    assert close([row.wm_uncertainty_ew * 3600 for row in rows], 22.360679775 / 2)


def test_a_source_beside_the_pole_is_one_source_whatever_its_right_ascension():
    dataset = db.insert_dataset("at the pole")
    for day, ra in enumerate((0, 180, 90, 270)):
        number = image(dataset, day, centre_ra=0, centre_decl=90)
        associate(number, [source(ra, 90 - 2 * T)])
    (row,) = runcats(dataset)
    assert row.datapoints == 4
    assert (90 - row.wm_decl) * 3600 < 1e-3


def test_fluxes_of_a_source_that_splits():
    dataset = db.insert_dataset("one-to-many, fluxes")
    associate(image(dataset, 0), [source(123.1235, 10.55, 3.0, 0.5)])
    found = [source(123.1235, 10.55, 3.2, 0.5), source(123.1235 + 100 / 3600, 10.55, 3.4, 0.5)]
    associate(image(dataset, 1), found)
    first, second = runcats(dataset)
    assert close([first.avg_f_int, second.avg_f_int], [3.1, 3.2])
    last = [associations(row.id)[-1] for row in (first, second)]
    assert close([p.v_int for p in last], [0.0456197923, 0.0883883476])
    assert close([p.eta_int for p in last], [0.08, 0.32])
    assert close([last[1].r, last[1].distance_arcsec], [3.108820946, 98.309550], 1e-6)


@pytest.mark.parametrize(("side", "expected"), [
    (1, {3.2: (1, 0, 0), 2.95: (2, 0.0239697214, 0.5), 3.15: (2, 0.067343503, 4.5)}),
    (-1, {3.05: (2, 0.0695514867, 4.5), 3.15: (2, 0.067343503, 4.5)}),
])  # fmt: skip
def test_fluxes_of_many_to_many(side, expected):
    dataset = db.insert_dataset("many-to-many, fluxes")
    associate(
        image(dataset, 0),
        [source(123 + O, flux=3.0, flux_err=0.1), source(123 - O, flux=3.2, flux_err=0.1)],
    )
    found = [source(123 + T, 10.5 + O, 3.3, 0.1), source(123 + side * T, 10.5 - O, 2.9, 0.1)]
    associate(image(dataset, 1), found)
    rows = {round(row.avg_f_int, 6): row for row in runcats(dataset)}
    assert rows.keys() == expected.keys()
    for mean, (n, v, eta) in expected.items():
        last = associations(rows[mean].id)[-1]
        assert rows[mean].f_datapoints == n
        assert close([last.v_int, last.eta_int], [v, eta])
    if side == 1:
        radii = sorted(associations(rows[mean].id)[-1].r for mean in (2.95, 3.15))
        assert close(radii, [0.865450746, 0.865457993], 1e-6)


def test_a_fit_without_a_finite_error_is_left_out(caplog):
    dataset = db.insert_dataset("bad fit")
    for day, (flux, error) in enumerate([(2.0, 5e-4), (2.5, 5e-4), (1e-4, float("inf"))]):
        associate(image(dataset, day), [source(flux=flux, flux_err=error)])
    (row,) = runcats(dataset)
    assert row.f_datapoints == 2
    assert close(row.avg_f_int, 2.25)
    last = associations(row.id)[-1]
    assert close([last.v_int, last.eta_int], [0.157134840, 500000])
    assert "left out" in caplog.text


def test_a_split_keeps_the_fluxes_of_other_bands_unless_told_otherwise():
    for keep in (True, False):
        dataset = db.insert_dataset("bands")
        associate(image(dataset, 0), [source(123.1235, 10.55)])
        associate(image(dataset, 1, freq_eff=160e6), [source(123.1235, 10.55)])
        found = [source(123.12349, 10.549), source(123.12351, 10.551)]
        associate(image(dataset, 2), found, fork_other_bands=keep)
        points = sorted(row.f_datapoints for row in runcats(dataset))
        assert points == [1] * 2 * keep + [2] * 2
