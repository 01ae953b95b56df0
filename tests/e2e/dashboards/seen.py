"""What a Prometheus has seen of the series that an alert asks for, as promtool takes them: a value for each second, the unchanged and the
evenly growing ones together. seen.py PROMETHEUS RULES ALERT SECONDS"""

import json
import re
import sys
import time
import urllib.parse
import urllib.request

prometheus, rules, alert, seconds = sys.argv[1:]


def runs(values):
    """0 0 0 3 5 7 as 0x2 3+2x2."""
    told, at = [], 0
    while at < len(values):
        step = values[at + 1] - values[at] if at + 1 < len(values) else 0
        end = at
        while end + 1 < len(values) and values[end + 1] - values[end] == step:
            end += 1
        told.append(f"{values[at]:.15g}" + (f"{step:+.15g}" if step else "") + (f"x{end - at}" if end > at else ""))
        at = end + 1
    return " ".join(told)


expression = re.search(rf"alert: {alert}\n +expr: (.*)", open(rules).read())[1]
end = time.time()
for selector in dict.fromkeys(re.findall(r"\b(?:llm_incident_manager|process)_\w+(?:\{[^}]*\})?", expression)):
    query = urllib.parse.urlencode({"query": selector, "start": end - int(seconds), "end": end, "step": 1})
    with urllib.request.urlopen(f"{prometheus}/api/v1/query_range?{query}") as answer:
        for series in json.load(answer)["data"]["result"]:
            labels = series["metric"]
            text = ",".join(f'{label}="{value}"' for label, value in labels.items() if label not in ("__name__", "job"))
            print(f"{labels['__name__']}{{{text}}} {runs([float(value) for _, value in series['values']])}")
