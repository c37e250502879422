"""The EAS pipeline's classes and methods, by their names: what goes in comes out, and what must not
happen does not."""

import hashlib
import json
import logging
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from chain_runs import ROOT, settings_for

from photometry.chains import states
from photometry.chains.connect import Database
from photometry.chains.database import TaskDatabaseConnection
from photometry.chains.execution import (
    call_subprocess_and_catch_stdout,
    call_subprocess_and_log_output,
)
from photometry.chains.interface import DatabaseConnector, DatabaseInterfaceSqlite
from photometry.chains.logs import EasLoggingHandler
from photometry.chains.objects import (
    FileProduct,
    FileProductVersion,
    MetadataItem,
    Task,
    TaskExecutionAttempt,
)
from photometry.chains.queues import TaskQueueSQL, TaskScheduler
from photometry.chains.schema import TASKS
from photometry.chains.settings import load_chain_settings
from photometry.chains.timing import TaskHeartbeat, TaskTimer, TemporaryDirectory
from photometry.chains.types import TaskTypeList
from photometry.errors import WrongUseError

sys.path.insert(0, str(ROOT / "tests"))
from servers import temporary_database


@pytest.fixture(scope="module", params=["sqlite", "mariadb", "postgresql"])
def any_url(request, tmp_path_factory):
    if request.param == "sqlite":
        yield str(tmp_path_factory.mktemp("db") / "chains.sqlite")
    else:
        with temporary_database(request.param) as url:
            yield url


@pytest.fixture
def settings(any_url, tmp_path):
    return settings_for(tmp_path, database=any_url)


@pytest.fixture
def tasks(settings):
    with TaskDatabaseConnection(settings=settings) as connection:
        yield connection


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home of the environment's, for classes without arguments."""
    monkeypatch.setenv("PHOTOMETRY_CHAINS_HOME", str(tmp_path))
    return tmp_path


def _output(tasks, tmp_path, directory, content=b"flux", filename="a.lc"):
    """A task with a product, an attempt and a file that it made: ids of these and of the
    version."""
    task = tasks.task_register(task_type="null", working_directory=directory, task_name="maker")
    product = tasks.file_product_register(task, directory, filename, "lightcurve")
    attempt = tasks.execution_attempt_register(task)
    path = tmp_path / "made"
    path.write_bytes(content)
    object_ = tasks.execution_attempt_lookup(attempt)
    tasks.execution_attempt_register_output(
        object_, "lightcurve", path, {"mes": 7.0, "gzipped": False}
    )
    (version,) = tasks.file_version_by_product(product)
    return task, product, attempt, version


def test_a_file_goes_from_one_task_to_the_next(tasks, tmp_path):
    task, product, attempt, version = _output(tasks, tmp_path, "one")
    consumer = tasks.task_register(
        task_type="verify", working_directory="one", input_files={"lightcurve": product}
    )
    assert tasks.task_lookup(consumer).state == states.WAITING
    assert tasks.file_product_has_been_created(product)
    assert not tasks.file_product_has_passed_qc(product)
    tasks.file_version_update(version, passed_qc=True)
    tasks.execution_attempt_update(attempt, is_finished=True, end_time=time.time())
    tasks.execution_attempt_update(attempt, all_products_passed_qc=True)
    assert tasks.task_lookup(task).state == states.PASSED
    waiting = tasks.task_lookup(consumer)
    assert waiting.state == states.READY
    with TemporaryDirectory() as folder:
        path, metadata = tasks.task_open_file_input(waiting, "lightcurve", folder)
        assert Path(path).read_bytes() == b"flux"
        assert metadata["mes"].value == 7.0
        assert metadata["gzipped"].value is False
        with pytest.raises(AssertionError):
            tasks.task_open_file_input(waiting, "nothing", folder)
    assert folder.tmp_dir is None
    assert tasks.file_version_lookup(version).file_md5 == hashlib.md5(b"flux").hexdigest()


def test_an_attempt_with_an_error_never_passes(tasks, tmp_path):
    task, _, attempt, _ = _output(tasks, tmp_path, "two")
    tasks.execution_attempt_update(attempt, error_fail=True, error_text="Traceback\nValueError: no")
    with pytest.raises(WrongUseError, match="cannot pass"):
        tasks.execution_attempt_update(attempt, all_products_passed_qc=True)
    found = tasks.task_lookup(task)
    assert found.state == states.FAILED
    assert not found.execution_attempts_passed
    assert found.execution_attempts_incomplete[attempt].error_fail is True


def test_the_database_itself_refuses_a_passed_error(tasks, tmp_path):
    _, _, attempt, _ = _output(tasks, tmp_path, "three")
    tasks.execution_attempt_update(attempt, error_fail=True)
    with pytest.raises(sa.exc.DBAPIError):
        tasks._changing().execute(
            sa.text(
                "UPDATE eas_scheduling_attempt SET "
                + tasks._db.dialect.identifier_preparer.quote("allProductsPassedQc")
                + " = "
                + ("true" if tasks._db.dialect.name == "postgresql" else "1")
            )
        )
    tasks.rollback()


def test_a_task_has_one_active_attempt(tasks):
    task = tasks.task_register(task_type="null")
    first = tasks.execution_attempt_register(task)
    with pytest.raises(WrongUseError, match=f"active attempt already: {first}"):
        tasks.execution_attempt_register(task)
    tasks.execution_attempt_update(first, all_products_passed_qc=True)
    assert tasks.execution_attempt_register(task) > first


def test_metadata_keep_their_types(tasks):
    task = tasks.task_register(task_type="null", metadata={"inherited": 1})
    values = {
        "whole": 3, "large": 2**70, "number": 2.5, "truth": True, "text": "900", "nothing": None,
        "infinite": float("inf"), "nested": {"a": [1, 2.5, "x"]}, "ümlaut ☉": "δ Cep",
    }  # fmt: skip
    tasks.metadata_register(values | {"nan": float("nan")}, task_id=task)
    found = {key: item.value for key, item in tasks.metadata_fetch_all(task_id=task).items()}
    assert {key: found[key] for key in values} == values
    assert [type(found[key]) for key in ("whole", "number", "truth")] == [int, float, bool]
    assert found["nan"] != found["nan"]
    assert found["inherited"] == 1
    tasks.metadata_register({"whole": "changed"}, task_id=task)
    item = tasks.metadata_fetch_item("whole", task_id=task)
    assert item.value == "changed"
    assert abs(item.timestamp - time.time()) < 60
    with pytest.raises(WrongUseError, match="2 ids were given"):
        tasks.metadata_fetch_all(task_id=1, product_id=1)


def test_names_differ_by_case_and_by_space(tasks):
    assert len({tasks.hostname_get_id(name) for name in ("host", "Host", "höst")}) == 3
    assert tasks.semantic_type_get_id("lc") == tasks.semantic_type_get_id("lc")
    assert tasks.metadata_keyword_id("Key") != tasks.metadata_keyword_id("key")


@pytest.mark.parametrize("directory", ["/etc", "../x", "a/../../b", "a\x00b"])
def test_no_path_leaves_the_store(tasks, directory):
    with pytest.raises(WrongUseError, match="working_directory"):
        tasks.task_register(task_type="null", working_directory=directory)
    task = tasks.task_register(task_type="null")
    with pytest.raises(WrongUseError):
        tasks.file_product_register(task, directory, "x", "role")
    with pytest.raises(WrongUseError, match="file name"):
        tasks.file_product_register(task, "ok", "../x", "role")


def test_deleting_a_task_deletes_its_files_first(tasks, tmp_path):
    task, product, attempt, version = _output(tasks, tmp_path, "deleted")
    child = tasks.task_register(parent_id=task, task_type="null")
    path = tasks.file_version_path_for_id(version)
    assert tasks.file_version_exists_in_file_system(version)
    tasks.task_delete(task)
    assert not tasks.task_exists_in_db(task)
    assert not tasks.task_exists_in_db(child)
    assert not tasks.file_product_exists_in_db(product)
    assert not tasks.execution_attempt_exists_in_db(attempt)
    assert tasks.file_version_path_for_id(version) is None
    assert not Path(path).exists()


def test_products_and_versions_can_be_changed(tasks, tmp_path):
    _, product, attempt, version = _output(tasks, tmp_path, "changed")
    tasks.file_product_update(product, mime_type="text/plain", metadata={"a": 1})
    assert tasks.file_product_lookup(product).mime_type == "text/plain"
    assert tasks.file_product_by_filename("changed", "a.lc") == [product]
    other = tmp_path / "other"
    other.write_bytes(b"other flux")
    tasks.file_version_update(version, other, preserve=True)
    assert other.exists()
    assert tasks.file_version_lookup(version).file_size == 10
    with pytest.raises(ValueError, match="no such file"):
        tasks.file_version_register(product, attempt, tmp_path / "absent")
    tasks.file_version_delete(version)
    assert not tasks.file_version_exists_in_db(version)


def test_leaving_by_an_exception_undoes_what_was_done(settings):
    with pytest.raises(ZeroDivisionError), TaskDatabaseConnection(settings=settings) as tasks:
        id_ = tasks.task_register(task_type="null")
        1 / 0  # noqa: B018
    with TaskDatabaseConnection(settings=settings) as tasks:
        assert not tasks.task_exists_in_db(id_)


def test_registry_of_types_goes_through_the_database_and_xml(tasks, tmp_path):
    registry = TaskTypeList.read_from_xml()
    assert registry.worker_containers["eas_worker_qats"] == {"cpu": 2, "gpu": 0, "memory_gb": 16}
    assert registry.containers_for_task("null") == set(registry.worker_container_names())
    assert "null" in registry.tasks_for_container("eas_worker_tls")  # 'all' fills both directions
    registry.write_to_xml(tmp_path / "types.xml")
    again = TaskTypeList.read_from_xml(tmp_path / "types.xml")
    tasks.task_type_list_to_db(registry)
    for other in (again, tasks.task_type_list_from_db()):
        assert other.worker_containers == registry.worker_containers
        assert other.task_list == {**other.task_list, **registry.task_list}
        for name, types in registry.container_capabilities.items():
            assert types <= other.container_capabilities[name]
    tasks.container_set_resource_assignment("eas_worker_qats", 4, 1, 32)
    assert tasks.container_get_resource_assignment("eas_worker_qats") == {
        "cpu": 4, "gpu": 1, "memory_gb": 32,
    }  # fmt: skip
    tasks.task_type_list_to_db(registry)  # what was assigned stays
    assert tasks.container_get_resource_assignment("eas_worker_qats")["gpu"] == 1
    assert tasks.task_type_list_fetch_id("null") > 0
    with pytest.raises(AssertionError):
        tasks.task_type_list_fetch_id("nothing")


def test_xml_of_the_seed_is_read(tmp_path):
    path = tmp_path / "types.xml"
    path.write_text(
        "<task_type_registry><containers><container><name>c</name><resourceRequirements><cpu>20</cpu>"
        "<gpu>0</gpu><memory_gb>1.5</memory_gb></resourceRequirements></container></containers><tasks>"
        "<task><name>t</name><container>all</container></task></tasks></task_type_registry>"
    )
    registry = TaskTypeList.read_from_xml(path)
    assert registry.worker_containers == {"c": {"cpu": 20, "gpu": 0, "memory_gb": 1.5}}
    assert registry.tasks_for_container("c") == {"t"}
    path.write_text("<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>")
    with pytest.raises(WrongUseError, match="document types"):
        TaskTypeList.read_from_xml(path)


def test_objects_go_through_json_and_back(tasks, tmp_path):
    task, _, attempt, version = _output(tasks, tmp_path, "json")
    objects = [
        MetadataItem("a", 1.5),
        tasks.file_version_lookup(version),
        tasks.execution_attempt_lookup(attempt, embed_task_object=True),
        tasks.execution_attempt_lookup(attempt),
        tasks.task_lookup(task),
        Task(input_metadata={"search": {"period": 3.0}}),
        FileProduct(),
        FileProductVersion(),
        TaskExecutionAttempt(),
    ]
    for one in objects:
        assert type(one).from_dict(json.loads(json.dumps(one.as_dict()))) == one
    task = Task(task_id=1, metadata={"a": 1})
    task.configure(task_id=None, job_name="j", execution_attempts_passed=[objects[3]])
    task.set_metadata("b", 2)
    assert task.task_id == 1
    assert task.execution_attempts_passed == {attempt: objects[3]}
    assert {key: item.value for key, item in task.metadata.items()} == {"a": 1, "b": 2}


def test_the_scheduler_and_the_queue_by_hand(settings):
    with TaskDatabaseConnection(settings=settings) as tasks:
        ids = [tasks.task_register(task_type="null") for _ in range(3)]
    with TaskScheduler(settings=settings) as scheduler:
        scheduler.reschedule_all_unfinished_jobs()  # those of other tests
        first = scheduler.queue.queue_fetch_list("null")[0]
        assert scheduler.schedule_a_task(ids[0]) is None  # it is queued already
        assert scheduler.schedule_jobs_based_on_criterion(lambda task: task.task_id == ids[1]) == 0
        assert scheduler.schedule_all_waiting_jobs() == 0
        assert scheduler.reschedule_all_unfinished_jobs() == 0  # queued attempts are left alone
        queue = scheduler.queue
        assert isinstance(queue, TaskQueueSQL)
        waiting = queue.queue_fetch_list("null")
        assert waiting[0] == first
        assert queue.queue_length("null") == len(waiting) >= 3
        assert queue.queue_fetch_and_acknowledge("null", acknowledge=False) == first
        assert queue.queue_fetch_and_acknowledge("null") == first
        second = queue.queue_fetch_and_acknowledge("null", set_running=False)
        while queue.queue_fetch_and_acknowledge("null") is not None:
            pass
        assert queue.queue_length("null") == 0
    with TaskDatabaseConnection(settings=settings) as tasks:
        assert tasks.execution_attempt_lookup(first).state == states.RUNNING
        assert tasks.execution_attempt_lookup(second).state == states.FAILED
        for attempt in (first, *waiting[2:]):
            tasks.execution_attempt_update(attempt, all_products_passed_qc=True)


def test_many_threads_get_each_id_once(settings):
    with TaskDatabaseConnection(settings=settings) as tasks:
        ids = {tasks.task_register(task_type="error") for _ in range(40)}
    with TaskScheduler(settings=settings) as scheduler:
        scheduler.schedule_all_waiting_jobs()
    fetched = []

    def fetch():
        database = Database(settings.database_url)
        with TaskQueueSQL(database) as queue:
            while (id_ := queue.queue_fetch_and_acknowledge("error")) is not None:
                fetched.append(id_)
        database.close()

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fetched) == len(set(fetched)) == 40
    with TaskDatabaseConnection(settings=settings) as tasks:
        assert {tasks.execution_attempt_lookup(id_).task_id for id_ in fetched} == ids


def test_interface_speaks_sql_and_dumps(home):
    with DatabaseConnector("sqlite3", db_database=str(home / "x.db")).interface() as db:
        db.create_database()
        assert db.test_database_exists()
        db.parameterised_query(
            "INSERT INTO eas_worker_host (hostId, hostname) VALUES (%s, %s)", (1, "a")
        )
        db.parameterised_query(
            "INSERT INTO eas_worker_host (hostId, hostname) VALUES (%s, %s)",
            (2, "a"),
            allow_errors=True,
        )
        db.parameterised_query_many(
            "INSERT INTO eas_worker_host (hostId, hostname) VALUES (%s, %s)", [(3, "b"), (4, "c")]
        )
        db.commit()
        db.parameterised_query("SELECT hostname FROM eas_worker_host ORDER BY hostId")
        assert [row["hostname"] for row in db.fetchall()] == ["b", "c"]
        db.commit()
        db.dump(home / "dump.gz")
    with DatabaseInterfaceSqlite(str(home / "y.db")) as db:
        db.restore(home / "dump.gz")
        db.parameterised_query("SELECT COUNT(*) AS n FROM eas_worker_host")
        assert db.fetchone() == {"n": 2}
        for path in db.sql_login_config_path("sqlite3"):
            assert not path.startswith("/root")
    with pytest.raises(ValueError, match="expected sqlite3, mysql or postgresql"):
        DatabaseConnector("oracle").interface()
    login = home / "local_settings_sql.conf"
    assert login.stat().st_mode & 0o777 == 0o600


def test_a_dump_of_one_engine_restores_on_another(any_url, settings, tmp_path):
    from photometry.chains.interface import dump, restore

    source = Database(settings.database_url)
    source.migrate()
    dump(source, tmp_path / "all.gz")
    target = Database(tmp_path / "copy.sqlite")
    restore(target, tmp_path / "all.gz")
    counting = sa.select(sa.func.count()).select_from(TASKS)
    counts = [one.read(lambda db: db.execute(counting).scalar()) for one in (source, target)]
    assert counts[0] == counts[1]
    for one in (source, target):
        one.close()
    (tmp_path / "bad.gz").write_bytes(b"no gzip")
    with pytest.raises(WrongUseError, match="not a dump"):
        restore(target, tmp_path / "bad.gz")


def test_timer_heartbeat_and_log(home):
    settings = load_chain_settings()
    with TaskDatabaseConnection(settings=settings) as tasks:
        attempt = tasks.execution_attempt_register(tasks.task_register(task_type="null"))
    handler = EasLoggingHandler()
    logger = logging.getLogger("test_chain_log")
    logger.addHandler(handler)
    handler.set_task_attempt_id(attempt)
    with TaskTimer(attempt, False), TaskHeartbeat(attempt, 0.05):
        logger.error("flux %d of %s", 3, "star")
        logger.error("x" * 10_000)
        time.sleep(0.2)
    handler.set_task_attempt_id(None)
    logger.error("belongs to nobody")
    logger.removeHandler(handler)
    handler.close()
    with TaskDatabaseConnection(settings=settings) as tasks:
        found = tasks.execution_attempt_lookup(attempt)
        rows = tasks._rows(
            sa.text("SELECT message, severity FROM eas_log_messages ORDER BY messageId")
        )
    assert found.state == "FINISHED"
    assert found.start_time <= found.latest_heartbeat_time <= found.end_time
    assert 0.2 <= found.run_time_wall_clock < 60
    assert [row.message[:20] for row in rows] == ["flux 3 of star", "x" * 20]
    assert len(rows[1].message) == 4094
    assert rows[1].message.endswith("...")


def test_two_temporary_directories_are_two():
    with TemporaryDirectory() as one, TemporaryDirectory() as two:
        assert one.tmp_dir != two.tmp_dir


def test_programs_are_run_and_their_failures_seen(caplog, capsys):
    ok, stdout = call_subprocess_and_catch_stdout([sys.executable, "-c", "print(6 * 7)"])
    assert (ok, stdout.strip()) == (True, b"42")
    program = "import sys; sys.stderr.write('bad news'); sys.exit(3)"
    assert call_subprocess_and_log_output([sys.executable, "-c", program]) is False
    assert "bad news" in caplog.text
    assert "ended with code 3" in caplog.text


SCRIPT = """
from photometry.chains.execution import eas_pipeline_task

@eas_pipeline_task
def handler(attempt):
    description = attempt.task_object.task_description
    assert description["x"] == 4, description
    if description.get("bad"):
        raise ValueError("this went wrong")

handler()
"""


@pytest.mark.slow
def test_scripts_of_the_pipeline_run_and_fail_with_a_code(home):
    scripts = [home / "task_implementations" / "t.py", home / "task_qc_implementations" / "t.py"]
    for path in scripts:
        path.parent.mkdir()
        path.write_text(SCRIPT)

    def call(path, attempt):
        command = [sys.executable, str(path), "--job-id", str(attempt)]
        return subprocess.run(command, capture_output=True, timeout=600, check=False).returncode

    def attempt_of(description):
        with TaskDatabaseConnection() as tasks:
            metadata = {"task_description": json.dumps(description)}
            task = tasks.task_register(task_type="null", metadata=metadata)
            return task, tasks.execution_attempt_register(task)

    task, attempt = attempt_of({"task": "null", "x": "(2 + 2)"})
    assert [call(path, attempt) for path in scripts] == [0, 0]
    bad_task, bad = attempt_of({"task": "null", "x": 4, "bad": True})
    assert [call(path, bad) for path in scripts] == [1, 1]
    with TaskDatabaseConnection() as tasks:
        assert tasks.task_lookup(task).state == states.PASSED
        assert tasks.task_lookup(bad_task).state == states.FAILED
        assert "this went wrong" in tasks.execution_attempt_lookup(bad).error_text
