"""The job script, run by bash with a small job and stubs for what only a cluster has."""

import contextlib
import json
import os
import shlex
import signal
import stat
import subprocess
import time

import pytest
from running import MPIEXEC, environment

from photometry.errors import ArgumentError
from photometry.report.jobscript import job_script
from photometry.report.status import read_summary
from photometry.taskmanager import create_todo

NASTY = 'it\'s $(touch oops) `id` "x" & ; {a} \\ é'


@pytest.fixture
def cluster(tmp_path):
    """A folder of programs: scontrol that notes what it is asked, srun that starts three ranks."""
    folder = tmp_path / "cluster bin"
    folder.mkdir()
    program(folder / "scontrol", f'echo "$@" >> {shlex.quote(str(tmp_path / "asked"))}')
    program(folder / "srun", f'exec {MPIEXEC} -n 3 "$@"')
    return folder


def program(path, body):
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def todo(folder, methods=(None,) * 8):
    """A TODO-file of a few targets whose methods are faults, see faulty_work."""
    folder.mkdir(exist_ok=True)
    rows = [
        {
            "starid": 100 + i,
            "sector": 1,
            "camera": 1,
            "ccd": 1,
            "cadence": 120,
            "datasource": "tpf",
            "tmag": 5.0 + i,
        }
        | {"method": method}
        for i, method in enumerate(methods)
    ]
    create_todo(folder / "todo.sqlite", rows)
    return folder


def script_of(tmp_path, folder, launcher, **options):
    path = tmp_path / "job.sh"
    path.write_text(
        job_script(
            folder, launcher=launcher, run_options=("--handler", "faulty_work:work"), **options
        )
    )
    assert subprocess.run(["bash", "-n", path]).returncode == 0
    return path


@pytest.fixture
def start(cluster):
    """Begin a script as SLURM would, with a job number; what is left of it ends with the test."""
    jobs = []

    def _start(script, **env):
        env = environment(
            PATH=f"{cluster}{os.pathsep}{os.environ['PATH']}", **{"SLURM_JOB_ID": "777"} | env
        )
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        jobs.append(subprocess.Popen(["bash", script], env=env, start_new_session=True, **pipes))
        return jobs[-1]

    yield _start
    for job in jobs:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job.pid, signal.SIGKILL)
        job.communicate()


def finish(job, timeout=600):
    """(exit code, log)"""
    log, _ = job.communicate(timeout=timeout)
    return job.returncode, log


def asked(tmp_path):
    """What scontrol was asked."""
    try:
        return (tmp_path / "asked").read_text().splitlines()
    except FileNotFoundError:
        return []


@pytest.mark.mpi
def test_out_of_time_is_queued_again_and_the_same_script_ends_the_work(tmp_path, cluster, start):
    folder = todo(tmp_path / "some data")
    script = script_of(tmp_path, folder, shlex.quote(str(cluster / "srun")))
    code, log = finish(start(script, SLURM_JOB_END_TIME=str(time.time())))
    assert code == 3, log
    assert "queued again" in log
    assert asked(tmp_path) == ["requeue 777"]
    code, log = finish(
        start(script, SLURM_RESTART_COUNT="1", SLURM_JOB_END_TIME=str(time.time() + 3600))
    )
    assert code == 0, log
    assert "start number 2" in log
    assert "all done" in log
    assert asked(tmp_path) == ["requeue 777"]
    assert read_summary(folder)["OK"] == 8


@pytest.mark.mpi
def test_failed_targets_do_not_queue_the_job_again(tmp_path, cluster, start):
    folder = todo(tmp_path / "data", [None, "bug", None])
    code, log = finish(start(script_of(tmp_path, folder, shlex.quote(str(cluster / "srun")))))
    assert code == 1, log
    assert "some targets failed" in log
    assert asked(tmp_path) == []


@pytest.mark.mpi
def test_a_killed_rank_queues_the_job_again_and_what_was_saved_stays(tmp_path, cluster, start):
    folder = todo(tmp_path / "data", [None] * 4 + ["killed"])
    code, log = finish(start(script_of(tmp_path, folder, shlex.quote(str(cluster / "srun")))))
    assert code not in (0, 1, 2, 3), log
    assert "queued again" in log
    assert asked(tmp_path) == ["requeue 777"]


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("number", "requeued", "said"),
    [(signal.SIGUSR1, ["requeue 777"], "queued again"), (signal.SIGTERM, [], "cancelled")],
)
def test_a_signal_to_the_shell_reaches_the_ranks_under_mpiexec(
    tmp_path, start, number, requeued, said
):
    folder = todo(tmp_path / "data", [None] * 200)
    job = start(script_of(tmp_path, folder, MPIEXEC, ranks=2), FAULTY_WORK_SECONDS="0.3")
    summary = folder / "lightcurves" / "summary.json"
    while not (summary.exists() and json.loads(summary.read_text()).get("workers")):
        assert job.poll() is None, finish(job)
        time.sleep(0.02)
    job.send_signal(number)
    code, log = finish(job)
    assert code == 3, log
    assert said in log
    assert asked(tmp_path) == requeued
    assert read_summary(folder)["exit_code"] == 3


@pytest.mark.parametrize(
    ("code", "env", "requeued", "said"),
    [
        (137, {}, ["requeue 777"], "queued again"),  # a rank was killed
        (1, {}, ["requeue 777"], "queued again"),  # MPI's abort: no run came to its end
        (2, {}, [], "wrong usage"),
        (3, {"SLURM_RESTART_COUNT": "20"}, [], "after 21 starts"),
        (3, {"SLURM_JOB_ID": ""}, [], "run this script again"),
    ],
)
def test_what_happens_next_depends_on_how_the_ranks_ended(
    tmp_path, cluster, start, code, env, requeued, said
):
    program(cluster / "srun", f"exit {code}")
    folder = todo(tmp_path / "data")
    ended, log = finish(
        start(script_of(tmp_path, folder, shlex.quote(str(cluster / "srun"))), **env)
    )
    assert ended == (4 if code == 1 else code)
    assert said in log
    assert asked(tmp_path) == requeued


def test_any_path_reaches_the_run_as_it_is(tmp_path, cluster, start):
    program(cluster / "srun", 'printf "%s\\n" "$@" > "$OUT"')
    folder = todo(tmp_path / NASTY)
    script = tmp_path / "job.sh"
    script.write_text(
        job_script(
            folder, folder / "out put", launcher=shlex.quote(str(cluster / "srun")), python="python"
        )
    )
    code, log = finish(start(script, OUT=str(tmp_path / "words")))
    assert code == 0, log
    words = (tmp_path / "words").read_text().splitlines()
    assert words[:4] == ["python", "-m", "photometry", "run"]
    assert words[4] == str(folder)
    assert words[words.index("--output") + 1] == str(folder / "out put")
    assert not (tmp_path / "oops").exists()


@pytest.mark.parametrize(
    "launcher", ["srun", "mpiexec", "mpirun --bind-to core", "srun --mpi=pmi2"]
)
def test_what_is_asked_of_slurm_stands_before_the_first_command(tmp_path, launcher):
    text = job_script(
        todo(tmp_path),
        launcher=launcher,
        ranks=128,
        time="1.5d",
        account="astro_1",
        partition="long,short",
        directives=["--constraint=fast"],
        modules=["mpich/4.2"],
    )
    head = text[: text.index("\nexport ")].splitlines()
    directives = {line.removeprefix("#SBATCH ") for line in head if line.startswith("#SBATCH ")}
    shell = "" if launcher.startswith("srun") else "B:"
    assert {
        "--ntasks=128",
        "--time=1-12:00:00",
        "--account=astro_1",
        "--partition=long,short",
    } <= directives
    assert {
        f"--signal={shell}USR1@300",
        "--requeue",
        "--open-mode=append",
        "--constraint=fast",
    } <= directives
    assert all(line.startswith("#") or not line for line in head)
    assert ("-n 128" in text) == (shell == "B:")
    assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"account": "a b"}, "account='a b'"),
        ({"partition": "x\n#SBATCH --uid=0"}, "partition="),
        ({"directives": ["rm -rf"]}, "sbatch='rm -rf'"),
        ({"directives": ["--a\nrm x"]}, "sbatch="),
        ({"time": "12"}, "with its unit"),
        ({"time": "5m"}, "more than 600 s"),
        ({"memory": "lots"}, "memory='lots'"),
        ({"launcher": "sh -c"}, "expected srun, mpiexec or mpirun"),
        ({"ranks": 1}, "at least 2"),
        ({"run_options": ["--output=x"]}, "the script sets this itself"),
        ({"output": "a\nb"}, "line break"),
    ],
)
def test_values_that_a_script_cannot_hold_are_refused_by_name(tmp_path, options, said):
    with pytest.raises(ArgumentError) as refused:
        job_script(todo(tmp_path), **options)
    assert said in str(refused.value)
