"""Attempts in time, as a picture of a page."""

import time

from markupsafe import Markup

from . import states

COLOURS = {states.PASSED: "#1a7f37", states.FAILED: "#c62828", states.QC_FAILED: "#c77700"}


def moment(seconds):
    """A Unix time as people read it, in UTC; None for None."""
    return None if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))


def draw_timeline(rows):
    """Attempts as bars, a line for each that run side by side on a host; a click opens the task.

    Parameters
    ----------
    rows : of `tables.fetch_timings_table`

    Returns
    -------
    Markup
    """
    if not rows:
        return Markup("<p>nothing has run yet</p>")
    begin = min(row["start"] for row in rows)
    scale = 1000.0 / max(max(row["end"] for row in rows) - begin, 1e-6)
    lanes, bars = {}, []  # (host, number) -> when its last bar ends
    for row in sorted(rows, key=lambda row: row["start"]):
        host = row["host"] or "containers"
        number = 0
        while lanes.get((host, number), -1.0) > row["start"]:
            number += 1
        lanes[host, number] = row["end"]
        bars.append((host, number, row))
    order = {lane: row for row, lane in enumerate(sorted(lanes))}
    parts = []
    for host, number, row in bars:
        y = 18 * order[host, number] + 2
        title = f"{row['type']} {row['task']}: {row['end'] - row['start']:.2f} s, {row['state']}"
        parts.append(
            Markup(
                '<a href="/task/{}"><rect x="{:.2f}" y="{}" width="{:.2f}" height="14" fill="{}">'
                "<title>{}</title></rect></a>"
            ).format(
                row["task"], 120 + scale * (row["start"] - begin), y,
                max(scale * (row["end"] - row["start"]), 1.0),
                COLOURS.get(row["state"], "#5c6670"), title,
            )
        )  # fmt: skip
    names = [
        Markup('<text x="0" y="{}" font-size="11" fill="currentColor">{}</text>').format(
            18 * row + 13, lane[0]
        )
        for lane, row in order.items()
    ]
    height = 18 * len(order) + 24
    seconds = 1000.0 / scale
    axis = Markup(
        '<text x="120" y="{0}" font-size="11" fill="currentColor">{1} UTC</text>'
        '<text x="1120" y="{0}" font-size="11" text-anchor="end" fill="currentColor">+ '
        "{2:.1f} s</text>"
    ).format(height - 6, moment(begin), seconds)
    return Markup(
        '<div class="scroll"><svg role="img" aria-label="attempts in time" viewBox="0 0 1130 {0}" '
        'width="1130" height="{0}">{1}{2}{3}</svg></div>'
    ).format(height, Markup("").join(names), Markup("").join(parts), axis)
