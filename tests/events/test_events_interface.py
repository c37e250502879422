"""The queue as tools see it: every call that fails gives None, and the next one connects again."""

import pytest

from photometry.events import Arguments, Event, SharedEventQueue
from photometry.events.interface import FrameworkInterface


@pytest.fixture
def tool(config, tmp_path):
    config.queue_file = str(tmp_path / "queue" / "q.sqlite")
    made = FrameworkInterface(config)
    yield made
    made.close()


def test_a_queue_that_is_not_there_gives_none_until_it_is_started(tool, tmp_path):
    assert not tool.is_queue_ok()
    assert (
        tool.next_event()
        is tool.pending_events()
        is tool.in_progress_events()
        is tool.info()
        is None
    )
    assert tool.add_event(Event("a", Arguments())) is None
    assert not (tmp_path / "queue" / "q.sqlite").exists()
    assert tool.start_event_queue() is True
    assert tool.is_queue_ok()
    assert tool.pending_events() == []


def test_a_queue_on_a_network_disk_is_reported(tool, monkeypatch, caplog):
    monkeypatch.setattr("photometry.events.interface.is_network_disk", lambda path: True)
    tool.start_event_queue()
    assert "on a network disk" in caplog.text


def test_events_are_added_and_seen_in_each_state(tool, config):
    tool.start_event_queue()
    for name in "ab":
        assert tool.add_event(Event("next_file", Arguments(name=name))) is True
    worker = SharedEventQueue(config.queue_file)
    taken = worker.get()
    assert tool.next_event().args.name == "b"
    assert [event.args.name for event in tool.pending_events()] == ["b"]
    assert {key: event.args.name for key, event in tool.in_progress_events().items()} == {
        taken.id: "a"
    }
    info = tool.info()
    assert info["counts"] == {"pending": 1, "running": 1, "done": 0, "skipped": 0, "failed": 0}
    assert [found["id"] for found in info["workers"]] == [taken.worker]
    worker.close()


def test_stop_asks_the_workers_to_end_and_start_takes_it_back(tool, config):
    tool.start_event_queue()
    worker = SharedEventQueue(config.queue_file)
    assert tool.stop_event_queue() is True
    assert worker.stopping
    tool.start_event_queue()
    assert not worker.stopping
    worker.close()


def test_a_queue_that_goes_gives_none_and_is_found_again(tool, tmp_path):
    tool.start_event_queue()
    tool.add_event(Event("a", Arguments()))
    (tmp_path / "queue").rename(tmp_path / "away")
    assert tool.pending_events() is None
    assert not tool.is_queue_ok()
    (tmp_path / "away").rename(tmp_path / "queue")
    assert len(tool.pending_events()) == 1
    assert tool.is_queue_ok()
