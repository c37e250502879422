"""Every class, method, function and attribute of the original's public interface, with its
arguments, is here."""

import inspect
import re
from importlib import import_module

import pytest
from chain_runs import ROOT

from photometry.chains import objects
from photometry.chains.settings import Settings
from photometry.constants import EASConstants

# module of the original -> ours; what is there: name(arguments), methods after a dot
INTERFACE = {
    "connect_db": (
        "photometry.chains.interface",
        """
        DatabaseConnector(db_engine=None, db_user=None, db_passwd=None, db_host=None,
            db_port=None, db_database=None)
        DatabaseConnector.interface(connect=True)
        DatabaseInterface.test_database_exists()
        DatabaseInterface.create_database(initialise_schema=True)
        DatabaseInterface.connect()
        DatabaseInterface.sql_login_config_path(engine_name)
        DatabaseInterface.make_sql_login_config()
        DatabaseInterface.commit()
        DatabaseInterface.close()
        DatabaseInterface.parameterised_query(sql, parameters=None, allow_errors=False)
        DatabaseInterface.parameterised_query_many(sql, parameters=None)
        DatabaseInterface.fetchall()
        DatabaseInterface.fetchone()
        DatabaseInterface.lastrowid()
        DatabaseInterface.dump(output_filename)
        DatabaseInterface.restore(input_filename)
        DatabaseInterfaceMySql(db_user=None, db_passwd=None, db_host=None, db_port=None,
            db_database=None, connect=True)
        DatabaseInterfaceSqlite(db_database=None, connect=True)
        """,
    ),
    "constants": ("photometry.constants", "EASConstants()"),
    "lc_reader_lcsg": (
        "photometry.lightcurve",
        "read_lcsg_lightcurve(file_path, gzipped=None, cut_off_time=None)",
    ),
    "lightcurve": (
        "photometry.lightcurve",
        """
        Lightcurve(metadata)
        LightcurveArbitraryRaster(times, fluxes, uncertainties=None, flags=None, metadata=None)
        LightcurveFixedStep(time_start, time_step, fluxes, uncertainties=None,
            flags=None, metadata=None)
        LightcurveArbitraryRaster.get_time_of_point(index)
        LightcurveFixedStep.get_time_of_point(index)
        LightcurveArbitraryRaster.duration()
        LightcurveFixedStep.duration()
        LightcurveArbitraryRaster.get_times()
        LightcurveFixedStep.get_times()
        LightcurveArbitraryRaster.get_fluxes()
        LightcurveFixedStep.get_fluxes()
        LightcurveArbitraryRaster.get_uncertainties()
        LightcurveFixedStep.get_uncertainties()
        LightcurveArbitraryRaster.get_flags()
        LightcurveFixedStep.get_flags()
        LightcurveArbitraryRaster.to_file(target_path, binary=False, gzipped=True)
        LightcurveFixedStep.to_file(target_path, binary=False, gzipped=True)
        LightcurveArbitraryRaster.from_file(file_path, file_metadata, cut_off_time=None)
        LightcurveArbitraryRaster.estimate_sampling_interval()
        LightcurveFixedStep.estimate_sampling_interval()
        LightcurveArbitraryRaster.check_fixed_step(verbose=True, max_errors=6)
        LightcurveFixedStep.check_fixed_step(verbose=True, max_errors=6)
        LightcurveArbitraryRaster.to_fixed_step(verbose=True, max_errors=6)
        LightcurveArbitraryRaster.truncate_to_length(maximum_time, minimum_time=0)
        LightcurveFixedStep.truncate_to_length(maximum_time, minimum_time=0)
        LightcurveArbitraryRaster.__add__(other)
        LightcurveArbitraryRaster.__sub__(other)
        LightcurveArbitraryRaster.__mul__(other)
        LightcurveFixedStep.__add__(other)
        LightcurveFixedStep.__sub__(other)
        LightcurveFixedStep.__mul__(other)
        """,
    ),
    "lightcurve_resample": (
        "photometry.lightcurve",
        """
        LightcurveResampler(input_lc)
        LightcurveResampler.onto_raster(output_raster, resample_flags=True)
        LightcurveResampler.match_to_other_lightcurve(other, resample_flags=True)
        """,
    ),
    "logging_database": (
        "photometry.chains.logs",
        """
        EasLoggingHandler()
        EasLoggingHandler.set_task_attempt_id(attempt_id=None)
        EasLoggingHandler.emit(record)
        """,
    ),
    "quality_control": (
        "photometry.chains.quality_control",
        "transit_detection_quality_control(lc, metadata)",
    ),
    "settings": (
        "photometry.chains.settings",
        """
        Settings()
        Settings.fetch_local_settings(root_path)
        Settings.fetch_environment_settings(root_path)
        """,
    ),
    "task_database": (
        "photometry.chains.database",
        """
        TaskDatabaseConnection(file_store_path=None)
        .commit()
        .close_db()
        .task_type_list_from_db()
        .task_type_list_to_db(task_list)
        .task_type_list_fetch_id(task_type_name)
        .container_set_resource_assignment(container_name, cpu, gpu, memory_gb)
        .container_get_resource_assignment(container_name)
        .metadata_keyword_id(keyword)
        .metadata_fetch_all(task_id=None, scheduling_attempt_id=None, product_id=None,
            product_version_id=None)
        .metadata_fetch_item(keyword, task_id=None, scheduling_attempt_id=None,
            product_id=None, product_version_id=None)
        .metadata_register(metadata, task_id=None, scheduling_attempt_id=None,
            product_id=None, product_version_id=None)
        .file_version_path_for_id(product_version_id, full_path=True, must_exist=False)
        .file_version_exists_in_db(product_version_id)
        .file_version_exists_in_file_system(product_version_id)
        .file_version_delete(product_version_id)
        .file_version_by_product(product_id, attempt_id=None, must_have_passed_qc=False)
        .file_version_lookup(product_version_id)
        .file_version_get_md5_hash(file_path)
        .file_version_get_hash(timestamp, filename, *file_info_fields)
        .file_version_register(product_id, generated_by_task_execution, file_path_input,
            preserve=False, created_time=None, modified_time=None, passed_qc=None,
            metadata=None)
        .file_version_update(product_version_id, file_path_input=None, preserve=False,
            modified_time=None, passed_qc=None, metadata=None)
        .file_product_exists_in_db(product_id)
        .file_product_has_been_created(product_id)
        .file_product_has_passed_qc(product_id)
        .file_product_by_filename(directory, filename)
        .file_product_lookup(product_id)
        .file_product_delete(product_id)
        .file_product_register(generator_task, directory, filename, semantic_type,
            planned_time=None, mime_type=None, metadata=None)
        .file_product_update(product_id, planned_time=None, mime_type=None, metadata=None)
        .hostname_get_id(name)
        .semantic_type_get_id(name)
        .execution_attempt_exists_in_db(attempt_id)
        .execution_attempt_delete(attempt_id)
        .execution_attempt_fetch_output_files(attempt_id)
        .execution_attempt_lookup(attempt_id, embed_task_object=False)
        .execution_attempt_register(task_id=None, queued_time=None, metadata=None)
        .execution_attempt_register_output(execution_attempt, output_name, file_path,
            file_metadata, preserve=False)
        .execution_attempt_update(attempt_id, queued_time=None, start_time=None,
            latest_heartbeat_time=None, end_time=None, all_products_passed_qc=None,
            error_fail=None, error_text=None, run_time_wall_clock=None,
            run_time_cpu=None, run_time_cpu_inc_children=None, is_queued=None,
            is_running=None, is_finished=None, metadata=None)
        .task_exists_in_db(task_id)
        .task_delete(task_id)
        .task_lookup(task_id)
        .task_register(parent_id=None, created_time=None, fully_configured=True,
            task_type=None, job_name=None, task_name=None, working_directory=None,
            input_files=None, metadata=None)
        .task_update(task_id, metadata=None)
        .task_fetch_file_products(task_id)
        .task_fetch_file_inputs(task_id)
        .task_fetch_metadata_inputs(task_id)
        .task_fetch_execution_attempts(task_id, successful=None)
        .task_open_file_input(task, input_name, tmp_dir, execution_id=None,
            must_have_passed_qc=True)
        """,
    ),
    "task_execution": (
        "photometry.chains.execution",
        """
        call_subprocess_and_catch_stdout(arguments, shell=None)
        call_subprocess_and_log_output(arguments, shell=None)
        eas_pipeline_task(task_handler)
        do_pipeline_task(job_id, is_qc_task, task_handler, eas_logger)
        """,
    ),
    "task_expression_evaluation": (
        "photometry.chains.expressions",
        """
        TaskExpressionEvaluation(metadata, requested_metadata)
        TaskExpressionEvaluation.evaluate_expression(expression)
        TaskExpressionEvaluation.evaluate_in_structure(structure)
        """,
    ),
    "task_heartbeat": (
        "photometry.chains.timing",
        "TaskHeartbeat(task_attempt_id=None, heartbeat_cadence=60)",
    ),
    "task_timer": (
        "photometry.chains.timing",
        """
        TaskTimer(task_attempt_id, is_qc_task)
        TaskTimer.measure_time()
        """,
    ),
    "temporary_directory": (
        "photometry.chains.timing",
        """
        TemporaryDirectory()
        TemporaryDirectory.clean_up()
        """,
    ),
    "task_objects": (
        "photometry.chains.objects",
        """
        MetadataItem(keyword, value, timestamp=None)
        MetadataItem.as_dict()
        MetadataItem.from_dict(d)
        FileProduct.configure()
        FileProduct.set_metadata(keyword, value)
        FileProduct.as_dict()
        FileProduct.from_dict(d)
        FileProductVersion.set_metadata(keyword, value)
        TaskExecutionAttempt.set_metadata(keyword, value)
        Task.set_metadata(keyword, value)
        """,
    ),
    "task_queues": (
        "photometry.chains.queues",
        """
        TaskScheduler(queue_implementation=None)
        TaskScheduler.schedule_a_task(task_id)
        TaskScheduler.schedule_all_waiting_jobs()
        TaskScheduler.reschedule_all_unfinished_jobs()
        TaskScheduler.schedule_jobs_based_on_criterion(task_selection_criteria)
        TaskQueue.queue_declare(queue_name)
        TaskQueue.queue_length(queue_name)
        TaskQueue.queue_publish(queue_name, item_id)
        TaskQueue.queue_fetch_and_acknowledge(queue_name, acknowledge=True, set_running=True)
        TaskQueue.queue_fetch_list(queue_name)
        TaskQueue.close()
        TaskQueueAmqp(debugging=False)
        TaskQueueSQL()
        TaskQueueConnector(queue_engine=None, debugging=False)
        TaskQueueConnector.interface()
        TaskQueueConnector.task_queue_config_path()
        TaskQueueConnector.make_task_queue_config(queue_implementation, mq_user,
            mq_passwd, mq_host, mq_port)
        """,
    ),
    "task_types": (
        "photometry.chains.types",
        """
        TaskTypeList()
        TaskTypeList.worker_container_names()
        TaskTypeList.task_type_names()
        TaskTypeList.containers_for_task(task_type_name)
        TaskTypeList.tasks_for_container(container_name)
        TaskTypeList.read_from_xml(input_xml_filename=None)
        """,
    ),
    "diagnostics": (
        "photometry.chains.tables",
        """
        fetch_pass_fail_table(job_name=None, task_type=None)
        fetch_timings_table(job_name=None, task_type=None)
        render_run_time(x)
        fetch_progress_summary(job_name=None)
        fetch_job_tree(job_name=None, parent_id=None, max_depth=5)
        fetch_running_job_tree(job_name=None, include_recently_finished=False, max_depth=20)
        """,
    ),
}
FIELDS = {
    "FileProduct": "product_id generator_task planned_time directory filename semantic_type "
    "mime_type metadata",
    "FileProductVersion": "product_version_id product_id generated_by_task_execution "
    "repository_id created_time "
    "modified_time file_md5 file_size passed_qc metadata",
    "TaskExecutionAttempt": "attempt_id task_id queued_time start_time latest_heartbeat_time "
    "end_time "
    "all_products_passed_qc error_fail error_text run_time_wall_clock run_time_cpu "
    "run_time_cpu_inc_children metadata "
    "output_files task_object",
    "Task": "task_id parent_id created_time task_type job_name task_name working_directory "
    "input_files input_metadata "
    "execution_attempts_passed execution_attempts_incomplete metadata output_files "
    "task_description",
}


def entries():
    for ours, text in INTERFACE.values():
        owner = ""
        for name, arguments in re.findall(r"([\w.]+)\(([^)]*)\)", text):
            owner = owner if name.startswith(".") else name
            yield ours, owner + name if name.startswith(".") else name, arguments


@pytest.mark.parametrize(("module", "name", "arguments"), list(entries()))
def test_it_is_here_with_its_arguments(module, name, arguments):
    found = import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    parameters = list(inspect.signature(found).parameters.values())
    if "." in name and not isinstance(
        inspect.getattr_static(*_owner(module, name)), (staticmethod, classmethod)
    ):
        parameters = parameters[1:]  # self
    expected = list(
        inspect.signature(eval(f"lambda {' '.join(arguments.split())}: 0")).parameters.values()
    )
    assert len(parameters) >= len(expected), parameters
    one_word = ("other", "d", "x", "memory_gb")  # what is given by position alone
    for ours, theirs in zip(parameters, expected, strict=False):
        if theirs.name not in one_word:
            assert ours.name == theirs.name
        assert ours.kind == theirs.kind
        if theirs.default is not inspect.Parameter.empty:  # what was required may be optional here
            assert ours.default == theirs.default
    for more in parameters[len(expected) :]:
        is_optional = more.default is not inspect.Parameter.empty
        assert is_optional or more.kind in (more.VAR_POSITIONAL, more.VAR_KEYWORD), more


def _owner(module, name):
    cls, _, method = name.rpartition(".")
    owner = getattr(import_module(module), cls)
    return next(base for base in owner.__mro__ if method in vars(base)), method


@pytest.mark.parametrize("name", FIELDS)
def test_objects_have_their_fields_and_can_be_configured(name):
    names = FIELDS[name].split()
    thing = getattr(objects, name)()
    for field in names:
        assert hasattr(thing, field), field
    values = {
        field: {} if isinstance(getattr(thing, field), dict) else 1
        for field in names
        if not field.startswith("execution_attempts") and field != "task_object"
    }
    thing.configure(**values)
    assert all(getattr(thing, field) == value for field, value in values.items())


def test_constants_and_settings_have_their_values():
    constants = {
        "day": 1, "month": 28, "year": 365.25, "sun_radius": 6.955e8, "earth_radius": 6.371e6,
        "jupiter_radius": 7.1492e7, "phy_AU": 149597870700, "Rearth": 0.08911486,
        "plato_noise": 0.000315,
    }  # fmt: skip
    assert {name: getattr(EASConstants(), name) for name in constants} == constants
    settings = Settings()
    assert {"softwareVersion", "pythonPath", "dataPath", "inDataPath", "lcPath", "localDataPath",
            "debug"} <= settings.settings.keys()  # fmt: skip
    assert {
        "debug",
        "max_log_message_length",
        "max_heartbeat_age",
        "db_engine",
        "db_host",
        "db_port",
        "db_user",
        "db_password",
        "db_database",
        "queue_implementation",
        "mq_host",
        "mq_port",
        "mq_user",
        "mq_password",
    } <= settings.installation_info.keys()  # fmt: skip


def test_classes_can_be_used_in_a_with_block():
    for module, names in {
        "interface": "DatabaseConnector DatabaseInterface",
        "database": "TaskDatabaseConnection",
        "timing": "TaskHeartbeat TaskTimer TemporaryDirectory",
        "queues": "TaskScheduler TaskQueue TaskQueueAmqp TaskQueueSQL TaskQueueConnector",
    }.items():
        for name in names.split():
            cls = getattr(import_module(f"photometry.chains.{module}"), name)
            assert hasattr(cls, "__enter__"), name
            assert hasattr(cls, "__exit__"), name


def test_the_table_of_the_docs_has_every_module_of_the_original():
    docs = (ROOT / "docs" / "chains.md").read_text(encoding="utf-8")
    rows = re.search(r"## Names of the original(.*?)## Differences", docs, re.S)[1]
    for module, (ours, _) in INTERFACE.items():
        (row,) = (row for row in rows.splitlines() if f"`{module}." in row)
        assert ours in row, row
