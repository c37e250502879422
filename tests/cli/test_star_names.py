"""Stars are called as their mission calls them, and what cannot be measured costs its own task."""

import json
import sqlite3

import pytest
from finished_run import target_pixel_files
from running import photometry


@pytest.fixture(scope="module", params=[("Kepler", "KIC"), ("K2", "EPIC"), ("TESS", "TIC")])
def failed_run(request, tmp_path_factory):
    """A folder of a mission with one truncated file, after its run, and how stars are called."""
    mission, name = request.param
    folder = tmp_path_factory.mktemp(mission)
    simulation = ["--targets", 2, "--times", 20, "--truncated", 1, "--stamp", "6", "--no-catalog"]
    assert photometry("simulate", "tpf", folder, "--mission", mission, *simulation).returncode == 0
    assert photometry("todo", "tpf", folder, "--quiet").returncode == 0
    assert photometry("run", folder, "--workers", 0, "--quiet").returncode == 1
    return folder, name


def test_retry_status_and_the_log_call_a_star_as_its_mission_does(failed_run):
    folder, name = failed_run
    failed = json.loads(photometry("status", folder, "--failed", "--json").stdout)
    star = next(row["starid"] for row in failed if row["status"] == "ERROR")
    label = f"{name} {star}"
    for words in (
        ["retry", folder, "--dry-run"],
        ["reset", folder, "--status", "ERROR", "--dry-run"],
        ["status", folder],
        ["status", folder, "--failed"],
        ["explain", folder, star],
    ):
        shown = photometry(*words).stdout
        assert label in shown, words
        assert not [
            other
            for other in {"TIC", "KIC", "EPIC"} - {name}
            if f" {other} " in shown.replace("\n", " ")
        ]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_magnitude_that_is_text_costs_its_own_target(tmp_path, make_tpf, workers):
    folder = target_pixel_files(tmp_path / "DIR", make_tpf, n=3)
    with sqlite3.connect(folder / "todo.sqlite") as conn:
        conn.execute("UPDATE todolist SET tmag = 'n/a' WHERE priority = 2")
    done = photometry("run", folder, "--workers", workers, "--quiet")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    with sqlite3.connect(folder / "todo.sqlite") as conn:
        rows = conn.execute(
            "SELECT priority, status, errors FROM todolist LEFT JOIN diagnostics USING (priority)"
        ).fetchall()
    assert [status == 2 for _, status, _ in rows] == [False, True, False]
    assert "tmag='n/a' in the TODO-file: expected a number" in rows[1][2]
