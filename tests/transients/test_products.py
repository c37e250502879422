"""What users get: the command line, tables, light curves, and the page of candidates in a real
browser."""

import json
import re

import numpy as np
import pytest
from astropy.table import Table
from click.testing import CliRunner
from series_helpers import settings, small_series

from photometry.cli.transients import transients as command
from photometry.errors import SettingsError, WrongUseError
from photometry.lightcurve import Lightcurve
from photometry.simulate.imageseries import nearest_source
from photometry.transients import configuration
from photometry.transients.database import Database
from photometry.transients.export import candidate_table, catalog_table, read_lightcurve


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with a finished job of 8 epochs with a transient, a flare and a fader."""
    folder = tmp_path_factory.mktemp("project")
    series = small_series(n_epochs=8, n_steady=6, shape=(220, 220), seed=14)
    series.write(folder / "images")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        invoke("init", "job", "--images", "images/*.fits")
        path = folder / "job" / configuration.JOB_FILE
        path.write_text(path.read_text().replace("ew_sys_err = 10.0", "ew_sys_err = 0"))
        monitor = json.dumps([[series.sources[0].ra, series.sources[0].decl]])
        invoke("run", "job", "--quiet", "--monitor", monitor)
        yield folder, series


def invoke(*arguments, code=0):
    result = CliRunner().invoke(command, list(arguments), standalone_mode=False)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert (result.return_value or 0) == code
    return result.output


def open_database(folder):
    return Database(folder / "job" / "transients.sqlite", read_only=True)


def test_status_counts_what_is_there(project):
    (found,) = json.loads(invoke("status", "job", "--json"))
    assert found["finished"]
    assert (found["timesteps_done"], found["images"], found["rejected"]) == (8, 8, 0)
    assert found["new_sources"] == 1
    assert found["skipped"] == found["failures"] == {}
    assert "finished" in invoke("status", "job")


def test_the_same_settings_file_that_init_writes_are_the_defaults(project):
    folder, _ = project
    found = configuration.read_job(folder / "job" / configuration.JOB_FILE)
    expected = configuration.job_settings(source_extraction={"ew_sys_err": 0.0})
    assert found == expected


@pytest.mark.parametrize("kind", ["parquet", "ecsv", "votable"])
def test_tables_are_read_back_with_the_truth_in_them(project, tmp_path, kind):
    _, series = project
    paths = invoke("export", "job", str(tmp_path), "--format", kind).split()
    assert len(paths) == 3
    names = {"parquet": "parquet", "ecsv": "ascii.ecsv", "votable": "votable"}
    catalog, points, candidates = (Table.read(path, format=names[kind]) for path in paths)
    blind = catalog[~np.asarray(catalog["monitored"], bool)]
    index, distance = nearest_source(series, np.asarray(blind["ra"]), np.asarray(blind["decl"]))
    assert sorted(index) == list(range(len(series.sources)))
    assert distance.max() < 5
    steady = np.array([series.sources[i].kind == "steady" for i in index])
    truth = np.array([series.sources[i].flux for i in index])
    assert np.asarray(blind["mean_flux"])[steady] == pytest.approx(truth[steady], abs=3e-3)
    kinds = {series.sources[i].kind: str(s) for i, s in zip(index, blind["source"], strict=True)}
    found = {str(row["source"]): str(row["kind"]) for row in candidates}
    assert "new, likely" in found[kinds["transient"]]
    assert kinds["flare"] in found
    assert kinds["fader"] in found
    assert not set(found) & {str(s) for s in np.asarray(blind["source"])[steady]}
    assert len(points) == np.asarray(catalog["n_fluxes"]).sum()
    assert str(points["flux"].unit) == "Jy"


def test_every_source_is_a_light_curve(project, tmp_path):
    folder, _ = project
    with open_database(folder) as database:
        catalog = catalog_table(database, 1)
        for source, n in zip(catalog["source"], catalog["n_fluxes"], strict=True):
            found = read_lightcurve(source, database=database)
            assert isinstance(found, Lightcurve)
            assert len(found) == n
        # 2024-01-01 00:00 is MJD 60310; the middle of 600 s
        assert read_lightcurve(catalog["source"][0], database=database).times[0] == pytest.approx(
            60310 + 300 / 86400, abs=1e-9
        )
        with pytest.raises(WrongUseError):
            read_lightcurve(999, database=database)
    invoke("export", "job", str(tmp_path), "--format", "ecsv", "--lightcurves")
    files = sorted((tmp_path / "lightcurves").iterdir())
    assert len(files) == len(catalog)
    assert len(Lightcurve.read(files[0])) == 8


@pytest.mark.slow
def test_the_page_shows_each_candidate_before_during_and_after(project, browser, tmp_path):
    folder, _ = project
    page_path = tmp_path / "candidates.html"
    invoke("candidates", "job", str(page_path))
    with open_database(folder) as database:
        candidates = candidate_table(database, 1)
    for width, scheme in ((1200, "light"), (390, "dark")):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
        )
        page = context.new_page()
        errors = []
        page.on("pageerror", lambda error, errors=errors: errors.append(error))
        page.on("requestfailed", lambda request, errors=errors: errors.append(request.url))
        page.goto(page_path.as_uri())
        text = page.inner_text("body")
        for row in candidates:
            assert f"Source {row['source']}: {row['kind']}" in text
        for word in ("before:", "during:", "after:", "Light curve"):
            assert word in text
        # two plots of all sources, a light curve for each candidate
        assert page.locator("figure svg").count() == 2 + len(candidates)
        assert page.locator("figure img").count() >= 2 * len(candidates)
        assert page.evaluate("[...document.images].every(i => i.naturalWidth > 0)")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert errors == []
        context.close()
    assert not re.search(r'(src|href)="https?://', page_path.read_text())


@pytest.mark.slow
def test_pixels_kept_in_the_database_give_the_same_page_without_the_files(project, tmp_path):
    folder, _ = project
    from photometry.transients import database as db
    from photometry.transients import main
    from photometry.transients.candidates import write_candidates
    from photometry.transients.runner import Runner

    copies = tmp_path / "images"
    copies.mkdir()
    for path in (folder / "images").glob("*.fits"):
        (copies / path.name).write_bytes(path.read_bytes())
    opened = db.connect(tmp_path / "copied.sqlite")
    dataset = db.insert_dataset("copied")
    main.run_batch(sorted(copies.iterdir()), settings(), Runner("serial"), dataset, True)
    with_files = tmp_path / "with.html"
    assert write_candidates(opened, with_files) >= 3
    for path in copies.iterdir():
        path.unlink()
    without = tmp_path / "without.html"
    write_candidates(opened, without)
    assert without.read_bytes() == with_files.read_bytes()
    assert without.read_text().count("data:image/png") >= 6
    db.disconnect()


def test_settings_are_literals_and_nothing_is_executed(tmp_path, monkeypatch):
    path = tmp_path / configuration.JOB_FILE
    path.write_text("[quality]\nrms_est_max = __import__('os').system('touch executed')\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="rms_est_max"):
        configuration.read_job(path)
    (tmp_path / "images_to_process.py").write_text(
        "import os\nos.system('touch executed')\nimages = sorted(glob.glob('*.cfg'))\n"
    )
    assert [p.rsplit("/", 1)[1] for p in configuration.list_images(tmp_path)] == ["job_params.cfg"]
    (tmp_path / "images_to_process.py").write_text("images = [p for p in os.listdir('.')]\n")
    with pytest.raises(WrongUseError, match="not executed"):
        configuration.list_images(tmp_path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(("text", "message"), [
    ("[quality]\nrms_est_maximum = 1\n", "did you mean 'rms_est_max'"),
    ("[qualty]\n", "did you mean 'quality'"),
    ("[source_extraction]\nforce_beam = maybe\n", "force_beam='maybe': .* boolean"),
    ("[source_extraction]\ndetection_threshold = -1\n", "greater than 0"),
    ("[source_extraction]\nexpiration = True\n", "expected a number, not bool"),
    ("[source_extraction]\nmargin = 2.5\n", "integer"),
    ("[quality]\nrms_est_max = nan\n", "expected a number, not str"),
    ("[quality]\nrms_est_max = 1e999\n", "finite number"),
    ("[pipeline]\nmode = later\n", "'batch' or 'stream'"),
    ("no section\n", "no section"),
])  # fmt: skip
def test_wrong_settings_are_refused_with_what_is_accepted(tmp_path, text, message):
    path = tmp_path / configuration.JOB_FILE
    path.write_text(text)
    with pytest.raises(SettingsError, match=message):
        configuration.read_job(path)


def test_the_defaults_are_those_of_the_original():
    assert {name: dict(section) for name, section in configuration.job_settings().items()} == {
        name: {**values, **OWN_SETTINGS.get(name, {})}
        for name, values in {**ORIGINAL_DEFAULTS, "optical": {}}.items()
    }


ORIGINAL_DEFAULTS = {
    "persistence": {
        "description": "TRAP dataset", "dataset_id": -1, "rms_est_sigma": 4, "rms_est_fraction": 8,
        "bandwidth_max": 0.0,
    },
    "quality": {
        "rms_est_history": 100, "rms_est_max": 100, "rms_est_min": 0.0, "rms_rej_sigma": 3,
        "oversampled_x": 30, "elliptical_x": 2.0,
    },
    "quality_lofar": {"low_bound": 1, "high_bound": 80, "min_separation": 10},
    "source_extraction": {
        "detection_threshold": 8, "analysis_threshold": 3, "back_size_x": 50, "back_size_y": 50,
        "margin": 10, "deblend_nthresh": 0, "extraction_radius_pix": 250, "force_beam": True,
        "box_in_beampix": 10, "ew_sys_err": 10, "ns_sys_err": 10, "expiration": 10,
    },
    "association": {"deruiter_radius": 5.68, "beamwidths_limit": 3.0},
    "transient_search": {"new_source_sigma_margin": 1},
    "pipeline": {
        "mode": "batch", "hosts": ",,,,,", "ports": "6666,6667,6668,6669,6670,6671",
    },
}  # fmt: skip

OWN_SETTINGS = {
    "source_extraction": {"flux_error_model": "", "background": "sep"},
    "association": {
        "use_axis_errors": False, "ties": "pair", "own_source_first": True,
        "many_to_one": "both", "fork_other_bands": True,
    },
    "optical": {"match_stars": False, "reference": "", "calibrate": True},
    "pipeline": {"pixel_order": "rows", "stream_timeout": 60.0},
}  # fmt: skip


def test_a_list_of_images_may_be_paths_patterns_and_files_of_paths(tmp_path):
    for name in ("a1.fits", "a2.fits", "b.fits"):
        (tmp_path / name).touch()
    (tmp_path / "list.txt").write_text("# mine\nb.fits\na1.fits\n")
    (tmp_path / configuration.IMAGES_FILE).write_text("a*.fits\n@list.txt\nmissing.fits\n")
    found = [p.rsplit("/", 1)[1] for p in configuration.list_images(tmp_path)]
    assert found == ["a1.fits", "a2.fits", "b.fits", "missing.fits"]


def test_environment_variables_win_over_the_file(tmp_path, monkeypatch):
    (tmp_path / configuration.PIPELINE_FILE).write_text("[parallelise]\nmethod = multiproc\n")
    monkeypatch.setenv("TKP_PARALLELISE", "serial")
    monkeypatch.setenv("TKP_DBNAME", "postgresql://me@host/here")
    found = configuration.read_pipeline("job", tmp_path)
    assert found.parallelise.method == "serial"
    assert configuration.url_of_database(found) == "postgresql://me@host/here"
    assert found.DEFAULT["job_directory"] == str(tmp_path / "job")


def test_settings_of_other_rooms_are_none_of_a_project(tmp_path):
    import photometry.chains.settings  # noqa: F401 - registers a section

    assert set(configuration.read_pipeline("job", tmp_path)) == {
        "DEFAULT", "logging", "database", "image_cache", "parallelise",
    }  # fmt: skip
