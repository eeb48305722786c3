# SPDX-License-Identifier: MIT
"""Storms of kills (tests/integration/storm.py), some side by side, until so many have been done."""
import concurrent.futures
import functools
import os

from storm import storm

HELP = "kills of updd, updd-step and what it runs, at random moments, over random jobs"
A_STORM = 50


def blow(folder, count, seed):
    return storm(folder / f"seed-{seed}", seed, count)


def soak(count, folder, seed):
    total = {"kills": 0, "jobs": 0, "attempts": 0, "violations": 0}
    one = functools.partial(blow, folder, min(A_STORM, count))
    before = -1
    with concurrent.futures.ProcessPoolExecutor(2 * (os.cpu_count() or 1)) as pool:
        while before < total["kills"] < count:
            before = total["kills"]
            left = -(-(count - total["kills"]) // A_STORM)
            for figures, wrong in pool.map(one, range(seed, seed + left)):
                for key, value in figures.items():
                    total[key] += value
                total["violations"] += len(wrong)
                print(*wrong, sep="\n", end="\n" if wrong else "", flush=True)
            seed += left  # a storm that was cut short has fewer
    return total
