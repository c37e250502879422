"""The directory watcher: settling, patterns, sub-directories, both ways of watching; the decision
without threads first."""

import os
import queue
import time

import pytest

from photometry.errors import SettingsError, TryAgainError
from photometry.events import DataSet, SimpleEventQueue, getLogger
from photometry.events.watcher import (
    Settling,
    Watcher,
    find_files,
    patterns_of,
    settled_files,
    why_nothing,
)
from photometry.files import is_network_disk

WAIT = 60  # s, far beyond what any of these takes


class TestSettling:
    def test_a_file_settles_when_it_has_not_changed_for_long_enough(self, tmp_path):
        path = tmp_path / "a.fits"
        path.write_text("begun")
        settling = Settling(10)
        settling.touch(str(path), now=100)
        assert settling.next_time() == 110
        assert settling.settled(109) == []
        path.write_text("grown without notice")
        assert settling.settled(110) == []
        assert settling.next_time() == 120
        assert settling.settled(120) == [str(path)]
        assert settling.next_time() is None
        assert settling.settled(999) == []

    def test_every_notice_starts_the_wait_again(self, tmp_path):
        path = tmp_path / "a.fits"
        path.touch()
        settling = Settling(10)
        settling.touch(str(path), now=100)
        settling.touch(str(path), now=107)
        assert settling.settled(116) == []
        assert settling.settled(117) == [str(path)]

    def test_an_old_file_has_settled_already_and_one_from_the_future_has_not(self, tmp_path):
        old, future = tmp_path / "old", tmp_path / "future"
        old.touch()
        future.touch()
        os.utime(old, (1000, 1000))
        os.utime(future, (9000, 9000))
        settling = Settling(10)
        for path in (old, future):
            settling.touch(str(path), now=100, wall=2000)
        assert settling.settled(100) == [str(old)]
        assert settling.settled(110) == [str(future)]

    def test_a_file_that_vanishes_is_forgotten(self, tmp_path):
        path = tmp_path / "a.fits"
        path.touch()
        settling = Settling(10)
        settling.touch(str(path), now=100)
        path.unlink()
        assert settling.settled(110) == []
        assert settling.next_time() is None

    def test_waiting_for_files_to_settle(self, tmp_path):
        new, old = tmp_path / "new", tmp_path / "old"
        new.touch()
        old.touch()
        os.utime(old, (1, 1))
        settled = settled_files([str(new), str(old)], 0.2)
        assert next(settled) == str(old)
        new.write_text("more")
        assert next(settled) == str(new)
        age = time.time() - new.stat().st_mtime
        assert age >= 0.15, "it was written to 0.2 s before, by the clock of its file system"
        assert list(settled) == []


class TestFinding:
    @pytest.fixture
    def tree(self, tmp_path):
        for name in (
            "b.fits",
            "a.fits",
            "c.txt",
            ".part.fits",
            "below/d.fits.gz",
            "below/e.fits",
            "out/f.fits",
            ".hidden/g.fits",
        ):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        return tmp_path

    def names(self, tree, *patterns, **options):
        return [os.path.relpath(path, tree) for path in find_files(tree, patterns, **options)]

    def test_only_the_directory_itself_in_order(self, tree):
        assert self.names(tree, "*.fits") == ["a.fits", "b.fits"]

    def test_sub_directories_when_asked_for_but_not_the_excluded_and_hidden_ones(self, tree):
        found = self.names(tree, "*.fits", "*.fits.gz", recursive=True, exclude=[str(tree / "out")])
        assert found == ["a.fits", "b.fits", "below/d.fits.gz", "below/e.fits"]

    def test_what_matches_nothing_is_reported(self, tree):
        assert find_files(tree, ["*.png"]) == []
        assert (
            why_nothing(tree, ["*.png"])
            == f"{tree}: nothing matches *.png (file_type); there are 3 other files, e.g. a.fits"
        )

    def test_a_directory_that_is_not_there_is_an_error(self, tree):
        with pytest.raises(SettingsError, match="nowhere"):
            find_files(tree / "nowhere", ["*"])

    def test_patterns_are_a_text_or_several(self):
        assert (
            patterns_of("*.fits *.fit") == patterns_of(("*.fits", "*.fit")) == ("*.fits", "*.fit")
        )

    def test_a_local_folder_is_not_on_a_network_disk(self, tmp_path):
        assert is_network_disk(tmp_path) is False
        assert is_network_disk("/proc/self") is False


@pytest.fixture(params=["native", "polling"])
def watch(request, tmp_path):
    """Start a watcher on a folder; files that it tells of go to a queue."""
    arrived, watchers = queue.Queue(), []

    def start(on_file=None, **options):
        options = {"patterns": ["*.fits"], "settle": 0.15, "interval": 0.05, **options}
        watchers.append(Watcher(tmp_path, on_file or arrived.put, method=request.param, **options))
        watchers[-1].start()
        return arrived

    yield start
    for watcher in watchers:
        watcher.stop()


class TestWatcher:
    def test_files_that_are_there_and_files_that_arrive_are_reported_once(self, watch, tmp_path):
        (tmp_path / "old.fits").touch()
        arrived = watch()
        assert arrived.get(timeout=WAIT) == str(tmp_path / "old.fits")
        (tmp_path / "new.txt").touch()
        (tmp_path / ".part.fits").touch()
        (tmp_path / "new.fits").touch()
        assert arrived.get(timeout=WAIT) == str(tmp_path / "new.fits")
        with pytest.raises(queue.Empty):
            arrived.get(timeout=0.4)

    def test_a_file_is_reported_when_it_is_complete(self, watch, tmp_path):
        sizes = []
        arrived = watch(
            lambda path: (sizes.append(os.path.getsize(path)), arrived.put(path)),
            settle=2.0,  # s, far longer than a loaded machine lets the writer wait
        )
        with open(tmp_path / "growing.fits", "wb", buffering=0) as file:
            for _ in range(10):
                file.write(b"x" * 1000)
                time.sleep(0.05)
        arrived.get(timeout=WAIT)
        assert sizes == [10000]

    def test_a_file_renamed_into_place_is_reported(self, watch, tmp_path):
        arrived = watch()
        (tmp_path / "a.part").write_text("whole")
        (tmp_path / "a.part").rename(tmp_path / "a.fits")
        assert arrived.get(timeout=WAIT) == str(tmp_path / "a.fits")

    def test_a_file_that_changes_later_is_reported_again(self, watch, tmp_path):
        arrived = watch()
        (tmp_path / "a.fits").write_text("one")
        arrived.get(timeout=WAIT)
        (tmp_path / "a.fits").write_text("and two")
        assert arrived.get(timeout=WAIT) == str(tmp_path / "a.fits")

    def test_sub_directories_made_later_are_watched_but_for_the_excluded_one(self, watch, tmp_path):
        arrived = watch(recursive=True, exclude=[str(tmp_path / "out")])
        for folder in ("out", "below"):
            (tmp_path / folder).mkdir()
            time.sleep(0.2)
            (tmp_path / folder / "a.fits").touch()
        assert arrived.get(timeout=WAIT) == str(tmp_path / "below" / "a.fits")
        assert arrived.empty()

    def test_a_file_that_cannot_be_taken_in_is_tried_again(self, watch, tmp_path, monkeypatch):
        monkeypatch.setattr("photometry.events.watcher.RETRY_DELAY", 0.1)
        failures = [TryAgainError("the queue is gone")]

        def on_file(path):
            if failures:
                raise failures.pop()
            arrived.put(path)

        arrived = watch(on_file)
        (tmp_path / "a.fits").touch()
        assert arrived.get(timeout=WAIT) == str(tmp_path / "a.fits")

    def test_one_bad_file_does_not_end_the_watch(self, watch, tmp_path, caplog):
        def on_file(path):
            if os.path.basename(path) == "bad.fits":
                raise ValueError("no header")
            arrived.put(path)

        arrived = watch(on_file)
        (tmp_path / "bad.fits").touch()
        (tmp_path / "good.fits").touch()
        assert arrived.get(timeout=WAIT) == str(tmp_path / "good.fits")
        assert "bad.fits: cannot be taken in" in caplog.text


def test_a_monitored_data_set_puts_events_as_files_arrive_and_stops_at_once(
    config, make_fits, tmp_path, caplog
):
    events, folder = SimpleEventQueue(), tmp_path / "data"
    folder.mkdir()
    config.settle_time = 0.1
    data = DataSet(str(folder), getLogger(None), config, events, scan=False)
    data.start_monitor()
    assert "nothing matches *.fits (file_type); there are no files yet; watching" in caplog.text
    path = make_fits("a.fits", "M31", folder)
    assert events.get(timeout=WAIT).args.name == path
    assert data.get_info_column(path, "TARGNAME") == "M31"
    data.stop_monitor()
    make_fits("b.fits", folder=folder)
    with pytest.raises(queue.Empty):
        events.get(timeout=0.5)
