"""JSON and TOML read with the position of every value, so that a message can name the line that has
to be mended."""

import json
import re
import sys
from bisect import bisect_right
from json.decoder import scanstring

from ..errors import WrongUseError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_DEPTH = 200
_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")
_WORDS = {"true": True, "false": False, "null": None}
_WORD = re.compile(r"[A-Za-z_]\w*")
_TOML_SPACE = re.compile(r"[ \t]*")
_TOML_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_TOML_STRING = re.compile(
    r"\"\"\"(?:\\.|[^\\])*?\"{3,5}|'''.*?'{3,5}|\"(?:\\.|[^\"\\])*\"|'[^']*'", re.DOTALL
)
_TOML_BARE = re.compile(r"[\w-]+")
_TOML_SCALAR = re.compile(r"[^,\]}#\r\n]*")


class _Positions:
    """Where a character of a text stands."""

    def __init__(self, text):
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def __call__(self, index):
        """(line, column), both from 1"""
        line = bisect_right(self._starts, index)
        return line, index - self._starts[line - 1] + 1


def parse_json(text, source="chain"):
    """The value of a JSON text and where its parts stand.

    Parameters
    ----------
    text : str
    source : str, for messages

    Returns
    -------
    value
    lines : dict, path (tuple of keys and indices) -> (line, column), both from 1

    Raises
    ------
    WrongUseError : no JSON, a key that is given twice, or nested too deep; with line and column
    """
    reader = _Reader(text.removeprefix("\ufeff"), source)
    value, end = reader.value(reader.skip(0), ())
    end = reader.skip(end)
    if end < len(reader.text):
        reader.fail(end, "the text goes on after the end of the chain")
    return value, reader.lines


class _Reader:
    def __init__(self, text, source):
        self.text = text
        self.lines = {}
        self._source = source
        self.position = _Positions(text)

    def fail(self, index, why):
        line, column = self.position(min(index, len(self.text)))
        raise WrongUseError(f"{self._source}: line {line}, column {column}: {why}")

    def skip(self, index):
        return _SPACE.match(self.text, index).end()

    def value(self, index, path):
        self.lines[path] = self.position(index)
        if len(path) > MAX_DEPTH:
            self.fail(index, f"nested deeper than {MAX_DEPTH} levels")
        char = self.text[index : index + 1]
        if char == "{":
            return self._object(index + 1, path)
        if char == "[":
            return self._array(index + 1, path)
        if char == '"':
            return self._string(index)
        if match := _NUMBER.match(self.text, index):
            number = float(match[0]) if match[1] or match[2] else int(match[0])
            return number, match.end()
        word = _WORD.match(self.text, index)
        if word and word[0] in _WORDS:
            return _WORDS[word[0]], word.end()
        if not char:
            self.fail(index, "the text ends too early; a bracket is not closed")
        if word:
            self.fail(index, f"{word[0]!r:.40}: strings stand in double quotes")
        if char == "'":
            self.fail(index, "strings stand in double quotes, not single ones")
        return self.fail(index, f"found {char!r}, expected a value")

    def _string(self, index):
        try:
            return scanstring(self.text, index + 1, True)
        except json.JSONDecodeError as error:
            return self.fail(error.pos, f"{error.msg[0].lower()}{error.msg[1:]}")

    def _array(self, index, path):
        items = []
        index = self.skip(index)
        if self.text[index : index + 1] == "]":
            return items, index + 1
        while True:
            item, index = self.value(index, (*path, len(items)))
            items.append(item)
            index, is_end = self._separator(index, "]", "list")
            if is_end:
                return items, index

    def _object(self, index, path):
        items = {}
        index = self.skip(index)
        if self.text[index : index + 1] == "}":
            return items, index + 1
        while True:
            if self.text[index : index + 1] != '"':
                self.fail(index, "expected the name of a key in double quotes")
            start = index
            key, index = self._string(index)
            if key in items:
                self.fail(start, f"key {key!r} is given twice")
            index = self.skip(index)
            if self.text[index : index + 1] != ":":
                self.fail(index, f"expected ':' after the key {key!r}")
            items[key], index = self.value(self.skip(index + 1), (*path, key))
            index, is_end = self._separator(index, "}", "object")
            if is_end:
                return items, index

    def _separator(self, index, closing, kind):
        """After a value: (index of what follows, whether the list or object ends there)."""
        index = self.skip(index)
        char = self.text[index : index + 1]
        if char == closing:
            return index + 1, True
        if char != ",":
            self.fail(index, f"expected ',' or {closing!r}" if char else "the text ends too early")
        following = self.skip(index + 1)
        if self.text[following : following + 1] == closing:
            self.fail(
                index, f"trailing comma before the {closing!r} that ends the {kind}: remove it"
            )
        return following, False


# --- TOML


def parse_toml(text, source="chain"):
    """The value of a TOML text and where its parts stand, see `parse_json`.

    Parameters
    ----------
    text : str
    source : str, for messages
    """
    text = text.removeprefix("\ufeff")
    try:
        value = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise WrongUseError(f"{source}: {str(error)[0].lower()}{str(error)[1:]}") from None
    return value, _TomlLines(text, source).read()


class _TomlLines:
    """Finds where the values of a TOML text stand that tomllib has read: so it is well formed."""

    def __init__(self, text, source):
        self._text, self._source, self._at = text, source, 0
        self._position = _Positions(text)
        self._lines = {(): (1, 1)}
        self._tables = {}  # path of an array of tables -> how many it has

    def read(self):
        """dict, path -> (line, column)"""
        table = ()
        self._skip(_TOML_BLANK)
        while self._at < len(self._text):
            if self._text.startswith("[", self._at):
                table = self._header()
            else:
                self._pair(table)
            self._skip(_TOML_BLANK)
        return self._lines

    def _skip(self, pattern):
        self._at = pattern.match(self._text, self._at).end()

    def _note(self, path, index):
        """A value, and the tables that hold it, stand here unless they came before."""
        if len(path) > MAX_DEPTH:
            raise WrongUseError(
                f"{self._source}: line {self._position(index)[0]}: nested deeper than "
                f"{MAX_DEPTH} levels"
            )
        for n in range(1, len(path) + 1):
            self._lines.setdefault(path[:n], self._position(index))

    def _header(self):
        """The path of the table that begins with ``[a.b]`` or ``[[a.b]]``."""
        start = self._at
        brackets = 2 if self._text.startswith("[[", start) else 1
        self._at += brackets
        *above, last = self._keys()
        self._at += brackets
        path = ()
        for key in above:
            path += (key,)
            if path in self._tables:
                path += (self._tables[path] - 1,)
        path += (last,)
        if brackets == 2:
            self._tables[path] = self._tables.get(path, 0) + 1
            path += (self._tables[path] - 1,)
        elif path in self._tables:
            path += (self._tables[path] - 1,)
        self._note(path, start)
        return path

    def _keys(self):
        """The keys of ``a."b c".d``; what follows is ``=`` or ``]``."""
        keys = []
        while True:
            self._skip(_TOML_SPACE)
            start = self._at
            if self._text[start] in "\"'":
                self._skip(_TOML_STRING)
                keys.append(tomllib.loads(f"key = {self._text[start : self._at]}")["key"])
            else:
                self._skip(_TOML_BARE)
                keys.append(self._text[start : self._at])
            self._skip(_TOML_SPACE)
            if self._text[self._at] != ".":
                return keys
            self._at += 1

    def _pair(self, table):
        start = self._at
        path = (*table, *self._keys())
        self._at += 1
        self._skip(_TOML_SPACE)
        self._note(path, start)
        self._value(path)

    def _value(self, path):
        char = self._text[self._at]
        if char in "[{":
            self._at += 1
            number, closing = 0, "]" if char == "[" else "}"
            self._skip(_TOML_BLANK)
            while self._text[self._at] != closing:
                if char == "[":
                    self._note((*path, number), self._at)
                    self._value((*path, number))
                    number += 1
                else:
                    self._pair(path)
                self._skip(_TOML_BLANK)
                if self._text[self._at] == ",":
                    self._at += 1
                    self._skip(_TOML_BLANK)
            self._at += 1
        else:
            self._skip(_TOML_STRING if char in "\"'" else _TOML_SCALAR)
