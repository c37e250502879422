"""A small run that has ended: target pixel files, TODO-file, light curves. For tests of verbs that
look at it.
"""

import numpy as np

from photometry import TaskManager
from photometry.report.status import link_summary
from photometry.target import photometry
from photometry.taskmanager import create_todo


def star_image(n_times=20, flux=5000.0):
    """(n_times, 11, 11) array: a star in the middle, with noise."""
    y, x = np.mgrid[-5:6, -5:6]
    image = flux * np.exp(-(x**2 + y**2) / 2) / (2 * np.pi)
    return image + np.random.default_rng(1).normal(0, 2, (n_times, 11, 11))


def target_pixel_files(folder, make_tpf, n=6, n_times=20):
    """Target pixel files and a TODO-file of ``n`` stars, 101, 102, …; returns the folder."""
    folder.mkdir(exist_ok=True)
    rows = []
    for starid in range(101, 101 + n):
        make_tpf(
            folder / f"tess2018206045859-s0005-{starid:016d}-0120-s_tp.fits",
            star_image(n_times),
            starid=starid,
        )
        row = {"starid": starid, "sector": 5, "camera": 2, "ccd": 3, "cadence": 120}
        rows.append(row | {"datasource": "tpf", "tmag": starid / 10})
    create_todo(folder / "todo.sqlite", rows)
    return folder


def finished_run(folder, make_tpf, n=6, n_times=20):
    """The same with the light curves made."""
    target_pixel_files(folder, make_tpf, n, n_times)
    output = folder / "lightcurves"
    output.mkdir()
    with TaskManager(folder, summary=output / "summary.json") as tm:
        tm.run_info.update(todo_file=str(folder / "todo.sqlite"), output=str(output))
        while task := tm.get_task():
            tm.start_task(task["priority"])
            tm.save_result(photometry(task, input_folder=folder, output_folder=output))
    link_summary(output / "summary.json", [folder])
    return folder


def lightcurves(folder):
    """The light-curve files of a run, in the order of their stars."""
    return sorted((folder / "lightcurves").rglob("*.fits.gz"))


def everything_below(folder):
    """{path: content} of all files, to see that nothing was changed."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
