"""Whether the series of the stories that promtool is told (tests/it/alerts) are those that breakerds had in a Prometheus: the same
names, the same labels, and the same values of labels that do not name something of a user's. A counter that begins at 0 in a story did so
there too: one that appears with its first increment would have none. stories.py PROMETHEUS STORIES..."""

import json
import re
import sys
import urllib.parse
import urllib.request

NAMESPACE = "llm_incident_manager_"
# Labels with names of users, processes and versions: any value will do.
NAMES = {"service", "name", "instance", "version", "target"}
# Prometheus adds where an installation is, and in a cluster the pod. A story leaves out what no alert asks for.
LEFT_OUT = {"__name__", "cluster", "namespace", "job", "pod", "commit"}

prometheus, *stories = sys.argv[1:]


def ask(what, **arguments):
    with urllib.request.urlopen(f"{prometheus}/api/v1/{what}?{urllib.parse.urlencode(arguments)}") as answer:
        return json.load(answer)["data"]


labels, values = {}, {}
for of in ask("series", **{"match[]": f'{{__name__=~"(process_|{NAMESPACE}).*"}}'}):
    name = of["__name__"].removeprefix(NAMESPACE)
    labels.setdefault(name, set()).add(frozenset(of.keys() - LEFT_OUT))
    for label, value in of.items():
        values.setdefault((name, label), set()).add(value)

told = set(re.findall(r'"(\w+)\{([^}]*)\}",\s*"(\w+)', "".join(open(path).read() for path in stories)))
wrong = [] if len(told) > 30 else [f"only {len(told)} series are told"]
for name, text, first in sorted(told):
    of = {label: value for label, value in re.findall(r"(\w+)='([^']*)'", text) if label not in LEFT_OUT}
    if frozenset(of) not in labels.get(name, ()):
        wrong.append(f"{name}: told with {sorted(of)}, but breakerd has {[sorted(them) for them in labels.get(name, ())]}")
        continue
    for label in of.keys() - NAMES:
        if of[label] not in values[name, label]:
            wrong.append(f"{name}: told with {label}={of[label]}, but breakerd has {sorted(values[name, label])}")
    if name.endswith("_total") and first.startswith("0"):
        selected = ",".join(f'{label}="{of[label]}"' for label in sorted(of.keys() - NAMES))
        least = ask("query", query=f"min(min_over_time({NAMESPACE}{name}{{{selected}}}[1d]))")["result"]
        if not least or float(least[0]["value"][1]) != 0:
            wrong.append(f"{name}{{{selected}}}: told from 0 on, but breakerd has it from {least} on")
sys.exit("\n".join(dict.fromkeys(wrong)) or None)
