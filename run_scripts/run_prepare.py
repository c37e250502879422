#!/usr/bin/env python3
"""Make image cubes from full-frame images: ``python run_scripts/run_prepare.py DIR``, the same as
``photometry prepare DIR``.
"""

import sys

from photometry.cli import main

if __name__ == "__main__":
    main(["prepare", *sys.argv[1:]])
