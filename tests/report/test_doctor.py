"""What would fail in hours is found now, each in its line; what is well is not complained about."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from finished_run import everything_below, finished_run, target_pixel_files

from photometry import TaskManager
from photometry.pixels.find import identify, write_index
from photometry.report import machine
from photometry.report.doctor import Work, diagnose
from photometry.settings import Settings
from photometry.target import photometry
from photometry.taskmanager import create_todo

HUGE = Work((("ffi", 200, 10**13),), 10**9)


@pytest.fixture(scope="module")
def made(tmp_path_factory, make_tpf):
    return target_pixel_files(tmp_path_factory.mktemp("made") / "data", make_tpf, n=12)


@pytest.fixture
def folder(made, tmp_path):
    """Twelve stars with target pixel files, all to do."""
    return shutil.copytree(made, tmp_path / "data")


def examine(folder, output=None, **options):
    """{name of check: 'state: message' of the worst of that name}, without starting MPI."""
    found, order = {}, ["ok", "warn", "fail"]
    for check in diagnose(
        folder / "todo.sqlite", output or folder / "lightcurves", mpi_timeout=None, **options
    ):
        before = found.get(check.name, ": ")
        if not before[0].isalpha() or order.index(check.state) > order.index(before.split(":")[0]):
            found[check.name] = f"{check.state}: {check.message}"
    return found


def killed_after(folder, commands, in_memory=True):
    """A process that has the TODO-file open does something and dies."""
    script = (
        f"import os; from photometry import TaskManager; tm = TaskManager({str(folder)!r}, "
        f"load_into_memory={in_memory}); {commands}; os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 9


def test_a_healthy_folder_has_no_failure_and_is_left_as_it_was(folder):
    before, names = everything_below(folder), os.listdir(folder)
    found = examine(folder)
    assert not [line for line in found.values() if line.startswith("fail")]
    assert "12 targets, 12 to do" in found["TODO-file"]
    assert "files of 12 of 12 targets" in found["inputs"]
    assert found["pixels"].startswith("ok: 8 targets were read")
    assert everything_below(folder) == before
    assert os.listdir(folder) == names  # no empty folder either


def test_a_missing_todo_file_is_told_and_the_rest_is_still_looked_at(tmp_path):
    found = examine(tmp_path)
    assert found["TODO-file"].startswith("fail")
    assert "photometry todo" in found["TODO-file"]
    assert found["writable"].startswith("ok")
    assert "inputs" not in found


@pytest.mark.parametrize("content", [b"", b"starid,tmag\n", b"SQLite format 3\0" + bytes(200)])
def test_what_is_no_todo_file_fails_with_a_message(tmp_path, content):
    (tmp_path / "todo.sqlite").write_bytes(content)
    assert examine(tmp_path)["TODO-file"].startswith(f"fail: {tmp_path}")


def test_all_done_is_a_warning(tmp_path, make_tpf):
    found = examine(finished_run(tmp_path / "data", make_tpf, n=1))
    assert found["TODO-file"].startswith("warn")
    assert "none to do" in found["TODO-file"]
    assert "space" not in found


def test_a_run_at_work_is_named_and_its_file_left_alone(folder):
    with TaskManager(folder):
        found = examine(folder)
    assert found["lock"].startswith("fail")
    assert f"process {os.getpid()}" in found["lock"]
    assert "TODO-file" not in found


def test_the_lock_of_another_host_asks_for_steal_lock(folder):
    (folder / "todo.sqlite.lock").write_text(
        json.dumps({"host": "node17", "pid": 12, "since": "yesterday"})
    )
    found = examine(folder)
    assert found["lock"].startswith("fail")
    assert "process 12 on node17 since yesterday" in found["lock"]
    assert "--steal-lock" in found["lock"]


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_killed_run_leaves_a_dead_lock_and_changes_that_count(folder, in_memory):
    save = (
        "task = tm.get_task(); tm.start_task(1); tm.save_result({**task, 'status': 1, 'time': 1.0})"
    )
    killed_after(folder, f"{save}; tm.start_task(2)", in_memory)
    before = everything_below(folder)
    found = examine(folder)
    assert found["lock"].startswith("warn")
    assert "which has died" in found["lock"]
    assert found["journal"].startswith("warn")
    assert "12 targets, 11 to do, 1 of them again" in found["TODO-file"]
    assert everything_below(folder) == before


def test_a_damaged_journal_is_reported_and_stays_where_it_is(folder):
    killed_after(folder, "tm.start_task(1); tm.start_task(2); tm.start_task(3)")
    (journal,) = folder.glob("todo.sqlite.journal-*")
    journal.write_bytes(journal.read_bytes().replace(b"[6,2]", b"[6,3]"))
    before = everything_below(folder)
    says = examine(folder)["journal"]
    assert says.startswith(
        "warn: a run was killed: todo.sqlite.journal-000001 is damaged in line 3"
    )
    assert "(changes: 1)" in says
    assert everything_below(folder) == before


def test_what_the_options_of_the_run_need_is_looked_for(folder, monkeypatch):
    assert examine(folder)["methods"] == "ok: aperture can be used"
    assert examine(folder, plot=True)["methods"].startswith("ok")
    says = examine(folder, method="fotometry")["methods"]
    assert says.startswith("fail: method='fotometry': expected")
    (folder / "photometry.toml").write_text(f'[photometry.psf]\nprf = "{folder}"\n')
    assert examine(folder, method="aperture")["methods"].startswith("ok")
    assert "no PRF files of camera" in examine(folder, method="psf")["methods"]
    monkeypatch.setattr("photometry.report.doctor.find_spec", lambda name: None)
    says = examine(folder, plot=True)["methods"]
    assert says.startswith("fail: --plot needs matplotlib")
    assert "photometry[plots]" in says


def test_few_missing_files_warn_and_many_fail(folder):
    paths = sorted(folder.glob("*_tp.fits"))
    paths[0].unlink()
    assert examine(folder)["inputs"].startswith("warn")
    assert "1 are missing, e.g. priority 1, star 101" in examine(folder)["inputs"]
    for path in paths[1:6]:
        path.unlink()
    assert examine(folder)["inputs"].startswith("fail")
    assert "6 are missing" in examine(folder)["inputs"]


def test_a_file_that_the_index_names_but_that_is_gone_is_missing(folder):
    path = folder / f"tess2018206045859-s0005-{101:016d}-0120-s_tp.fits"
    write_index(folder, [(101, 5, 120, path.name)])
    path.unlink()
    assert "star 101" in examine(folder)["inputs"]


def test_files_that_cannot_be_read_are_found_by_reading_some(folder):
    for path in folder.glob("*_tp.fits"):
        path.write_bytes(path.read_bytes()[:9000])
    assert examine(folder)["inputs"].startswith("ok")
    assert examine(folder)["pixels"].startswith("fail: 8 targets were read, 8 of them cannot be")
    assert "truncated" in examine(folder)["pixels"]


def test_a_missing_image_cube_fails(tmp_path):
    row = {
        "starid": 1,
        "sector": 1,
        "camera": 2,
        "ccd": 3,
        "cadence": 1800,
        "datasource": "ffi",
        "tmag": 9.0,
    }
    create_todo(tmp_path / "todo.sqlite", [row])
    found = examine(tmp_path)
    assert found["inputs"].startswith("fail")
    assert "sector001_camera2_ccd3.hdf5" in found["inputs"]
    assert found["catalogue"].startswith("fail")
    assert "1 targets need it" in found["catalogue"]


def test_without_a_catalogue_primary_targets_only_warn(folder):
    assert examine(folder)["catalogue"].startswith("warn")
    (folder / "catalog.csv").write_text("starid,ra\n1,2\n")
    assert examine(folder)["catalogue"].startswith("fail")
    (folder / "catalog.csv").write_text("starid,ra,decl,tmag\n101,100.0,-30.0,10\n")
    assert examine(folder)["catalogue"].startswith("ok")


def test_a_wrong_setting_fails_by_name_and_the_rest_is_still_looked_at(folder):
    (folder / "photometry.toml").write_text("[run]\ngraze = 5\n")
    found = examine(folder)
    assert found["settings"].startswith("fail")
    assert "run.graze" in found["settings"]
    assert found["pixels"].startswith("ok")
    (folder / "photometry.toml").write_text("[run]\ngrace = 5\n")
    assert "run.grace=5" in examine(folder)["settings"]


def test_an_output_that_cannot_be_written_fails(folder, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert "is no folder" in examine(folder, tmp_path / "file")["writable"]
    (tmp_path / "file").unlink()
    assert examine(folder, tmp_path / "not" / "yet" / "made")["writable"].startswith("ok")
    assert os.listdir(tmp_path) == ["data"]


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs /proc")
def test_a_folder_that_nobody_can_write_to_fails():
    assert machine.check_writable("light curves", Path("/proc")).state == "fail"


def test_no_disk_holds_ten_thousand_billion_light_curves(folder):
    assert machine.check_space(folder / "todo.sqlite", folder, HUGE, {}).state == "fail"
    assert machine.check_memory(folder / "todo.sqlite", Settings(), HUGE).state == "fail"
    inodes = machine.check_inodes(folder, HUGE)
    assert inodes.state == ("ok" if "no limit" in inodes.message else "fail")


@pytest.mark.real_data
def test_the_estimate_of_a_light_curve_is_that_of_a_real_one(tmp_path, shared_data):
    (path,) = shared_data.glob("tpf/kic12644712-*_tpf.fits")  # 500 exposures
    task = {
        "priority": 1,
        "datasource": "tpf",
        "method": "aperture",
        "tmag": 14.0,
        **identify(path),
    }
    made = photometry(task, input_folder=path.parent, output_folder=tmp_path)["details"][
        "filepath_lightcurve"
    ]
    estimate = machine.lightcurve_size("tpf", 1800, {("tpf", 1800): 500})
    assert 0.8 < estimate / (tmp_path / made).stat().st_size < 1.3


def test_the_file_system_is_the_one_that_df_names(tmp_path):
    df = subprocess.run(
        ["df", "--output=fstype,target", tmp_path], capture_output=True, text=True, check=True
    )
    assert machine.file_system(tmp_path) == tuple(df.stdout.splitlines()[1].split())


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no /dev/shm")
def test_a_disk_in_memory_warns():
    check = machine.check_file_system("light curves", Path("/dev/shm"), Settings())
    assert check.state == "warn"
    assert "gone after a restart" in check.message


def test_a_local_disk_in_a_job_of_several_nodes_warns(tmp_path, monkeypatch):
    if machine.file_system(tmp_path)[0] in machine.NETWORK | machine.PARALLEL | machine.VOLATILE:
        pytest.skip("the folder for tests is not on a local disk")
    assert machine.check_file_system("light curves", tmp_path, Settings()).state == "ok"
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "3")
    assert machine.check_file_system("light curves", tmp_path, Settings()).state == "warn"


@pytest.mark.parametrize(
    ("line", "limit", "used"),
    [
        ("0::/job/step/task", "sys/fs/cgroup/job/memory.max", "sys/fs/cgroup/job/memory.current"),
        (
            "4:memory:/job/step",
            "sys/fs/cgroup/memory/job/step/memory.limit_in_bytes",
            "sys/fs/cgroup/memory/job/step/memory.usage_in_bytes",
        ),
    ],
)
def test_memory_is_what_the_job_may_use(tmp_path, line, limit, used):
    for path, content in (
        ("proc/self/cgroup", f"9:cpu:/\n{line}\n"),
        (limit, "1000000"),
        (used, "400000"),
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content)
    assert machine.available_memory(tmp_path) == 600_000


def test_more_threads_than_one_per_worker_warn():
    assert machine.check_threads({}).state == "ok"
    assert machine.check_threads({"OMP_NUM_THREADS": "1"}).state == "ok"
    check = machine.check_threads({"OMP_NUM_THREADS": "8"}, cores=4)
    assert check.state == "warn"
    assert "4 cores, but OMP_NUM_THREADS=8" in check.message


@pytest.mark.parametrize(
    ("environ", "time_limit", "state", "words"),
    [
        ({}, None, "ok", "not in a batch job"),
        ({}, "2h", "ok", "stops after 2.0 h"),
        (
            {"SLURM_JOB_ID": "1", "SLURM_JOB_END_TIME": "+7200"},
            None,
            "warn",
            "ends in 2.0 h; run with --time-limit auto",
        ),
        ({"SLURM_JOB_ID": "1", "SLURM_JOB_END_TIME": "+7200"}, "auto", "ok", "ends in 2.0 h"),
        ({"SLURM_JOB_ID": "1", "SLURM_JOB_END_TIME": "+7200"}, "3h", "warn", "--time-limit auto"),
        ({"SLURM_JOB_ID": "1"}, None, "warn", "not when the job ends"),
        ({"PBS_JOBID": "1", "PBS_WALLTIME": "3600"}, "auto", "ok", "ends in 1.0 h"),
        ({"SLURM_JOB_END_TIME": "soon"}, None, "fail", "SLURM_JOB_END_TIME='soon'"),
    ],
)
def test_the_end_of_the_job_is_seen(environ, time_limit, state, words):
    soon = {
        name: str(time.time() + float(value))
        for name, value in environ.items()
        if value.startswith("+")
    }
    check = machine.check_time_limit(Settings(run={"time_limit": time_limit}), environ | soon)
    assert (check.state, words in check.message) == (state, True), check.message


def test_packages_are_those_that_are_installed():
    import numpy

    check = machine.check_packages()
    assert check.state == "ok"
    assert f"numpy {numpy.__version__}" in check.message


@pytest.mark.mpi
def test_two_ranks_find_each_other():
    check = machine.check_mpi()
    assert check.state == "ok", check.message


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('shift 2; "$@" & "$@"; wait', "believes to be alone"),
        ("echo no slots available >&2; exit 5", "exit code 5: no slots available"),
        ("sleep 60", "did not end within 1 s"),
    ],
)
def test_a_launcher_of_another_mpi_or_one_that_fails_or_hangs_fails(tmp_path, body, said):
    launcher = tmp_path / "mpiexec"
    launcher.write_text(f"#!/bin/bash\n{body}\n")
    launcher.chmod(0o755)
    check = machine.check_two_ranks(str(launcher), "MPICH", timeout=1 if "sleep" in body else 20)
    assert check.state == "fail"
    assert said in check.message
