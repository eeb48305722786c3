# SPDX-License-Identifier: MIT
"""Power cuts: jobs that are recorded once, and the disks that are left behind points of it. Some
records are tried side by side."""
import concurrent.futures
import functools
import os
import shutil

import powercut

HELP = "start updd on N disks that a power cut left"
A_RECORD = 100  # disks; then the job is recorded anew, for no two records are the same


def try_record(folder, count, seed, n):
    """The `n`th hundred of disks: figures, and what each violation was."""
    names = sorted(powercut.EVERY_JOB)
    name, lap = names[n % len(names)], seed + n
    place = folder / f"{n}-{name}"
    record = powercut.Record(place, name)
    wrong = record.try_all(record.cuts(min(A_RECORD, count - n * A_RECORD), lap))
    if wrong:
        (place / "violations").write_text(f"seed {lap}\n" + "\n\n".join(wrong) + "\n")
    else:
        shutil.rmtree(place)
    return {"disks": record.disks, "jobs": 1 + record.disks,
            "records": len(record.first.records), "violations": len(wrong)}


def soak(count, folder, seed):
    total = {}
    one = functools.partial(try_record, folder, count, seed)
    with concurrent.futures.ProcessPoolExecutor(2 * (os.cpu_count() or 1)) as pool:
        for figures in pool.map(one, range(-(-count // A_RECORD))):
            for key, value in figures.items():
                total[key] = total.get(key, 0) + value
    return total
