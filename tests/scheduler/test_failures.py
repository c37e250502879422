"""Failures grouped by cause."""

import pytest

from photometry.scheduler.protocol import Failure
from photometry.scheduler.reporting import MAX_GROUPS, FailureGroups, without_numbers


def failure(starid, text, error_class="BadInputError", where="pixels/x.py:10 in read"):
    return Failure(error_class, text, where), f"TIC {starid}"


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("/data/s1/tess-123.fits: truncated after 5760 bytes", "PATH: truncated after N bytes"),
        # as in a run of the folder itself
        ("kplr000000011-2009131105131_lpd-targ.fits: empty", "PATH: empty"),
        ("kic11-q101cad_tpf.fits: empty", "PATH: empty"),
        ("TIC 25155310: no pixel above 3.5e-2", "TIC N: no pixel above N"),
        ("KeyError: 'flux'\nmore", "KeyError: 'flux'"),
        ("FLUX_ERR2 is missing", "FLUX_ERR2 is missing"),
        ("", ""),
    ],
)
def test_numbers_and_paths_do_not_tell_causes_apart(text, bare):
    assert without_numbers(text) == bare


def grouped(*results):
    groups = FailureGroups()
    for result in results:
        groups.add(*result)
    return groups.as_list()


def test_equal_causes_are_counted_once_with_an_example():
    first, second = grouped(
        failure(7, "/a/7.fits: truncated after 10 bytes"),
        failure(8, "/b/8.fits: truncated after 99 bytes"),
        failure(9, "no APERTURE"),
    )
    assert (first["count"], first["example"], first["message"]) == (
        2,
        "TIC 7",
        "PATH: truncated after N bytes",
    )
    assert (second["count"], second["example"]) == (1, "TIC 9")


def test_the_same_message_from_another_place_is_another_cause():
    assert (
        len(grouped(failure(1, "x", where="a.py:1 in f"), failure(2, "x", where="b.py:1 in g")))
        == 2
    )


def test_an_error_that_is_no_exception_is_grouped_by_its_message():
    (group,) = grouped((Failure("", "3 masks hold the target"), "TIC 7"))
    assert (group["message"], group["example"]) == ("N masks hold the target", "TIC 7")


def test_the_number_of_groups_is_bounded():
    groups = grouped(*(failure(i, "x", error_class=f"Error{i}") for i in range(10 * MAX_GROUPS)))
    assert len(groups) <= MAX_GROUPS + 1
    assert sum(group["count"] for group in groups) == 10 * MAX_GROUPS
