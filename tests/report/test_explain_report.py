"""`explain`, `plot` and `report` say what the TODO-file, the files and the log hold."""

import dataclasses
import json
import os
import shutil
import sqlite3

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from finished_run import everything_below, finished_run, lightcurves
from PIL import Image
from running import photometry as command

from photometry import STATUS, TaskManager
from photometry.report.explain import explain, explain_page, fraction, lines, number, to_json
from photometry.report.plots import best_flux, draw_folded, plot_file, plot_sheet, read_curve
from photometry.report.run import _cumulative, run_page
from photometry.taskmanager import create_todo, open_view


@pytest.fixture(scope="module")
def made(tmp_path_factory, make_tpf):
    """A run of six stars, of which one failed, one is skipped and one is to do."""
    folder = finished_run(tmp_path_factory.mktemp("explain") / "run", make_tpf)
    with TaskManager(folder) as tm:
        for priority, status, errors in (
            (2, STATUS.ERROR, ["BadInputError: PATH: cut"]),
            (3, STATUS.WARNING, ["small mask"]),
        ):
            tm.conn.execute("UPDATE todolist SET status = NULL WHERE priority = ?", (priority,))
            tm.start_task(priority)
            attempt = {
                "rank": 1,
                "start": 1e9 + priority,
                "seconds": 2.5,
                "end": 1e9 + priority + 2.5,
            }
            task = {
                "priority": priority,
                "method_used": "aperture",
                "time": 2.5,
                "attempt": attempt,
            }
            tm.save_result({**task, "status": status, "details": {"errors": errors}})
        tm.conn.execute("UPDATE todolist SET status = 5 WHERE priority = 4")
        tm.conn.execute("INSERT INTO photometry_skipped (priority, skipped_by) VALUES (4, 1)")
        tm.conn.execute("UPDATE todolist SET status = NULL WHERE priority = 6")
        tm.conn.commit()
    return folder


@pytest.fixture
def view(made):
    with open_view(made) as view:
        yield view


def explained(view, starid):
    (row,) = explain(view, view.path.parent / "lightcurves", starid)
    return row


def test_a_star_that_is_done_has_method_mask_file_and_flags(view):
    row = explained(view, 101)
    with fits.open(row["file"]["path"]) as hdulist:
        table, mask = hdulist["LIGHTCURVE"].data, hdulist["APERTURE"].data & 2
        assert row["file"]["times"] == len(table)
        assert row["file"]["with_flux"] == np.isfinite(table["FLUX_RAW"]).sum()
        assert row["mask_size"] == np.count_nonzero(mask)
    assert (row["label"], row["file"]["problem"]) == ("TIC 101", None)
    assert row["status_name"] == "WARNING"  # as there is no catalogue of its neighbours
    assert row["skips"] == ["TIC 104 (row 4)"]
    text = dict(lines(row))
    assert text["verify"].startswith("good")
    assert "chosen by the program" in text["method"]


def test_a_star_that_failed_or_warned_or_was_skipped_says_why(view):
    assert explained(view, 102)["reasons"] == ["BadInputError: PATH: cut"]
    assert dict(lines(explained(view, 103)))["why"] == "small mask"
    assert ("why", "small mask") in list(lines(explained(view, 103)))
    assert explained(view, 104)["skipped_by"] == ["TIC 101 (row 1)"]
    assert explained(view, 106)["status_name"] == "to do"
    assert [attempt["status_name"] for attempt in explained(view, 102)["attempts"]][-1] == "ERROR"


def test_what_is_not_known_is_said_to_be_unknown():
    assert number(None, ".2f") == number(float("nan"), ".2f") == "unknown"
    assert number(0.001, ".0f", 1e6) == "1000"
    assert fraction(None) == fraction(float("nan")) == "an unknown part"
    assert (fraction(1e-5), fraction(0.123), fraction(0.0)) == ("< 0.1 %", "12 %", "0 %")
    assert json.loads(to_json([{"a": float("nan"), "b": [np.float64(1)], "c": np.int64(2)}])) == [
        {"a": None, "b": [1.0], "c": 2}
    ]


def test_a_damaged_file_is_said_to_be_bad(made, tmp_path):
    copy = shutil.copytree(made, tmp_path / "run")
    path = lightcurves(copy)[0]
    path.write_bytes(path.read_bytes()[:-200])
    with open_view(copy) as view:
        row = explained(view, 101)
    assert row["file"]["problem"]
    assert dict(lines(row))["verify"].startswith("bad: ")


def test_explaining_changes_nothing_and_takes_words_in_either_order(made):
    before = everything_below(made)
    done = command("explain", made, 101, "--json")
    assert json.loads(done.stdout)[0]["starid"] == 101
    assert json.loads(command("explain", 101, made, "--json").stdout)[0]["starid"] == 101
    assert everything_below(made) == before
    unknown = command("explain", made, 999)
    assert unknown.returncode == 2
    assert unknown.stderr == f"photometry: {made / 'todo.sqlite'}: there is no star 999 in it\n"
    assert command("explain", made).returncode == 2


@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
def test_pictures_come_from_the_files_alone(made, tmp_path, ending):
    lone = shutil.copy(lightcurves(made)[0], tmp_path)
    done = command("plot", lone, "--format", ending)
    assert done.returncode == 0, done.stderr
    picture = done.stdout.strip()
    start = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[ending]
    assert picture.endswith(f"_lc.{ending}")
    with open(picture, "rb") as file:
        assert file.read(5).startswith(start)


def test_neighbours_are_drawn_from_the_file_where_they_are_known(made, tmp_path):
    """Stars of the catalogue that was simulated, at the detector pixels that the file says."""
    from photometry.methods.extraction import plot_target
    from photometry.report.plots import _as_measured

    stamp, extraction, _ = _as_measured(read_curve(lightcurves(made)[0]))
    assert not stamp.has_catalog  # the file says that nothing is known of them
    assert stamp.catalog["column"][0] == pytest.approx(2)  # where its coordinates are: CRPIX1 - 1
    assert (stamp.cadence, extraction.status.name) == (120, "WARNING")
    command("simulate", "tpf", tmp_path / "sky", "--targets", 3, "--times", 40, "--seed", 2)
    command("todo", "tpf-primaries", tmp_path / "sky")
    command("run", tmp_path / "sky", "--workers", 0)
    sky = Table.read(tmp_path / "sky" / "catalog.ecsv")
    n_drawn = 0
    for path in lightcurves(tmp_path / "sky"):
        curve = read_curve(path)
        stamp, extraction, good = _as_measured(curve)
        assert stamp.has_catalog
        x, y = stamp.catalog["column"], stamp.catalog["row"]
        sky_of = WCS(fits.getheader(path, "SUMIMAGE")).all_pix2world(x, y, 0)
        for starid, ra, decl in zip(stamp.catalog["starid"], *sky_of, strict=True):
            (row,) = sky[sky["starid"] == starid]
            there = [row["ra_J2000"], row["decl_J2000"]]  # and moved by less than 2" since
            assert [ra, decl] == pytest.approx(there, abs=1e-3)
        plot_target(tmp_path / "star.png", stamp, extraction, good)
        n_drawn += len(stamp.catalog) - 1
    assert n_drawn > 0


def test_bad_files_do_not_stop_the_others_and_cost_exit_code_1(made, tmp_path):
    good = shutil.copy(lightcurves(made)[0], tmp_path / "a_lc.fits.gz")
    (tmp_path / "b_lc.fits").write_bytes(b"SIMPLE")
    done = command("plot", good, tmp_path / "b_lc.fits", tmp_path / "none_lc.fits")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 2
    assert done.stdout.splitlines() == [str(tmp_path / "a_lc.png")]
    assert command("plot", tmp_path / "x.gz", "--sheet").returncode == 2
    folder = command("plot", good, "--output", tmp_path / "pictures", "--json")
    assert json.loads(folder.stdout)["pictures"] == [str(tmp_path / "pictures" / "a_lc.png")]
    wrong = command("plot", good, "--sheet", "--output", tmp_path / "sheet.bmp")
    assert (wrong.returncode, len(wrong.stderr.splitlines())) == (2, 1)


def test_a_fold_puts_all_transits_into_the_middle(made, tmp_path):
    from matplotlib.figure import Figure

    curve = read_curve(lightcurves(made)[0])
    n = 500
    time = np.arange(n) / 50.0
    flux = 1000.0 * (1 - 0.1 * (np.abs((time - 0.4 + 0.5) % 1.0 - 0.5) < 0.05))
    long = dataclasses.replace(
        curve,
        time=time,
        flux=flux,
        corrected=np.full(n, np.nan),
        quality=np.zeros(n, int),
        background=0 * time,
        centroid=np.zeros((n, 2)),
    )
    axes = Figure().subplots()
    draw_folded(axes, long, 1.0, t0=0.4)
    hours, values = axes.lines[0].get_data()
    assert np.abs(hours[values < 0.95]).max() < 24 * 0.06
    assert best_flux(long)[1] == "raw flux"
    plot_sheet(tmp_path / "sheet.png", [long] * 5)
    with Image.open(tmp_path / "sheet.png") as image:
        width, height = image.size
    assert width > height
    plot_file(tmp_path / "fold.svg", long, fold=1.0)
    assert (tmp_path / "fold.svg").stat().st_size > 1000


def test_work_is_counted_exactly_whatever_the_bins():
    times, work = _cumulative(np.array([0.0, 1.0, 1.0]), np.array([2.0, 4.0, 1.5]))
    assert np.interp([0, 1, 1.5, 2, 4], times, work) == pytest.approx([0, 1, 2.5, 3.5, 5.5])


def test_the_page_of_a_run_counts_what_the_table_counts(made, view):
    html = run_page(view, made / "lightcurves").html()
    counts = dict(
        sqlite3.connect(made / "todo.sqlite")
        .execute("SELECT status, COUNT(*) FROM todolist GROUP BY status")
        .fetchall()
    )
    assert f"<dt>WARNING</dt><dd>{counts[3]}</dd>" in html
    assert f"<dt>to do</dt><dd>{counts[None]}</dd>" in html
    assert "BadInputError: PATH: cut" in html
    assert "small mask" in html
    assert html.count('id="star-2"') == 1
    assert "nan" not in html.replace("nano", "").lower().split("<style>")[0]


def test_the_page_has_the_verdicts_that_searches_have_saved(made, view, tmp_path):
    name = lightcurves(made)[0].name
    signal = {"path": f"/elsewhere/{name}", "period": 3.25, "depth_ppm": 870.0, "snr": 21.5}
    other = {"path": "other_lc.fits", "period": None, "depth_ppm": 5.0, "snr": 12.0}
    entries = [
        {**other, "verdict": "single event", "reason": "seen once"},
        {**signal, "verdict": "candidate", "reason": "S/N 21.5 from 8 transits"},
    ]
    text = "".join(json.dumps(entry) + "\n" for entry in entries) + '{"path": "cut off'
    (tmp_path / "verdicts.jsonl").write_text(text, encoding="utf-8")
    html = run_page(view, tmp_path).html()
    section = html.split("Transit signals</h2>")[1].split("</section>")[0]
    assert section.index("candidate") < section.index("single event")
    assert "S/N 21.5 from 8 transits" in section
    assert "3.25" in section
    assert "other_lc.fits" in section
    assert 'href="#star-1"' in section
    assert "1 lines of verdicts.jsonl cannot be read" in section
    assert "Transit signals" not in run_page(view, made / "lightcurves").html()


@pytest.mark.slow
def test_the_page_opens_in_a_browser_and_its_links_lead_to_the_stars(made, browser, tmp_path):
    done = command("report", made, "--page", tmp_path / "report.html")
    assert done.returncode == 0, done.stderr
    context = browser.new_context(viewport={"width": 390, "height": 844}, offline=True)
    tab = context.new_page()
    problems = []
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.goto((tmp_path / "report.html").as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    star = tab.locator("#star-2")
    assert not star.is_visible()
    tab.locator("a[href='#star-2']").first.click()
    star.wait_for(state="visible")
    assert "BadInputError: PATH: cut" in star.inner_text()
    assert not problems
    context.close()


@pytest.mark.slow
def test_a_hundred_thousand_targets_make_a_page_below_5_megabytes(tmp_path):
    rng = np.random.default_rng(3)
    n = 100_000
    rows = np.zeros(
        n,
        [
            ("starid", int),
            ("sector", int),
            ("camera", int),
            ("ccd", int),
            ("cadence", int),
            ("tmag", float),
        ],
    )
    rows["starid"], rows["tmag"] = np.arange(n), np.sort(rng.uniform(6, 15, n))
    rows["sector"] = rows["camera"] = rows["ccd"] = 1
    rows["cadence"] = 120
    create_todo(tmp_path / "todo.sqlite", rows)
    with sqlite3.connect(tmp_path / "todo.sqlite") as conn:
        conn.execute("UPDATE todolist SET status = CASE WHEN priority % 50 = 0 THEN 2 ELSE 1 END")
        values = [
            (i, "aperture", 1.0, rng.uniform(1e-5, 1e-3), *rng.uniform(0, 2048, 2), 20,
             f"ValueError: star {i} of kind {i % 7}" if i % 50 == 0 else None)
            for i in range(1, n + 1)
        ]  # fmt: skip
        conn.executemany(
            "INSERT INTO diagnostics (priority, method_used, elaptime, rms_hour, pos_row, "
            "pos_column,"
            " mask_size, errors) VALUES (?,?,?,?,?,?,?,?)",
            values,
        )
    with open_view(tmp_path) as view:
        path = run_page(view, tmp_path).write(tmp_path / "report.html")
    assert path.stat().st_size < 5e6


def test_an_empty_run_has_a_page(tmp_path):
    row = {"starid": 5, "sector": 1, "camera": 1, "ccd": 1, "cadence": 120, "tmag": 9.0}
    create_todo(tmp_path / "todo.sqlite", [row])
    done = command("report", tmp_path)
    assert done.returncode == 0, done.stderr
    html = (tmp_path / "lightcurves" / "report.html").read_text()
    assert "<dt>to do</dt><dd>1</dd>" in html
    assert "never; photometry run makes the light curves" in html
    assert "to do" in html
    assert "unknown" not in html


def test_the_page_of_a_star_has_its_light_curve(made, view):
    html = explain_page(explain(view, made / "lightcurves", 101)).html()
    assert "light curve of TIC 101" in html
    assert os.fspath(lightcurves(made)[0]) in html
