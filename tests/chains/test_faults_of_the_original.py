"""Faults that our specification found in the original (W1-W46): where it is seen that they are not
in ours, with the tests for those that no other file has."""

import contextlib
import csv
import io
import json
import logging
import math
import socket
import threading
import types
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from chain_runs import run_here, settings_for

from photometry.chains import jobs, states, tables
from photometry.chains.database import TaskDatabaseConnection
from photometry.chains.definition import parse_definition
from photometry.chains.execution import pack_results, run_chain_task
from photometry.chains.expanding import Expander
from photometry.chains.logs import EasLoggingHandler
from photometry.chains.queues import TaskQueueConnector, TaskScheduler
from photometry.chains.schema import (
    ATTEMPTS,
    DESCRIPTIONS,
    LOG_MESSAGES,
    TASKS,
)
from photometry.chains.searches import SEARCHES, run_search
from photometry.chains.source import ChainSource, QueueSource
from photometry.chains.web import create_app
from photometry.cli import main
from photometry.errors import TryAgainError
from photometry.lightcurve import LightcurveArbitraryRaster

T = TASKS.c

WALK = {  # number -> tests that would fail if the fault were in ours; none: below
    1: "chains/test_public_interface: an_attempt_with_an_error_never_passes, "
       "the_database_itself_refuses_a_passed_error",
    2: "chains/test_expressions: what_is_not_allowed_is_refused_in_a_message_and_at_once",
    3: "chains/test_public_interface: many_threads_get_each_id_once; "
       "chains/test_faults: 400_tasks_run_once_each_while_retry_is_called_in_a_loop",
    4: "chains/test_faults: a_killed_worker_s_task_runs_again_once",
    5: "chains/test_public_interface: the_scheduler_and_the_queue_by_hand; "
       "chains/test_source: delays_grow_and_are_kept; chains/test_templates: template_serial",
    6: "",
    7: "",
    8: "chains/test_templates: template_serial",  # barrier.json
    9: "chains/test_expansion: a_condition_chooses_a_list_and_a_loop_counts_its_rounds; "
       "chains/test_definition: what_is_wrong_is_told_with_its_line",
    10: "chains/test_faults: a_broker_that_goes_away_is_connected_again",
    11: "",
    12: "chains/test_expressions: random_numbers_come_back_and_differ_by_place_and_seed; "
        "chains/test_definition: the_same_seed_makes_the_same_light_curves",
    13: "chains/test_public_interface: leaving_by_an_exception_undoes_what_was_done",
    14: "chains/test_costs: no_query_of_a_run_reads_a_whole_table_or_all_of_a_state",
    15: "chains/test_costs: an_idle_pass_changes_nothing_and_takes_no_lock",
    16: "",
    17: "",
    18: "",
    19: "",
    20: "chains/test_public_interface: no_path_leaves_the_store",
    21: "chains/test_task_types: an_input_that_was_changed_in_the_store_is_refused",
    22: "chains/test_public_interface: metadata_keep_their_types",
    23: "",
    24: "chains/test_public_interface: deleting_a_task_deletes_its_files_first",
    25: "chains/test_public_interface: interface_speaks_sql_and_dumps",
    26: "chains/test_chain_docs: the_settings_of_the_example_are_known_and_have_to_be_private, "
        "settings_come_from_the_environment_and_misspelt_ones_are_refused",
    27: "chains/test_web: what_is_not_there_is_not_found_and_foreign_names_are_refused, "
        "retry_needs_the_token",
    28: "chains/test_public_interface: two_temporary_directories_are_two",
    29: "chains/test_definition: a_chain_runs_again_only_with_replace_or_new_run",
    30: "transits/test_synthesis: psls_light_curve_has_our_transits_and_the_noise_of_nsr, "
        "transits_come_at_t0_and_eccentricity_shortens_those_at_periastron",
    31: "transits/test_synthesis: psls_configuration_has_nsr_and_no_transit; "
        "chains/test_task_types: psls_makes_the_star_and_we_the_transits",
    32: "transits/test_synthesis: star_has_noise_of_nsr_transits_at_t0_and_depth_of_its_radius",
    33: "transits/test_synthesis: psls_light_curve_has_our_transits_and_the_noise_of_nsr",
    34: "lightcurve/test_lightcurve_classes: flags_are_the_flags_and_not_the_fluxes, "
        "fixed_step_times_are_not_stretched, adding_then_subtracting_gives_back_the_original; "
        "lightcurve/test_lightcurve_files: archive_round_trip_changes_nothing",
    35: "lightcurve/test_lightcurve_classes: uncertainty_of_a_product_is_propagated, "
        "resampled_uncertainties_are_propagated_and_flags_decided_by_the_majority",
    36: "transits/test_chain_searches: regular_flux_has_zeros_in_gaps_and_for_flagged_samples; "
        "lightcurve/test_lightcurve_classes: "
        "fixed_step_keeps_metadata_and_fills_gaps_with_the_flagged_median",
    37: "transits/test_box_search: edge_effect_bls_is_the_loop_of_the_paper",
    38: "transits/test_chain_searches: depth_of_tls_is_the_flux_in_transit_and_depth_ppm_the_depth",
    39: "transits/test_chain_searches: flat_light_curve_fails_and_does_not_crash, "
        "period_within_three_percent_passes, harmonics_are_named",
    40: "chains/test_public_interface: registry_of_types_goes_through_the_database_and_xml, "
        "xml_of_the_seed_is_read",
    41: "chains/test_public_interface: objects_go_through_json_and_back",
    42: "chains/test_public_interface: timer_heartbeat_and_log",
    43: "",
    44: "chains/test_web: a_task_shows_what_it_waits_for_and_its_files",
    45: "chains/test_expressions: value_is_that_of_python; "
        "chains/test_public_interface: scripts_of_the_pipeline_run_and_fail_with_a_code; "
        "chains/test_definition: the_trailing_comma_of_the_second_example_is_named",
    46: "chains/test_faults: cancel_ends_the_processes_of_running_tasks; "
        "chains/test_task_types: a_task_that_runs_too_long_or_takes_too_much_fails",
}  # fmt: skip


def test_every_fault_has_a_test_that_exists():
    assert list(WALK) == list(range(1, 47))
    here = Path(__file__)
    for number, tests in WALK.items():
        assert tests or f"def test_w{number}_" in here.read_text(encoding="utf-8"), number
        for part in filter(None, tests.split("; ")):
            file, names = part.split(": ")
            text = (here.parents[1] / f"{file}.py").read_text(encoding="utf-8")
            for name in names.split(", "):
                assert f"def test_{name}(" in text, (number, name)


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


def test_w10_a_broker_that_refuses_is_an_error_after_patience_and_never_none(tmp_path):
    pytest.importorskip("pika")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = settings_for(tmp_path, queue="amqp", mq_port=port, database_patience=0.2)
    database = jobs.open_database(settings)
    queue = TaskQueueConnector(settings=settings, database=database).interface()
    with pytest.raises(TryAgainError, match=f"RabbitMQ at .*:{port}: no answer"):
        queue.queue_length("null")
    queue.close()
    database.close()


def test_w11_what_fails_its_check_can_be_retried_and_what_runs_is_listed(tmp_path):
    settings = settings_for(tmp_path)
    with TaskDatabaseConnection(settings=settings) as tasks:
        ids = [tasks.task_register(task_type="null") for _ in range(2)]
        attempts = [tasks.execution_attempt_register(id_) for id_ in ids]
        tasks.execution_attempt_update(attempts[0], is_finished=True, all_products_passed_qc=False)
        tasks.execution_attempt_update(attempts[1], is_running=True)
        assert tasks.task_lookup(ids[0]).state == states.QC_FAILED
        for id_, attempt in zip(ids, attempts, strict=True):
            assert list(tasks.task_lookup(id_).execution_attempts_incomplete) == [attempt]
            assert list(tasks.task_fetch_execution_attempts(id_, successful=False)) == [attempt]
    database = jobs.existing_database(settings)
    assert jobs.retry(database) == 1
    found = [jobs.tasks_of(database, id_)[0]["state"] for id_ in ids]
    database.close()
    assert found == [states.READY, states.RUNNING]


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
