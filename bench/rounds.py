# SPDX-License-Identifier: BSD-2-Clause
"""What scripts that measure in interleaved rounds share: the lines that bench/report reads, and
what rounds come to."""

import datetime
import json
import signal
import statistics
import sys


def clean_up_at_the_end():
    """SIGTERM too ends the script as ^C does: what was started and changed is undone."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def record(out, **row):
    """Write one figure to the file out, as bench/report wants it, and when that was."""
    row["time"] = datetime.datetime.now(datetime.timezone.utc).isoformat()
    out.write(json.dumps(row) + "\n")
    out.flush()


def spread(values):
    """Median and extremes."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratio(ours, theirs):
    """Median and extremes of each round's own ratio; None if there is none."""
    ratios = [a / b for a, b in zip(ours, theirs) if a > 0 < b]
    return spread(ratios) if ratios else None
