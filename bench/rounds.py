# SPDX-License-Identifier: BSD-2-Clause
"""What scripts that measure in interleaved rounds share: the lines that bench/report reads, and
what rounds come to."""

import datetime
import json
import statistics


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
