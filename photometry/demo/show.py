"""The demo: simulate stars, measure them with MPI, look at the result. Every command is shown."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from ..errors import WrongUseError

MARK = ".photometry-demo"
"""A file in folders that the demo made, and so may empty."""


def show(folder):
    """Run the demo in a folder that is new, empty, or the demo's own from before.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    WrongUseError : the folder holds something else, or a command of the demo failed
    """
    # mpiexec from a wheel lies beside the interpreter
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        raise WrongUseError(
            f"{folder}: is not empty and was not made by this demo; expected a new or an empty "
            f"folder"
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / MARK).touch()
    _target_pixel_files(folder / "tpf")
    _full_frame_images(folder / "ccd")


def _target_pixel_files(folder):
    """Sixty stars with target pixel files, from pixels to a picture."""
    _say("1. Simulate 60 stars: neighbours, transits, one saturated star, one broken file")
    _photometry(
        *("simulate", "tpf", folder, "--targets", 60, "--times", 1000, "--seed", 1),
        *("--saturated", 1, "--truncated", 1),
    )
    _say("2. Make the TODO-file: one row per target, from a template")
    _photometry("todo", "tpf", folder)
    _say("3. Run it with MPI: rank 0 assigns the targets, ranks 1 and 2 work")
    _run(["mpiexec", "-n", 3, *_command(), "run", folder], accept=(0, 1))
    _say("4. Ask how it went (at any time, also while it runs)")
    _photometry("status", folder)
    _say("5. Compare the transits that were put in with the light curves")
    _show_planets(folder)
    _say("6. All of it on one page")
    _photometry("report", folder)


def _full_frame_images(folder):
    """A simulated part of a CCD, from full-frame images to noise against magnitude."""
    from .figures import noise_plot

    _say("7. Simulate a crowded part of a CCD: full-frame images, a catalogue, the truth")
    _photometry(
        *("simulate", "ffi", folder, "--size", 256, "--frames", 150, "--stars", 1000, "--seed", 3)
    )
    _say("8. The catalogue of the CCD, with proper motions to the epoch of the images")
    _photometry("catalog", folder)
    _say("9. Images to an image cube: background, movement, bad images")
    _photometry("prepare", folder)
    _say("10. Make the TODO-file: every star of the catalogue to magnitude 15")
    _photometry("todo", "ffi", folder)
    _say("11. Run it with MPI")
    _run(["mpiexec", "-n", 3, *_command(), "run", folder, "--quiet"], accept=(0, 1))
    _say("12. Ask how it went")
    _photometry("status", folder)
    _say("13. Draw the noise of all stars against their magnitude, with the limit of the photons")
    noise_plot(folder, folder / "lightcurves", folder / "noise.png")
    print(f"Noise against magnitude: {folder / 'noise.png'}")


def _show_planets(folder):
    from .figures import poster, recover

    planets = recover(folder, folder / "lightcurves")
    print(
        f"{'star':>12} {'Tmag':>6} {'period [d]':>10} {'put in [ppm]':>13} {'measured [ppm]':>16}"
    )
    for planet in planets:
        measured = f"{1e6 * planet.measured:.0f} ± {1e6 * planet.error:.0f}"
        print(
            f"{planet.starid:>12} {planet.tmag:6.2f} {planet.period:10.4f} "
            f"{1e6 * planet.depth:13.0f} {measured:>16}"
        )
    poster(planets, folder / "planets.png")
    print(f"\nThree of them: {folder / 'planets.png'}   light curves: {folder / 'lightcurves'}")


def _command():
    """The command line of this program: the clone's run script where there is one."""
    return [sys.executable, "-m", "photometry"]


def _photometry(*words):
    _run([*_command(), *words], show=["photometry", *words])


def _run(words, accept=(0,), show=None):
    """Show a command and run it; end the demo where it fails."""
    words = [str(word) for word in words]
    shown = [_short(str(word)) for word in show or words]
    print(f"$ {shlex.join(shown)}", flush=True)
    code = subprocess.run(words).returncode
    if code not in accept:
        raise WrongUseError(f"the demo stops here: the command ended with exit code {code}")


def _short(word):
    return os.path.relpath(word) if os.path.isabs(word) else word


def _say(text):
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)
