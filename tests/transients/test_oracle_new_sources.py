"""New sources, forced fits, varmetric and bands: inputs and numbers of the original pipeline (spec,
section 15.3)."""

import pytest
import sqlalchemy as sa
from oracle import associations, close, image, runcats, source, table, types

from photometry.transients import database as db
from photometry.transients.database import schema

pytestmark = pytest.mark.usefixtures("database")
LIMITS = {"deRuiter_r": 3.7, "beamwidths_limit": 1, "new_source_sigma_margin": 3}


def detect(image_id, sources):
    db.insert_extracted_sources(image_id, sources)
    return db.associate_extracted_sources(image_id, **LIMITS)


def force_all(image_id, flux=0.0, expiration=10):
    """Fit every null detection of an image; returns the sources asked for."""
    requests = db.get_nulldetections(image_id, expiration)
    fits = [source(ra, decl, flux) for _, ra, decl in requests]
    ids = [number for number, _, _ in requests]
    db.insert_extracted_sources(image_id, fits, "ff_nd", ff_runcat_ids=ids)
    db.associate_nd(image_id)
    return ids


def test_limits_come_from_the_deepest_earlier_image():
    dataset = db.insert_dataset("limits")
    numbers = []
    for number in range(1, 9):
        rms_min, rms_max = 2e-3, 5e-3
        if number in (1, 2, 3, 7):
            rms_min, rms_max = rms_min * 1.2, rms_max * 1.2
        elif number in (4, 6):
            rms_max *= 1.2
        elif number == 8:
            rms_min, rms_max = rms_min / 2, rms_max / 2
        numbers.append(
            image(dataset, number, rms_min=rms_min, rms_max=rms_max, detection_thresh=10)
        )
        detect(
            numbers[-1], [source(123, 10, 0.06565), source(124, 11, 0.06565)] if number == 8 else []
        )
    rows = table("newsource")
    assert [row.newsource_type for row in rows] == [1, 1]
    assert {row.previous_limits_image for row in rows} == {numbers[4]}


def test_a_source_above_the_lower_limit_only_is_a_possible_one():
    dataset = db.insert_dataset("possible")
    detect(image(dataset, 0, rms_min=1e-3, rms_max=2e-3, detection_thresh=10), [])
    detect(
        image(dataset, 1, detection_thresh=10), [source(flux=0.0131 * 1.5), source(122, 10, 0.0129)]
    )
    (row,) = table("newsource")
    assert row.newsource_type == 0


def test_a_first_look_and_a_rejected_image_give_no_limits():
    dataset = db.insert_dataset("first look")
    detect(image(dataset, 0), [source()])
    rejected = image(dataset, 1)
    db.reject(rejected, 0, "noise")
    detect(image(dataset, 2, centre_ra=200), [source(200.1)])
    assert table("newsource") == []
    assert db.isrejected(rejected) == ["RMS invalid: noise"]


def test_a_fading_source():
    dataset = db.insert_dataset("fading")
    for day, flux in enumerate((0.0101, 0.0202, 0.0101)):
        detect(image(dataset, day), [source(flux=flux)])
    last = image(dataset, 3)
    detect(last, [])
    force_all(last)
    (row,) = runcats(dataset)
    points = associations(row.id)
    assert [p.type for p in points] == [4, 3, 3, 7]
    assert close([p.v_int for p in points[1:]], [0.471404521, 0.433012702, 0.816496581])
    assert close([p.eta_int for p in points[1:]], [204.02, 136.013333, 272.026667])
    assert (row.datapoints, row.f_datapoints, row.forcedfits_count) == (3, 4, 1)


def test_varmetric_of_a_transient():
    dataset = db.insert_dataset("varmetric")
    numbers = []
    for day in range(4):
        rms = {"rms_min": 1e-3, "rms_max": 2e-3, "detection_thresh": 10}
        numbers.append(image(dataset, day, **rms))
        detect(numbers[-1], [source(flux=0.03939)] if day == 2 else [])
        force_all(numbers[-1])
        db.varmetric(dataset)
        if day == 2:
            (row,) = table("varmetric")
            assert (row.v_int, row.eta_int) == (0, 0)
            assert close([row.lightcurve_max, row.lightcurve_avg, row.lightcurve_median], 0.03939)
            assert close([row.sigma_rms_min, row.sigma_rms_max], [39.39, 19.695])
            assert row.newsource == table("newsource")[0].id
    (row,) = table("varmetric")
    assert close([row.v_int, row.eta_int], [1.41421356, 3103.1442])
    assert close([row.lightcurve_avg, row.lightcurve_median], 0.019695)


def test_equal_fluxes_in_two_bands_need_no_unique_key():
    dataset = db.insert_dataset("equal fluxes")
    for day in range(2):
        for freq in (124e6, 149e6):
            detect(image(dataset, day, freq_eff=freq), [source(flux=0.015 if day else 0.01)])
        db.varmetric(dataset)
    (row,) = table("varmetric")
    assert close(row.lightcurve_max, 0.015)


def test_null_detections_across_bands():
    dataset = db.insert_dataset("bands")
    requests, bands = [], []
    for day in range(3):
        numbers = [
            image(dataset, day, freq_eff=freq, url=f"{day}-{freq}")
            for freq in (124e6, 149e6, 156e6, 185e6)
        ]
        for band, number in enumerate(numbers):
            first, second = source(123, 10), source(124, 11)
            detect(number, [first] * ((day, band) == (0, 0)) + [second] * ((day, band) == (1, 3)))
        requests.append([len(force_all(number)) for number in numbers])
        bands = [db.get_image(number).band for number in numbers]
    assert requests == [[0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 2, 2]]
    points = {(row.wm_ra, row.band): row.f_datapoints for row in runcats(dataset)}
    assert [points[123, band] for band in bands] == [3, 2, 2, 2]
    assert [points[124, band] for band in bands] == [1, 1, 1, 2]
    kinds = [row.type for row in table("assocxtrsource")]
    assert sorted(kinds) == [4] * 2 + [7] * 12


def test_a_source_is_no_longer_forced_after_its_expiration():
    dataset = db.insert_dataset("expiration")
    positions = [source(123, 10), source(124, 11)]
    for day in range(10):
        detect(image(dataset, day), positions)
    empty = image(dataset, 10)
    detect(empty, [])
    assert len(db.get_nulldetections(empty, 10)) == 2
    first, second = (row.id for row in runcats(dataset))
    db.current().execute(f"UPDATE runningcatalog SET forcedfits_count = 20 WHERE id = {first}")
    assert force_all(empty) == [second]
    assert [row.forcedfits_count for row in runcats(dataset)] == [20, 1]
    detect(image(dataset, 11), positions)
    assert [row.forcedfits_count for row in runcats(dataset)] == [0, 0]


def test_a_monitoring_position_has_a_light_curve_of_its_own():
    dataset = db.insert_dataset("monitoring")
    db.insert_monitor_positions(dataset, [(123.123, 10.5), (300, 10)])
    for day in range(3):
        number = image(dataset, day)
        detect(number, [source()])
        requests = db.get_monitor_requests(number)
        assert [(ra, decl) for _, ra, decl in requests] == [(123.123, 10.5)]
        fits = [source(ra, decl, 0.014, radius=0) for _, ra, decl in requests]
        db.insert_extracted_sources(
            number, fits, "ff_ms", ff_monitor_ids=[m for m, _, _ in requests]
        )
        db.associate_ms(number)
        db.varmetric(dataset)
    blind, watched = runcats(dataset)
    assert (blind.mon_src, watched.mon_src) == (False, True)
    assert types(watched.id) == [8, 9, 9]
    assert types(blind.id) == [4, 3, 3]
    assert watched.datapoints == 3
    assert [row.runcat for row in table("monitor")] == [watched.id, None]
    assert len(table("varmetric")) == 2


def test_bands_of_the_original():
    dataset = db.insert_dataset("bands")

    def band(megahertz, width, limit=0.0):
        return db.get_band(dataset, megahertz * 1e6, width * 1e6, limit * 1e6)

    first = band(124.02191162109375, 1.7578125)
    assert band(124.02191162109375, 1.7578125) == first
    assert band(114.02191162109375, 1.7578125) != first
    assert band(124.02191162109375, 175.78125) == first
    assert band(123.92425537109375, 1.953125) == first
    fifty = band(50, 2)
    assert band(51, 2) == fifty
    assert band(47, 5, limit=0.05) not in (first, fifty)
    assert band(1, 1) != band(5e9, 1)


def test_a_new_pointing_knows_the_sources_inside_it_and_a_hair_of_a_shift_is_no_new_one():
    dataset = db.insert_dataset("pointings")
    detect(image(dataset, 0), [source(123, 10), source(131, 10)])
    detect(image(dataset, 1, centre_ra=130), [])
    assert len(db.get_nulldetections(2)) == 2
    detect(image(dataset, 2, centre_ra=139), [])
    assert [ra for _, ra, _ in db.get_nulldetections(3)] == [131]
    image(dataset, 3, centre_ra=139.002)
    assert len(table("skyregion")) == 3
    # 131 lies in all three, 123 in the first two
    assert len(table("assocskyrgn")) == 5


def test_settings_come_back_with_their_types():
    dataset = db.insert_dataset("settings")
    settings = {"a": {"yes": True, "no": False, "n": 3, "x": 0.1, "word": "True"}}
    db.insert_config(dataset, settings)
    assert db.fetch_config(dataset) == settings


def test_what_was_in_memory_is_read_back_equal(tmp_path):
    """The same steps, with the database opened anew before each: the same tables."""
    from photometry.transients import database

    def steps(path, reopen):
        opened = database.connect(path)
        dataset = db.insert_dataset("memory")
        for day, flux in enumerate((0.01, 0.0202, 0.0101, 0.0, 0.013)):
            if reopen:
                database.disconnect()
                opened = database.connect(path)
            number = image(dataset, day)
            found = [source(123.1235, 10.55, flux)] * (flux > 0)
            found += [source(123.12351, 10.551, flux * 1.1)] * (day == 2)
            detect(number, found + [source(122, 9, 0.3)] * (day > 0))
            force_all(number, 1e-4)
            db.varmetric(dataset)
        content = {
            name: [tuple(row) for row in opened.rows(sa.select(t))]
            for name, t in schema.metadata.tables.items()
            if name != "dataset"
        }
        database.disconnect()
        return content

    assert steps(tmp_path / "a.sqlite", True) == steps(tmp_path / "b.sqlite", False)
