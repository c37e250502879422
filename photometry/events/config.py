"""`ConfigClass`: an INI file as attributes. Values are literals; nothing in a file is ever run."""

import ast
import configparser
import logging
from pathlib import Path

from ..errors import SettingsError
from .settings import KEYS

log = logging.getLogger(__name__)

# the section whose keys are names of events, with capitals where they have some
EVENT_TABLE = "event_table"
FRAMEWORK_DEFAULTS = {key.name: key.default for key in KEYS}
_TEXTS = (
    "get",
    "getint",
    "getfloat",
    "getboolean",
    "items",
    "sections",
    "options",
    "has_section",
    "has_option",
)
# edits between an unknown key and a known one below which it is taken for a typing error
_CLOSE = 2


class ConfigClass:
    """Keys of the default section are attributes; every other section is an attribute that holds a dict.

    The names of attributes ignore case, and an unknown one is None. Several objects are often chained:
    ``framework.config.instrument = ConfigClass("instrument.cfg", default_section="KCWI")``. The methods by which a
    `configparser.ConfigParser` is read, like ``get(section, key, fallback=None)``, give the texts as they are in the file.

    Parameters
    ----------
    cgfile : file name, or None for the defaults alone
    default_section : name of the section whose keys become attributes
    **defaults : further values, which the file overrules

    Raises
    ------
    SettingsError : the file is missing, or is not an INI file
    """

    def __init__(self, cgfile=None, default_section="DEFAULT", **defaults):
        properties = {key.lower(): value for key, value in (FRAMEWORK_DEFAULTS | defaults).items()}
        self.__dict__.update(properties=properties, default_section=default_section, path=cgfile)
        texts = configparser.ConfigParser(
            default_section=default_section, interpolation=None, strict=False
        )
        self.__dict__["_parser"] = texts
        if cgfile is not None:
            self.read(cgfile)

    def read(self, cgfile):
        """Read a file over the values that are there."""
        parser = configparser.ConfigParser(default_section=self.default_section, interpolation=None)
        parser.optionxform = str  # the names of events are keys of [event_table]
        try:
            parser.read_string(Path(cgfile).read_text(encoding="utf-8"), source=str(cgfile))
        except OSError as error:
            raise SettingsError(
                f"{cgfile}: cannot read this configuration file: {error.strerror}"
            ) from error
        except (configparser.Error, UnicodeDecodeError) as error:
            raise SettingsError(f"{cgfile}: not an INI file: {error}") from error
        self._parser.read_dict(parser)
        top = {key.lower(): literal(text) for key, text in parser.defaults().items()}
        _warn_of_typing_errors(cgfile, top, self.properties)
        self.properties.update(top)
        for section in parser.sections():
            own = {
                key: literal(text)
                for key, text in parser[section].items()
                if key.lower() not in top
            }
            keep = section.lower() == EVENT_TABLE
            self.properties[section.lower()] = (
                own if keep else {key.lower(): value for key, value in own.items()}
            )

    def __getattr__(self, key):
        if key.startswith(
            "__"
        ):  # Python's own protocols (copy, pickle) ask for these and must hear no
            raise AttributeError(key)
        if key in _TEXTS and key not in self.properties:
            return getattr(self._parser, key)
        return self.properties.get(key.lower())

    def __setattr__(self, key, value):
        self.properties[key.lower()] = value

    def set(self, section, key, value):
        """Set a key of a section; those of the default section are the attributes."""
        if section == self.default_section:
            setattr(self, key, value)
        else:
            self.properties.setdefault(section.lower(), {})[key.lower()] = value

    def getValue(self, key, default=None):
        """The value of a key, ``default`` where it is missing or None."""
        value = getattr(self, key)
        return default if value is None else value

    def check(self):
        """Raise SettingsError for the first of the framework's keys whose value is outside what it accepts."""
        for key in KEYS:
            value = getattr(self, key.name)
            if not key.accepts(value):
                raise SettingsError(
                    f"{self.path or 'configuration'}: {key.name}={value!r}; accepted: {key.accepted}"
                )

    def __getstate__(self):
        return self.__dict__

    def __setstate__(self, state):
        self.__dict__.update(state)


def literal(text):
    """The Python literal that a text spells, comment after it included (``10 # s``); else the text itself."""
    text = text.strip()
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def edit_distance(one, other):
    """How many letters to insert, drop or change to make one word of the other (Levenshtein 1966)."""
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        above_left, row[0] = row[0], i
        for j, wanted in enumerate(other, 1):
            above_left, row[j] = (
                row[j],
                min(row[j] + 1, row[j - 1] + 1, above_left + (letter != wanted)),
            )
    return row[-1]


def _warn_of_typing_errors(path, found, known):
    for key in found.keys() - known.keys():
        close = min(FRAMEWORK_DEFAULTS, key=lambda name: edit_distance(key, name.lower()))
        if edit_distance(key, close.lower()) <= _CLOSE:
            log.warning("%s: unknown key %r; did you mean %r?", path, key, close)
