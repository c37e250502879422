"""`photometry.fitsheader` reads what astropy reads."""

import math

import pytest
from astropy.io import fits

from photometry.fitsstream import Header, open_stream


def text_of(*cards):
    return "".join(card.ljust(80) for card in (*cards, "END"))


def agree(ours, theirs, keyword):
    mine, other = ours[keyword], theirs[keyword]
    assert type(mine) is type(other) or isinstance(other, str), keyword
    assert mine == other or (math.isnan(mine) and math.isnan(other)), keyword


@pytest.mark.parametrize(
    "card",
    [
        "A       = 'text    '           / comment",
        "A       = 'it''s / quoted' / comment",
        "A       = ''",
        "A       = '  leading'",
        "A       =                    T / true",
        "A       =                    F",
        "A       =                  -17 / int",
        "A       = 12345678901234567890123",
        "A       =             1.5E-003",
        "A       =                1.D+2 / D exponent",
        "A       =                  .5",
        "A       =                  1.",
        "A       =                      / nothing",
        "A       = (1.0, 2.0)",
        "A       = 1e3 / small e",
        "A       = +3/no space",
    ],
)
def test_values_are_those_of_astropy(card):
    text = text_of("SIMPLE  =                    T", card, "A       = 'second one'")
    agree(Header(text), fits.Header.fromstring(text), "A")


def test_strings_over_several_cards_and_hierarch_are_left_to_astropy():
    text = text_of(
        "LONG    = 'one &'", "CONTINUE  'two'", "HIERARCH ESO DET = 3 / name", "B       = 2"
    )
    found = Header(text)
    assert (found["LONG"], found["ESO DET"], found["B"]) == ("one two", 3, 2)


def test_it_is_a_mapping_without_comments():
    found = Header(text_of("A       = 1", "COMMENT none", "HISTORY none", "        blank"))
    assert dict(found) == {"A": 1}
    assert "B" not in found
    assert found.get("B", 7) == 7
    with pytest.raises(KeyError):
        found["B"]


def test_a_value_without_sense_is_refused_as_by_astropy():
    with pytest.raises(fits.VerifyError):
        Header(text_of("A       = 1 2 3 'x"))["A"]


@pytest.mark.real_data
def test_every_keyword_of_the_real_files_is_that_of_astropy(shared_data):
    n_cards = 0
    for path in sorted(
        p for folder in ("tpf", "lc") for p in (shared_data / folder).glob("*fits*")
    ):
        with open_stream(path) as stream, fits.open(path) as hdulist:
            for hdu in hdulist:
                ours = stream.next_header()
                for keyword in set(hdu.header) - {"", "COMMENT", "HISTORY"}:
                    agree(ours, hdu.header, keyword)
                    n_cards += 1
    assert n_cards > 3000
