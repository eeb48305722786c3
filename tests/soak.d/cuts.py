# SPDX-License-Identifier: MIT
"""Power cuts: jobs that are recorded once, and the disks that are left behind points of it."""
import shutil

import powercut

HELP = "start updd on N disks that a power cut left"
A_RECORD = 100  # disks; then the job is recorded anew, for no two records are the same


def soak(count, folder, seed):
    figures = {"disks": 0, "jobs": 0, "records": 0, "violations": 0}
    names = sorted(powercut.EVERY_JOB)
    for n in range(0, count, A_RECORD):
        name, lap = names[n // A_RECORD % len(names)], seed + n // A_RECORD
        place = folder / f"{n}-{name}"
        record = powercut.Record(place, name)
        wrong = record.try_all(record.cuts(min(A_RECORD, count - n), lap))
        figures["disks"] += record.disks
        figures["jobs"] += 1 + record.disks
        figures["records"] += len(record.first.records)
        figures["violations"] += len(wrong)
        if wrong:
            (place / "violations").write_text(f"seed {lap}\n" + "\n\n".join(wrong) + "\n")
        else:
            shutil.rmtree(place)
    return figures
