"""Chains in a browser: jobs, tasks with their attempts, logs and files, progress, timeline. On this
computer only, to look at.

Retry and cancel need the token of the settings (``web_token``); without one nobody may. Each page
is JSON under ``/api``.
"""

import hmac

import sqlalchemy as sa
from markupsafe import Markup

from ..errors import WrongUseError
from ..report.html import Page, details, facts, link, mark, preformatted, table
from . import jobs, states, tables
from .database import TaskDatabaseConnection
from .rows import select_in
from .schema import LARGEST_ID, LOG_MESSAGES, PRODUCTS, TASKS, VERSIONS
from .timeline import draw_timeline, moment

HOST = "127.0.0.1"
ID = f"int(max={LARGEST_ID})"  # in a route
DEPTHS = (0, 1, 2, 3, 5, 8)
PAGE_LENGTH = 200  # rows of a page
MOST_ATTEMPTS = 800  # of the timeline and of the run times, the newest
KINDS = {
    **dict.fromkeys((states.PASSED,), "good"),
    **dict.fromkeys((states.FAILED, states.QC_FAILED, states.BLOCKED, states.LOST), "bad"),
    **dict.fromkeys((states.RUNNING, states.QUEUED, states.DELAYED, states.CANCELLED), "doubt"),
}
NAVIGATION = {"/": "Jobs", "/running": "Running", "/progress": "Progress", "/timeline": "Timeline",
              "/timings": "Timings", "/pass_fail": "Pass and fail", "/directories": "Files",
              "/logs": "Messages"}  # fmt: skip


def _number(text):
    """A whole number of a query that a database can hold; ValueError for others."""
    number = int(text)
    if not 0 <= number <= LARGEST_ID:
        raise ValueError(text)
    return number


def _state(name):
    return mark(name, KINDS[name]) if name in KINDS else name


def _navigation():
    links = (link(text, path) for path, text in NAVIGATION.items())
    return Markup("<nav>{}</nav>").format(Markup(" ").join(links))


def create_app(settings):
    """The flask application.

    Parameters
    ----------
    settings : ChainSettings

    Raises
    ------
    WrongUseError : flask is not installed, or there is no task database
    """
    try:
        import flask
    except ImportError:
        raise WrongUseError("the web page needs flask: pip install 'photometry[chains]'") from None
    database = jobs.existing_database(settings)
    app = flask.Flask(__name__, static_folder=None)

    @app.before_request
    def refuse_foreign_names():
        """A name of another site that resolves to this computer must not reach the pages."""
        name = flask.request.host.rpartition(":")[0] or flask.request.host
        if name not in ("127.0.0.1", "localhost", "[::1]"):
            flask.abort(403)

    @app.after_request
    def add_headers(response):
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["X-Frame-Options"] = "DENY"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    def render(title, *sections, subtitle=""):
        page = Page(title, subtitle or database.shown, "photometry chain web")
        page.section("", _navigation())
        for heading, parts in sections:
            page.section(heading, *parts)
        return page.html()

    def job_argument():
        job = flask.request.args.get("job")
        return jobs.find_root(database, job) if job else None

    @app.errorhandler(WrongUseError)
    def wrong_use(error):
        return render("Not found", ("", [str(error)])), 404

    # --- the tree

    def tree_of(running_only=False):
        parent = flask.request.args.get("task_id", type=_number) or job_argument()
        depth = flask.request.args.get("depth", default=2, type=_number)
        fetch = tables.fetch_running_job_tree if running_only else tables.fetch_job_tree
        return fetch(parent_id=parent, max_depth=depth, database=database)

    def tree_table(tree):
        rows = []
        for row in tree[: 5 * PAGE_LENGTH]:
            name = " ".join(filter(None, (row["task_type_name"], row["name"])))
            here = Markup('<span style="padding-left:{}rem">{}</span>').format(
                1.3 * row["level"], link(name, f"/task/{row['task_id']}")
            )
            more = link("deeper", f"/?task_id={row['task_id']}") if row["tree_truncated"] else ""
            counts = " / ".join(str(row[key]) for key in "wrsd")
            rows.append(
                [here, row["job_name"], _state(row["state"]), counts, row["reason"] or "", more]
            )
        columns = ["Task", "Job", "State", "Waiting / running / stalled / done", "Why", ""]
        return table(rows, columns, total=len(tree))

    @app.get("/")
    def index():
        depths = (link(str(depth), f"/?depth={depth}") for depth in DEPTHS)
        choice = Markup("<p>Levels: {}</p>").format(Markup(" ").join(depths))
        return render("Task chains", ("", [choice, tree_table(tree_of())]))

    @app.get("/running")
    def running():
        found = tree_of(running_only=True)
        return render("Running tasks", ("", [tree_table(found)] if found else ["nothing runs"]))

    @app.get("/api/tree")
    def api_tree():
        return flask.jsonify(tree_of(flask.request.args.get("running") == "1"))

    # --- a task

    def task_facts(task_id):
        with TaskDatabaseConnection(database=database, settings=settings) as connection:
            task = connection.task_lookup(task_id)
        if task is None:
            raise WrongUseError(f"there is no task {task_id}")
        return task

    def waits_for(task_id):
        """What a task waits for: rows of (kind, task, state)."""
        from .schema import BARRIERS, METADATA_INPUTS, TASK_INPUTS

        queries = [
            (
                kind,
                sa.select(TASKS.c.taskId, TASKS.c.taskName, TASKS.c.state, relation.c.met)
                .join(relation, relation.c.inputId == TASKS.c.taskId)
                .where(relation.c.taskId == task_id),
            )
            for kind, relation in (("results of", METADATA_INPUTS), ("end of", BARRIERS))
        ]
        files = (
            sa.select(TASKS.c.taskId, PRODUCTS.c.filename, TASKS.c.state, TASK_INPUTS.c.met)
            .join(PRODUCTS, PRODUCTS.c.generatorTask == TASKS.c.taskId)
            .join(TASK_INPUTS, TASK_INPUTS.c.inputId == PRODUCTS.c.productId)
            .where(TASK_INPUTS.c.taskId == task_id)
        )
        rows = database.read(
            lambda db: [
                (kind, *row)
                for kind, query in (*queries, ("file of", files))
                for row in db.execute(query)
            ]
        )
        return [
            [
                kind,
                link(f"{id_} {name or ''}", f"/task/{id_}"),
                _state(state),
                "yes" if met else "no",
            ]
            for kind, id_, name, state, met in rows
        ]

    def metadata_table(metadata):
        rows = [
            [key, str(item.value)[:500], moment(item.timestamp)] for key, item in metadata.items()
        ]
        return table(rows, ["Name", "Value", "Set"]) if rows else Markup("<p>none</p>")

    def filenames(attempts):
        """Names of the products of which attempts made versions, by id."""
        query = sa.select(PRODUCTS.c.productId, PRODUCTS.c.filename)
        ids = {v.product_id for attempt in attempts for v in attempt.output_files.values()}
        rows = database.read(lambda db: select_in(db, query, PRODUCTS.c.productId, ids))
        return dict(tuple(row) for row in rows)

    def files_table(files, names):
        rows = []
        for role, version in files.items():
            name = names[version.product_id]
            href = f"/file/{version.product_version_id}/{name}"
            rows.append(
                [
                    role, link(name, href), version.file_size, version.file_md5,
                    version.passed_qc, moment(version.created_time),
                ]
            )  # fmt: skip
        return table(rows, ["Role", "File", "Bytes", "MD5", "Passed", "Made"])

    def messages_of(attempt_id):
        m = LOG_MESSAGES.c
        query = (
            sa.select(m.timestamp, m.severity, m.message)
            .where(m.generatedByTaskExecution == attempt_id)
            .order_by(m.messageId.desc())
            .limit(PAGE_LENGTH)
        )
        rows = database.read(lambda db: db.execute(query).all())
        return "\n".join(
            f"{moment(r.timestamp)} {r.severity:2d} {r.message}" for r in reversed(rows)
        )

    def attempt_parts(attempt, names):
        shown = facts(
            {
                "state": _state(attempt.state),
                "queued": moment(attempt.queued_time),
                "started": moment(attempt.start_time),
                "sign of life": moment(attempt.latest_heartbeat_time),
                "ended": moment(attempt.end_time),
                "wall clock [s]": attempt.run_time_wall_clock,
                "CPU [s]": attempt.run_time_cpu,
                "CPU with children [s]": attempt.run_time_cpu_inc_children,
                "passed quality control": attempt.all_products_passed_qc,
            }
        )
        parts = [shown]
        if attempt.error_text:
            parts.append(preformatted(attempt.error_text))
        if attempt.metadata:
            parts.append(metadata_table(attempt.metadata))
        if attempt.output_files:
            parts.append(files_table(attempt.output_files, names))
        if text := messages_of(attempt.attempt_id):
            parts.append(details("Messages", preformatted(text)))
        return parts

    def actions(task_id):
        if not settings.web_token:
            return []
        form = (
            '<form method="post" action="/task/{0}/{1}"><label>Token <input type="password" '
            'name="token" '
            'autocomplete="off" required></label> <button>{2}</button></form>'
        )
        forms = (("retry", "Retry"), ("cancel", "Cancel"))
        return [Markup(form).format(task_id, action, text) for action, text in forms]

    @app.get(f"/task/<{ID}:task_id>")
    def show_task(task_id):
        task = task_facts(task_id)
        about = facts(
            {
                "type": task.task_type,
                "name": task.task_name,
                "job": task.job_name,
                "state": _state(task.state),
                "folder": task.working_directory,
                "made": moment(task.created_time),
                "parent": link(task.parent_id, f"/task/{task.parent_id}")
                if task.parent_id
                else None,
            }
        )
        planned = [[role, product.filename] for role, product in task.output_files.items()]
        sections = [("", [about, link("its tree", f"/?task_id={task_id}"), *actions(task_id)])]
        if needs := waits_for(task_id):
            sections.append(("Waits for", [table(needs, ["What", "Task", "State", "Met"])]))
        sections.append(("Metadata", [metadata_table(task.metadata)]))
        if planned:
            sections.append(("Planned files", [table(planned, ["Role", "File"])]))
        attempts = {**task.execution_attempts_passed, **task.execution_attempts_incomplete}
        names = filenames(attempts.values())
        for id_ in sorted(attempts, reverse=True):
            sections.append((f"Attempt {id_}", attempt_parts(attempts[id_], names)))
        if not attempts:
            sections.append(("Attempts", ["none yet"]))
        return render(f"Task {task_id}", *sections)

    @app.get(f"/api/task/<{ID}:task_id>")
    def api_task(task_id):
        task = task_facts(task_id)
        return app.json.response(task.as_dict())

    @app.post(f"/task/<{ID}:task_id>/<action>")
    def act(task_id, action):
        given = flask.request.form.get("token") or flask.request.headers.get("X-Token") or ""
        if not settings.web_token or not hmac.compare_digest(
            given.encode(), settings.web_token.encode()
        ):
            flask.abort(403)
        task_facts(task_id)
        if action == "retry":
            jobs.retry(database, task_ids=[task_id])
        elif action == "cancel":
            jobs.cancel(database, [task_id])
        else:
            flask.abort(404)
        return flask.redirect(f"/task/{task_id}", 303)

    # --- files

    @app.get("/directories")
    def directories():
        query = (
            sa.select(PRODUCTS.c.directoryName, sa.func.count())
            .group_by(PRODUCTS.c.directoryName)
            .order_by(PRODUCTS.c.directoryName)
        )
        rows = database.read(lambda db: db.execute(query).all())
        found = [[link(name or ".", f"/files/{name}"), count] for name, count in rows]
        return render("Files", ("", [table(found, ["Directory", "Products"])]))

    @app.get("/files/")
    @app.get("/files/<path:directory>")
    def files(directory=""):
        first = flask.request.args.get("first", default=0, type=_number)
        query = (
            sa.select(PRODUCTS.c.filename, PRODUCTS.c.generatorTask, VERSIONS)
            .join(VERSIONS, VERSIONS.c.productId == PRODUCTS.c.productId, isouter=True)
            .where(PRODUCTS.c.directoryName == directory)
            .order_by(PRODUCTS.c.filename, VERSIONS.c.productVersionId)
            .limit(PAGE_LENGTH + 1)
            .offset(first)
        )
        rows = database.read(lambda db: db.execute(query).all())
        shown = [
            [
                link(row.filename, f"/file/{row.productVersionId}/{row.filename}")
                if row.productVersionId
                else row.filename,
                link(row.generatorTask, f"/task/{row.generatorTask}"), row.fileSize,
                None if row.passedQc is None else bool(row.passedQc), moment(row.createdTime),
            ]
            for row in rows[:PAGE_LENGTH]
        ]  # fmt: skip
        parts = [table(shown, ["File", "Task", "Bytes", "Passed", "Made"])]
        if len(rows) > PAGE_LENGTH:
            parts.append(link("more", f"/files/{directory}?first={first + PAGE_LENGTH}"))
        return render(f"Files in {directory or '.'}", ("", parts))

    @app.get(f"/file/<{ID}:version_id>/<name>")
    def file(version_id, name):
        with TaskDatabaseConnection(database=database, settings=settings) as connection:
            path = connection.file_version_path_for_id(version_id, must_exist=True)
        if path is None:
            raise WrongUseError(f"there is no file of version {version_id}")
        is_picture = name.lower().endswith((".png", ".jpg"))
        return flask.send_file(path, download_name=name, as_attachment=not is_picture)

    # --- tables

    def add_table(name, title, fetch):
        @app.get(f"/{name}", endpoint=name)
        def page():
            rows = fetch()
            columns = list(dict.fromkeys(key for row in rows for key in row))
            cells = [
                [
                    link(row[c], f"/task/{row[c]}")
                    if c == "task"
                    else moment(row[c])
                    if c in ("start", "end", "queued", "time")
                    else row.get(c)
                    for c in columns
                ]
                for row in rows[-PAGE_LENGTH:]
            ]
            shown = table(cells, columns, total=len(rows)) if rows else "nothing yet"
            return render(title, ("", [shown]))

        @app.get(f"/api/{name}", endpoint=f"api_{name}")
        def api():
            return flask.jsonify(fetch())

    def level():
        return flask.request.args.get("level", default=30, type=_number)

    add_table(
        "progress",
        "Progress",
        lambda: tables.fetch_progress_summary(
            root=job_argument(), max_heartbeat_age=settings.max_heartbeat_age, database=database
        ),
    )
    add_table(
        "timings",
        "Timings",
        lambda: tables.fetch_timings_table(
            root=job_argument(), limit=MOST_ATTEMPTS, database=database
        ),
    )
    add_table(
        "pass_fail",
        "Pass and fail",
        lambda: tables.fetch_pass_fail_table(root=job_argument(), database=database),
    )
    add_table(
        "logs",
        "Messages",
        lambda: tables.fetch_errors(root=job_argument(), level=level(), database=database),
    )

    @app.get("/timeline")
    def timeline():
        least = flask.request.args.get("least", default=0.0, type=float)
        rows = tables.fetch_timings_table(
            root=job_argument(), least=least, limit=MOST_ATTEMPTS, database=database
        )
        choice = Markup("<p>At least: {}</p>").format(
            Markup(" ").join(link(f"{s} s", f"/timeline?least={s}") for s in (0, 2, 60))
        )
        return render("Timeline", ("", [choice, draw_timeline(rows)]))

    return app


def serve(settings, port):
    """Serve the pages on this computer until stopped.

    Parameters
    ----------
    settings : ChainSettings
    port : int; 0: any that is free
    """
    from werkzeug.serving import make_server

    app = create_app(settings)
    try:
        server = make_server(HOST, port, app, threaded=True)
    except (OSError, SystemExit):
        raise WrongUseError(f"port {port} is taken; choose another one with --port") from None
    print(f"http://{HOST}:{server.server_port}/", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()
    return 0
