"""Faults that our specification found in the original (W1-W46), those that no other test shows to
be absent; and rows of the task database that no program of ours has written."""

import contextlib
import csv
import io
import json
import logging
import math
import threading
import types

import numpy as np
import pytest
import sqlalchemy as sa
from chain_runs import TEMPLATES, run_here, settings_for

from photometry.chains import jobs, running, states, tables
from photometry.chains.database import TaskDatabaseConnection
from photometry.chains.definition import parse_definition
from photometry.chains.execution import pack_results, run_chain_task
from photometry.chains.expanding import Expander
from photometry.chains.logs import EasLoggingHandler
from photometry.chains.queues import TaskScheduler
from photometry.chains.schema import (
    ATTEMPTS,
    DESCRIPTIONS,
    LOG_MESSAGES,
    METADATA_ITEMS,
    PRODUCTS,
    SCOPES,
    TASKS,
    VERSIONS,
)
from photometry.chains.searches import SEARCHES, run_search
from photometry.chains.source import ChainSource, QueueSource
from photometry.chains.web import create_app
from photometry.cli import main
from photometry.lightcurve import LightcurveArbitraryRaster

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


# --- the faults, by their numbers


@contextlib.contextmanager
def counted_statements():
    """A list that grows with the statements of all databases."""
    statements = []

    def note(connection, cursor, statement, parameters, context, executemany):
        statements.append(statement)

    sa.event.listen(sa.engine.Engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        sa.event.remove(sa.engine.Engine, "before_cursor_execute", note)


def test_w6_two_schedulers_queue_each_task_once(tmp_path):
    settings = settings_for(tmp_path)
    with TaskDatabaseConnection(settings=settings) as tasks:
        ids = [tasks.task_register(task_type="null") for _ in range(60)]
    counts = []

    def schedule():
        with TaskScheduler(settings=settings) as scheduler:
            counts.append(scheduler.schedule_all_waiting_jobs())

    threads = [threading.Thread(target=schedule) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 60
    with TaskDatabaseConnection(settings=settings) as tasks:
        assert all(len(tasks.task_fetch_execution_attempts(id_)) == 1 for id_ in ids)
        assert all(tasks.task_lookup(id_).state == states.QUEUED for id_ in ids)


def test_w7_a_chain_that_cannot_be_expanded_leaves_nothing_and_says_the_same_again(tmp_path):
    """Its second file has a name that another task makes, which is known when it is evaluated."""
    settings = settings_for(tmp_path)
    inner = [
        {"task": "synthesis_batman", "outputs": {"lightcurve": "new.lc"}, "specs": {}},
        {"task": "synthesis_batman", "outputs": {"lightcurve": "old.lc"}, "specs": {}},
    ]
    definition = {"job_name": "half", "task_list": [{"task": "null"}, {"task": "null"}]}
    database = jobs.open_database(settings)
    root = jobs.submit(parse_definition(json.dumps(definition)), database, settings).root
    with TaskDatabaseConnection(settings=settings) as tasks:
        maker = tasks.task_register(task_type="null", working_directory="")
        tasks.file_product_register(maker, "", "old.lc", "lightcurve")
    text = json.dumps({"task_list": inner})
    database.change(lambda db: db.execute(sa.update(DESCRIPTIONS).values(description=text)))
    for _ in range(2):
        Expander(database).expand(root)
        (task,) = jobs.tasks_of(database, root)
        assert (task["state"], task["attempts"]) == (states.FAILED, 1 + _)
        assert "the output 'old.lc' in '.' is made by another task" in task["reason"]
        jobs.retry(database, root=root)
    database.close()


def test_w12_random_numbers_of_a_task_are_evaluated_once_and_stay(tmp_path):
    settings = settings_for(tmp_path)
    metadata = {"task_description": json.dumps({"task": "null", "x": "(random.random())"})}
    with TaskDatabaseConnection(settings=settings) as tasks:
        id_ = tasks.task_register(task_type="null", metadata=metadata)
        values = [tasks.evaluated_description(id_)["x"] for _ in range(3)]
    assert len(set(values)) == 1
    assert 0 < values[0] < 1


def test_w16_a_look_takes_as_many_queries_for_many_as_for_one(tmp_path):
    settings = settings_for(tmp_path)
    counts = {}
    for n in (1, 12):
        with TaskDatabaseConnection(settings=settings) as tasks:
            id_ = tasks.task_register(task_type="null", working_directory=f"d{n}", job_name=f"j{n}")
            products = [
                tasks.file_product_register(id_, f"d{n}", f"{k}.lc", f"role{k}", metadata={"a": k})
                for k in range(n)
            ]
            for _ in range(n):
                attempt = tasks.execution_attempt_register(id_, metadata={"result": 1})
                for product in products:
                    path = tmp_path / "made"
                    path.write_bytes(b"flux")
                    tasks.file_version_register(product, attempt, path, metadata={"b": 1})
                tasks.execution_attempt_update(attempt, all_products_passed_qc=True)
            for k in range(n):
                tasks.task_register(parent_id=id_, task_type="null", task_name=f"child{k}")
        client = create_app(settings).test_client()
        for name in ("task_lookup", "tree", "page", "timings", "pass_fail", "metadata"):
            with (
                TaskDatabaseConnection(settings=settings) as tasks,
                counted_statements() as statements,
            ):
                if name == "task_lookup":
                    found = tasks.task_lookup(id_)
                    assert len(found.execution_attempts_passed) == n
                    attempt = found.execution_attempts_passed[attempt]
                    assert len(attempt.output_files) == n
                    assert attempt.output_files["role0"].metadata["b"].value == 1
                elif name == "tree":
                    assert len(tables.fetch_job_tree(f"j{n}", database=tasks.db_handle)) == 1 + n
                elif name == "page":
                    assert client.get(f"/task/{id_}").text.count("flux") == 0
                elif name == "metadata":
                    tasks.metadata_register(dict.fromkeys(map(str, range(n)), 1), product_id=1)
                else:
                    assert client.get(f"/{name}?job=j{n}").status_code == 200
            counts.setdefault(name, []).append(len(statements))
    slack = {"metadata": 3, "page": 12}  # new keywords; messages of each attempt
    for name, (one, many) in counts.items():
        assert many <= one + slack.get(name, 0), (name, one, many)


def test_w17_results_are_stored_in_batches(tmp_path):
    counts = []
    for n in (50, 250):
        settings = settings_for(tmp_path / str(n))
        database = jobs.open_database(settings)
        definition = {"job_name": "nulls", "task_list": [{"task": "null"}] * n}
        root = jobs.submit(parse_definition(json.dumps(definition)), database, settings).root
        source = ChainSource(database, settings, root=root)
        with counted_statements() as statements:
            claimed = source.get_tasks(n)
            source.start_tasks([task["id"] for task in claimed])
            done = []
            for task in claimed:
                result = run_chain_task(task, store=str(settings.file_store), input_folder="none")
                done.append(pack_results([{**task, **result, "time": 0.1, "attempt": {}}]))
            source.save_results(done)
        assert source.get_number_tasks() == 0
        source.close()
        counts.append(len(statements))
    assert (counts[1] - counts[0]) / 200 < 0.1


def test_w18_a_worker_without_work_looks_after_a_fifth_of_a_second_and_every_five(tmp_path):
    database = jobs.open_database(settings_for(tmp_path))
    queue = types.SimpleNamespace(close=lambda: None)
    source = QueueSource(database, settings_for(tmp_path), queue, types=["null"])
    waits = [source.next_eligible() for _ in range(8)]
    source.close()
    assert waits[0] == 0.2
    assert waits == sorted(waits)
    assert waits[-1] == 5.0


def test_w19_a_page_has_200_rows_and_a_file_is_sent_in_pieces(tmp_path):
    settings = settings_for(tmp_path)
    with TaskDatabaseConnection(settings=settings) as tasks:
        id_ = tasks.task_register(task_type="null", working_directory="a/b")
        product = tasks.file_product_register(id_, "a/b", "large.lc", "lightcurve")
        attempt = tasks.execution_attempt_register(id_)
        path = tmp_path / "made"
        path.write_bytes(bytes(3_000_000))
        version = tasks.file_version_register(product, attempt, path)
        rows = [
            {"messageId": n, "generatedByTaskExecution": attempt, "timestamp": 1.0 * n,
             "severity": 40, "message": f"message {n:04d}"} for n in range(1, 1501)
        ]  # fmt: skip
        tasks._changing().execute(LOG_MESSAGES.insert(), rows)
    client = create_app(settings).test_client()
    for page in ("/logs", f"/task/{id_}"):
        text = client.get(page).text
        assert text.count("message 1") == 200, page
        assert "message 1500" in text
    answer = client.get(f"/file/{version}/large.lc", buffered=False)
    sizes = [len(piece) for piece in answer.response]
    assert sum(sizes) == 3_000_000
    assert max(sizes) < 1_000_000
    answer.close()
    assert "large.lc" in client.get("/files/a/b").text  # W44: folders with '/'


def test_w21_a_file_that_cannot_be_put_into_the_store_has_no_row(tmp_path):
    settings = settings_for(tmp_path)
    with TaskDatabaseConnection(settings=settings) as tasks:
        id_ = tasks.task_register(task_type="null", working_directory="full")
        product = tasks.file_product_register(id_, "full", "a.lc", "lightcurve")
        attempt = tasks.execution_attempt_register(id_)
        settings.file_store.mkdir(exist_ok=True)
        (settings.file_store / "full").write_text("a file where the folder would be")
        source = tmp_path / "made"
        source.write_bytes(b"flux")
        with pytest.raises(OSError, match="full"):
            tasks.file_version_register(product, attempt, source)
        assert tasks.file_version_by_product(product) == []
    assert source.read_bytes() == b"flux"


def test_w23_a_long_description_is_stored_once_for_all_rounds(tmp_path):
    settings = settings_for(tmp_path)
    long = {"task": "null", "comment": "x" * 200_000}
    loop = {"task": "execution_for_loop", "parameter": "i", "linear_range": [0, 1, 30],
            "task_list": [long]}  # fmt: skip
    assert run_here(settings, {"job_name": "long", "task_list": [loop]})[0] == 0
    database = jobs.existing_database(settings)
    length = sa.select(sa.func.sum(sa.func.length(DESCRIPTIONS.c.description)))
    total = database.read(lambda db: db.execute(length).scalar())
    database.close()
    assert total < 5 * 200_000  # root, loop, body and task; not 30 of them


def test_w26_a_password_on_the_command_line_is_refused(tmp_path, capsys):
    url = "postgresql://me:secret@127.0.0.1/none"
    with pytest.raises(SystemExit) as end:
        main(["chain", "status", "--database", url, "--home", str(tmp_path)])
    assert end.value.code == 2
    shown = capsys.readouterr().err
    assert "password" in shown
    assert "secret" not in shown


@pytest.mark.parametrize("name", SEARCHES)
def test_w37_a_search_leaves_the_light_curve_as_it_was(name):
    times = np.arange(0, 20, 1 / 24)
    flux = np.where((times - 1) % 4 < 0.15, 0.99, 1.0)
    lc = LightcurveArbitraryRaster(times, flux, metadata={"orbital_period": 4.0})
    for array in (lc.times, lc.fluxes, lc.uncertainties, lc.flags):
        array.setflags(write=False)
    assert run_search(name, lc, 20.0, {"period_min": 2.0}, threads=1)["period"] > 0
    assert np.array_equal(lc.fluxes, flux)


def test_w42_a_log_that_cannot_be_stored_stops_nothing(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("PHOTOMETRY_CHAINS_HOME", str(tmp_path))
    handler = EasLoggingHandler()  # there is no database
    handler.set_task_attempt_id(1)
    logger = logging.getLogger("test_w42")
    logger.addHandler(handler)
    logger.error("flux %d", 3)
    handler.set_task_attempt_id(None)
    logger.removeHandler(handler)
    handler.close()
    assert "1 messages of attempt 1 are lost" in caplog.text


def test_w43_tables_are_csv_and_sort_values_of_all_types(tmp_path, capsys):
    settings = settings_for(tmp_path)
    database = jobs.open_database(settings)
    values = [None, 3, 0.5, True, "b, c", "a", [1], {"x": 1}, float("nan")]
    with TaskDatabaseConnection(settings=settings) as tasks:
        for value in values:
            id_ = tasks.task_register(task_type="verify", metadata={"v": value}, job_name="mixed")
            attempt = tasks.execution_attempt_register(id_)
            tasks.execution_attempt_update(
                attempt, end_time=1.0, all_products_passed_qc=True, metadata={"outcome": "PASS"}
            )
    found = [row["v"] for row in tables.fetch_pass_fail_table(database=database)]
    database.close()
    assert found[:4] == [None, 0.5, True, 3]
    assert math.isnan(found[4])
    assert found[5:] == [[1], "a", "b, c", {"x": 1}]
    for command in ("pass-fail", "timings"):
        with pytest.raises(SystemExit):
            main(
                ["chain", command, "all", "--task-type", "verify", "--csv", "--home", str(tmp_path)]
            )
        lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
        assert len(lines) == len(values)
        assert {line["type"] for line in lines} == {"verify"}
        assert command == "timings" or "b, c" in {line["v"] for line in lines}


def test_w44_the_page_of_a_task_has_no_or_all_attempts(tmp_path):
    settings = settings_for(tmp_path)
    with TaskDatabaseConnection(settings=settings) as tasks:
        id_ = tasks.task_register(task_type="null")
    client = create_app(settings).test_client()
    assert "none yet" in client.get(f"/task/{id_}").text
    with TaskDatabaseConnection(settings=settings) as tasks:
        for passed in (False, True):
            attempt = tasks.execution_attempt_register(id_)
            tasks.execution_attempt_update(attempt, all_products_passed_qc=passed)
    text = client.get(f"/task/{id_}").text
    assert f"Attempt {attempt}" in text
    assert f"Attempt {attempt - 1}" in text
    assert "none yet" not in text


def test_w46_higher_priority_starts_first(tmp_path):
    tasks = [{"task": "null", "name": f"p{n}", "priority": n} for n in (0, 5, -2, 9)]
    settings = settings_for(tmp_path)
    assert run_here(settings, {"job_name": "order", "task_list": tasks})[0] == 0
    database = jobs.existing_database(settings)
    query = (
        sa.select(T.taskName)
        .join(ATTEMPTS, ATTEMPTS.c.taskId == T.taskId)
        .where(T.taskName.is_not(None))
        .order_by(ATTEMPTS.c.schedulingAttemptId)
    )
    names = database.read(lambda db: list(db.execute(query).scalars()))
    database.close()
    assert names == ["p9", "p5", "p0", "p-2"]
