"""Settings of task chains: one file, the environment, the command line. Secrets stand in files that
only their owner reads.

From the weakest: defaults, ``local_settings*.conf`` of the EAS pipeline (lines ``key: value``),
``chains.toml``, all in the folder ``home``, environment variables ``PHOTOMETRY_CHAINS__<NAME>``
(one or two underscores), options of the command line.
"""

import contextlib
import os
import stat
import sys
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from ..errors import SettingsError, WrongUseError
from ..files import atomic_write
from ..settings import Section, did_you_mean, register_section

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PREFIX = "PHOTOMETRY_CHAINS_"
DEFAULT_HOME = "photometry-chains"
CONFIG_NAME = "chains.toml"
SECRETS = ("mq_password", "db_password", "web_token")


class ChainSettings(Section):
    """All settings of task chains."""

    home: Path = Field(Path(DEFAULT_HOME), description="folder for database and files")
    database: str | None = Field(
        None, description="URL or path of the task database; none: chains.sqlite in home"
    )
    db_password: str | None = Field(None, description="password of the database")
    store: Path | None = Field(None, description="folder for products; none: files in home")
    input_folder: Path | None = Field(
        None, description="folder for files that tasks may take in; none: input in home"
    )
    queue: Literal["sql", "amqp"] = Field("sql", description="how tasks travel to other hosts")
    queue_prefix: str = Field("", description="before the names of RabbitMQ's queues")
    mq_host: str = Field("localhost", description="host of RabbitMQ")
    mq_port: int = Field(5672, ge=1, le=65535, description="port of RabbitMQ")
    mq_user: str = Field("guest", description="user of RabbitMQ")
    mq_password: str = Field("guest", description="password of RabbitMQ")
    lease: float = Field(
        60.0, gt=0, description="s after which a worker that was not heard of has lost its tasks"
    )
    max_attempts: int = Field(3, ge=1, description="attempts of a task that fails")
    retry_delay: float = Field(1.0, ge=0, description="s before the second attempt; doubles")
    task_timeout: float | None = Field(3600.0, gt=0, description="s that one task may take")
    memory_gb: float | None = Field(None, gt=0, description="GB that one task may allocate")
    null_sleep: float = Field(0.0, ge=0, description="s that the task null sleeps")
    max_log_message_length: int = Field(4096, ge=10, description="characters of a log message")
    max_heartbeat_age: float = Field(
        300.0, gt=0, description="s; a running task without sign of life for longer is stalled"
    )
    database_patience: float = Field(
        300.0, ge=0, description="s that a database which is away is waited for"
    )
    web_token: str | None = Field(
        None, description="who has it may retry and cancel on the web page; none: nobody may"
    )

    @property
    def database_url(self):
        """The URL of the task database, with the password."""
        from .connect import database_url

        url = database_url(self.database or Path(self.home) / "chains.sqlite")
        return url.set(password=self.db_password) if self.db_password else url

    @property
    def file_store(self):
        """The folder for products."""
        return Path(self.store or Path(self.home) / "files").absolute()

    @property
    def inputs(self):
        """The folder for files that tasks may take in."""
        return Path(self.input_folder or Path(self.home) / "input").absolute()


register_section("chains", ChainSettings)


def load_chain_settings(overrides=None, *, environ=None):
    """The settings from file, environment and ``overrides``.

    Parameters
    ----------
    overrides : dict, values by name; those that are None are left out
    environ : mapping, by default the environment

    Returns
    -------
    ChainSettings

    Raises
    ------
    SettingsError : an unknown name or a value that is not accepted
    WrongUseError : a file with secrets that others may read
    """
    environ = os.environ if environ is None else environ
    overrides = {key: value for key, value in (overrides or {}).items() if value is not None}
    from_environment = {
        key[len(PREFIX) :].lstrip("_").lower(): value
        for key, value in environ.items()
        if key.startswith(PREFIX) and key != f"{PREFIX}CONFIG"
    }
    _refuse_unknown(from_environment, ChainSettings.model_fields, f"the environment ({PREFIX}...)")
    if "EAS_HOME" in environ:
        from_environment.setdefault("home", environ["EAS_HOME"])
    home = Path(overrides.get("home") or from_environment.get("home") or DEFAULT_HOME)
    path = Path(environ.get(f"{PREFIX}CONFIG") or home / CONFIG_NAME)
    values = _from_conf(fetch_conf_files(home)) | _from_toml(path) | from_environment | overrides
    values["home"] = home
    try:
        return ChainSettings(**values)
    except ValidationError as error:
        problem = error.errors()[0]
        name = ".".join(map(str, problem["loc"]))
        raise SettingsError(f"{name}={problem['input']!r}: {problem['msg'].lower()}") from None


def _from_toml(path):
    if not path.is_file():
        return {}
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: is not TOML: {error}") from None
    _refuse_unknown(values, ChainSettings.model_fields, path)
    if any(name in values for name in SECRETS) or ":" in _login(values.get("database")):
        _check_mode(path)
    return values


def _login(database):
    return str(database or "").partition("://")[2].rpartition("@")[0]


def _refuse_unknown(names, known, source):
    for name in names:
        if name not in known:
            hint = did_you_mean(name, list(known)) or f" known are {', '.join(known)}"
            raise SettingsError(f"{source}: unknown setting {name!r};{hint}")


def _check_mode(path):
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise WrongUseError(
            f"{path}: holds a password and has mode {mode:04o}, so others may read it; chmod 600 it"
        )


def refuse_password(url):
    """Refuse a URL of the command line that has a password: every user of the machine can read
    command lines."""
    if url and ":" in _login(url):
        raise WrongUseError(
            "--database: a password on the command line can be read by every user; put db_password "
            f"into {CONFIG_NAME} (mode 600) or {PREFIX}DB_PASSWORD"
        )


def write_secret(path, text):
    """Write a file that only its owner may read, at no moment anybody else."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.chmod(0o600)
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8")


# --- the EAS pipeline's files: lines ``key: value``


def read_conf(path):
    """Values of a file of lines ``key: value``; ``#`` starts a comment line; a value may hold
    colons."""
    values = {}
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        key, colon, value = line.partition(":")
        if colon and not line.lstrip().startswith("#"):
            values[key.strip()] = value.strip()
    return values


def fetch_conf_files(folder):
    """Values of all ``local_settings*.conf`` of a folder, later names first."""
    values = {}
    for path in sorted(Path(folder).glob("local_settings*.conf")):
        found = read_conf(path)
        if any(found.get(name) for name in SECRETS):
            _check_mode(path)
        values |= found
    return values


def _from_conf(values):
    """Settings of ours for those of the EAS pipeline."""
    ours = {
        name: values[name]
        for name in ("mq_host", "mq_port", "mq_user", "mq_password", "max_heartbeat_age")
        if values.get(name)
    }
    if values.get("queue_implementation"):
        ours["queue"] = values["queue_implementation"]
    if engine := values.get("db_engine"):
        if engine == "sqlite3":
            ours["database"] = values.get("db_database")
        else:
            user = f"{values['db_user']}@" if values.get("db_user") else ""
            port = f":{values['db_port']}" if values.get("db_port") else ""
            host = values.get("db_host") or "localhost"
            ours["database"] = f"{engine}://{user}{host}{port}/{values.get('db_database') or ''}"
            ours["db_password"] = values.get("db_password") or None
    return {name: value for name, value in ours.items() if value is not None}


class Settings:
    """The EAS pipeline's settings, filled from ours.

    Attributes
    ----------
    installation_info : dict of ``db_engine``, ``db_user``, ..., ``queue_implementation``,
        ``mq_host``, ...
    settings : dict of ``dataPath`` (file store), ``inDataPath``, ``lcPath``, ``localDataPath``,
        ``pythonPath``, ...
    """

    def __init__(self, chain_settings=None):
        ours = chain_settings or load_chain_settings()
        url = ours.database_url
        engine = url.get_backend_name().replace("sqlite", "sqlite3").replace("mariadb", "mysql")
        self.installation_info = {
            "debug": 0,
            "max_log_message_length": ours.max_log_message_length,
            "max_heartbeat_age": ours.max_heartbeat_age,
            "db_engine": engine,
            "db_host": url.host,
            "db_port": url.port,
            "db_user": url.username,
            "db_password": url.password,
            "db_database": url.database,
            "queue_implementation": ours.queue,
            "mq_host": ours.mq_host,
            "mq_port": ours.mq_port,
            "mq_user": ours.mq_user,
            "mq_password": ours.mq_password,
        }
        self.settings = {
            "softwareVersion": 1,
            "pythonPath": str(Path(__file__).resolve().parents[1]),
            "dataPath": str(ours.file_store),
            "inDataPath": str(ours.inputs),
            "lcPath": str(ours.inputs),
            "localDataPath": str(Path(ours.home).absolute()),
            "debug": 0,
        }

    @staticmethod
    def fetch_local_settings(root_path):
        """Values of the files ``local_settings*.conf`` of a folder."""
        values = fetch_conf_files(root_path)
        for key, value in values.items():
            with contextlib.suppress(ValueError):
                values[key] = value if "password" in key else float(value)
        return values

    def fetch_environment_settings(self, root_path):
        """The paths below a folder."""
        root = Path(root_path)
        return self.settings | {"localDataPath": str(root), "dataPath": str(root / "files")}
