#!/usr/bin/env python3
"""``photometry demo``; what ``make demo`` runs."""

from photometry.cli import main

if __name__ == "__main__":
    import sys

    main(["demo", *sys.argv[1:]])
