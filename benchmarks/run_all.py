"""The quick form of all benchmarks: prints them, and writes docs/benchmarks.md with its plots. What
`make bench` runs.

    python benchmarks/run_all.py [--only scheduler target ...] [--to DIR]

Takes less than five minutes on two cores that have nothing else to do. ``docs/performance.md``
explains the figures.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from figures import number

HERE = Path(__file__).parent
QUICK = {  # benchmark -> (heading, arguments of its quick form)
    "taskmanager": ("The TODO-file", ["--quick"]),
    "scheduler": ("The scheduler", ["--quick"]),
    "target": ("A target", ["--quick"]),
    "prepare": ("Full-frame images", ["--quick"]),
    "startup": ("Start and memory", ["--quick"]),
    "events": ("Files as they arrive", ["--quick"]),
    "chains": ("Task chains", ["--quick"]),
    "transients": ("Transients", ["--quick", "--without-pyse"]),
    "transits": ("Transit searches", ["--smallest"]),
}
DRAWS = ("taskmanager", "scheduler")


def main():
    """Run, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only",
        nargs="+",
        choices=QUICK,
        default=list(QUICK),
        help="only these; the page is not written",
    )
    parser.add_argument(
        "--to", type=Path, default=HERE.parent / "docs", help="folder of benchmarks.md [docs]"
    )
    options = parser.parse_args()
    begin, found, failed = time.time(), {}, []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.only:
            answer = Path(folder) / f"{name}.json"
            print(f"\n=== {QUICK[name][0]}: benchmarks/bench_{name}.py", flush=True)
            if run(name, answer, options.to / "images"):
                found[name] = json.loads(answer.read_text(encoding="utf-8"))
            else:
                failed.append(name)
    print(
        f"\nall in {time.time() - begin:.0f} s"
        + (f"; these failed: {', '.join(failed)}" if failed else "")
    )
    if not failed and len(found) == len(QUICK):
        (options.to / "benchmarks.md").write_text(
            page(found, time.time() - begin), encoding="utf-8"
        )
        print(f"written: {options.to / 'benchmarks.md'}")
    sys.exit(1 if failed else 0)


def run(name, answer, images):
    """Run one benchmark; returns whether it went well."""
    draws = ["--images", str(images)] if name in DRAWS else []
    command = [
        sys.executable,
        str(HERE / f"bench_{name}.py"),
        *QUICK[name][1],
        "--json",
        str(answer),
        *draws,
    ]
    return subprocess.run(command, env=os.environ | {"PYTHONWARNINGS": "ignore"}).returncode == 0


def page(found, seconds):
    """docs/benchmarks.md: a table for each benchmark, and the plots."""
    load = ", ".join(f"{content['load']:.1f}" for content in found.values())
    lines = [
        "# Benchmarks",
        "",
        f"Written by `make bench` (`benchmarks/run_all.py`) on {time.strftime('%Y-%m-%d')}, on "
        f"{os.cpu_count()} cores, in "
        f"{seconds:.0f} s. Load average at the end of each: {load}; where it is larger than the "
        f"number of processes of the",
        "benchmark, others used the machine as well: look at the ratios. "
        "[Performance](performance.md) says what each figure",
        "means, what limits it, and how far one master goes.",
    ]
    for name, content in found.items():
        lines += ["", f"## {QUICK[name][0]}", "", f"Again, and longer: `{content['command']}`", ""]
        lines += [
            "| figure | value | limit, or what it stands beside | ratio | aim |",
            "|---|---|---|---|---|",
        ]
        lines += map(row, content["figures"])
        for image, text in content["plots"]:
            lines += ["", f"![{text}](images/{image})", "", text]
    return "\n".join(lines) + "\n"


def row(figure):
    """A figure as a line of a table."""
    value = "" if figure["value"] != figure["value"] else number(figure["value"])
    bound = f"{figure['limit']}: {number(figure['bound'])}" if figure["bound"] else figure["limit"]
    ratio = "" if figure["ratio"] is None else f"{figure['ratio']:.2f}"
    return f"| {figure['name']} | {value} {figure['unit']} | {bound} | {ratio} | {figure['aim']} |"


if __name__ == "__main__":
    main()
