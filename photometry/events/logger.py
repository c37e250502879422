"""`getLogger`: logging set up from a file in the standard library's INI format, without running what is in it.

The standard library's ``fileConfig`` evaluates the ``args`` of handlers as Python; here they must be literals.
"""

import configparser
import inspect
import logging
import logging.config
import logging.handlers
from pathlib import Path

from ..errors import SettingsError
from .config import literal

LINE = "%(asctime)s:%(name)s:%(levelname)s: %(message)s"
TIME = "%Y-%m-%d %H:%M:%S"
_STREAMS = {"sys.stdout": "ext://sys.stdout", "sys.stderr": "ext://sys.stderr"}
_loaded = {}  # path -> mtime: a file is applied again only when it has changed


def getLogger(configFile=None, name="DRPF"):
    """A logger, set up by ``configFile`` if that exists; else it says INFO and above on the console.

    Where the program has set up logging already (the root logger has handlers), nothing is added to it.
    """
    if configFile is not None and Path(configFile).is_file():
        _apply(Path(configFile).resolve())
        return logging.getLogger(name)
    logger = logging.getLogger(name)
    if not logger.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter(LINE, TIME))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    return logger


def _apply(path):
    changed = path.stat().st_mtime_ns
    if _loaded.get(path) != changed:
        logging.config.dictConfig(read_logging(path))
        _loaded[path] = changed


def read_logging(path):
    """The content of a logging file as the dict that ``logging.config.dictConfig`` takes.

    Raises
    ------
    SettingsError : a section or key is missing, or a handler is not one of the standard library's
    """
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(Path(path).read_text(encoding="utf-8"), source=str(path))
        loggers = {
            _logger_name(parser, key): _logger(parser[f"logger_{key}"])
            for key in _names(parser, "loggers")
        }
        return {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                key: _formatter(parser[f"formatter_{key}"]) for key in _names(parser, "formatters")
            },
            "handlers": {
                key: _handler(parser[f"handler_{key}"]) for key in _names(parser, "handlers")
            },
            "root": loggers.pop("root", {}),
            "loggers": loggers,
        }
    except (configparser.Error, KeyError, ValueError) as error:
        raise SettingsError(f"{path}: not a logging configuration: {error}") from error


def _names(parser, section):
    return (
        [name.strip() for name in parser[section]["keys"].split(",") if name.strip()]
        if section in parser
        else []
    )


def _logger_name(parser, key):
    return key if key == "root" else parser[f"logger_{key}"].get("qualname", key)


def _logger(section):
    handlers = [name.strip() for name in section.get("handlers", "").split(",") if name.strip()]
    return {
        "level": section.get("level", "NOTSET"),
        "handlers": handlers,
        "propagate": section.get("propagate", "1") == "1",
    }


def _formatter(section):
    return {"format": section.get("format", LINE), "datefmt": section.get("datefmt", TIME)}


def _handler(section):
    name = section["class"]
    kind = getattr(logging, name, None) or getattr(
        logging.handlers, name.removeprefix("handlers."), None
    )
    if not (inspect.isclass(kind) and issubclass(kind, logging.Handler)):
        raise ValueError(f"class={name!r} is not a handler of the standard library")
    handler = {
        "class": f"{kind.__module__}.{kind.__name__}",
        **_arguments(kind, section.get("args", "()")),
    }
    return handler | {key: section[key] for key in ("level", "formatter") if section.get(key)}


def _arguments(kind, text):
    """``('DRPF.log', 'a')`` as keywords of the handler's constructor."""
    for spelled, reference in _STREAMS.items():
        text = text.replace(spelled, repr(reference))
    values = literal(text)
    if not isinstance(values, tuple):
        raise ValueError(f"args={text}: a tuple of literals is accepted")
    names = list(inspect.signature(kind.__init__).parameters)[1:]
    return dict(zip(names, values, strict=False))
