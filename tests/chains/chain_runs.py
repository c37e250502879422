"""Running chains in tests: in this process, and as a user does on the command line."""

import contextlib
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from photometry.chains import jobs, running
from photometry.chains.definition import parse_definition, read_definition
from photometry.chains.settings import load_chain_settings
from photometry.chains.tasktype import task_type_names

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = ROOT / "todo_templates" / "chains"
QUICK = {"retry_delay": 0.0}


def settings_for(home, **values):
    """Settings of a home, without delay between attempts."""
    return load_chain_settings({"home": str(home), **QUICK, **values}, environ={})


def run_here(settings, chain, *, workers=0, seed=None, **options):
    """Submit a chain (path, dict or text) and work in this process until it is done.

    Returns
    -------
    code : exit code
    found : dict, `status` of the job, with `by_name`: its tasks by name, the last one of each
    """
    if isinstance(chain, dict):
        chain = json.dumps(chain)
    definition = parse_definition(chain) if isinstance(chain, str) else read_definition(chain)
    database = jobs.open_database(settings)
    try:
        root = jobs.submit(definition, database, settings, seed=seed, **options).root
        code = running.run_job(settings, lambda: root, workers=workers, quiet=True)
        return code, look(database, root)
    finally:
        database.close()


def look(database, root):
    """The status of a job, with ``by_name``: its tasks by name, the last one of each."""
    found = jobs.status(database, root)
    found["by_name"] = {task["name"]: task for task in found["tasks"] if task["name"]}
    return found


def names_by_state(found):
    """dict state -> sorted names of the tasks that have names."""
    states = {}
    for task in found["tasks"]:
        if task["name"]:
            states.setdefault(task["state"], []).append(task["name"])
    return {state: sorted(names) for state, names in states.items()}


def command_line(*words, timeout=600, env=None, prefix=()):
    """``photometry chain ...`` as a finished process with its output as text."""
    command = [*prefix, sys.executable, "-m", "photometry", "chain", *map(str, words)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "PHOTOMETRY_CHAINS_RETRY_DELAY": "0", **(env or {})},
        check=False,
    )


@contextlib.contextmanager
def own_queues():
    """Environment for queues of RabbitMQ with names of their own, deleted at the end; skips where
    there is no server."""
    pika = pytest.importorskip("pika")
    prefix = f"test_{uuid.uuid4().hex[:8]}_"
    parameters = pika.ConnectionParameters(host="127.0.0.1", port=5672)
    try:
        connection = pika.BlockingConnection(parameters)
    except pika.exceptions.AMQPConnectionError as error:
        pytest.skip(f"no RabbitMQ at 127.0.0.1:5672: {error!r}")
    try:
        yield {
            "PHOTOMETRY_CHAINS_QUEUE": "amqp",
            "PHOTOMETRY_CHAINS_MQ_HOST": "127.0.0.1",
            "PHOTOMETRY_CHAINS_QUEUE_PREFIX": prefix,
        }
    finally:
        connection.close()
        connection = pika.BlockingConnection(parameters)
        channel = connection.channel()
        for name in task_type_names():
            channel.queue_delete(f"{prefix}{name}")
        connection.close()
