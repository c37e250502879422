#!/usr/bin/env python3
"""Run a task chain: ``python run_scripts/run_chain.py chain.json``, or under mpiexec.

The same as ``photometry chain run``; ``--help`` lists the options.
"""

import sys

from photometry.cli import main

if __name__ == "__main__":
    main(["chain", "run", *sys.argv[1:]])
