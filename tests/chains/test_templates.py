"""Every template comes to what it should: on each database, serial, in four processes, under
mpiexec, with each queue."""

import json
import os
import subprocess
import sys
import uuid

import pytest
from chain_runs import ROOT, TEMPLATES, command_line, look, own_queues, run_here, settings_for
from template_claims import CLAIMS, chain_of

from photometry.chains import jobs, running
from photometry.chains.definition import parse_definition

sys.path.insert(0, str(ROOT / "tests"))
from running import MPIEXEC
from servers import temporary_database

DATABASES = ("sqlite", "mariadb", "postgresql")
MPI_JOBS = """
import sys
from chain_runs import settings_for
from photometry.chains.running import run_job
settings = settings_for(sys.argv[1], database=sys.argv[2])
sys.exit(run_job(settings, lambda: None, quiet=True))
"""


@pytest.fixture(scope="module", params=DATABASES)
def database_url(request, tmp_path_factory):
    """URL of an empty database of each kind."""
    if request.param == "sqlite":
        yield str(tmp_path_factory.mktemp("chains") / "chains.sqlite")
    else:
        with temporary_database(request.param) as url:
            yield url


def test_every_template_has_a_claim():
    assert {path.stem for path in TEMPLATES.glob("*.json")} == set(CLAIMS)


@pytest.mark.parametrize("name", CLAIMS)
def test_template_serial(name, database_url, tmp_path, psls):
    settings = settings_for(tmp_path, database=database_url)
    CLAIMS[name](*reversed(run_here(settings, chain_of(name))))


def test_toml_is_the_same_as_json(tmp_path):
    code, found = run_here(settings_for(tmp_path), TEMPLATES / "three_nulls.toml")
    CLAIMS["three_nulls"](found, code)


def submit_all(settings):
    """Submit all templates under names of their own; returns dict template -> root task."""
    suffix = uuid.uuid4().hex[:6]
    database = jobs.open_database(settings)
    roots = {}
    try:
        for name in CLAIMS:
            chain = chain_of(name)
            chain["job_name"] = f"{name}_{suffix}"
            if name != "three_nulls":
                chain["working_directory"] = f"{name}_{suffix}"
            definition = parse_definition(json.dumps(chain))
            roots[name] = jobs.submit(definition, database, settings).root
    finally:
        database.close()
    return roots


def check_all(settings, roots):
    """Each job has come to what its template claims."""
    database = jobs.existing_database(settings)
    try:
        for name, root in roots.items():
            found = look(database, root)
            if name == "nested_chain":
                outer = found["by_name"]["outer"]
                assert outer["job"] == found["job"]
                outer["job"] = "nested_chain"
                inner = found["by_name"]["innermost"]
                inner["directory"] = inner["directory"].replace(found["job"], "nested_chain")
            CLAIMS[name](found, 0 if found["state"] == "PASSED" else 1)
    finally:
        database.close()


@pytest.mark.slow
def test_templates_in_four_processes(database_url, tmp_path, psls):
    settings = settings_for(tmp_path, database=database_url)
    roots = submit_all(settings)
    assert running.run_job(settings, lambda: None, workers=4, quiet=True) == 1
    check_all(settings, roots)


@pytest.mark.slow
@pytest.mark.mpi
def test_templates_under_mpiexec(database_url, tmp_path, psls):
    settings = settings_for(tmp_path, database=database_url)
    roots = submit_all(settings)
    path = os.pathsep.join([str(ROOT / "tests" / "chains"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [MPIEXEC, "-n", "5", sys.executable, "-c", MPI_JOBS, str(tmp_path), database_url],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 1, done.stderr  # some tasks fail on purpose
    check_all(settings, roots)


@pytest.mark.slow
@pytest.mark.mpi
def test_the_script_runs_a_chain_under_mpiexec(tmp_path):
    script = [ROOT / "run_scripts" / "run_chain.py", TEMPLATES / "do_while_loop.json"]
    done = subprocess.run(
        [MPIEXEC, "-n", "3", sys.executable, *script, "--home", tmp_path, "--json"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    database = jobs.existing_database(settings_for(tmp_path))
    try:
        found = look(database, jobs.find_root(database, "do_while_loop"))
    finally:
        database.close()
    assert json.loads(done.stdout)["state"] == found["state"], done.stderr
    CLAIMS["do_while_loop"](found, done.returncode)


@pytest.fixture(params=["sql", "amqp"])
def queue_environment(request):
    """Environment of each queue; that of RabbitMQ has queues of its own, deleted at the end."""
    if request.param == "sql":
        yield {"PHOTOMETRY_CHAINS_QUEUE": "sql"}
        return
    with own_queues() as environment:
        yield environment


@pytest.mark.slow
def test_templates_through_a_queue(queue_environment, database_url, tmp_path, psls):
    environment = {
        **queue_environment,
        "PHOTOMETRY_CHAINS_DATABASE": database_url,
        "PHOTOMETRY_CHAINS_HOME": str(tmp_path),
        "PHOTOMETRY_CHAINS_RETRY_DELAY": "0",
    }
    settings = settings_for(tmp_path, database=database_url)
    roots = submit_all(settings)
    words = [*("chain", "schedule", "--until-idle"), *("--interval", "0.1")]
    scheduler = subprocess.Popen(
        [sys.executable, "-m", "photometry", *words], env={**os.environ, **environment}
    )
    try:
        done = command_line("worker", "--until-idle", "--workers", "4", env=environment)
        assert scheduler.wait(600) == 0
    finally:
        scheduler.kill()
        scheduler.wait()
    assert done.returncode == 1, done.stderr  # some tasks fail on purpose
    check_all(settings, roots)
