#!/usr/bin/env python3
"""Make the TODO-file of a folder of data; the same as ``photometry todo``."""

import sys

from photometry.cli import main

main(["todo", *sys.argv[1:]])
