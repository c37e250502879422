#!/usr/bin/env python3
"""Light curves and quick-look pictures of files as they arrive, as ``photometry watch``."""

import sys

from photometry.cli import main

main(["watch", *sys.argv[1:]])
