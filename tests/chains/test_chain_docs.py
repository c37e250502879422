"""What docs/chains.md shows: its examples run, its names exist, its tables are complete."""

import json
import os
import re
import subprocess
import sys
from importlib import import_module

import pytest
from chain_runs import ROOT, command_line, run_here, settings_for

from photometry.chains import tasktype
from photometry.chains.definition import CHAIN_KEYS
from photometry.chains.settings import load_chain_settings
from photometry.errors import SettingsError, WrongUseError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DOCS = (ROOT / "docs" / "chains.md").read_text(encoding="utf-8")


def block(language, number=0):
    return re.findall(rf"```{language}\n(.*?)```", DOCS, re.S)[number]


def test_the_first_example_runs(tmp_path):
    code, found = run_here(settings_for(tmp_path), json.loads(block("json")))
    assert (code, len(found["tasks"])) == (0, 4)


@pytest.mark.slow
def test_the_task_type_of_the_example_runs_when_its_package_is_installed(tmp_path):
    project, site = tmp_path / "project", tmp_path / "site"
    project.mkdir()
    (project / "my_tasks.py").write_text(block("python"))
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "my-tasks"\nversion = "1.0"\n'
        '[tool.setuptools]\npy-modules = ["my_tasks"]\n'
        f'{block("toml")}broken = "my_tasks:Missing"\nodd = "my_tasks:Setting"\n'
    )
    pip = [*(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"),
           *("--no-build-isolation", "--target", site, project)]  # fmt: skip
    subprocess.run(list(map(str, pip)), check=True, capture_output=True)
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    environment = {"PYTHONPATH": path, "PHOTOMETRY_CHAINS_HOME": str(tmp_path / "home")}
    types = json.loads(command_line("types", "--json", env=environment).stdout)
    types = {row["type"]: row for row in types}
    assert types["scatter"]["available"]
    for name, reason in (("broken", "AttributeError"), ("odd", "is no subclass of TaskType")):
        assert "my-tasks 1.0 cannot be loaded" in types[name]["note"]
        assert reason in types[name]["note"]
    curve = {"task": "synthesis_batman", "outputs": {"lightcurve": "a"},
             "specs": {"duration": 1, "sampling_cadence": 600, "noise": 0.001,
                       "planet_radius": 0}}  # fmt: skip
    scatter = {"task": "scatter", "name": "s", "scale": 1e6, "inputs": {"lightcurve": "a"}}
    chain = tmp_path / "chain.json"
    for kind, message in (("broken", "my-tasks 1.0 cannot be loaded"), ("scater", "'scatter'")):
        chain.write_text(json.dumps({"task_list": [curve, {**scatter, "task": kind}]}))
        done = command_line("run", chain, env=environment)
        assert (done.returncode, done.stdout) == (2, "")
        assert len(done.stderr.splitlines()) == 1
        assert message in done.stderr
    chain.write_text(json.dumps({"job_name": "own", "task_list": [curve, scatter]}))
    done = command_line("run", chain, "--workers", "1", "--json", env=environment)
    assert done.returncode == 0, done.stderr
    (found,) = (task for task in json.loads(done.stdout)["tasks"] if task["name"] == "s")
    # noise of one sample of 25 s, averaged over 600 s
    assert found["metadata"]["scatter"] == pytest.approx(1e3 * (25 / 600) ** 0.5, rel=0.2)


def test_the_settings_of_the_example_are_known_and_have_to_be_private(tmp_path):
    path = tmp_path / "chains.toml"
    path.write_text(block("toml", 1))
    path.chmod(0o644)
    with pytest.raises(WrongUseError, match="chmod 600"):
        load_chain_settings({"home": str(tmp_path)}, environ={})
    path.chmod(0o600)
    settings = load_chain_settings({"home": str(tmp_path)}, environ={})
    assert settings.mq_host == tomllib.loads(block("toml", 1))["mq_host"]
    assert settings.database_url.drivername == "postgresql+psycopg"
    assert settings.database_url.password == "..."


def test_settings_come_from_the_environment_and_misspelt_ones_are_refused(tmp_path):
    home = {"home": str(tmp_path)}
    environ = {"PHOTOMETRY_CHAINS_LEASE": "5", "PHOTOMETRY_CHAINS__MQ_PORT": "9", "EAS_HOME": "x"}
    settings = load_chain_settings(home, environ=environ)
    assert (settings.lease, settings.mq_port, settings.home) == (5.0, 9, tmp_path)
    with pytest.raises(SettingsError, match="did you mean 'lease'"):
        load_chain_settings(home, environ={"PHOTOMETRY_CHAINS_LEESE": "5"})
    (tmp_path / "local_settings_sql.conf").write_text(
        "# comment\ndb_engine: mysql\ndb_user: me\ndb_host: host\ndb_port: 33\ndb_database: d\n"
        "db_password: a:b\n"
    )
    (tmp_path / "local_settings_sql.conf").chmod(0o600)
    url = load_chain_settings(home, environ={}).database_url
    assert (url.drivername, url.username, url.password, url.port) == (
        "mysql+pymysql",
        "me",
        "a:b",
        33,
    )


def test_every_name_of_the_table_exists():
    rows = re.search(r"## Names of the original(.*?)## Differences", DOCS, re.S)[1]
    names = re.findall(r"`(photometry\.[\w.]+)`", rows)
    assert len(names) > 12
    for name in names:
        module, _, last = name.rpartition(".")
        assert hasattr(import_module(module), last) or import_module(name), name


def test_all_weaknesses_of_the_original_are_answered():
    rows = re.search(r"## Differences from the original(.*)", DOCS, re.S)[1]
    numbers = [int(number) for number in re.findall(r"^\| W(\d+) \|", rows, re.M)]
    assert numbers == list(range(1, 47))


def test_all_keys_types_and_states_are_documented():
    for name in (*CHAIN_KEYS, *tasktype.COMMON_KEYS):
        assert name == "comment" or f"`{name}`" in DOCS or name in DOCS
    for name in tasktype.task_type_names():
        assert name in DOCS or f"`_{name.removeprefix('transit_search_')}`" in DOCS, name
