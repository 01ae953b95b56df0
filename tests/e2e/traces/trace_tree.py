"""Prints a trace that the collector logged, a line a span, each below its parent: its service, its name, and what breakerd says of it.

trace_tree.py LOG TRACE. The store is left out: one transaction may be of several traces, and then has its own.
"""

import re
import sys

SAID = ["breakerd.service", "breakerd.allowed", "breakerd.outcome", "breakerd.transition.to"]


def spans(log):
    """Those of the log, as its detailed exporter writes them."""
    service, span, found = None, None, []
    for line in log:
        field = re.match(r"\s*(Trace ID|Parent ID|ID|Name|Start time)\s*: ?(.*)", line)
        attribute = re.match(r"\s*-> ([\w.]+): \w+\((.*)\)", line)
        if line.startswith("ResourceSpans"):
            service, span = None, None
        elif re.match(r"Span #\d", line):
            span = {"service": service, "said": {}}
            found.append(span)
        elif field and span is not None:
            span[field[1]] = field[2].strip()
        elif attribute and span is None and attribute[1] == "service.name":
            service = attribute[2]
        elif attribute and span is not None:
            span["said"].setdefault(attribute[1], attribute[2])
    return found


def show(all_spans, parent, depth):
    below = [span for span in all_spans if span["Parent ID"] == parent]
    for span in sorted(below, key=lambda span: span["Start time"]):
        said = [span["said"][key] for key in SAID if key in span["said"]]
        print("  " * depth + " ".join([span["service"] + ":", span["Name"], *said]))
        show(all_spans, span["ID"], depth + 1)


with open(sys.argv[1], encoding="utf-8") as log:
    of_trace = [span for span in spans(log) if span["Trace ID"] == sys.argv[2]]
of_trace = [span for span in of_trace if not span["Name"].startswith("store ")]
known = {span["ID"] for span in of_trace}
for root in sorted({span["Parent ID"] for span in of_trace} - known):
    show(of_trace, root, 0)
