"""Rows of the task database that no program of ours has written: each look goes on, and what cannot
be done fails alone."""

import json

import pytest
import sqlalchemy as sa
from chain_runs import TEMPLATES, run_here, settings_for

from photometry.chains import jobs, running, states
from photometry.chains.definition import parse_definition
from photometry.chains.expanding import Expander
from photometry.chains.schema import (
    ATTEMPTS,
    DESCRIPTIONS,
    METADATA_ITEMS,
    PRODUCTS,
    SCOPES,
    TASKS,
    VERSIONS,
)
from photometry.chains.web import create_app
from photometry.cli import main

T = TASKS.c
PAGES = (
    "/",
    "/running",
    "/progress",
    "/timings",
    "/pass_fail",
    "/timeline",
    "/directories",
    "/logs",
)


@pytest.fixture
def damaged(tmp_path):
    """Settings of a database with two jobs done and one to do, in which rows are garbage."""
    settings = settings_for(tmp_path)
    run_here(settings, TEMPLATES / "barrier.json")
    run_here(settings, TEMPLATES / "metadata.json")
    database = jobs.open_database(settings)

    def damage(db):
        ids = list(db.execute(sa.select(T.taskId).order_by(T.taskId)).scalars())
        texts = list(db.execute(sa.select(DESCRIPTIONS.c.descriptionId)).scalars())
        db.execute(
            sa.update(DESCRIPTIONS)
            .where(DESCRIPTIONS.c.descriptionId == texts[-1])
            .values(description="{broken")
        )
        db.execute(sa.update(SCOPES).values(scope="[1, 2"))
        db.execute(sa.update(TASKS).where(T.taskId == ids[-1]).values(state="WHATEVER"))
        db.execute(sa.update(ATTEMPTS).where(ATTEMPTS.c.taskId == ids[-2]).values(state="???"))
        db.execute(
            sa.update(ATTEMPTS)
            .where(ATTEMPTS.c.taskId == ids[-3])
            .values(startTime=None, latestHeartbeat=None)
        )
        db.execute(sa.update(METADATA_ITEMS).values(valueType="json", valueString="{"))
        return ids

    ids = database.change(damage)
    database.close()
    for path in settings.file_store.rglob("*"):
        if path.is_file():
            path.unlink()
    return settings, ids


COMMANDS = (
    "status", "status all", "status --json", "status barrier --json", "tree", "tree all --json",
    "progress", "timings", "pass-fail", "errors", "retry", "schedule --once",
)  # fmt: skip


def test_rows_of_garbage_do_not_bring_down_a_look(damaged, capfd):
    settings, _ = damaged
    for command in (*COMMANDS, f"status {10**30}", "status ²"):
        with pytest.raises(SystemExit) as end:
            main(["chain", *command.split(), "--home", str(settings.home)])
        shown = capfd.readouterr()
        is_there = not command.endswith(("0", "²"))
        assert (end.value.code or 0) == (0 if is_there else 2), (command, shown)
        assert "Traceback" not in shown.out + shown.err, command


def test_rows_of_garbage_do_not_bring_down_the_pages(damaged):
    settings, ids = damaged
    client = create_app(settings).test_client()
    for page in (*PAGES, *(f"/task/{id_}" for id_ in ids), *(f"/api/task/{id_}" for id_ in ids)):
        assert client.get(page).status_code == 200, page
    database = jobs.existing_database(settings)
    query = sa.select(VERSIONS.c.productVersionId, PRODUCTS.c.filename).join(
        PRODUCTS, PRODUCTS.c.productId == VERSIONS.c.productId
    )
    version, name = database.read(lambda db: db.execute(query).first())
    database.close()
    gone = client.get(f"/file/{version}/{name}")
    assert gone.status_code == 404
    assert f"there is no file of version {version}" in gone.text
    for odd in (f"/task/{10**30}", f"/?task_id={10**30}", f"/?job={10**30}", "/?job=²",
                "/files/barrier?first=-5", f"/file/{10**30}/a"):  # fmt: skip
        assert client.get(odd).status_code in (200, 404), odd


def test_a_row_of_garbage_fails_alone(tmp_path):
    """The scheduler does the other tasks of the job."""
    settings = settings_for(tmp_path)
    tasks = [{"task": "null", "name": f"t{n}"} for n in range(4)]
    loop = {"task": "execution_for_loop", "name": "t4", "parameter": "i", "values": [1]}
    inner = {"task": "execution_chain", "name": "t5", "task_list": []}
    tasks += [{**loop, "task_list": []}, inner, {"task": "null", "name": "t6"}]
    for n, entry in enumerate(tasks):
        entry["comment"] = f"{n}"  # none shares its row of the descriptions with another
    database = jobs.open_database(settings)
    definition = parse_definition(json.dumps({"job_name": "garbage", "task_list": tasks}))
    root = jobs.submit(definition, database, settings).root
    Expander(database).expand(root)

    def damage(db):
        rows = {row.taskName: row for row in db.execute(sa.select(TASKS))}
        for name, text in (("t0", "{broken"), ("t4", '{"values": 3, "parameter": "i"}'),
                           ("t5", '"no object"')):  # fmt: skip
            db.execute(
                sa.update(DESCRIPTIONS)
                .where(DESCRIPTIONS.c.descriptionId == rows[name].descriptionId)
                .values(description=text)
            )
        for name, values in (
            ("t1", {"seed": "no number"}),
            ("t2", {"evaluatedDescription": "{"}),
            ("t3", {"state": "WHATEVER"}),
        ):
            db.execute(sa.update(TASKS).where(T.taskName == name).values(**values))

    database.change(damage)
    running.run_job(settings, lambda: root, workers=0, quiet=True)
    found = {task["name"]: task for task in jobs.status(database, root)["tasks"]}
    database.close()
    assert {name for name, task in found.items() if task["state"] == states.FAILED} == {
        "t0", "t1", "t2", "t4", "t5"
    }  # fmt: skip
    assert "where a JSON object is expected" in found["t0"]["reason"]
    assert "where a seed is expected" in found["t1"]["reason"]
    assert found["t3"]["state"] == "WHATEVER"
    assert found["t6"]["state"] == states.PASSED
