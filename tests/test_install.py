"""Whoever starts Python beside or above the clone gets the package, not the clone's folder."""

import os
import subprocess
import sys


def test_a_folder_named_like_the_package_does_not_hide_it(tmp_path):
    (tmp_path / "photometry" / "docs").mkdir(parents=True)  # what a clone looks like from above
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    words = [
        sys.executable,
        "-c",
        "from photometry import TaskManager; print(TaskManager.__name__)",
    ]
    done = subprocess.run(
        words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.stdout == "TaskManager\n", done.stderr
