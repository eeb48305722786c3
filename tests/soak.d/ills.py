# SPDX-License-Identifier: MIT
"""A disk that falls ill at a random call of a random job, under updd or under both programs."""
import errno
import json
import random

import sick

HELP = "jobs whose disk falls ill once (tests/integration/sick.py)"
ILLS = [(errno.ENOSPC, False), (errno.EIO, False), (errno.EROFS, False), (errno.EDQUOT, False),
        (errno.ENOSPC, True), (errno.EIO, True)]
ROUND = 20  # runs against one run without a fault


def soak(count, folder, seed):
    rng, ill, wrong, done = random.Random(seed), 0, [], 0

    def judge(run, sane):
        if run.updd.environment["UPDD_SICK_PROGRAM"] == "updd":
            assert run.facts() == sane.facts(), json.dumps([run.facts(), sane.facts()], indent=1)
        else:
            assert run.now["state"] in ("succeeded", "rolled_back"), run.now["state"]

    while done < count:
        n = min(ROUND, count - done)
        place = folder / str(done)
        place.mkdir()

        def cases(sane):
            return [(rng.randint(1, sane.calls), *rng.choice(ILLS)) for _ in range(n)]
        name, programs = rng.choice(["forth", "back"]), rng.choice(["updd", "updd*"])
        found, told = sick.try_each(place, name, programs, cases, judge)
        ill, wrong, done = ill + found, wrong + told, done + n
        if not told:
            place.rmdir()
    for text in wrong:
        (folder / "violations").open("a").write(text + "\n\n")
    return {"jobs": done, "disks that fell ill": ill, "violations": len(wrong)}
