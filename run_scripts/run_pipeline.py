#!/usr/bin/env python3
"""Make the light curves of the tasks in a TODO-file: ``mpiexec -n 8 python
run_scripts/run_pipeline.py DIR``.

The same as ``photometry run``; ``--help`` lists the options.
"""

import sys

from photometry.cli import main

if __name__ == "__main__":
    main(["run", *sys.argv[1:]])
