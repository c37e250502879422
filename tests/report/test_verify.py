"""Light curves that were cut, flipped, exchanged or lost are found, and the good ones are not."""

import gzip
import os
import shutil
import sqlite3
import subprocess
import sys

import numpy as np
import pytest
from astropy.io import fits
from finished_run import everything_below, finished_run, lightcurves

from photometry import STATUS, TaskManager
from photometry.errors import TodoFileError, WrongUseError
from photometry.files import atomic_write
from photometry.report.verify import Claim, check_lightcurve, verify
from photometry.target import MADE, photometry


@pytest.fixture(scope="module")
def run(tmp_path_factory, make_tpf):
    return finished_run(tmp_path_factory.mktemp("run") / "data", make_tpf)


@pytest.fixture
def folder(run, tmp_path):
    """A run of six stars, 101 to 106, that may be spoilt."""
    return shutil.copytree(run, tmp_path / "data", symlinks=True)


def rewrite(path, change):
    """Change a light curve with astropy, which writes right checksums."""
    with fits.open(path) as hdus:
        hdus = fits.HDUList([hdu.copy() for hdu in hdus])
    hdus = change(hdus) or hdus
    hdus.writeto(path, overwrite=True, checksum=True)


def problems(folder, **options):
    """{star: (kind, message)} of what verify finds."""
    return {bad["starid"]: (bad["kind"], bad["problem"]) for bad in verify(folder, **options).bad}


def statuses(folder):
    with TaskManager(folder, cleanup_constraints=["0"]) as tm:
        return dict(tm.cursor.execute("SELECT starid, status FROM todolist").fetchall())


def test_an_untouched_run_is_all_good_and_not_one_byte_changes(folder):
    before = everything_below(folder)
    found = verify(folder)
    assert (found.checked, found.bad, found.orphans, found.parts, found.without) == (
        6,
        [],
        [],
        [],
        0,
    )
    assert everything_below(folder) == before


def test_what_astropy_rewrote_with_right_checksums_is_good(folder):
    rewrite(lightcurves(folder)[0], lambda hdus: None)
    assert problems(folder) == {}


@pytest.mark.parametrize(
    ("spoil", "kind", "word"),
    [
        (lambda path: path.unlink(), "missing", "not there"),
        (lambda path: path.write_bytes(b""), "truncated", "0 bytes"),
        (lambda path: path.write_bytes(path.read_bytes()[:-2000]), "truncated", "too early"),
        (lambda path: path.write_bytes(path.read_bytes()[:-4]), "truncated", "too early"),
        (
            lambda path: path.write_bytes(
                gzip.compress(gzip.decompress(path.read_bytes())[:-2880])
            ),
            "truncated",
            "2880",
        ),
        (
            lambda path: path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:9000])),
            "truncated",
            "header",
        ),
        (lambda path: path.write_bytes(gzip.compress(b"time,flux\n1,2\n")), "foreign", "SIMPLE"),
        (
            lambda path: path.write_bytes(gzip.decompress(path.read_bytes())),
            "foreign",
            "not compressed",
        ),
    ],
)
def test_files_that_are_not_whole_are_found_with_the_reason(folder, spoil, kind, word):
    spoil(lightcurves(folder)[2])
    ((star, (found, message)),) = problems(folder).items()
    assert (star, found) == (103, kind)
    assert word in message


def test_any_flipped_bit_of_the_compressed_file_is_found(folder):
    path = lightcurves(folder)[0]
    good = path.read_bytes()
    claim = Claim(
        1, 101, 5, 2, 3, 120, "tpf", 1, "aperture", str(path.relative_to(folder / "lightcurves"))
    )
    rng = np.random.default_rng(5)
    for place in rng.integers(
        10, len(good), 200
    ):  # from 10: gzip's own header holds time and system, of no meaning
        spoilt = bytearray(good)
        spoilt[place] ^= 1 << rng.integers(8)
        path.write_bytes(spoilt)
        if (
            check_lightcurve(folder / "lightcurves", claim) is None
        ):  # bits that only fill up the last byte mean nothing
            assert gzip.decompress(spoilt) == gzip.decompress(good), f"byte {place}"


def test_any_flipped_bit_of_the_fits_file_is_found_by_its_checksums(folder):
    path = lightcurves(folder)[0]
    good = gzip.decompress(path.read_bytes())
    claim = Claim(
        1, 101, 5, 2, 3, 120, "tpf", 1, "aperture", str(path.relative_to(folder / "lightcurves"))
    )
    rng = np.random.default_rng(6)
    for place in rng.integers(0, len(good), 200):
        spoilt = bytearray(good)
        spoilt[place] ^= 1 << rng.integers(7)
        path.write_bytes(gzip.compress(spoilt, 1))
        assert check_lightcurve(folder / "lightcurves", claim), f"byte {place}"


@pytest.mark.parametrize(
    ("keyword", "hdu", "value", "words"),
    [
        ("TICID", 0, 999, "starid 999 (expected 101)"),
        ("SECTOR", 0, 6, "sector 6 (expected 5)"),
        ("CAMERA", 0, 1, "camera 1 (expected 2)"),
        ("CCD", 0, 4, "ccd 4 (expected 3)"),
        ("TIMEDEL", 1, 20 / 86400, "cadence 20 (expected 120)"),
        ("PHOTMET", 0, "halo", "method_used halo (expected aperture)"),
        ("DATASRC", 0, "tpf:7", "datasource tpf:7 (expected tpf)"),
    ],
)
def test_a_file_of_something_else_is_found_by_what_its_header_says(
    folder, keyword, hdu, value, words
):
    rewrite(lightcurves(folder)[0], lambda hdus: hdus[hdu].header.__setitem__(keyword, value))
    kind, message = problems(folder)[101]
    assert kind == "identity"
    assert words in message


def test_two_files_under_each_others_names_are_both_found(folder):
    first, second, *_ = lightcurves(folder)
    first.rename(first.with_name("x"))
    second.rename(first)
    first.with_name("x").rename(second)
    assert {star: kind for star, (kind, _) in problems(folder).items()} == {
        101: "identity",
        102: "identity",
    }


def _without_times(hdus):
    hdus["LIGHTCURVE"].data["TIME"][:] = np.nan


def _without_rows(hdus):
    table = hdus["LIGHTCURVE"]
    return fits.HDUList([hdus[0], fits.BinTableHDU(table.data[:0], table.header), *hdus[2:]])


def _without_table(hdus):
    return fits.HDUList([hdus[0], *hdus[2:]])


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (_without_times, "length", "none of its 20 rows has a time"),
        (_without_rows, "length", "without rows"),
        (_without_table, "foreign", "no extension LIGHTCURVE"),
    ],
)
def test_a_light_curve_without_times_is_bad(folder, change, kind, words):
    rewrite(lightcurves(folder)[0], change)
    assert problems(folder)[101][0] == kind
    assert words in problems(folder)[101][1]


def test_leftovers_are_named_and_do_no_harm(folder):
    lost = lightcurves(folder)[0]
    lost.with_name(lost.name.replace("-v01-", "-v02-")).write_bytes(lost.read_bytes())
    (lost.parent / "notes.txt").write_text("mine")
    with atomic_write(lost) as part:  # as it lies there when a run is killed
        kept = part.with_name(part.name)
        kept.write_bytes(b"half")
        found = verify(folder)
    assert found.bad == []
    assert [os.path.basename(path) for path in found.orphans] == [
        lost.name.replace("-v01-", "-v02-")
    ]
    assert found.parts == [str(kept)]


def test_reset_returns_the_bad_ones_and_the_next_run_makes_them_anew(folder):
    lightcurves(folder)[1].write_bytes(b"")
    lightcurves(folder)[4].unlink()
    assert {bad["starid"] for bad in verify(folder, reset=True).bad} == {102, 105}
    assert {star for star, status in statuses(folder).items() if status is None} == {102, 105}
    with TaskManager(folder) as tm:
        while task := tm.get_task():
            tm.save_result(
                photometry(task, input_folder=folder, output_folder=folder / "lightcurves")
            )
    assert verify(folder).bad == []


@pytest.fixture
def not_root():
    """Root may read everything: be somebody else for the length of a test."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_file_that_may_not_be_read_is_told_and_not_reset(folder, request):
    lightcurves(folder)[0].chmod(0)
    if os.geteuid() == 0:  # root may read everything
        for path in (folder, *folder.rglob("*")):
            os.chown(path, 65534, -1)
        for parent in (folder, *folder.parents):
            parent.chmod(parent.stat().st_mode | 0o011)
    request.getfixturevalue("not_root")
    (bad,) = verify(folder, reset=True).bad
    assert (bad["kind"], bad["reset"]) == ("unreadable", False)
    assert statuses(folder)[101] in MADE


def test_a_folder_in_the_place_of_a_file_is_told_and_not_reset(folder):
    path = lightcurves(folder)[0]
    path.unlink()
    path.mkdir()
    (bad,) = verify(folder, reset=True).bad
    assert (bad["kind"], bad["reset"]) == ("unreadable", False)
    assert statuses(folder)[101] in MADE


def test_a_skipped_target_whose_old_file_is_bad_stays_skipped(folder):
    with TaskManager(folder) as tm:
        tm.cursor.execute(
            "UPDATE todolist SET status = ? WHERE starid = 103", (int(STATUS.SKIPPED),)
        )
        tm.conn.commit()
    lightcurves(folder)[2].unlink()
    assert [bad["starid"] for bad in verify(folder, reset=True).bad] == [103]
    assert statuses(folder)[103] == STATUS.SKIPPED


def test_the_wrong_output_folder_resets_nothing(folder, tmp_path):
    (tmp_path / "other").mkdir()
    with pytest.raises(WrongUseError, match="none of the 6 light curves"):
        verify(folder, output=tmp_path / "other", reset=True)
    assert set(statuses(folder).values()) <= set(MADE)


def test_a_run_that_is_working_is_left_alone_and_named(folder):
    with (
        TaskManager(folder),
        pytest.raises(TodoFileError, match=f"in use by process {os.getpid()}"),
    ):
        verify(folder)


@pytest.mark.parametrize("in_memory", [True, False])
def test_what_a_killed_run_left_in_its_journal_is_verified_too_and_stays_there(folder, in_memory):
    script = f"""if True:
        import os
        from photometry import TaskManager
        from photometry.target import photometry
        tm = TaskManager({str(folder)!r}, load_into_memory={in_memory})
        tm.reset_tasks([1, 2])
        task = tm.get_task()
        folder = {str(folder)!r}
        result = photometry(task, input_folder=folder, output_folder=folder + "/lightcurves")
        tm.save_result(result)
        os._exit(9)"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == 9
    lightcurves(folder)[0].unlink()
    (folder / "todo.sqlite.lock").unlink()
    before = everything_below(folder)
    found = verify(folder)
    assert found.checked == 5  # 101 was done anew, 102 is to do
    assert [bad["starid"] for bad in found.bad] == [101]
    assert len(found.orphans) == 1
    assert everything_below(folder) == before


def test_a_damaged_journal_is_a_message_and_is_not_set_aside_by_looking(folder):
    (folder / "todo.sqlite.journal-000001").write_bytes(b"00000000 {}\nmore\n")
    before = everything_below(folder)
    with pytest.raises(TodoFileError, match="journal"):
        verify(folder)
    assert everything_below(folder) == before


def test_a_folder_that_was_moved_is_verified_in_its_new_place(folder, tmp_path):
    moved = shutil.copytree(folder, tmp_path / "moved", symlinks=True)
    lightcurves(moved)[0].unlink()
    assert list(problems(moved)) == [101]
    assert problems(folder) == {}


def test_many_files_are_checked_by_several_processes_with_the_same_result(folder, monkeypatch):
    lightcurves(folder)[3].write_bytes(b"")
    alone = verify(folder, workers=1).bad
    monkeypatch.setattr("photometry.report.verify.FEW_FILES", 0)
    monkeypatch.setattr("photometry.report.verify.FILES_PER_JOB", 2)
    seen = []
    assert (
        verify(folder, workers=2, progress=lambda done, total: seen.append((done, total))).bad
        == alone
    )
    assert seen == [(2, 6), (4, 6), (6, 6)]


def test_done_without_a_light_curve_is_counted(folder):
    with TaskManager(folder) as tm:
        tm.cursor.execute("UPDATE diagnostics SET lightcurve = NULL WHERE priority = 6")
        tm.conn.commit()
    found = verify(folder)
    assert (found.checked, found.without, len(found.orphans)) == (5, 1, 1)


def test_an_older_file_without_our_tables_can_be_verified(folder):
    with sqlite3.connect(folder / "todo.sqlite") as conn:
        conn.execute("DROP VIEW attempts")
        for table in ("attempt_records", "attempt_blocks", "runs", "overrides", "todo_settings"):
            conn.execute(f"DROP TABLE {table}")
    conn.close()
    assert verify(folder).checked == 6
