# SPDX-License-Identifier: Apache-2.0
"""soak_watch.py - what a daemon holds, once a moment; and whether that is flat.

A sample is a dict of figures, of three origins: the kernel (/proc), the blocks that soak_heap counts
in the daemon, and what the daemon says of itself and its pond (/metrics). LIMITS names the figures
that may not grow, and by how much.

Flat is said of two things. Under load, the last third of the samples is compared with the first
third: a load is never twice the same, so these limits are wide. At rest, when all clients have gone,
what was there before the load is compared with what is there after it: these limits are a few
blocks, and find what is lost once in some connections or refreshes.
"""
import math
import os
import re
import statistics
import struct
import urllib.request

MIB = 1 << 20
HEAP_CLASSES = 100
SMALL_CLASSES = 64


class Limit:
    """How much a figure may grow: under load by `loaded` and a share of what it was, at rest by
    `resting` and, if it is `of_reloads`, one for each reload; None: not compared. With `least`, the
    least value of a third counts, not the median: a table comes and goes by reloads, which may be
    there in the median sample or not. With `lower`, it may not shrink."""

    def __init__(self, name, loaded, resting, share=0.0, unit=1, **options):
        self.name, self.loaded, self.resting, self.share, self.unit = name, loaded, resting, share, unit
        self.least, self.lower = options.get("least", False), options.get("lower", False)
        self.of_reloads = options.get("of_reloads", False)

    def under_load(self, before, after):
        grown = before - after if self.lower else after - before
        return grown <= self.loaded + self.share * abs(before)

    def at_rest(self, before, after, reloads):
        return self.resting is None or after - before <= self.resting + reloads * self.of_reloads

    def of(self, samples):
        values = [sample[self.name] for sample in samples
                  if not math.isnan(sample[self.name])] or [float("nan")]
        return min(values) if self.least else statistics.median(values)

    def text(self, value):
        return f"{value / self.unit:.3f}" if self.unit != 1 else f"{value:.2f}".removesuffix(".00")

    def told(self):
        loaded = f"{'-' if self.lower else ''}{self.text(self.loaded)}"
        resting = "" if self.resting is None else f", at rest {self.text(self.resting)}"
        return (loaded + (f" and {self.share:.0%}" if self.share else "") + resting
                + (" and the reloads" if self.of_reloads else ""))


LIMITS = [
    Limit("private MiB", 3 * MIB, 5 * MIB, 0.02, MIB),  # with what glibc keeps of freed blocks
    Limit("heap blocks", 1000, 100, 0.05, least=True, of_reloads=True),
    Limit("heap MiB", 0.3 * MIB, 0.5 * MIB, 0.05, MIB, least=True),
    Limit("shared MiB", 8 * MIB, 8 * MIB, 0.02, MIB),  # the pond is mapped several times
    Limit("descriptors but connections", 5, 0),
    Limit("threads", 2, 0),
    Limit("pond committed MiB", 1 * MIB, 1 * MIB, 0.02, MIB),
    Limit("pond used MiB", 0.3 * MIB, None, 0.05, MIB, least=True),
    Limit("tables MiB", 0.1 * MIB, None, 0.1, MIB, least=True),
    Limit("table bytes per byte", 0.05, 0.05, 0.05),
    Limit("cache MiB", 0.3 * MIB, None, 0.02, MIB),
    Limit("cache bytes per byte", 0.05, 0.05, 0.05),
    Limit("pond of nobody MiB", 0.1 * MIB, 0.05 * MIB, 0, MIB),
    Limit("free, largest MiB", 0.5 * MIB, None, 0.3, MIB, lower=True),
    Limit("free blocks", 4000, None, 0.5, least=True),
    Limit("connections", 30, 0),
    Limit("HTTP connections", 10, 0),
    Limit("tracked keys", 2000, 0, 0.3),
    Limit("tracking clients", 10, 0),
    Limit("blocked clients", 5, 0),
    Limit("leases of keys", 20, 0),
    Limit("snapshots", 10, 0),
    Limit("versions held", 3000, 0, 0.5),
    Limit("refresh ms", 5, None, 0.5),
    Limit("GET us", 20, None, 0.5),
]


# --- sampling ---


class Heap:
    """What soak_heap counts, by class of size."""

    def __init__(self, path):
        self.path = path

    def read(self):
        with open(self.path, "rb") as file:
            blocks, size, *classes = struct.unpack(f"{HEAP_CLASSES + 2}q", file.read())
        return blocks, size, classes


def class_name(number):
    if number < SMALL_CLASSES:
        return f"{number * 16 + 8} bytes"
    return f"{1 << (number - SMALL_CLASSES)} KiB to {2 << (number - SMALL_CLASSES)} KiB"


def http_connections(pid, port):
    """Also those whose client has gone."""
    with open(f"/proc/{pid}/net/tcp", encoding="ascii") as file:
        lines = [line.split() for line in file]
    return sum(line[1].endswith(f":{port:04X}") and line[3] in ("01", "08") for line in lines)


def kernel(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        status = dict(re.findall(r"^(\w+):\s+(\d+)", file.read(), re.M))
    return {"private MiB": int(status["RssAnon"]) * 1024,
            "shared MiB": (int(status["RssFile"]) + int(status["RssShmem"])) * 1024,
            "threads": int(status["Threads"]), "descriptors": len(os.listdir(f"/proc/{pid}/fd"))}


def scrape(port):
    """All samples of /metrics: {name with labels: value}."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = [line.rsplit(" ", 1) for line in answer.read().decode().split("\n")
                 if line and line[0] != "#"]
    return {name: float(value) for name, value in lines}


def total(metrics, name):
    return sum(value for full, value in metrics.items() if full.split("{")[0] == name)


def of_pond(metrics):
    used = metrics['sidepond_pond_bytes{kind="used"}']
    tables = total(metrics, "sidepond_table_memory_bytes")
    cache = metrics["sidepond_cache_memory_bytes"]
    return {"pond committed MiB": metrics['sidepond_pond_bytes{kind="committed"}'],
            "pond used MiB": used, "tables MiB": tables, "cache MiB": cache,
            "table bytes per byte": tables / max(1, total(metrics, "sidepond_table_bytes")),
            "cache bytes per byte": cache / max(1, metrics["sidepond_cache_bytes"]),
            "pond of nobody MiB": used - tables - cache,
            "free, largest MiB": metrics['sidepond_pond_bytes{kind="largest_free"}'],
            "free blocks": total(metrics, "sidepond_pond_free_blocks"),
            "snapshots": metrics["sidepond_pond_leases"],
            "versions held": metrics["sidepond_pond_versions_held"]}


def of_clients(metrics):
    return {name: metrics[f"sidepond_cache_{metric}"] for name, metric in (
        ("connections", "connections"), ("tracked keys", "tracked_keys"),
        ("tracking clients", "tracking_clients"), ("blocked clients", "blocked_clients"),
        ("leases of keys", "leases"))}


# What is counted from the start, of which the mean since the last sample is told.
MEANS = [("refresh ms", 1e3, "sidepond_refresh_duration_seconds", ""),
         ("GET us", 1e6, "sidepond_cache_command_seconds", '{command="get"}')]


class Watch:
    """Takes samples of one daemon."""

    def __init__(self, pid, port, heap):
        self.pid, self.port, self.heap = pid, port, Heap(heap)
        self.last = {}

    def means(self, metrics):
        means = {}
        for name, scale, metric, labels in MEANS:
            now = [metrics.get(f"{metric}_{part}{labels}", total(metrics, f"{metric}_{part}"))
                   for part in ("sum", "count")]
            spent, times = (a - b for a, b in zip(now, self.last.get(name, (0, 0))))
            self.last[name] = now
            means[name] = scale * spent / times if times > 0 else float("nan")
        return means

    def sample(self):
        """What the kernel and the heap say comes first: asking the daemon is itself a connection."""
        found = kernel(self.pid)
        found["heap blocks"], found["heap MiB"], _ = self.heap.read()
        found["HTTP connections"] = http_connections(self.pid, self.port)
        metrics = scrape(self.port)
        found |= {**of_pond(metrics), **of_clients(metrics), **self.means(metrics)}
        found["descriptors but connections"] = (found["descriptors"] - found["connections"]
                                                - found["HTTP connections"])
        return found


# --- judging ---


def thirds(samples):
    third = max(1, len(samples) // 3)
    return samples[:third], samples[third:-third] or samples, samples[-third:]


def judge(samples, rested, rests, reloads):
    """Prints the table; what is not flat, as sentences."""
    complaints = []
    print(f"{'':28}{'at rest':>10}{'start':>10}{'middle':>10}{'end':>10}{'at rest':>10}   may grow by")
    for limit in LIMITS:
        start, middle, end = (limit.of(part) for part in thirds(samples))
        before, after = rested[limit.name], rests[limit.name]
        values = [limit.text(value) for value in (before, start, middle, end, after)]
        print(f"{limit.name:28}" + "".join(f"{value:>10}" for value in values), " ", limit.told())
        if not limit.under_load(start, end):
            complaints.append(f"{limit.name}: {values[1]} at the start of the load, "
                              f"{values[3]} at its end")
        if not limit.at_rest(before, after, reloads):
            complaints.append(f"{limit.name}: {values[0]} at rest before the load, "
                              f"{values[4]} after it")
    return complaints


def classes_grown(before, after):
    """Which sizes of blocks have become more or fewer: where to look for a leak."""
    grown = sorted(((b - a, number) for number, (a, b) in enumerate(zip(before, after)) if b != a),
                   key=lambda pair: -abs(pair[0]))
    return ", ".join(f"{more:+} of {class_name(number)}" for more, number in grown[:8])
