"""What a pass costs depends on what changed, not on how much is in the database: seen in the plans
of all queries."""

import re

import sqlalchemy as sa
from chain_runs import TEMPLATES, run_here, settings_for

from photometry.chains import jobs, states
from photometry.chains.queues import TaskScheduler
from photometry.chains.schema import TASKS

LARGE = (
    r"SCAN (eas_task|eas_scheduling_attempt|eas_product|eas_product_version|eas_metadata_item)\b"
)


def test_no_query_of_a_run_reads_a_whole_table_or_all_of_a_state(tmp_path):
    settings = settings_for(tmp_path)
    statements = {}

    def note(connection, cursor, statement, parameters, context, executemany):
        statements[statement] = parameters[0] if executemany else parameters

    sa.event.listen(sa.engine.Engine, "before_cursor_execute", note)
    try:
        for name in ("for_loops", "failures", "retries", "do_while_loop", "barrier", "metadata"):
            run_here(settings, TEMPLATES / f"{name}.json")
    finally:
        sa.event.remove(sa.engine.Engine, "before_cursor_execute", note)
    database = jobs.existing_database(settings)
    bad = []
    with database.reading() as db:
        for statement, parameters in statements.items():
            if not statement.startswith(("SELECT", "UPDATE", "DELETE")) or "count(*)" in statement:
                continue
            plan = db.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            text = "; ".join(row[3] for row in plan)
            by_ids = re.search(r'"(taskId|schedulingAttemptId)" (IN|=) ', statement)
            if re.search(LARGE, text) or (by_ids and re.search(r"INDEX eas_\w+ \(state=", text)):
                bad.append((statement[:300], text))
    database.close()
    assert len(statements) > 50
    assert bad == []


def test_an_idle_pass_changes_nothing_and_takes_no_lock(tmp_path):
    settings = settings_for(tmp_path)
    run_here(settings, TEMPLATES / "for_loops.json")
    statements = []

    def note(connection, cursor, statement, parameters, context, executemany):
        statements.append(statement)

    with TaskScheduler(settings=settings) as scheduler:
        scheduler.schedule_all_waiting_jobs()
        sa.event.listen(sa.engine.Engine, "before_cursor_execute", note)
        try:
            assert scheduler.schedule_all_waiting_jobs() == 0
        finally:
            sa.event.remove(sa.engine.Engine, "before_cursor_execute", note)
    assert statements
    assert all(statement.startswith("SELECT") for statement in statements)
    assert len(statements) < 8


def test_counters_agree_with_a_slow_count(tmp_path):
    """Unmet dependencies and open children, counted from the tables themselves after runs that
    passed, failed and were retried."""
    settings = settings_for(tmp_path)
    for name in ("for_loops", "failures", "retries", "quality_control", "do_while_loop", "barrier"):
        run_here(settings, TEMPLATES / f"{name}.json")
    database = jobs.existing_database(settings)
    for again in (False, True):
        if again:
            assert jobs.retry(database) > 0
        _check_counters(database)
    root = jobs.find_root(database, "failures")
    jobs.cancel(database, [root])
    _check_counters(database)
    database.close()


def _check_counters(database):
    with database.reading() as db:
        rows = {row.taskId: row for row in db.execute(sa.select(TASKS))}
        unmet = dict.fromkeys(rows, 0)
        for table in ("eas_task_input", "eas_task_metadata_input", "eas_task_wait"):
            query = f"SELECT taskId, COUNT(*) FROM {table} WHERE NOT met GROUP BY taskId"
            for task_id, n in db.exec_driver_sql(query):
                unmet[task_id] += n
    below = {}
    for row in rows.values():
        below.setdefault(row.parentTask, []).append(row.taskId)

    def tree(id_):
        """(whether the tree is over, whether all of it has passed)"""
        parts = [tree(child) for child in below.get(id_, [])]
        is_over = rows[id_].state in states.OVER and all(over for over, _ in parts)
        return is_over, rows[id_].state == states.PASSED and all(good for _, good in parts)

    for id_, row in rows.items():
        parts = [tree(child) for child in below.get(id_, [])]
        assert row.unmet == unmet[id_], (id_, row.state)
        assert row.openChildren == sum(not over for over, _ in parts), id_
        assert row.failedChildren == sum(over and not good for over, good in parts), id_
        assert (row.state == states.WAITING) <= (row.unmet > 0)
