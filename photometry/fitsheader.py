"""The header of a FITS file as a mapping that reads only the cards it is asked for.

Target pixel files have 400 cards, of which photometry reads 60; astropy's header takes a third of a
target's time for them. Cards in the plain forms of the standard are read here, all others are left
to astropy.
"""

import re
from collections.abc import Mapping

from astropy.io import fits

CARD = 80  # characters: FITS standard 4.0, section 4.1
# The value of a card, between its value indicator and a comment: section 4.2. No quote within a
# string, no other exponent than E
_VALUE = re.compile(
    r" *(?:'(?P<text>[^']*)'|(?P<logical>[TF])|(?P<integer>[+-]?\d+)"
    r"|(?P<real>[+-]?(?:\d+\.\d*|\.\d+)(?:E[+-]?\d+)?))? *(?:/|$)"
)
_CONVERT = {
    "text": lambda text: text.rstrip(" "),
    "logical": "T".__eq__,
    "integer": int,
    "real": float,
}
_NO_VALUE = ("COMMENT ", "HISTORY ", "        ")


class Header(Mapping):
    """Keywords and values of one header; of a keyword that occurs twice the first, as in astropy.

    Parameters
    ----------
    text : str, its cards, END and the blanks after it included
    """

    def __init__(self, text):
        self._text = text
        self._cards, self._values, self._whole = {}, {}, None
        for start in range(0, len(text), CARD):
            keyword = text[start : start + 8]
            if keyword == "END     ":
                break
            if keyword in ("CONTINUE", "HIERARCH"):  # values that this class does not read
                self._whole = self.astropy()
            if keyword not in _NO_VALUE:
                self._cards.setdefault(keyword.rstrip(), text[start : start + CARD])

    def astropy(self):
        """The same header as `astropy.io.fits.Header`."""
        return fits.Header.fromstring(self._text)

    def __getitem__(self, keyword):
        if self._whole is not None:
            return self._whole[keyword]
        if keyword not in self._values:
            self._values[keyword] = self._read(self._cards[keyword])
        return self._values[keyword]

    def _read(self, card):
        found = _VALUE.match(card, 10) if card[8:10] == "= " else None
        if found is None or found.lastgroup is None:
            value = fits.Card.fromstring(card).value
            return None if isinstance(value, fits.card.Undefined) else value
        return _CONVERT[found.lastgroup](found[found.lastgroup])

    def __iter__(self):
        return iter(self._cards if self._whole is None else self._whole)

    def __len__(self):
        return len(self._cards if self._whole is None else self._whole)
