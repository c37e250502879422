"""Images over the network, protocol version 1 of the AARTFAAC stream, and an emulator that sends
them.

Per image: a header of 512 bytes (magic number, length of the FITS header's text, length of the
pixels in bytes, zeros; native order of the sender), the text (cards of 80 characters, padded to
2880 bytes), then float32 pixels. The pixels are the array of the FITS file, row by row; the
original's emulator sends column by column (``pixel_order='columns'``).

A sender may be slow, and may go away and come back. Where this side is slow, the sender waits:
nothing is dropped.
"""

import logging
import queue
import socket
import struct
import threading
import time

import numpy as np

from ..errors import ArgumentError, BadInputError, TryAgainError

log = logging.getLogger(__name__)

MAGIC = 0x47494A53484F4D4F
HEADER = struct.Struct("=QII496x")
LOOPBACK = "127.0.0.1"
PORTS = (6666, 6667, 6668, 6669, 6670, 6671)

MAX_HEADER = 1 << 20
MAX_PIXELS = 1 << 30
"""Bytes; more than this is not an image, but another protocol."""

RECONNECT_PAUSE = 1.0
"""s between attempts to connect."""

WAITING_IMAGES = 8
"""Images per sender that wait here; further ones wait at the sender."""


def addresses(hosts, ports):
    """Pairs of host and port from two comma-separated lists of equal length; an empty host is this
    machine.

    Parameters
    ----------
    hosts, ports : str
    """
    hosts, ports = ([part.strip() for part in str(text).split(",")] for text in (hosts, ports))
    if len(hosts) != len(ports):
        raise ArgumentError(f"{len(hosts)} hosts and {len(ports)} ports; expected as many")
    if not all(port.isdigit() and 0 < int(port) < 65536 for port in ports):
        raise ArgumentError(f"ports = {','.join(ports)}: expected numbers from 1 to 65535")
    return [(host or LOOPBACK, int(port)) for host, port in zip(hosts, ports, strict=True)]


def pack(header, pixels, pixel_order="rows"):
    """The bytes of one image.

    Parameters
    ----------
    header : astropy.io.fits.Header
    pixels : (n_rows, n_columns) array
    pixel_order : 'rows' or 'columns'
    """
    text = header.tostring().encode("ascii")
    pixels = np.asarray(pixels, "=f4")
    payload = (pixels if pixel_order == "rows" else pixels.T).tobytes()
    return HEADER.pack(MAGIC, len(text), len(payload)) + text + payload


def unpack(text, payload, pixel_order="rows"):
    """Header and (n_rows, n_columns) pixels of one image.

    Parameters
    ----------
    text, payload : bytes
    pixel_order : 'rows' or 'columns'

    Raises
    ------
    BadInputError : the header is none, or declares other pixels than those that came
    """
    from astropy.io import fits

    try:
        header = fits.Header.fromstring(text.decode("ascii"))
        shape = (int(header["NAXIS2"]), int(header["NAXIS1"]))
    except (UnicodeDecodeError, KeyError, ValueError, OSError) as error:
        raise BadInputError(f"stream: the header of an image cannot be read: {error}") from None
    if min(shape) < 1 or shape[0] * shape[1] * 4 != len(payload):
        raise BadInputError(
            f"stream: an image of {shape[1]} x {shape[0]} pixels has {len(payload)} bytes"
        )
    pixels = np.frombuffer(payload, "=f4")
    pixels = pixels.reshape(shape) if pixel_order == "rows" else pixels.reshape(shape[::-1]).T
    return header, np.ascontiguousarray(pixels)


class ImageStream:
    """Groups of images with one start time, from several senders; a context manager.

    Parameters
    ----------
    senders : list of (host, port)
    pixel_order : 'rows' or 'columns'
    group_timeout : float, s
        A group is complete when every sender has sent a later image, or when it has waited for so
        long; senders that it misses are not waited for until they send again
    reconnect : bool
        Connect again where a sender goes away, for ever; otherwise the stream ends when all have
        ended
    """

    def __init__(self, senders, *, pixel_order="rows", group_timeout=60.0, reconnect=True):
        self._senders, self._order = list(senders), pixel_order
        self._group_timeout, self._reconnect = group_timeout, reconnect
        self._stop = threading.Event()
        self._queues = [queue.Queue(WAITING_IMAGES) for _ in self._senders]
        self._news = threading.Event()
        self._threads = []
        self.rejected = {}

    def __enter__(self):
        for number in range(len(self._senders)):
            thread = threading.Thread(target=self._receive, args=(number,), daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_):
        self.stop()
        for thread in self._threads:
            thread.join(timeout=5)

    def stop(self):
        """Take no further images; those that came are still grouped."""
        self._stop.set()
        self._news.set()

    def groups(self):
        """Yield (start time, list of accessors by frequency), oldest first; also the last one.

        An image that is older than the group that was yielded last becomes a group of its own.
        """
        # images and moment of arrival by start time; latest start time by sender
        waiting, arrived, last_of = {}, {}, {}
        silent = set()
        while True:
            self._news.clear()
            came = self._take(waiting, last_of)
            silent -= came
            now = time.monotonic()
            for start in waiting:
                arrived.setdefault(start, now)
            ended = [
                not thread.is_alive() and self._queues[n].empty()
                for n, thread in enumerate(self._threads)
            ]
            over = (all(ended) and not came) or self._stop.is_set()
            awaited = [n for n in range(len(self._senders)) if not ended[n] and n not in silent]
            heard = [last_of.get(n) for n in awaited]
            horizon = min(heard) if heard and all(t is not None for t in heard) else None
            first = min(waiting, default=None)
            if first is not None and (over or (horizon is not None and first < horizon)):
                complete = True
            else:
                complete = (
                    first is not None and not came and now - arrived[first] > self._group_timeout
                )
                if complete:
                    silent |= {n for n in awaited if last_of.get(n) is None or last_of[n] < first}
            if complete:
                arrived.pop(first)
                yield first, sorted(waiting.pop(first), key=lambda image: image.freq_eff)
                busy = time.monotonic() - now
                arrived = {start: moment + busy for start, moment in arrived.items()}
            elif over:
                return
            else:
                self._news.wait(0.2)

    def _take(self, waiting, last_of):
        """Put images that have come into their groups; returns the numbers of their senders."""
        came = set()
        for number, images in enumerate(self._queues):
            # one sender must not run ahead of the others further than a few images
            if last_of.get(number) in waiting and len(waiting) > WAITING_IMAGES:
                continue
            try:
                image = images.get_nowait()
            except queue.Empty:
                continue
            came.add(number)
            group = waiting.setdefault(image.taustart_ts, [])
            group.append(image)
            last_of[number] = max(last_of.get(number, image.taustart_ts), image.taustart_ts)
        return came

    def _receive(self, number):
        """Connect to one sender, and take what it sends, until asked to stop."""
        host, port = self._senders[number]
        while not self._stop.is_set():
            try:
                with socket.create_connection((host, port), timeout=5) as connection:
                    log.info("connected to %s:%d", host, port)
                    connection.settimeout(1.0)
                    self._receive_images(number, connection)
                log.info("%s:%d has ended", host, port)
            except OSError as error:
                log.debug("%s:%d: %s", host, port, error)
            if not self._reconnect:
                break
            self._stop.wait(RECONNECT_PAUSE)
        self._news.set()

    def _receive_images(self, number, connection):
        from .accessors import open_image

        host, port = self._senders[number]
        while start := self._read(connection, HEADER.size):
            magic, header_length, pixel_length = HEADER.unpack(start)
            if magic != MAGIC or header_length > MAX_HEADER or pixel_length > MAX_PIXELS:
                log.error(
                    "%s:%d does not send images of this protocol; connection dropped", host, port
                )
                return
            text = self._read(connection, header_length)
            payload = self._read(connection, pixel_length)
            if text is None or payload is None:
                return
            try:
                image = open_image(unpack(text, payload, self._order))
            except Exception as error:  # noqa: BLE001 - one image must not end what a sender sends
                log.warning("skipped: %s", error)
                name = f"{host}:{port} image {len(self.rejected) + 1}"
                self.rejected[name] = f"{type(error).__name__}: {error}"
                continue
            image.url = image.url or f"{host}:{port} {image.taustart_ts.isoformat()}"
            self._put(number, image)

    def _put(self, number, image):
        """Queue an image; while the queue is full nothing is read, so that the sender waits."""
        while not self._stop.is_set():
            try:
                self._queues[number].put(image, timeout=0.5)
            except queue.Full:
                continue
            self._news.set()
            return

    def _read(self, connection, n):
        """Exactly ``n`` bytes, however slowly they come; None where the sender has ended or this
        side stops."""
        parts, missing = [], n
        while missing:
            try:
                part = connection.recv(min(missing, 1 << 20))
            except TimeoutError:
                if self._stop.is_set():
                    return None
                continue
            if not part:
                if parts:
                    log.warning(
                        "a sender ended within an image; the part of it that came is not used"
                    )
                return None
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)


def emulate(
    images,
    ports=PORTS,
    *,
    host=LOOPBACK,
    pixel_order="rows",
    pause=0.0,
    chunk=None,
    connect_timeout=60.0,
):
    """Send images to the process that connects: each band on the port at its position in the list.
    Returns when all are sent.

    Parameters
    ----------
    images : list of lists of (header, pixels): by timestep, then band
    ports : ints, at least as many as there are bands; 0: any free one, see `Emulator`
    host : address to listen at; by default only this machine can connect
    pixel_order : 'rows' or 'columns'
    pause : float, s between timesteps
    chunk : int or None, bytes that are sent at once, 10 ms apart, as a slow sender would
    connect_timeout : float, s to wait for a connection
    """
    with Emulator(ports, host=host) as emulator:
        emulator.send(
            images,
            pixel_order=pixel_order,
            pause=pause,
            chunk=chunk,
            connect_timeout=connect_timeout,
        )


class Emulator:
    """Sends simulated images; a context manager. ``ports``: those that are listened at."""

    def __init__(self, ports=PORTS, *, host=LOOPBACK):
        self._listeners = []
        try:
            for port in ports:
                self._listeners.append(socket.create_server((host, port)))
        except OSError as error:
            self.__exit__()
            raise TryAgainError(f"{host}:{port}: {error.strerror or error}") from None
        self.ports = [listener.getsockname()[1] for listener in self._listeners]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for listener in self._listeners:
            listener.close()

    def send(self, images, *, pixel_order="rows", pause=0.0, chunk=None, connect_timeout=60.0):
        """See `emulate`; each band in a thread of its own, so that one slow reader does not keep
        the others waiting.

        Parameters
        ----------
        images, pixel_order, pause, connect_timeout : see `emulate`
        chunk : int, bytes sent at once, all by default
        """
        bands = list(zip(*images, strict=True))
        errors = []
        threads = [
            threading.Thread(
                target=self._send_band,
                args=(number, band, pixel_order, pause, chunk, connect_timeout, errors),
                daemon=True,
            )
            for number, band in enumerate(bands)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise TryAgainError(f"stream: {errors[0]}")

    def _send_band(self, number, band, pixel_order, pause, chunk, connect_timeout, errors):
        listener = self._listeners[number]
        listener.settimeout(connect_timeout)
        try:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(None)
                for header, pixels in band:
                    content = pack(header, pixels, pixel_order)
                    step = chunk or len(content)
                    for start in range(0, len(content), step):
                        connection.sendall(content[start : start + step])
                        time.sleep(0.01 if chunk else 0)
                    time.sleep(pause)
        except OSError as error:
            errors.append(error)
