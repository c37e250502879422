"""`photometry run`: options, exit codes and messages."""

import csv
import json
import os

import pytest
from running import ENGINES, photometry, run_pipeline

from photometry import TaskManager
from photometry.notebook import counted
from photometry.taskmanager import create_todo


@pytest.fixture
def folder(tmp_path):
    """A TODO-file of twelve targets, for work that reads no pixels."""
    rows = [
        {
            "starid": 100 + i,
            "sector": 1,
            "camera": 1 + i % 4,
            "ccd": 1,
            "cadence": 120,
            "datasource": "tpf",
            "tmag": 5.0 + i,
        }
        for i in range(12)
    ]
    create_todo(tmp_path / "todo.sqlite", rows)
    return tmp_path


def set_methods(folder, methods):
    with TaskManager(folder) as tm:
        tm.cursor.executemany(
            "UPDATE todolist SET method = ? WHERE priority = ?",
            [(m, p) for p, m in methods.items()],
        )
        tm.conn.commit()


def statuses(folder):
    with TaskManager(folder, cleanup_constraints=["0"]) as tm:
        return dict(tm.cursor.execute("SELECT priority, status FROM todolist").fetchall())


@pytest.mark.parametrize("engine", ENGINES)
def test_all_done_is_exit_code_0(folder, engine):
    done = run_pipeline(engine, folder, "--handler", "faulty_work:work")
    assert done.returncode == 0, done.stderr
    assert set(statuses(folder).values()) == {1}
    assert "12 OK of 12" in done.stdout


@pytest.mark.parametrize("engine", ENGINES)
def test_a_failed_target_is_exit_code_1_and_reported_by_its_cause(folder, engine):
    set_methods(folder, {3: "bug", 4: "truncated", 5: "truncated"})
    done = run_pipeline(engine, folder, "--handler", "faulty_work:work")
    assert done.returncode == 1, done.stderr
    assert (
        "2 × BadInputError: PATH: truncated" in done.stdout
        or "2 × BadInputError: star.fits: truncated" in done.stdout
    )
    assert "1 × KeyError: 'flux'" in done.stdout


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "words", [["--colour", "red"], ["--limit", "many"], ["--camera", "x"], ["--time-limit", "soon"]]
)
def test_wrong_usage_is_exit_code_2_and_one_rank_says_so(folder, engine, words):
    done = run_pipeline(engine, folder, *words)
    assert done.returncode == 2
    assert done.stderr.count(words[0].strip("-").split("-")[0]) <= 3
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("engine", ENGINES)
def test_a_missing_todo_file_is_one_message_and_nothing_is_made(tmp_path, engine):
    done = run_pipeline(engine, tmp_path / "nowhere")
    assert done.returncode == 2
    assert done.stderr.strip().count("\n") == 0
    assert "no such TODO-file" in done.stderr
    assert os.listdir(tmp_path) == []


def test_what_is_no_todo_file_is_refused_and_left_as_it_was(tmp_path):
    (tmp_path / "todo.sqlite").write_text("starid,tmag\n1,2\n")
    done = photometry("run", tmp_path)
    assert done.returncode == 2
    assert "not a SQLite file" in done.stderr
    assert (tmp_path / "todo.sqlite").read_text() == "starid,tmag\n1,2\n"
    assert os.listdir(tmp_path) == ["todo.sqlite"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "fotometry"], "method='fotometry': expected 'aperture'"),
        (["--handler", "fotometry"], "handler 'fotometry': expected one of noop, photometry"),
        (["--handler", "no.such:thing"], "there is no module 'no.such'"),
        (["--handler", "os:nosuch"], "os has no function 'nosuch'"),
        (["--pdb", "--workers", "3"], "--pdb: works in this process alone"),
        (["--output", "/proc/x"], "/proc/x: cannot be made"),
        (["--settings", "nowhere.toml"], "nowhere.toml: there is no such settings file"),
        (["--task-timeout", "-1"], "run.task_timeout=-1.0: input should be greater than 0"),
        (["--summary", "/proc/no/x.json"], "/proc/no cannot be made"),
        (["--time-limit", "soon"], "duration 'soon'"),
    ],
)
def test_what_no_target_could_be_done_with_is_refused_at_the_start(folder, words, message):
    done = photometry("run", folder, *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert set(statuses(folder).values()) == {None}


def test_without_folder_this_one_is_meant(folder):
    done = photometry("run")
    assert done.returncode == 2
    assert "no such TODO-file" in done.stderr


def test_folders_come_from_the_environment(folder, tmp_path):
    env = {"TESSPHOT_INPUT": str(folder), "TESSPHOT_OUTPUT": str(tmp_path / "elsewhere")}
    done = run_pipeline("serial", "--handler", "noop", env=env)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "elsewhere" / "summary.json").read_text())["OK"] == 12


@pytest.mark.parametrize(
    ("words", "priorities"),
    [
        (["--priority", "2,5-7"], {2, 5, 6, 7}),
        (["--starid", "100", "--starid", "103"], {4}),
        (["--camera", "1,2"], {1, 2, 5, 6, 9, 10}),
        (["--tmag-min", "6", "--tmag-max", "8"], {2, 3, 4}),
        (["--limit", "3"], {1, 2, 3}),
        (["--cadence", "120", "--ccd", "1", "--priority", "1"], {1}),
    ],
)
def test_filters_choose_what_is_done(folder, words, priorities):
    done = run_pipeline("serial", folder, "--handler", "noop", *words)
    assert done.returncode == 0, done.stderr
    assert {priority for priority, status in statuses(folder).items() if status == 1} == priorities


@pytest.mark.parametrize(
    "words",
    [["--camera", "5"], ["--ccd", "14"], ["--cadence", "121"], ["--starid", "999"],
     ["--datasource", "ffi"], ["--sector", "2"], ["--camera", "1", "--tmag-max", "4"]],
)  # fmt: skip
@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]])
def test_filters_that_match_no_target_are_wrong_use(folder, words, dry_run):
    done = run_pipeline("serial", folder, "--handler", "noop", *words, *dry_run)
    assert done.returncode == 2
    assert "has no target that matches" in done.stderr
    assert set(statuses(folder).values()) == {None}


def test_filters_that_match_only_what_is_done_are_no_mistake(folder):
    for _ in range(2):
        done = run_pipeline("serial", folder, "--handler", "noop", "--camera", "1")
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "n_again"), [(["--camera", "1"], 3), (["--limit", "2"], 2), (["--starid", "103"], 1)]
)
def test_overwrite_with_a_selection_discards_only_what_is_selected(folder, words, n_again):
    run_pipeline("serial", folder, "--handler", "noop")
    preview = photometry("run", folder, "--overwrite", "--dry-run", *words)
    assert f"{counted(n_again, 'target')} would be done" in preview.stdout
    done = run_pipeline("serial", folder, "--handler", "noop", "--overwrite", *words)
    assert done.returncode == 0, done.stderr
    assert f"results that are discarded and made anew: {n_again}" in done.stderr
    assert f"done, {n_again} tasks" in done.stderr
    assert set(statuses(folder).values()) == {1}


def test_a_dry_run_prints_and_changes_nothing(folder):
    before = (folder / "todo.sqlite").read_bytes()
    done = photometry("run", folder, "--dry-run", "--camera", "1")
    assert done.returncode == 0, done.stderr
    assert "3 targets" in done.stdout
    assert (folder / "todo.sqlite").read_bytes() == before
    assert os.listdir(folder) == ["todo.sqlite"]


def test_continuing_does_only_what_is_left(folder):
    run_pipeline("serial", folder, "--handler", "noop", "--limit", "5")
    again = run_pipeline("serial", folder, "--handler", "noop")
    assert "done, 7 tasks" in again.stderr
    once_more = run_pipeline("serial", folder, "--handler", "noop")
    assert "done, 0 tasks" in once_more.stderr
    assert once_more.returncode == 0


def test_overwrite_starts_over(folder):
    run_pipeline("serial", folder, "--handler", "noop")
    assert (
        "done, 12 tasks"
        in run_pipeline("serial", folder, "--handler", "noop", "--overwrite").stderr
    )


def test_settings_file_environment_and_command_line_go_in_that_order(folder):
    (folder / "photometry.toml").write_text(
        "[run]\ngrace = 5\nmax_attempts = 7\ntask_timeout = 99\n"
    )
    env = {"PHOTOMETRY_RUN__MAX_ATTEMPTS": "8", "PHOTOMETRY_RUN__TASK_TIMEOUT": "88"}
    done = run_pipeline("serial", folder, "--handler", "noop", "--task-timeout", "77", env=env)
    assert done.returncode == 0, done.stderr
    with TaskManager(folder) as tm:
        (text,) = tm.cursor.execute("SELECT settings FROM runs").fetchone()
    run = json.loads(text)["run"]
    assert (run["grace"], run["max_attempts"], run["task_timeout"]) == (5, 8, 77)


def test_an_unknown_setting_is_refused_by_name_with_its_file(folder):
    (folder / "photometry.toml").write_text("[run]\ngraze = 5\n")
    done = photometry("run", folder)
    assert done.returncode == 2
    assert "photometry.toml: unknown setting 'run.graze'" in done.stderr
    assert "grace" in done.stderr


def test_version_with_a_number_is_of_the_files_and_without_of_the_program(folder):
    assert "photometry, version" in photometry("run", folder, "--version").stdout
    done = photometry("run", folder, "--version", "123")
    assert done.returncode == 2
    assert "0 to 99" in done.stderr


def test_status_and_log_find_the_run_from_both_folders(folder, tmp_path):
    run_pipeline("serial", folder, "--handler", "faulty_work:work", "--output", tmp_path / "out")
    for where in (folder, tmp_path / "out"):
        assert json.loads(photometry("status", where, "--json").stdout)["OK"] == 12
        assert "12 OK of 12" in photometry("status", where).stdout
        assert "flux of star 103 measured" in photometry("log", where, "103").stdout


def test_log_says_what_became_of_a_star_and_refuses_an_unknown_one(folder):
    set_methods(folder, {3: "truncated", 5: "skip"})
    run_pipeline("serial", folder, "--handler", "faulty_work:work")
    failed = photometry("log", folder, "102").stdout
    assert "TIC 102, priority 3 (tpf, 120 s): ERROR" in failed
    assert "truncated" in failed
    assert "TIC 103, priority 4 (tpf, 120 s): OK" in photometry("log", folder, "103").stdout
    unknown = photometry("log", folder, "999")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "there is no star 999" in unknown.stderr


def test_status_lists_all_that_failed_for_people_and_programs(folder):
    set_methods(folder, dict.fromkeys(range(1, 12), "truncated"))
    run_pipeline("serial", folder, "--handler", "faulty_work:work")
    before = (folder / "todo.sqlite").read_bytes()
    listed = photometry("status", folder, "--failed").stdout.splitlines()
    assert len(listed) == 11
    assert listed[0].startswith("priority 1  TIC 100  ERROR  BadInputError")
    rows = list(
        csv.DictReader(photometry("status", folder, "--failed", "--csv").stdout.splitlines())
    )
    assert [row["starid"] for row in rows] == [str(100 + i) for i in range(11)]
    assert {row["error_class"] for row in rows} == {"BadInputError"}
    as_json = json.loads(photometry("status", folder / "lightcurves", "--failed", "--json").stdout)
    assert [row["label"] for row in as_json] == [f"TIC {100 + i}" for i in range(11)]
    assert len(photometry("status", folder, "--status", "ok").stdout.splitlines()) == 1
    path = folder / f"tess2018206045859-s0001-{105:016d}-0120-s_tp.fits"
    path.write_bytes(b"")
    files = photometry("status", folder, "--failed", "--files")
    assert files.stdout.split() == [str(path)]
    assert "not there: 10" in files.stderr
    assert (folder / "todo.sqlite").read_bytes() == before


def test_summary_has_the_keys_that_programs_read(folder):
    run_pipeline("processes", folder, "--handler", "noop")
    summary = json.loads((folder / "summary.json").read_text())
    spec = {
        "slurm_jobid",
        "numtasks",
        "tasks_run",
        "last_error",
        "mean_elaptime",
        "mean_worker_waittime",
        "OK",
        "ERROR",
        "SKIPPED",
        "STARTED",
    }
    ours = {
        "run",
        "version",
        "started",
        "updated",
        "workers",
        "rate",
        "expected_end",
        "failures",
        "exit_code",
    }
    assert spec | ours <= set(summary)
    assert (summary["numtasks"], summary["tasks_run"], summary["OK"], summary["exit_code"]) == (
        12,
        12,
        12,
        0,
    )


def test_quiet_says_nothing_when_all_is_well(folder):
    done = run_pipeline("serial", folder, "--handler", "noop", "--quiet")
    assert (done.stdout, done.stderr) == ("", "")


def test_pdb_stops_in_the_failing_target(folder):
    set_methods(folder, {1: "bug"})
    done = photometry(
        "run", folder, "--handler", "faulty_work:work", "--pdb", "--limit", "1", input="up\nq\n"
    )
    assert "(Pdb)" in done.stdout
    assert "faulty_work.py" in done.stdout
