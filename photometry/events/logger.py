"""`getLogger`: logging set up from a file in the standard library's INI format, without running
what is in it.

``logging.config.fileConfig`` evaluates the arguments of handlers, and their classes, as Python;
here they must be literals and names of classes of the standard library."""

import ast
import configparser
import inspect
import logging
import logging.config
import logging.handlers
from pathlib import Path

from ..errors import SettingsError

LINE = "%(asctime)s:%(name)s:%(levelname)s: %(message)s"
TIME = "%Y-%m-%d %H:%M:%S"
_STREAMS = {"sys.stdout": "None", "sys.stderr": "None"}

# path -> mtime: a file is applied again only when it has changed
_loaded = {}


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
        handler.setFormatter(logging.Formatter(LINE, TIME))
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
