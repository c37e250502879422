"""How many of our functions and files one row of a run passes.

    python benchmarks/count_hops.py [--json FILE]

Simulates one target pixel file, makes its TODO-file, and does `photometry run DIR --workers 0
--limit 1` in this process with a profile function: every function of photometry that is called
counts once, also methods, properties, nested functions and each lambda; what C code or a generated
``__init__`` (of a dataclass, a named tuple) does, bodies of classes and comprehensions do not. What
only runs while a module is imported counts where this run is the first to import it, which is where
the modules of simulation and TODO-file have not done so before.
"""

import argparse
import collections
import contextlib
import io
import os
import sys
import tempfile
import threading
from pathlib import Path

AIM_FUNCTIONS, AIM_FILES = 300, 50


def main():
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    parser.add_argument("--list", action="store_true", help="also name the functions")
    options = parser.parse_args()
    from figures import Figures

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "data"
        run("simulate", "tpf", folder, "--targets", 1, "--times", 100)
        run("todo", "tpf", folder)
        passed = functions_of(lambda: run("run", folder, "--workers", 0, "--limit", 1))
    files = {path for path, _ in passed}
    rooms = collections.Counter(room_of(path) for path, _ in passed)
    files_of_rooms = collections.Counter(map(room_of, files))
    for room, number in rooms.most_common():
        print(f"{number:5} functions in {files_of_rooms[room]:2} files  {room}")
    if options.list:
        for path, function in sorted(passed):
            print(f"      {path}: {function}")
    figures = Figures("python benchmarks/count_hops.py")
    figures.add("functions that one row passes", len(passed), "", aim=f"< {AIM_FUNCTIONS}")
    figures.add("files that one row passes", len(files), "", aim=f"< {AIM_FILES}")
    figures.write(options.json)


def run(*words):
    """A verb of the program, in this process; what it prints is of no interest here."""
    from photometry.cli import cli

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        cli(list(map(str, words)), standalone_mode=False)


def functions_of(work):
    """The functions of photometry that are called: set of (path relative to the package, name)."""
    import photometry

    package = os.path.dirname(photometry.__file__) + os.sep
    passed = set()

    def note(frame, event, _):
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(package):
            return
        if code.co_name in ("<module>", "<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"):
            return
        if code.co_flags & 2:  # has local variables of its own: the body of a class has not
            passed.add(
                (
                    code.co_filename.removeprefix(package),
                    f"{getattr(code, 'co_qualname', code.co_name)}:{code.co_firstlineno}",
                )
            )

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return passed


def room_of(path):
    """The room of a file: its folder, or the file itself."""
    return path.partition(os.sep)[0]


if __name__ == "__main__":
    main()
