"""The database: against slow loops, on a server, and what users see when something is wrong."""

import numpy as np
import pytest
import sqlalchemy as sa
from oracle import associate, image, series, source, table
from series_helpers import content, in_memory, run_series, small_series

from photometry.errors import ArgumentError, WrongUseError
from photometry.simulate.catalogues import (
    associate_catalogues,
    count_mistakes,
    simulated_catalogues,
)
from photometry.transients import database as db
from photometry.transients import variability
from photometry.transients.accessors import open_image
from photometry.transients.database.matching import candidate_pairs, offsets


def test_candidate_pairs_are_those_of_a_slow_loop():
    rng = np.random.default_rng(2)

    def positions(n):
        return {
            "ra": rng.uniform(-0.05, 0.05, n) % 360, "decl": rng.uniform(-0.05, 0.05, n),
            "ew": rng.uniform(5, 20, n) / 3600, "ns": rng.uniform(5, 20, n) / 3600,
        }  # fmt: skip

    sources, found = positions(60), positions(50)
    expected = set()
    for i in range(60):
        for j in range(50):
            d_ra = (found["ra"][j] - sources["ra"][i] + 180) % 360 - 180
            d_decl = found["decl"][j] - sources["decl"][i]
            d_ra *= np.cos(np.radians((found["decl"][j] + sources["decl"][i]) / 2))
            r2 = d_ra**2 / (sources["ew"][i] ** 2 + found["ew"][j] ** 2)
            r2 += d_decl**2 / (sources["ns"][i] ** 2 + found["ns"][j] ** 2)
            if np.hypot(d_ra, d_decl) < 0.02 and r2 < 3.7**2:
                expected.add((i, j))
    pairs = candidate_pairs(sources, found, 0.02, 3.7)
    assert len(expected) > 30
    assert set(zip(pairs.source.tolist(), pairs.extraction.tolist(), strict=True)) == expected


def test_offsets_beside_a_pole_have_the_length_of_the_separation():
    ra, decl = np.array([0.0, 90, 200]), np.array([89.99, 89.995, -89.999])
    east, north = offsets(ra, decl, ra + 150, decl)
    # three sides of triangles at the pole
    expected = 2 * (90 - np.abs(decl)) * np.sin(np.radians(75))
    assert np.hypot(east, north) == pytest.approx(expected, rel=1e-6)


def test_running_statistics_are_those_of_two_passes_also_where_sums_of_squares_cancel():
    rng = np.random.default_rng(5)
    flux = 1e6 + rng.normal(0, 1e-3, 200)
    error = rng.uniform(0.5e-3, 2e-3, 200)
    state = dict.fromkeys(("mean", "m2", "weight_sum", "wmean", "wm2"), np.zeros(1)) | {
        "n": np.zeros(1, int)
    }
    for f, e in zip(flux, error, strict=True):
        state = variability.update(state, np.array([f]), np.array([e**-2]))
    v, eta = variability.v_and_eta(state["n"], state["mean"], state["m2"], state["wm2"])
    v_expected, eta_expected = variability.metrics(flux, error)
    assert v[0] == pytest.approx(v_expected, rel=1e-6)
    assert eta[0] == pytest.approx(eta_expected, rel=1e-5)
    assert v[0] == pytest.approx(1e-9, rel=0.2)


@pytest.mark.slow
def test_simulated_catalogues_are_associated_rightly(tmp_path):
    with db.Database(tmp_path / "c.sqlite") as database:
        dataset = db.insert_dataset("catalogues", database=database)
        truth = associate_catalogues(
            dataset,
            simulated_catalogues(500, 30, pairs=0.0, error=1.0),
            database=database,
            beamwidths_limit=3.0,
        )
        found = count_mistakes(database, dataset, truth)
        assert found["sources"] == found["true_sources"] == 500
        assert found["split"] == found["merged"] == found["confused"] == found["missing"] == 0
        db.consistency_check(database=database)
        # every source-epoch is a detection or a forced fit after the first detection
        points = database.scalar(sa.select(sa.func.count()).select_from(db.schema.assocxtrsource))
        late = sum(truth_of_first(truth, 500))
        assert points == 500 * 30 - late
        # where pairs of sources touch, mistakes are made, and counted
        dataset = db.insert_dataset("close pairs", database=database)
        n = len(truth)
        shifted = associate_catalogues(
            dataset,
            simulated_catalogues(500, 15, pairs=0.2),
            database=database,
            beamwidths_limit=3.0,
        )
        found = count_mistakes(database, dataset, np.concatenate([np.full(n - 1, -1), shifted]))
        assert found["missing"] == 0
        assert found["confused"] < 0.06 * found["detections"]
        # 50 pairs, 100 sources: not many more than these can be mistaken
        assert found["split"] <= 100
        assert found["merged"] <= 100
        db.consistency_check(database=database)


def truth_of_first(truth, n):
    """Epochs before the first detection of each source, from the extractions in their order."""
    blind = truth[truth >= 0]
    epoch = np.zeros(len(blind), int)
    seen_at = {}
    current, members = 0, set()
    for k, true in enumerate(blind.tolist()):
        if true in members:
            current, members = current + 1, set()
        members.add(true)
        epoch[k] = current
        seen_at.setdefault(true, current)
    return [seen_at[i] for i in range(n)]


def test_a_deleted_dataset_leaves_nothing_behind(tmp_path):
    with db.connect(tmp_path / "d.sqlite"):
        keep = series([source()], days=2)
        before = content()
        gone = series([source(), source(124, 11)], days=3)
        db.insert_monitor_positions(gone, [(1, 2)])
        associate(image(gone, 5), [source(123.1235, 10.5)])
        db.delete_dataset(gone)
        assert content() == before
        assert keep == 1
    db.disconnect()


def test_one_writer_at_a_time_sees_what_another_has_written(tmp_path):
    first, second = (db.Database(tmp_path / "two.sqlite") for _ in range(2))
    with first, second:
        one = db.insert_dataset("one", database=first)
        number = db.get_image(_image(one, first), database=second).id
        db.insert_extracted_sources(number, [source()], database=second)
        db.associate_extracted_sources(number, database=first)
        later = _image(one, second, day=1)
        db.insert_extracted_sources(later, [source()], database=first)
        found = db.associate_extracted_sources(later, database=second)
        assert found["one_to_one"] == 1
        db.consistency_check(database=first)


def _image(dataset, database, day=0):
    from datetime import datetime, timedelta

    start = datetime(2024, 1, 1) + timedelta(days=day)
    return db.insert_image(
        dataset,
        140e6,
        2e6,
        start,
        1.0,
        2.7,
        2.3,
        0.0,
        -0.01,
        0.01,
        "x",
        123.0,
        10.0,
        10.0,
        1e-4,
        detection_thresh=6,
        database=database,
    )


def test_looking_does_not_make_or_change_a_database(tmp_path):
    with pytest.raises(WrongUseError, match="no such database"):
        db.Database(tmp_path / "none.sqlite", read_only=True)
    assert not list(tmp_path.iterdir())
    db.Database(tmp_path / "some.sqlite").close()
    before = (tmp_path / "some.sqlite").read_bytes()
    with (
        db.Database(tmp_path / "some.sqlite", read_only=True) as database,
        pytest.raises(sa.exc.OperationalError),
    ):
        db.insert_dataset("x", database=database)
    assert (tmp_path / "some.sqlite").read_bytes() == before


def test_wrong_values_are_refused_with_what_is_accepted(tmp_path):
    with pytest.raises(ArgumentError, match="sqlite or postgresql"):
        db.Database("mysql://host/name")
    with db.connect(tmp_path / "w.sqlite"):
        with pytest.raises(WrongUseError, match="image 7"):
            db.associate_extracted_sources(7)
        dataset = db.insert_dataset("x")
        with pytest.raises(ArgumentError, match="degrees"):
            db.insert_monitor_positions(dataset, [(10, 100)])
        number = image(dataset)
        with pytest.raises(ArgumentError, match="extract_type"):
            db.insert_extracted_sources(number, [source()], "seen")
        with pytest.raises(ArgumentError, match="ties"):
            db.associate_extracted_sources(number, ties="both")
    db.disconnect()
    with pytest.raises(WrongUseError, match="connect"):
        db.insert_dataset("x")


def test_dangling_rows_are_found(tmp_path):
    with db.connect(tmp_path / "bad.sqlite") as database:
        series([source()], days=1)
        db.consistency_check()
        database.execute("UPDATE assocxtrsource SET runcat = 99")
        with pytest.raises(WrongUseError, match="assocxtrsource, row 1: column runcat"):
            db.consistency_check()
    db.disconnect()


@pytest.mark.slow
def test_postgresql_holds_the_same_rows_as_sqlite(tmp_path):
    from servers import temporary_database

    simulated = small_series(n_epochs=4)
    images = [open_image(entry) for entry in in_memory(simulated)]
    run_series(images, tmp_path)
    associate(image(db.insert_dataset("split"), 0), [source(123.1235, 10.55)])
    associate(image(2, 1), [source(123.12349, 10.549), source(123.12351, 10.551)])
    expected = content()
    db.disconnect()
    with temporary_database("postgresql") as url:
        from photometry.transients import main
        from photometry.transients.runner import Runner

        db.connect(url)
        dataset = db.insert_dataset("series")
        from series_helpers import settings

        main.run_batch(images, settings(), Runner("serial"), dataset, False)
        associate(image(db.insert_dataset("split"), 0), [source(123.1235, 10.55)])
        associate(image(2, 1), [source(123.12349, 10.549), source(123.12351, 10.551)])
        db.consistency_check()
        assert content() == expected
        assert len(table("runningcatalog")) > 3
        db.disconnect()


# tables and columns of the original, besides ``id``
COLUMNS = {
    "dataset": (
        "rerun type process_start_ts process_end_ts detection_threshold analysis_threshold "
        "assoc_radius backsize_x backsize_y margin_width description node nodes"
    ),
    "config": "dataset section key value type",
    "frequencyband": "dataset freq_central freq_low freq_high",
    "skyregion": "dataset centre_ra centre_decl xtr_radius x y z",
    "image": (
        "dataset band skyrgn tau stokes tau_time freq_eff freq_bw taustart_ts rb_smaj rb_smin "
        "rb_pa deltax deltay fwhm_arcsec fov_degrees rms_qc rms_min rms_max detection_thresh "
        "analysis_thresh url"
    ),
    "imagedata": "image fits_header fits_data",
    "rejectreason": "description",
    "rejection": "image rejectreason comment",
    "extractedsource": (
        "image ff_runcat ff_monitor zone ra decl uncertainty_ew uncertainty_ns ra_err "
        "decl_err ra_fit_err decl_fit_err ew_sys_err ns_sys_err error_radius x y z racosdecl "
        "margin det_sigma semimajor semiminor pa f_peak f_peak_err f_int f_int_err chisq "
        "reduced_chisq extract_type fit_type"
    ),
    "runningcatalog": (
        "xtrsrc dataset datapoints zone wm_ra wm_decl wm_uncertainty_ew wm_uncertainty_ns "
        "avg_ra_err avg_decl_err avg_wra avg_wdecl avg_weight_ra avg_weight_decl x y z "
        "inactive mon_src forcedfits_count"
    ),
    "runningcatalog_flux": (
        "runcat band stokes f_datapoints avg_f_peak avg_f_peak_sq avg_f_peak_weight "
        "avg_weighted_f_peak avg_weighted_f_peak_sq avg_f_int avg_f_int_sq avg_f_int_weight "
        "avg_weighted_f_int avg_weighted_f_int_sq"
    ),
    "assocxtrsource": "runcat xtrsrc type distance_arcsec r loglr v_int eta_int f_datapoints",
    "assocskyrgn": "runcat skyrgn distance_deg",
    "newsource": "runcat trigger_xtrsrc previous_limits_image newsource_type",
    "monitor": "dataset runcat ra decl name",
    "varmetric": (
        "runcat v_int eta_int band newsource sigma_rms_max sigma_rms_min lightcurve_max "
        "lightcurve_avg lightcurve_median"
    ),
}


@pytest.mark.parametrize(("name", "columns"), COLUMNS.items())
def test_tables_have_the_columns_of_the_original(name, columns):
    assert set(columns.split()) <= set(db.schema.metadata.tables[name].c.keys())


def test_light_curves_are_indexed_by_source_while_no_run_adds_to_them(tmp_path):
    simulated = small_series(n_epochs=2)
    images = [open_image(entry) for entry in in_memory(simulated)]
    run_series(images, tmp_path)

    def indices():
        query = "SELECT name FROM sqlite_master WHERE type = 'index'"
        return {row.name for row in db.current().execute(query).all()}

    assert "assoc_by_runcat" in indices()
    db.current().index_lightcurves(False)
    assert "assoc_by_runcat" not in indices()
    db.disconnect()
