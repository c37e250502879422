"""JSON read with the position of every value, so that a message can name the line that has to be
mended."""

import json
import re
from json.decoder import scanstring

from ..errors import WrongUseError

MAX_DEPTH = 200
_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")
_WORDS = {"true": True, "false": False, "null": None}
_WORD = re.compile(r"[A-Za-z_]\w*")


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

    def position(self, index):
        return self.text.count("\n", 0, index) + 1, index - self.text.rfind("\n", 0, index)

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
