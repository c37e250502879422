"""Settings of a project (``pipeline.cfg``) and of a job (``job_params.cfg``), and the list of its
images.

INI files whose values are literals of Python (numbers, True, lists), times, or text. Nothing in
them is executed.
"""

import ast
import configparser
import getpass
import glob
import json
import os
from datetime import datetime
from pathlib import Path

from ..errors import SettingsError, WrongUseError
from ..settings import check
from .settings import JobSettings, ProjectSettings

PIPELINE_FILE = "pipeline.cfg"
JOB_FILE = "job_params.cfg"
IMAGES_FILE = "images_to_process.txt"

_ENVIRONMENT = {
    "TKP_DBENGINE": ("database", "engine"),
    "TKP_DBNAME": ("database", "database"),
    "TKP_DBUSER": ("database", "user"),
    "TKP_DBPASSWORD": ("database", "password"),
    "TKP_DBHOST": ("database", "host"),
    "TKP_DBPORT": ("database", "port"),
    "TKP_PARALLELISE": ("parallelise", "method"),
}


class Section(dict):
    """A dict whose keys are attributes as well."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def nested(sections):
    """Sections of settings as a `Section` of `Section`."""
    return Section({name: Section(values) for name, values in sections.items()})


def parse(text):
    """A value of a settings file: a literal, else a time, else the text."""
    text = text.strip()
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        pass
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f")
    except ValueError:
        return text


def read_pipeline(job_name, folder="."):
    """The settings of a project, from ``pipeline.cfg`` of a folder; environment variables win.

    Parameters
    ----------
    job_name : str
    folder : path

    Returns
    -------
    Section of Section, with ``job_directory`` among ``DEFAULT``
    """
    folder = Path(folder).resolve()
    parser = configparser.ConfigParser()
    parser.optionxform = str
    parser["DEFAULT"] = {
        "cwd": str(folder).replace("%", "%%"),
        "job_name": job_name,
        "start_time": datetime.now().strftime("%Y-%m-%dT%H-%M-%S"),
        "runtime_directory": "%(cwd)s",
        "job_directory": "%(runtime_directory)s/%(job_name)s",
    }
    defaults = ProjectSettings().model_dump()
    parser.read_dict({"logging": {"log_dir": defaults["logging"]["log_dir"]}})
    path = folder / PIPELINE_FILE
    _read(parser, path)
    environment = [
        (variable, {section: {key: parse(os.environ[variable])}})
        for variable, (section, key) in _ENVIRONMENT.items()
        if os.environ.get(variable)
    ]
    settings = check(
        ProjectSettings, (str(path), _sections(parser, path)), *environment, name=None
    ).model_dump()
    settings["DEFAULT"] = {
        key: value for key, value in parser.defaults().items() if key != "start_time"
    }
    settings["DEFAULT"]["job_directory"] = parser["logging"]["job_directory"]
    return nested(settings)


def read_job(path):
    """The settings of a job; what the file does not say has its default."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str
    _read(parser, Path(path))
    return nested(check(JobSettings, (str(path), _sections(parser, path)), name=None).model_dump())


def job_settings(**sections):
    """The default settings of a job with changes, for example ``quality={"rms_est_max": 1.0}``."""
    return nested(check(JobSettings, ("job_settings()", sections), name=None).model_dump())


def _read(parser, path):
    if not path.is_file():
        return
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except (configparser.Error, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {' '.join(str(error).split())}") from None


def _sections(parser, path):
    """What a file says: dict of dicts, each value parsed."""
    try:
        return {
            section: {
                key: parse(parser[section][key])
                for key in parser[section]
                if key not in parser.defaults()
            }
            for section in parser.sections()
        }
    except configparser.InterpolationError as error:
        raise SettingsError(f"{path}: {' '.join(str(error).split())}") from None


def write_settings(pipe_config, job_config):
    """Keep the settings of a run beside its log files, without the password."""
    folder = Path(pipe_config.logging.log_dir)
    folder.mkdir(parents=True, exist_ok=True)
    hidden = {**pipe_config, "database": {**pipe_config.database, "password": "***"}}
    for name, content in (("pipeline.json", hidden), ("job_params.json", job_config)):
        (folder / name).write_text(json.dumps(content, indent=1, default=str) + "\n")


def url_of_database(pipe_config):
    """The URL or path of the database of a project."""
    settings = pipe_config.database
    name = settings.database
    if "://" in name:
        return name
    if settings.engine == "sqlite":
        folder = Path(pipe_config.DEFAULT["job_directory"])
        return Path(name) if name else folder / "transients.sqlite"
    user = settings.user or getpass.getuser()
    import sqlalchemy as sa

    return sa.engine.URL.create(
        "postgresql+psycopg", user, settings.password or None, settings.host or None, settings.port,
        name or user,
    ).render_as_string(hide_password=False)  # fmt: skip


def list_images(job_dir):
    """The images of a job: from ``images_to_process.txt``, one path or pattern a line, or from the
    original's ``.py``.

    Of a Python file only a literal list ``images = [...]`` or ``images = glob.glob("...")`` (also
    sorted) is understood; it is never executed.

    Returns
    -------
    list of str, without doubles
    """
    job_dir = Path(job_dir)
    path = job_dir / IMAGES_FILE
    if path.is_file():
        patterns = _lines(path)
    elif (path := job_dir / "images_to_process.py").is_file():
        patterns = _images_of_python(path)
    else:
        raise WrongUseError(
            f"{job_dir}: no {IMAGES_FILE}; make the job with `photometry transients init`"
        )
    return expand(patterns, job_dir, path)


def _lines(path):
    """The lines of a file without comments."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise WrongUseError(
            f"{path}: is not UTF-8 text ({error}); expected a path a line"
        ) from None
    return [line for line in lines if line and not line.startswith("#")]


def expand(patterns, folder, source):
    """Paths and patterns as the paths that are there, relative ones from a folder; names of files
    of paths begin with ``@``.

    Parameters
    ----------
    patterns : list of str
    folder : path
    source : where the patterns are from, for messages
    """
    paths = {}
    for pattern in patterns:
        pattern = os.path.expanduser(str(pattern))
        if pattern.startswith("@"):
            inner = Path(folder) / pattern[1:]
            if not inner.is_file():
                raise WrongUseError(f"{source}: {inner} is not there")
            paths.update(dict.fromkeys(expand(_lines(inner), inner.parent, inner)))
            continue
        full = os.path.join(folder, pattern)
        matches = (
            sorted(glob.glob(full, recursive=True))
            if glob.has_magic(full) and not os.path.exists(full)
            else [full]
        )
        paths.update(dict.fromkeys(matches))
    return list(paths)


def _images_of_python(path):
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise WrongUseError(f"{path}: {error}") from None
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(
            getattr(t, "id", "") == "images" for t in node.targets
        ):
            value = node.value
            while isinstance(value, ast.Call) and value.args:
                # sorted(glob.glob("...")), list(...): what is inside counts
                value = value.args[0]
            try:
                images = ast.literal_eval(value)
            except ValueError:
                break
            return [images] if isinstance(images, str) else list(images)
    raise WrongUseError(
        f"{path}: expected `images = [...]` or `images = glob.glob('...')`; it is read, not "
        f"executed. "
        f"Write the paths or patterns into {IMAGES_FILE} instead"
    )


def template(settings):
    """A settings file with all settings, and what each means.

    Parameters
    ----------
    settings : settings.Section, of sections
    """
    lines = []
    for name, section in settings:
        lines += [f"[{name}]"]
        for key, value in section:
            if meaning := type(section).model_fields[key].description:
                lines.append(f"; {meaning}")
            lines.append(f"{key} = {value}")
        lines.append("")
    return "\n".join(lines)
