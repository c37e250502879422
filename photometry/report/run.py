"""`run_page`: one page of HTML on a run, also on one that is under way or was killed."""

import json
from collections import Counter
from pathlib import Path

import numpy as np

from ..constants import MISSIONS
from ..scheduler.reporting import timestamp, without_numbers
from ..status import STATUS
from ..taskmanager.schema import star_label
from ..taskmanager.view import read_results
from .explain import explain, lines
from .html import Page, details, facts, figure, figures, ink, link, mark, table
from .injection import add_injections

MAX_NAMED = 200  # stars whose explanation is in the page
VERDICTS = "verdicts.jsonl"
"""In the folder of the light curves: what `photometry search --verdicts` adds to."""
MAX_CAUSES = 30
SLOWEST = 20
TARGETS_PER_BIN = 5  # of the pictures against time, at least
PICTURE = (5.5, 3.6)  # inches; wider ones have letters too small for a phone
COLOURS = {  # to be seen on white and on black
    "OK": "#3f88c5",
    "WARNING": "#e0a030",
    "ERROR": "#d1495b",
    "SKIPPED": "#9aa5b0",
    "to do": "#ded5c4",
}
HOUR = 3600.0


def run_page(view, output, *, title="photometry"):
    """Make the page of a run.

    Parameters
    ----------
    view : `taskmanager.view.View` of the TODO-file
    output : folder of the light curves
    title : str

    Returns
    -------
    html.Page
    """
    results = read_results(view.path)
    status = _whole(results["status"])
    attempts = _attempts(view)
    runs = _runs(view)
    last = f"; the last run was by version {runs[-1]['version']}" if runs else ""
    footer = f"Made by photometry at {timestamp()}{last}."
    page = Page(f"{title}: {view.path.parent.name}", str(view.path), footer=footer)
    page.section("Summary", _summary(view, results, status, attempts, runs))
    with ink():
        if len(attempts["start"]):
            page.section("Workers", *_workers(attempts))
        named = _causes(page, results, status)
        _where(page, results, status, attempts)
        _noise(page, results, status)
        _methods(page, results, status)
    add_injections(page, view.path.parent)
    signals = _signals(page, output, results)
    slowest = _slowest(page, results, attempts)
    _settings(page, runs)
    _named(page, view, output, [*named, *signals, *slowest])
    return page


def _whole(column):
    """A column of whole numbers with -1 for what is not known; all NULL, it comes as floats."""
    return np.nan_to_num(np.ma.filled(np.ma.asarray(column).astype(float), -1), nan=-1).astype(int)


def _attempts(view):
    """Columns of the table of attempts, as arrays; NaN where not known."""
    names = ("priority", "start", "seconds", "peak_memory", "host", "rank", "status")
    rows = view.query(f"SELECT {', '.join(names)} FROM attempts ORDER BY start")
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    arrays = {}
    for name, values in zip(names, columns, strict=True):
        if name == "host":
            arrays[name] = np.array([value or "unknown" for value in values], dtype=object)
        else:
            arrays[name] = np.array([np.nan if v is None else v for v in values], dtype=float)
    return arrays


def _runs(view):
    names = ("run", "command", "version", "host", "start", "end", "exit_code", "reason", "settings")
    rows = view.query(
        f"SELECT {', '.join(chr(34) + n + chr(34) for n in names)} FROM runs ORDER BY run"
    )
    return [dict(zip(names, row, strict=True)) for row in rows]


def _summary(view, results, status, attempts, runs):
    counts = Counter(_name(number) for number in status)
    last = runs[-1] if runs else {}
    seconds = attempts["seconds"][np.isfinite(attempts["seconds"])]
    pairs = [
        ("targets", len(results)),
        *((name, counts[name]) for name in [*STATUS.__members__, "to do"] if counts[name]),
        ("runs", len(runs)),
    ]
    if not runs:
        pairs.append(("started", "never; photometry run makes the light curves"))
    else:
        pairs += [
            ("last command", _command(last.get("command"))),
            ("on", last.get("host") or "unknown"),
            ("started", last.get("start") or "unknown"),
            ("ended", last.get("end") or "not yet, or killed"),
            ("outcome", last.get("reason") or "unknown"),
            ("attempts", len(attempts["start"])),
            ("work", f"{_duration(seconds.sum())} of one core"),
        ]
    if len(seconds):
        pairs.append(
            ("a target takes", f"{np.median(seconds):.3g} s, the slowest {seconds.max():.3g} s")
        )
    if view.pending:
        pairs.append(
            ("in the journal", f"{view.pending:,} changes that the file does not hold yet")
        )
    if view.problem:
        pairs.append(("journal", mark(view.problem, "bad")))
    return facts(pairs)


def _rounded(value):
    """A measured number as people read it: three digits."""
    return float(f"{value:.3g}")


def _duration(seconds):
    """A time as people read it."""
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (np.inf, HOUR, "hours")):
        if seconds < limit:
            return f"{seconds / unit:.3g} {name}"
    return "unknown"


def _command(words):
    """A command line as people type it, without where the program lies."""
    if not words:
        return "unknown"
    program, _, rest = words.partition(" ")
    name = Path(program).name
    if name == "__main__.py":
        name = "photometry"
    return f"{name} {rest}" if rest else name


def _name(status):
    return "to do" if status < 0 else STATUS(status).name


def _workers(attempts):
    """How many workers were busy, and how many targets were done, against time."""
    from matplotlib.figure import Figure

    start = attempts["start"]
    end = start + np.nan_to_num(attempts["seconds"])
    first = start.min()
    n_bins = int(np.clip(len(start) / TARGETS_PER_BIN, 10, 200))
    edges = np.linspace(0, max(end.max() - first, 1e-3), n_bins + 1)
    # seconds of work within each bin over its length: exact, whatever the bins
    total = np.interp(edges, *_cumulative(start - first, end - first))
    busy = np.diff(total) / np.diff(edges)
    done, _ = np.histogram(end - first, edges)
    unit, name = (HOUR, "hours") if edges[-1] > 2 * HOUR else (1.0, "seconds")
    parts = []
    for values, label in (
        (busy, "workers at work"),
        (done / np.diff(edges), "targets done per second"),
    ):
        fig = Figure(figsize=PICTURE, layout="constrained")
        axes = fig.subplots()
        axes.stairs(values, edges / unit, color=COLOURS["OK"], fill=True, alpha=0.6)
        axes.set(xlabel=f"time since the first target ({name})", ylabel=label, ylim=(0, None))
        parts.append(figure(fig, label))
    return [figures(*parts)]


def _cumulative(start, end):
    """(times, work): how many seconds of work had been done by each time, piecewise linear."""
    times = np.concatenate([start, end])
    slope = np.concatenate([np.ones(len(start)), -np.ones(len(end))])
    order = np.argsort(times, kind="stable")
    times, running = times[order], np.cumsum(slope[order])
    work = np.concatenate([[0.0], np.cumsum(running[:-1] * np.diff(times))])
    return times, work


def _causes(page, results, status):
    """Failures and warnings by cause; returns the priorities of the stars that are named."""
    named = []
    for heading, number, kind in (
        ("Failures", STATUS.ERROR, "bad"),
        ("Warnings", STATUS.WARNING, "doubt"),
    ):
        chosen = results[status == number]
        if not len(chosen):
            continue
        groups = {}
        for row in chosen:
            text = str(row["errors"] or "") or "unknown"
            groups.setdefault(without_numbers(text.splitlines()[0]), []).append(row)
        rows = []
        ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
        for cause, members in ordered[:MAX_CAUSES]:
            examples = [
                int(member["priority"]) for member in members[: 1 if len(ordered) > 20 else 5]
            ]
            named += examples
            links = [_link(members[i]) for i in range(len(examples))]
            more = f" and {len(members) - len(links)} more" if len(members) > len(links) else ""
            rows.append([len(members), cause, _joined(links, more)])
        text = f"{len(chosen):,} of {len(results):,} targets"
        page.section(
            heading,
            mark(text, kind),
            table(rows, ["targets", "cause", "stars"], total=len(ordered)),
        )
    return named


def _joined(links, more):
    from markupsafe import Markup

    return Markup(", ").join(links) + more


def _label(row):
    return star_label(int(row["starid"]), str(row["datasource"]), int(row["cadence"]))


def _link(row):
    return link(_label(row), f"#star-{int(row['priority'])}")


def _where(page, results, status, attempts):
    """Outcome on the detector, by magnitude and by host."""
    from matplotlib.figure import Figure

    parts = []
    outcomes = np.array([_name(number) for number in status], dtype=object)
    shown = {name: colour for name, colour in COLOURS.items() if name in outcomes}
    column, row = results["pos_column"], results["pos_row"]
    known = np.isfinite(column) & np.isfinite(row)
    if known.any():
        fig = Figure(figsize=PICTURE, layout="constrained")
        axes = fig.subplots()
        for name, colour in shown.items():
            chosen = known & (outcomes == name)
            label = f"{name} ({chosen.sum()})"
            axes.scatter(
                column[chosen], row[chosen], s=5, color=colour, label=label, rasterized=True
            )
        axes.set(xlabel="column (pixels)", ylabel="row (pixels)")
        _legend(fig)
        caption = "where the targets are on their detectors"
        if n_unknown := np.count_nonzero(~known):
            caption += f"; {n_unknown:,} have no known position"
        parts.append(figure(fig, caption))
    tmag = results["tmag"]
    if np.isfinite(tmag).any():
        low, high = np.floor(np.nanmin(tmag)), np.ceil(np.nanmax(tmag) + 1e-9)
        edges = np.linspace(low, high, int(max(high - low, 1)) + 1)
        fig = Figure(figsize=PICTURE, layout="constrained")
        axes = fig.subplots()
        bottom = np.zeros(len(edges) - 1)
        for name, colour in shown.items():
            heights, _ = np.histogram(tmag[outcomes == name], edges)
            axes.bar(
                edges[:-1], heights, np.diff(edges), bottom, align="edge", color=colour, label=name
            )
            bottom += heights
        axes.set(xlabel=_mission(results).band, ylabel="targets")
        _legend(fig)
        parts.append(figure(fig, "outcome by magnitude"))
    hosts = []
    for host in sorted(set(attempts["host"])):
        chosen = attempts["host"] == host
        failed = attempts["status"][chosen] == STATUS.ERROR
        hosts.append(
            {
                "host": host,
                "ranks": len(set(attempts["rank"][chosen])),
                "attempts": int(chosen.sum()),
                "failed": int(failed.sum()),
                "mean seconds": _rounded(np.nanmean(attempts["seconds"][chosen])),
            }
        )
    page.section("Where", figures(*parts), *([table(hosts, caption="by host")] if hosts else []))


def _legend(fig):
    """A legend above the axes, where it hides nothing."""
    fig.legend(loc="outside upper center", ncols=3, frameon=False, fontsize="small", markerscale=2)


def _noise(page, results, status):
    """Noise in one hour against magnitude, with what the photons of the star alone allow."""
    from matplotlib.figure import Figure

    made = np.isin(status, (STATUS.OK, STATUS.WARNING))
    good = made & np.isfinite(results["rms_hour"]) & np.isfinite(results["tmag"])
    if good.sum() < 2 or np.ptp(results["tmag"][good]) == 0:
        return
    sample = results[good]
    mission = _mission(sample)
    fig = Figure(figsize=PICTURE, layout="constrained")
    axes = fig.subplots()
    noise = 1e6 * np.abs(sample["rms_hour"])
    axes.scatter(sample["tmag"], noise, s=5, color=COLOURS["OK"], alpha=0.6, rasterized=True)
    grid = np.linspace(sample["tmag"].min(), sample["tmag"].max(), 100)
    flux = 10 ** (-0.4 * (grid - mission.zero_point))
    axes.plot(
        grid, 1e6 / np.sqrt(flux * HOUR), color=COLOURS["ERROR"], label="photons of the star alone"
    )
    axes.set(xlabel=mission.band, ylabel="noise in one hour (ppm)", yscale="log")
    axes.legend(frameon=False)
    page.section(
        "Noise",
        figure(fig, "noise in one hour against magnitude"),
        note="Stars that vary lie above; a star whose mask holds other stars' light may lie below.",
    )


def _mission(results):
    """The mission of a run's targets, by what people call their stars."""
    catalog = _label(results[0]).split()[0]
    return next(mission for mission in MISSIONS.values() if mission.catalog == catalog)


def _methods(page, results, status):
    """Methods, masks and contamination."""
    from matplotlib.figure import Figure

    made = np.isin(status, (STATUS.OK, STATUS.WARNING))
    if not made.any():
        return
    rows = []
    methods = np.ma.filled(results["method_used"], "")
    for method in sorted(set(methods[made])):
        chosen = made & (methods == method)
        contamination = results["contamination"][chosen]
        known = np.isfinite(contamination)
        rows.append({
            "method": str(method), "targets": int(chosen.sum()),
            "mean seconds": _rounded(np.nanmean(results["elaptime"][chosen])),
            "median "
            "contamination": _rounded(np.median(contamination[known])) if known.any() else None,
            "of unknown contamination": int((~known).sum()),
        })  # fmt: skip
    parts = [table(rows)]
    size = _whole(results["mask_size"]).astype(float)
    known = made & (size > 0) & np.isfinite(results["tmag"])
    if known.any():
        fig = Figure(figsize=PICTURE, layout="constrained")
        axes = fig.subplots()
        axes.scatter(results["tmag"][known], size[known], s=5, color=COLOURS["OK"], rasterized=True)
        axes.set(xlabel=_mission(results).band, ylabel="pixels in the mask", yscale="log")
        parts.append(figure(fig, "size of masks"))
    page.section("Methods and masks", *parts)


def _slowest(page, results, attempts):
    """The targets that took longest; returns their priorities."""
    seconds = np.nan_to_num(attempts["seconds"], nan=-1.0)
    order = np.argsort(-seconds, kind="stable")[:SLOWEST]
    index = {int(priority): i for i, priority in enumerate(results["priority"])}
    rows, named = [], []
    for i in order:
        priority = int(attempts["priority"][i])
        if seconds[i] < 0 or priority not in index:
            continue
        row = results[index[priority]]
        memory = attempts["peak_memory"][i]
        status = int(np.nan_to_num(attempts["status"][i], nan=-1))
        peak = None if np.isnan(memory) else round(memory / 2**20)
        rows.append([_link(row), _rounded(seconds[i]), _name(status), attempts["host"][i], peak])
        named.append(priority)
    if rows:
        page.section(
            "Slowest targets", table(rows, ["star", "seconds", "status", "host", "peak MiB"])
        )
    return named


def _signals(page, output, results):
    """What `photometry search --verdicts` found in the light curves; returns their priorities."""
    path = Path(output) / VERDICTS
    if not path.is_file():
        return []
    of_file = {Path(str(row["lightcurve"])).name: row for row in results if row["lightcurve"]}
    rows, named, unread = [], [], 0
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(text)
            name = Path(entry["path"]).name
        except (ValueError, KeyError, TypeError):
            unread += 1  # a line that was cut off
            continue
        star = of_file.get(name)
        if star is not None:
            named.append(int(star["priority"]))
        numbers = (entry.get(key) for key in ("period", "depth_ppm", "snr"))
        words = (entry.get(key) or "" for key in ("verdict", "reason"))
        rows.append([name if star is None else _link(star), *numbers, *words])
    rows.sort(key=lambda row: (row[4] != "candidate", -(row[3] or 0)))
    heads = ["star", "period (d)", "depth (ppm)", "S/N", "verdict", "reason"]
    note = f"{unread} lines of {VERDICTS} cannot be read." if unread else ""
    if rows:
        page.section("Transit signals", table(rows[:MAX_NAMED], heads, total=len(rows)), note=note)
    return named


def _settings(page, runs):
    from .html import preformatted

    if not runs or not runs[-1]["settings"]:
        return
    try:
        text = json.dumps(json.loads(runs[-1]["settings"]), indent=1)
    except ValueError:
        text = str(runs[-1]["settings"])
    page.section("Settings", details("of the last run", preformatted(text)))


def _named(page, view, output, priorities):
    """What is known of each star that the page names, in a part that one opens."""
    from markupsafe import Markup

    unique = list(dict.fromkeys(priorities))[:MAX_NAMED]
    if not unique:
        return
    parts = []
    for priority in unique:
        (row,) = explain(view, output, {"priority": priority})
        summary = f"{row['label']}: {row['status_name']}"
        anchored = Markup('<div id="star-{}">{}</div>').format(priority, facts(list(lines(row))))
        parts.append(details(summary, anchored))
    page.section("Stars", *parts, note="What photometry explain says of each star named above.")
