"""`ConfigClass`: an INI file as attributes. Values are literals; nothing in a file is ever run."""

import ast
import configparser
import difflib
import logging
import os
from pathlib import Path

from ..errors import SettingsError
from ..settings import check, read_toml
from .settings import EventSettings

log = logging.getLogger(__name__)

# the section whose keys are names of events, with capitals where they have some
EVENT_TABLE = "event_table"

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
