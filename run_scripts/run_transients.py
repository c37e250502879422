#!/usr/bin/env python3
"""Find what changes in a series of images: ``mpiexec -n 8 python run_scripts/run_transients.py
JOB``, or without mpiexec.

The same as ``photometry transients run``; ``--help`` lists the options.
"""

import sys

from photometry.cli import main

if __name__ == "__main__":
    main(["transients", "run", *sys.argv[1:]])
