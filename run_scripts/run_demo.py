#!/usr/bin/env python3
"""Simulate stars, measure them with MPI, and look at the result; what ``make demo`` runs.

Every command is shown before it is run, so that it can be typed by hand afterwards.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folder",
        nargs="?",
        default="demo",
        type=Path,
        help="folder to work in; emptied first [demo]",
    )
    folder = parser.parse_args().folder
    os.environ["PATH"] = (
        f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # mpiexec from a wheel
    )
    if folder.exists() and any(folder.iterdir()) and not (folder / ".photometry-demo").exists():
        sys.exit(
            f"{folder}: is not empty and was not made by this demo; expected a new or an empty folder"
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / ".photometry-demo").touch()
    target_pixel_files(folder / "tpf")
    full_frame_images(folder / "ccd")


def target_pixel_files(folder):
    """Sixty stars with target pixel files, from pixels to a picture."""
    say("1. Simulate 60 stars: neighbours, transits, one saturated star, one broken file")
    photometry(
        "simulate",
        "tpf",
        folder,
        "--targets",
        60,
        "--times",
        1000,
        "--seed",
        1,
        "--saturated",
        1,
        "--truncated",
        1,
    )
    say("2. Make the TODO-file: one row per target, from a template")
    photometry("todo", "tpf", folder)
    say("3. Run it with MPI: rank 0 hands out the targets, ranks 1 and 2 work")
    run(["mpiexec", "-n", 3, sys.executable, HERE / "run_pipeline.py", folder], accept=(0, 1))
    say("4. Ask how it went (at any time, also while it runs)")
    photometry("status", folder)
    say("5. Compare the transits that were put in with the light curves")
    show_planets(folder)


def full_frame_images(folder):
    """A simulated part of a CCD, from full-frame images to a plot of the noise against magnitude."""
    from photometry.report.ccd import demo_commands, noise_plot

    for number, (text, words) in enumerate(
        demo_commands(folder, HERE / "run_pipeline.py"), start=6
    ):
        say(f"{number}. {text}")
        photometry(*words[1:]) if words[0] == "photometry" else run(words, accept=(0, 1))
    say("12. Draw the noise of all stars against their magnitude, with the limit that photons set")
    noise_plot(folder, folder / "lightcurves", folder / "noise.png")
    print(f"Noise against magnitude: {folder / 'noise.png'}")


def show_planets(folder):
    from photometry.report.demo import poster, recover

    planets = recover(folder, folder / "lightcurves")
    print(
        f"{'star':>12} {'Tmag':>6} {'period [d]':>10} {'put in [ppm]':>13} {'measured [ppm]':>16}"
    )
    for planet in planets:
        measured = f"{1e6 * planet.measured:.0f} ± {1e6 * planet.error:.0f}"
        print(
            f"{planet.starid:>12} {planet.tmag:6.2f} {planet.period:10.4f} {1e6 * planet.depth:13.0f} {measured:>16}"
        )
    poster(planets, folder / "planets.png")
    print(f"\nThree of them: {folder / 'planets.png'}   light curves: {folder / 'lightcurves'}")


def photometry(*words):
    """Run ``photometry VERB ...``."""
    run([sys.executable, "-m", "photometry", *words], show=["photometry", *words])


def run(words, accept=(0,), show=None):
    """Show a command and run it; end the demo where it fails."""
    words = [str(word) for word in words]
    print(
        "$ "
        + shlex.join(
            [
                os.path.relpath(word) if os.path.isabs(str(word)) else str(word)
                for word in show or words
            ]
        ),
        flush=True,
    )
    code = subprocess.run(words).returncode
    if code not in accept:
        sys.exit(f"the demo stops here: the command ended with exit code {code}")


def say(text):
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


if __name__ == "__main__":
    main()
