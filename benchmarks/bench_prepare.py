"""How fast full-frame images become an image cube, with how much memory, and how fast stamps are
read from it.

    python benchmarks/bench_prepare.py [--size 2048] [--frames 24] [--workers 1,2] [--many 4000]
    [--times 1300] [--folder DIR]

Prepare is measured on simulated images that are in the page cache; beside it, copying as many bytes
as the cube has. The memory is that of all processes together (PSS: what is shared counts once),
sampled ten times a second. Only the second pass holds many frames at once: its memory is measured
on a few bands of a cube of many frames, the same images again and again, whose other bands stay
empty. A stamp of 15x15 pixels is read, warm, from a cube of many times and few pixels, in our
layout and compressed by the filters of HDF5.
"""

import argparse
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy is imported, as the command does

import numpy as np

MIB, GIB = 2**20, 2**30
LAYOUTS = {
    "ours: 8x8 pixels, all times": {"chunks": 8},
    "16x16 pixels, all times": {"chunks": 16},
    "ours, shuffle + gzip 1": {
        "chunks": 8,
        "compression": "gzip",
        "compression_opts": 1,
        "shuffle": True,
    },
    "ours, shuffle + lzf": {"chunks": 8, "compression": "lzf", "shuffle": True},
    "one frame per chunk": {"chunks": None},
}


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--many", type=int, default=4000, help="frames of the cube for the memory")
    parser.add_argument("--times", type=int, default=1300)
    parser.add_argument("--folder", type=Path, help="where to put the files [a temporary folder]")
    parser.add_argument("--quick", action="store_true", help="images of 512 x 512 pixels")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    options = parser.parse_args()
    if options.quick:
        options.size, options.frames, options.many = 512, 12, 400
    from figures import Figures, print_load

    print_load()
    figures = Figures("python benchmarks/bench_prepare.py")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        make_images(folder / "ffi", options.size, options.frames)
        rates = {n: measure_prepare(folder, n) for n in map(int, options.workers.split(","))}
        copied = measure_copy(folder)
        note(figures, rates, copied, options.size)
        for path in folder.glob("*.hdf5"):
            path.unlink()
        for workers in map(int, options.workers.split(",")):
            measure_memory(folder, options.many, workers)
        note_stamps(figures, measure_stamps(folder, options.times), options.times)
    figures.write(options.json)


def note(figures, rates, copied, size):
    """The figures beside a copy of the same bytes, and with more workers."""
    one = rates[min(rates)][0]
    for workers, (frames, speed) in rates.items():
        name = f"prepare, images of {size} x {size} pixels, {workers} workers"
        figures.add(name, frames, "frames/s", limit=f"{min(rates)} workers", bound=one)
        figures.add(
            f"{name}: bytes of the cube", speed, "GB/s", limit="copying the cube", bound=copied
        )


def note_stamps(figures, milliseconds, n_times):
    """Reading a stamp in our layout beside the other layouts."""
    ours, *others = milliseconds.items()
    for name, value in others:
        figures.add(
            f"reading 15x15 pixels at {n_times} times, {name}",
            value,
            "ms",
            limit="our layout",
            bound=ours[1],
        )


def make_images(folder, size, n_frames):
    """Images of one star field, whose noise is shifted from frame to frame: quick to make, and no
    two alike.
    """
    from photometry.simulate.fullframe import FullFrameSimulation, FullFrameWriter

    class Quick(FullFrameSimulation):
        """The first image, rolled by a row per exposure and brightened a little."""

        def image(self, i):
            if not hasattr(self, "_first"):
                self._first = super().image(self.exposures[0])
            flux, error = self._first
            return np.roll(flux, int(i) % 2, axis=0) + np.float32(0.1 * i), error

    folder.mkdir()
    simulation = Quick(size=size, n_frames=n_frames + 1, stars=(size // 16) ** 2, collateral=True)
    writer = FullFrameWriter(simulation)
    for i in simulation.exposures[:n_frames]:
        writer.write(folder, i)


def measure_prepare(folder, workers):
    """Time, throughput and memory of one call."""
    from photometry.prepare.driver import prepare

    stages = {}
    with MemoryPeak() as peak:
        start = time.perf_counter()
        report = prepare(
            folder / "ffi",
            folder,
            workers=workers,
            overwrite=True,
            progress=lambda stage, done, n: stages.setdefault(stage, time.perf_counter() - start),
        )
        seconds = time.perf_counter() - start
    (cube,) = report.cubes
    size = cube.path.stat().st_size
    times = [*list(stages.values())[1:], seconds]
    parts = ", ".join(
        f"{name} {end - begin:.1f} s"
        for (name, begin), end in zip(stages.items(), times, strict=True)
    )
    print(
        f"prepare, {workers} workers: {cube.n_frames} frames in {seconds:.1f} s = "
        f"{cube.n_frames / seconds:.2f} frames/s, "
        f"cube {size / GIB:.2f} GiB at {size / seconds / 1e9:.3f} GB/s; memory peak "
        f"{peak.bytes / GIB:.2f} GiB ({parts})"
    )
    return cube.n_frames / seconds, size / seconds / 1e9


def measure_memory(folder, n_frames, workers, n_bands=2):
    """Memory of the second pass for a cube of ``n_frames``, with as many workers as prepare would
    take of ``workers``.
    """
    from photometry.prepare import cubefile, driver
    from photometry.prepare.ffi import read_frames
    from photometry.prepare.measure import background_model
    from photometry.processes import Pool

    frames = [frame for path in sorted((folder / "ffi").iterdir()) for frame in read_frames(path)]
    frames = (frames * (n_frames // len(frames) + 1))[:n_frames]
    model = background_model(frames[0])
    mesh = np.full((n_frames, *model.mesh_shape), 100.0)
    sky = cubefile.Sky(
        model, mesh, np.zeros((n_frames, model.n_rings)), np.zeros(mesh.shape, dtype=bool)
    )
    path = folder / "many"
    cubefile.write_skeleton(path, (n_frames, *frames[0].shape), {}, {})
    layout = cubefile.read_layout(path)
    needed = cubefile.band_memory(layout.shape, cubefile.TILE)
    taken = driver.affordable(workers, needed, driver.MEMORY)
    shared = (path, layout, frames, sky, np.ones(n_frames, dtype=bool))
    with MemoryPeak() as peak:
        start = time.perf_counter()
        with Pool(taken, _write, shared) as pool:
            list(pool.as_done(range(n_bands * taken)))
        seconds = time.perf_counter() - start
    path.unlink()
    written = n_bands * taken * layout.shape[0] * cubefile.TILE * layout.shape[2] * 13
    print(
        f"second pass of {n_frames} frames of {layout.shape[1]} x {layout.shape[2]} pixels, "
        f"{taken} of {workers} workers: "
        f"memory peak {peak.bytes / GIB:.2f} GiB, {written / seconds / 1e9:.2f} GB/s"
    )


def _write(shared, band):
    from photometry.prepare.cubefile import write_band

    write_band(*shared, band)


def measure_copy(folder):
    """Copying the same bytes, and flushing them to the disk as prepare does."""
    (cube,) = folder.glob("*.hdf5")
    start = time.perf_counter()
    copy = Path(shutil.copyfile(cube, folder / "copy"))
    with open(copy, "rb") as file:
        os.fsync(file.fileno())
    seconds = time.perf_counter() - start
    speed = copy.stat().st_size / seconds / 1e9
    print(f"copying the cube: {seconds:.1f} s = {speed:.2f} GB/s")
    copy.unlink()
    return speed


def measure_stamps(folder, n_times, size=128):
    """Reading stamps at random places, from one dataset in several layouts."""
    import h5py

    from photometry.pixels.imagecube import CHUNK_CACHE

    rng = np.random.default_rng(1)
    star = 100 + rng.exponential(50, (size, size))
    values = (star + rng.standard_normal((n_times, size, size)) * np.sqrt(star / 1425)).astype(
        np.float32
    )
    places = rng.integers(0, size - 15, (40, 2))
    print(f"reading flux of 15x15 pixels at {n_times} times, median of {len(places)} places:")
    medians = {}
    for name, layout in LAYOUTS.items():
        side = layout["chunks"]
        chunks = (n_times, side, side) if side else (1, size, size)
        path = folder / "stamps.hdf5"
        with h5py.File(path, "w") as file:
            file.create_dataset("flux", data=values, **(layout | {"chunks": chunks}))
        seconds = []
        for row, column in places:
            with h5py.File(
                path, "r", rdcc_nbytes=CHUNK_CACHE
            ) as file:  # opened anew: nothing in HDF5's own cache
                dataset = file["flux"]
                start = time.perf_counter()
                stamp = dataset[:, row : row + 15, column : column + 15]
                seconds.append(time.perf_counter() - start)
            assert np.array_equal(stamp, values[:, row : row + 15, column : column + 15])
        ratio = values.nbytes / path.stat().st_size
        medians[name] = 1e3 * np.median(seconds)
        print(f"  {name:28s} {medians[name]:7.2f} ms, compressed {ratio:.2f} times")
    return medians


class MemoryPeak:
    """Largest memory of this process and its children together, in `bytes`; a context manager."""

    def __enter__(self):
        self.bytes, self._stop = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _watch(self):
        import psutil

        me = psutil.Process()
        while not self._stop.wait(0.1):
            total = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    total += process.memory_full_info().pss
                except psutil.NoSuchProcess:
                    continue
            self.bytes = max(self.bytes, total)


if __name__ == "__main__":
    main()
