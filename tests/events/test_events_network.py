"""The queue's server: its life, its secret, and workers that reach it through the network."""

import contextlib
import os
import queue
import signal
import socket
import struct
import time

import pytest

from photometry.errors import SettingsError, TryAgainError, WrongUseError
from photometry.events import Arguments, Event, Framework, SharedEventQueue
from photometry.events.interface import FrameworkInterface, queue_and_manager
from photometry.events.queueserver import start_queue_manager
from photometry.events.remotequeue import Channel, RemoteEventQueue, get_event_queue
from photometry.events.startup import WorkerPool

SECRET = b"only for this test"


@pytest.fixture
def port():
    with contextlib.closing(socket.create_server(("localhost", 0))) as free:
        return free.getsockname()[1]


@pytest.fixture
def start(port, tmp_path):
    """Start a server on a free port, for a file; it is gone after the test."""
    started = []

    def start(**options):
        process = start_queue_manager(
            "localhost", port, SECRET, queue_file=tmp_path / "q.sqlite", **options
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def event(name, **keywords):
    return Event(name, Arguments(name=name, **keywords))


def test_a_producer_and_a_consumer_meet_at_the_server_and_terminate_ends_it(start, port):
    assert start().poll() is None
    producer = get_event_queue("localhost", port, SECRET)
    for i in range(5):
        producer.put(Event(f"Item {i}", None))
    consumer, names = get_event_queue("localhost", port, SECRET), []
    with pytest.raises(queue.Empty):
        while True:
            names.append(consumer.get(block=False).name)
    assert names == [f"Item {i}" for i in range(5)]
    assert [found.name for found in producer.get_in_progress().values()] == names
    consumer.terminate()
    wait_for(lambda: not answers(port))
    producer.close()
    consumer.close()


def test_a_server_is_found_by_its_secret_only(start, port):
    start()
    assert get_event_queue("localhost", port, b"another secret") is None
    with pytest.raises(
        WrongUseError, match=rf"localhost:{port}: its server does not know this secret"
    ):
        RemoteEventQueue("localhost", port, b"another secret")
    mine = get_event_queue("localhost", port, SECRET)
    assert mine.qsize() == 0
    mine.close()


def test_an_unauthenticated_client_gets_no_memory(start, port):
    start()
    with socket.create_connection(("localhost", port), timeout=60) as client:
        # the header of a message of 16 MB, as multiprocessing sends it, and its beginning
        client.sendall(struct.pack("!i", 16 * 1024**2) + b"0" * 64)
        answer = b""
        while part := receive(client):
            answer += part
    assert len(answer) < 512, "the challenge, and nothing else"


def test_the_first_message_of_a_client_is_short(start, port):
    """Who knows the secret says who it is in less than 4 kB; a longer first message is not read."""
    start()
    with contextlib.closing(socket.create_connection(("localhost", port))) as client:
        channel = Channel(os.dup(client.fileno()), SECRET)
        channel.prove(server=False)
        channel.set_timeout(60)
        with contextlib.suppress(OSError):
            channel.send({"holder": "x" * 5000})
        with pytest.raises((EOFError, OSError)):
            channel.receive()
        channel.close()
    get_event_queue("localhost", port, SECRET).close()  # others are served


@pytest.mark.slow
def test_clients_that_do_not_prove_to_know_the_secret_are_dropped(start, port):
    start()
    clients = [socket.create_connection(("localhost", port), timeout=60) for _ in range(20)]
    try:
        for number, client in enumerate(clients):
            client.sendall(b"\0\0\0"[: number % 4])
        for client in clients:
            while receive(client):
                pass
    finally:
        for client in clients:
            client.close()


def test_a_hundred_clients_may_come_at_once(start, port):
    """The kernel completes as many connections as may wait, also while the server is stopped."""
    server = start()
    clients = []
    server.send_signal(signal.SIGSTOP)
    try:
        for _ in range(100):
            clients.append(socket.create_connection(("localhost", port), timeout=60))
    finally:
        server.send_signal(signal.SIGCONT)
        for client in clients:
            client.close()
    mine = get_event_queue("localhost", port, SECRET)
    assert mine.qsize() == 0
    mine.close()


def test_a_server_of_another_file_is_refused(start, port, config, tmp_path):
    start()
    config.queue_manager_portnr, config.queue_manager_auth_code = port, SECRET
    config.want_multiprocessing = True
    config.queue_file = str(tmp_path / "q.sqlite")
    queue, manager = queue_and_manager(config)
    assert manager is None
    queue.close()
    config.queue_file = str(tmp_path / "another.sqlite")
    with pytest.raises(WrongUseError, match=r"its server holds .*q\.sqlite, not .*another\.sqlite"):
        queue_and_manager(config)
    assert not (tmp_path / "another.sqlite").exists()


def receive(client):
    """What has arrived; nothing if the server has closed the connection, in whatever manner."""
    try:
        return client.recv(4096)
    except ConnectionError:
        return b""


@pytest.mark.parametrize("secret", [None, b"", b"short"])
def test_there_is_no_default_secret(port, secret):
    with pytest.raises(SettingsError, match="no default"):
        start_queue_manager("localhost", port, secret)


def test_only_calls_of_the_queue_are_answered(start, port):
    start()
    client = RemoteEventQueue("localhost", port, SECRET)
    for method in ("__init__", "leases", "_to_event", "nonsense"):
        with pytest.raises(WrongUseError, match=method):
            client._call(method)
    with pytest.raises(WrongUseError, match="image"):
        client.put(event("a", image=object()))
    client.close()


def test_the_server_may_come_and_go_while_a_worker_holds_an_item(start, port, tmp_path):
    server = start()
    worker = RemoteEventQueue("localhost", port, SECRET)
    worker.put(event("a", deep={"__event__": 1}))
    held = worker.get()
    server.kill()
    server.wait()
    with pytest.raises(TryAgainError):
        worker.qsize()
    start()
    other = RemoteEventQueue("localhost", port, SECRET)
    assert other.take() is None
    assert worker.finish(held.id).args.deep == {"__event__": 1}
    assert other.counts()["done"] == 1
    worker.close()
    other.close()


def test_an_item_whose_assignment_was_not_received_comes_back(start, port, tmp_path):
    start()
    worker = RemoteEventQueue("localhost", port, SECRET)
    worker.put(event("a"))
    worker._channel.send({"method": "take", "args": []})
    file = SharedEventQueue(tmp_path / "q.sqlite")
    wait_for(lambda: file.counts()["running"] == 1)
    file.close()
    # the connection ends before the answer has been read
    worker._drop()
    assert worker.get(timeout=600).name == "a"
    worker.close()


def test_a_framework_starts_a_server_that_ends_without_clients(pipeline_file, config, notes, port):
    config.want_multiprocessing = True
    config.queue_manager_portnr, config.queue_manager_auth_code = port, SECRET
    from photometry.events import interface

    framework = Framework(pipeline_file, config)
    assert framework.queue_manager.poll() is None
    for i in range(5):
        framework.append_event("next_file", Arguments(name=str(i)))
    assert framework.main_loop() == 0
    assert len(notes()) == 10
    assert interface.LINGER == 10
    tool = FrameworkInterface(config)
    assert tool.info()["counts"]["done"] == 5
    tool.stop_event_queue()
    assert framework.queue_manager.wait(timeout=600) == 0
    tool.close()
    assert tool.pending_events() is None
    assert not tool.is_queue_ok()


def test_a_server_without_clients_ends_after_its_linger(start):
    assert start(linger=0.1).wait(timeout=600) == 0


def test_a_server_ends_at_a_signal(start):
    server = start()
    server.send_signal(signal.SIGTERM)
    assert server.wait(timeout=600) == 0


@pytest.mark.slow
def test_a_pool_works_through_a_server(start, port, pipeline_file, config, notes):
    start()
    config.want_multiprocessing = True
    config.queue_manager_portnr, config.queue_manager_auth_code = port, SECRET
    client = RemoteEventQueue("localhost", port, SECRET)
    for i in range(20):
        client.put(event("kill_once" if i == 7 else "next_file", n=i))
    assert WorkerPool(pipeline_file, config, 2).run() == 0
    assert client.counts()["done"] == 20
    assert [note[0] for note in notes()].count("kill_once") == 2
    client.close()


def answers(port):
    found = get_event_queue("localhost", port, SECRET)
    if found is not None:
        found.close()
    return found is not None


def wait_for(condition, timeout=600):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_a_port_that_is_taken_is_reported(start, port, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "photometry.events.remotequeue.GREETING", 0.2
    )  # s; the holder of the port does not greet
    with (
        socket.create_server(("localhost", port)),
        pytest.raises(TryAgainError, match=r"q\.sqlite\.log says why"),
    ):
        start()
    assert "in use" in (tmp_path / "q.sqlite.log").read_text()
