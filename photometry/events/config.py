"""`ConfigClass`: an INI file as attributes, and the framework's keys with type, range, default and
meaning of each. `getLogger`: logging set up from a file in the standard library's INI format.

Values are literals; nothing in a file is ever run. ``logging.config.fileConfig`` evaluates the
arguments of handlers, and their classes, as Python; here they must be literals and names of classes
of the standard library.
"""

import ast
import configparser
import difflib
import inspect
import logging
import logging.config
import logging.handlers
import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from ..errors import SettingsError
from ..settings import Section, check, read_toml, register_section

log = logging.getLogger(__name__)

# the section whose keys are names of events, with capitals where they have some
EVENT_TABLE = "event_table"
LOG_LINE = "%(asctime)s:%(name)s:%(levelname)s: %(message)s"
LOG_TIME = "%Y-%m-%d %H:%M:%S"
_STREAMS = {"sys.stdout": "None", "sys.stderr": "None"}

# logging configuration -> its mtime: applied again only when it has changed
_loaded = {}


def _texts(value):
    several = (value,) if isinstance(value, str) else value
    if not isinstance(several, (list, tuple)) or not all(isinstance(one, str) for one in several):
        raise ValueError("expected a text, or several")
    return value


def _secret(value):
    if not isinstance(value, (bytes, str, type(None))):
        raise ValueError("expected bytes, text or None")
    return value


def _event(value):
    if not (value is None or isinstance(value, str) or hasattr(value, "name")):
        raise ValueError("expected the name of an event, an Event, or None")
    return value


Texts = Annotated[object, AfterValidator(_texts)]
Secret = Annotated[object, AfterValidator(_secret)]
EventOrName = Annotated[object, AfterValidator(_event)]


class EventSettings(Section):
    """Section ``[DEFAULT]`` of an INI file, ``[events]`` of a TOML file."""

    name: str = Field("DRP-Example", description="label of the run")
    logger_config_file: str | None = Field(
        "logger.cfg", description="logging configuration; without the file: the console"
    )
    print_trace: bool = Field(True, description="tracebacks in the log")
    pipeline_path: Texts = Field(("", "pipelines"), description="packages searched for pipelines")
    primitive_path: Texts = Field(
        ("", "primitives"), description="packages searched for primitives"
    )
    output_directory: str = Field("output", description="where results go")
    temp_directory: str = Field("temp", description="where pipelines may put intermediate files")
    event_timeout: float = Field(
        1, ge=0, description="s to wait for an item before looking whether the run is over"
    )
    no_event_event: EventOrName = Field(
        None, description="event to run while there is none; None: end when the queues are empty"
    )
    no_event_wait_time: float = Field(
        5,
        ge=0,
        description="s that no_event waits at most, forced into 5..30; an arriving event ends it",
    )
    default_ingestion_event: str = Field("next_file", description="event per ingested file")
    pre_condition_failed_stop: bool = Field(
        False, description="stop the run when a pre-condition is not met"
    )
    pre_condition_skips: Literal["step", "item"] = Field(
        "step",
        description="what a class skips whose pre-condition is not met: its step, or the item",
    )
    file_type: Texts = Field("*.fits", description="patterns of the files to ingest")
    recursive: bool = Field(False, description="also look into sub-directories")
    settle_time: float = Field(
        2, ge=0, description="s for which a file must not change before it is ingested"
    )
    monitor_interval: float = Field(
        10, gt=0, description="s between looks at the data directory where it has to be polled"
    )
    monitor_method: Literal["auto", "native", "polling"] = Field(
        "auto", description="auto: the system's notifications, polling on network disks"
    )
    want_multiprocessing: bool = Field(
        False, description="share the low-priority queue between processes"
    )
    queue_file: str | None = Field(
        None,
        description="SQLite file of the queue, or URL of a database; None: in memory, or "
        "events.sqlite in output_directory",
    )
    queue_patience: float = Field(
        60, ge=0, description="s to wait for a shared queue that is gone to come back"
    )
    lease_time: float = Field(
        60, gt=0, description="s after which an item of a silent worker is given to another one"
    )
    max_attempts: int = Field(
        3, ge=1, description="how often an item is begun before it has failed"
    )
    retry_delay: float = Field(
        5, ge=0, description="s before an item is tried again, doubled with every attempt"
    )
    max_chain_length: int = Field(
        1000, ge=1, description="steps of one item, beyond which it has failed"
    )
    max_repeats: int | None = Field(
        None,
        ge=1,
        description="how often a recurrent event may come before it has failed; None: no limit",
    )
    max_items_per_worker: int | None = Field(
        None, ge=1, description="items after which a worker is replaced by a fresh one"
    )
    item_time_limit: float | None = Field(
        None,
        ge=0,
        description="s after which an item of a worker process is stopped and has failed",
    )
    stop_grace: float = Field(
        30, ge=0, description="s that the present item gets to finish after a request to stop"
    )
    queue_manager_hostname: str = Field(
        "localhost", description="host of the queue's network front end"
    )
    queue_manager_portnr: int = Field(50101, ge=1, le=65535, description="its port")
    queue_manager_auth_code: Secret = Field(
        None, description="its secret; there is no default, None: no network"
    )


register_section("events", EventSettings)


FRAMEWORK_DEFAULTS = {name: field.default for name, field in EventSettings.model_fields.items()}

_TEXTS = {
    *("get", "getint", "getfloat", "getboolean", "items", "sections", "options", "defaults"),
    *("has_section", "has_option", "_sections"),
}


class ConfigSection(dict):
    """The keys of one section. A key that only the default section has is found here too, as by
    `configparser`.

    Parameters
    ----------
    own : dict, the section's own keys
    defaults : dict, those of the default section
    """

    def __init__(self, own, defaults):
        super().__init__(own)
        self._defaults = defaults

    def __missing__(self, key):
        return self._defaults[key]


class ConfigClass:
    """Keys of the default section are attributes; every other section is an attribute that holds a
    dict.

    The names of attributes ignore case, and an unknown one is None. Several objects are often
    chained: ``framework.config.instrument = ConfigClass("instrument.cfg",
    default_section="KCWI")``. The methods by which a `configparser.ConfigParser` is read, like
    ``get(section, key, fallback=None)``, give the texts as they are in the file. Of a TOML file,
    section ``[events]`` is the default section.

    Parameters
    ----------
    cgfile : file name, or None for the defaults alone
    default_section : name of the section whose keys become attributes
    **defaults : further values, which the file overrules

    Raises
    ------
    SettingsError : the file is missing, or is not an INI file
    """

    config_defaults = FRAMEWORK_DEFAULTS

    def __init__(self, cgfile=None, default_section="DEFAULT", **defaults):
        properties = {key.lower(): value for key, value in (FRAMEWORK_DEFAULTS | defaults).items()}
        parser = configparser.ConfigParser(
            default_section=default_section, interpolation=None, strict=False
        )
        self.__dict__.update(
            properties=properties, default_section=default_section, path=cgfile, _parser=parser
        )
        if cgfile is not None:
            self.read(cgfile)

    def read(self, cgfile):
        """Read a file, or several one after the other, over the values that are there."""
        for path in [cgfile] if isinstance(cgfile, (str, os.PathLike)) else cgfile:
            self._read(path)

    def _read(self, path):
        if Path(path).suffix == ".toml":
            sections = read_toml(path)
            top = sections.pop("events", {})
        else:
            texts = self._read_ini(path)
            sections = {
                name: {key: literal(text) for key, text in section.items()}
                for name, section in texts.items()
            }
            top = sections.pop(self.default_section, {})
        top = {key.lower(): value for key, value in top.items()}
        _warn_of_typing_errors(path, top, self.properties)
        self.properties.update(top)
        for name, own in sections.items():
            if name.lower() != EVENT_TABLE and isinstance(own, dict):
                own = {key.lower(): value for key, value in own.items()}
            self.properties[name.lower()] = (
                ConfigSection(own, self.properties) if isinstance(own, dict) else own
            )

    def _read_ini(self, path):
        """The texts of a file: dict of section -> its own keys, without those of the default
        section."""
        # a default section that no file has: each section then has its own keys only
        parser = configparser.ConfigParser(default_section="\n", interpolation=None)
        # the names of events are keys of [event_table]
        parser.optionxform = str
        try:
            parser.read_string(Path(path).read_text(encoding="utf-8"), source=str(path))
        except OSError as error:
            raise SettingsError(
                f"{path}: cannot read this configuration file: {error.strerror}; expected INI"
            ) from error
        except (configparser.Error, UnicodeDecodeError) as error:
            message = " ".join(str(error).split())
            raise SettingsError(f"{path}: not an INI file: {message}") from error
        texts = {name: dict(parser[name]) for name in parser.sections()}
        self._parser.read_dict(texts)
        return texts

    def __getattr__(self, key):
        # Python's own protocols (copy, pickle) ask for these and must hear no
        if key.startswith("__"):
            raise AttributeError(key)
        if key in _TEXTS and key not in self.properties:
            return getattr(self._parser, key)
        return self.properties.get(key.lower())

    def __setattr__(self, key, value):
        self.properties[key.lower()] = value

    def __getitem__(self, section):
        """A section as a dict; the default section has all keys that are attributes."""
        if section == self.default_section:
            return self.properties
        if section.lower() not in self.properties:
            raise KeyError(section)
        return self.properties[section.lower()]

    def __contains__(self, section):
        return section == self.default_section or section.lower() in self.properties

    def set(self, section, key, value):
        """Set a key of a section; those of the default section are the attributes.

        Parameters
        ----------
        section : str, as in the file, or the name of the default section
        key : str
        value : anything; what a text spells is not looked for
        """
        if section == self.default_section:
            setattr(self, key, value)
        else:
            empty = ConfigSection({}, self.properties)
            self.properties.setdefault(section.lower(), empty)[key.lower()] = value

    def getValue(self, key, default=None):
        """The value of a key, ``default`` where it is missing or None."""
        value = getattr(self, key)
        return default if value is None else value

    def check(self):
        """Check the framework's own keys, and make numbers of texts that are some.

        Raises
        ------
        SettingsError : values outside what is accepted
        """
        known = {name: self.properties[name] for name in FRAMEWORK_DEFAULTS}
        checked = check(EventSettings, (str(self.path or "configuration"), known), name="events")
        self.properties.update({name: getattr(checked, name) for name in known})

    def __getstate__(self):
        return self.__dict__

    def __setstate__(self, state):
        self.__dict__.update(state)


def literal(text):
    """The Python literal that a text spells, comment after it included (``10 # s``); else the text
    itself."""
    text = text.strip()
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _warn_of_typing_errors(path, keys, known):
    # close: a letter or two of difference
    for key in keys.keys() - known.keys():
        if close := difflib.get_close_matches(key, list(FRAMEWORK_DEFAULTS), n=1, cutoff=0.85):
            log.warning("%s: unknown key %r; did you mean %r?", path, key, close[0])


def as_file():
    """A configuration file with all keys, each with its meaning and default, for the user to
    change."""
    lines = ["# Every key may be left out; what is here are the defaults.", "[DEFAULT]"]
    for name, key in EventSettings.model_fields.items():
        lines += ["", f"# {key.description}", f"{name} = {key.default!r}"]
    return "\n".join(lines) + "\n"


def getLogger(configFile=None, name="DRPF"):
    """A logger, set up by ``configFile`` if that exists; else it says INFO and above on the
    console.

    Where the program has set up logging already (the root logger has handlers), nothing is added to
    it.

    Raises
    ------
    SettingsError : the file is no logging configuration, or would run code
    """
    if configFile is not None and Path(configFile).is_file():
        path = Path(configFile).resolve()
        changed = path.stat().st_mtime_ns
        if _loaded.get(path) != changed:
            _apply(path)
            _loaded[path] = changed
        return logging.getLogger(name)
    logger = logging.getLogger(name)
    if not logger.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter(LOG_LINE, LOG_TIME))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    return logger


def _apply(path):
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text(encoding="utf-8"), source=str(path))
        for name in parser.sections():
            if name.startswith("handler_"):
                _check_handler(parser[name])
            elif name.startswith("formatter_") and "class" in parser[name]:
                raise ValueError(f"[{name}]: class is not accepted")
        logging.config.fileConfig(parser, disable_existing_loggers=False)
    except (configparser.Error, LookupError, ValueError, TypeError, RuntimeError) as error:
        message = " ".join(str(error).split())
        raise SettingsError(f"{path}: not a logging configuration: {message}") from error


def _check_handler(section):
    """Refuse what would run code: a class that is not a handler of the standard library, arguments
    that are no literals."""
    name = section["class"]
    module = logging.handlers if name.startswith("handlers.") else logging
    kind = getattr(module, name.removeprefix("handlers."), None)
    if not (inspect.isclass(kind) and issubclass(kind, logging.Handler)):
        raise ValueError(f"class={name!r} is not a handler of the standard library")
    for key in ("args", "kwargs"):
        text = section.get(key, "()")
        for stream, plain in _STREAMS.items():
            text = text.replace(stream, plain)
        try:
            ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise ValueError(f"{key}={section[key]}: a tuple of literals is accepted") from None
