import io
import warnings

import numpy as np
import pytest
from astropy.io import fits

from photometry.lightcurve.fitsfiles import (
    encode_checksum,
    image_hdu,
    ones_complement_sum,
    primary_hdu,
    table_hdu,
)

CARDS = [
    ("ANINT", 1, "one"),
    ("AFLOAT", 1.0),
    ("ABOOL", True),
    ("NOTHING", None, "not known"),
    ("QUOTED", "it's"),
    ("LONG", "x" * 100),
    ("TINY", 1.25e-300),
]


def rows(n=7):
    table = np.zeros(n, [("A", ">f8"), ("B", ">f4"), ("C", ">i4")])
    table["A"], table["B"], table["C"] = np.random.default_rng(n).normal(size=(3, n)) * 1e6
    return table


@pytest.mark.parametrize("n", [0, 1, 7, 1000])
def test_astropy_reads_back_what_was_written(n):
    table, image = rows(n), np.arange(12, dtype=">i4").reshape(3, 4)
    units, formats = {"A": "d", "B": None, "C": "e-/s"}, {"A": "D14.7", "B": "E14.7", "C": "I10"}
    content = (
        primary_hdu(CARDS)
        + table_hdu("CURVE", table, units, formats, CARDS)
        + image_hdu("IMG", image, CARDS)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # checksums that do not fit are warnings
        with fits.open(io.BytesIO(content), checksum=True) as hdus:
            hdus.verify("exception")
            assert [hdu.name for hdu in hdus] == ["PRIMARY", "CURVE", "IMG"]
            for hdu in hdus:
                for keyword, value, *_ in CARDS:
                    assert hdu.header[keyword] == value
                    assert type(hdu.header[keyword]) is type(value)
            np.testing.assert_array_equal(np.array(hdus["CURVE"].data).view(table.dtype), table)
            assert [column.unit for column in hdus["CURVE"].columns] == ["d", None, "e-/s"]
            np.testing.assert_array_equal(hdus["IMG"].data, image)


@pytest.mark.parametrize("seed", range(20))
def test_encoded_checksum_is_text_that_adds_its_value(seed):
    value = int(np.random.default_rng(seed).integers(0, 2**32))
    text = encode_checksum(value)
    assert text.isalnum()
    turned = text[1:] + text[:1]  # in a header it stands one byte off the words
    zeros = ones_complement_sum(b"0" * 16)
    assert (ones_complement_sum(turned) - zeros) % (2**32 - 1) == value % (2**32 - 1)


def test_sum_of_many_words_carries_around():
    assert ones_complement_sum(b"\xff\xff\xff\xff" * 3) == 0xFFFFFFFF
    assert ones_complement_sum(b"\xff\xff\xff\xff\x00\x00\x00\x02") == 2
