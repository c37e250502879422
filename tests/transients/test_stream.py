"""Images over the network: senders that are slow, go away, are not there, or send what makes no
sense."""

import socket
import threading
import time
from datetime import timedelta

import numpy as np
import pytest
from series_helpers import small_series

from photometry.errors import BadInputError
from photometry.transients.accessors import open_image
from photometry.transients.stream import Emulator, ImageStream, pack, unpack


@pytest.fixture(scope="module")
def series():
    return small_series(n_epochs=6, frequencies=(150e6, 170e6))


def test_a_sender_that_goes_away_within_an_image_and_comes_back_loses_only_that_image(series):
    header, pixels = series.image(0)
    later = series.image(1)[0], series.image(1)[1]
    whole = pack(header, pixels)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)

        def send():
            for contents in ([whole[: len(whole) // 2]], [pack(*later), b"x" * 512]):
                connection, _ = listener.accept()
                with connection:
                    for part in contents:
                        connection.sendall(part)

        sender = threading.Thread(target=send)
        sender.start()
        address = ("127.0.0.1", listener.getsockname()[1])
        with ImageStream([address], group_timeout=0.5) as stream:
            when, images = next(stream.groups())
        sender.join(timeout=30)
    assert when == images[0].taustart_ts == open_image(later).taustart_ts
    assert np.array_equal(images[0].pixels, later[1])


def test_a_sender_that_is_not_there_is_waited_for_once(series):
    timesteps = [[series.image(epoch)] for epoch in range(6)]
    with socket.create_server(("127.0.0.1", 0)) as unused, Emulator((0,)) as emulator:
        silent = unused.getsockname()  # takes connections, and sends nothing
        sender = threading.Thread(target=emulator.send, args=(timesteps,))
        sender.start()
        senders = [("127.0.0.1", emulator.ports[0]), silent]
        with ImageStream(senders, group_timeout=1.0) as stream:
            groups = stream.groups()
            times = [next(groups)[0]]
            # all but the last group come without another time-out
            stream._group_timeout = 1e6
            times += [next(groups)[0] for _ in range(4)]
            stream.stop()
            times += [when for when, _ in groups]
        sender.join(timeout=30)
    assert times == [series.start + timedelta(seconds=epoch * series.cadence) for epoch in range(6)]


def test_images_of_a_stream_that_make_no_sense_are_named_and_the_next_ones_come(series):
    header, pixels = series.image(0)
    headers = [header.copy() for _ in range(6)]
    headers[0]["BMAJ"] = "wide"
    headers[1]["NAXIS1"] = headers[1]["NAXIS2"] = -160
    headers[2]["DATE-OBS"] = "yesterday"
    headers[3]["CTYPE1"] = "RA---XYZ"
    del headers[4]["RESTFRQ"]
    with Emulator((0,)) as emulator:
        images = [[(header, pixels)] for header in headers]
        sender = threading.Thread(target=emulator.send, args=(images,))
        sender.start()
        with ImageStream([("127.0.0.1", emulator.ports[0])], reconnect=False) as stream:
            groups = list(stream.groups())
        sender.join(timeout=30)
    assert len(groups) == 1
    assert len(stream.rejected) == 5
    assert all(reason for reason in stream.rejected.values())


def test_a_slow_pipeline_makes_senders_wait_and_loses_nothing(series):
    many = []
    for epoch in range(40):
        header, pixels = series.image(0)
        header = header.copy()
        header["DATE-OBS"] = f"2024-01-01T00:{epoch:02d}:00.000000"
        many.append([(header, pixels[:40, :40])])
        header["NAXIS1"] = header["NAXIS2"] = 40
    with Emulator((0,)) as emulator:
        sender = threading.Thread(target=emulator.send, args=(many,))
        sender.start()
        times = []
        with ImageStream([("127.0.0.1", emulator.ports[0])], reconnect=False) as stream:
            for when, _ in stream.groups():
                times.append(when)
                time.sleep(0.01)
        sender.join(timeout=30)
    assert len(times) == 40
    assert times == sorted(times)


def test_what_is_packed_is_unpacked_equal(series):
    header, pixels = series.image(0)
    pixels = pixels[:100]
    header["NAXIS2"] = 100
    for order in ("rows", "columns"):
        content_ = pack(header, pixels, order)[512:]
        text, payload = content_[: -pixels.nbytes], content_[-pixels.nbytes :]
        assert len(text) % 2880 == 0
        found = unpack(text, payload, order)
        assert found[0]["BMAJ"] == header["BMAJ"]
        assert np.array_equal(found[1], pixels)
    with pytest.raises(BadInputError, match="bytes"):
        unpack(text, payload[:-4])
