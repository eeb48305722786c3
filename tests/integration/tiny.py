# SPDX-License-Identifier: MIT
"""Tiny plans whose steps write down what they did, for tests of the engine."""
import itertools
import pathlib

COUNT = itertools.count(1)


class Tiny:
    """A folder, a plan builder, and the list of what was really done, in order."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.told = self.folder / "told"

    def plan(self, *steps, **top):
        """A plan as a dict. `top` overrides any top-level key."""
        name = top.pop("plan", f"tiny-{next(COUNT)}")
        return {"format": 1, "plan": name, "cwd": str(self.folder), "steps": list(steps), **top}

    @staticmethod
    def tell(word, then=""):
        """A step body: appends one word, durably, and may do more."""
        return {"run": ["sh", "-c", f"echo {word} >>told; sync told; {then}"]}

    def act(self, name, then="", undo_then="", **more):
        """A step that tells do-NAME, and undo-NAME when it is undone."""
        return {"id": name, **self.tell(f"do-{name}", then),
                "undo": self.tell(f"undo-{name}", undo_then), **more}

    def say(self, name, lines, **more):
        """A step that numbers what it says, and notes in `said` how far it came, then tells."""
        script = (f"i=0; while [ $i -lt {lines} ]; do i=$((i+1)); echo line-$i; "
                  f"echo $UPDD_ATTEMPT $i >>said; done; sync said; echo do-{name} >>told; sync told")
        return {"id": name, "run": ["sh", "-c", script], "undo": self.tell(f"undo-{name}"), **more}

    def fail(self, name, **more):
        return self.act(name, "exit 3", **more)

    @staticmethod
    def look(name, expression="true", **more):
        """A check step that runs a shell expression."""
        return {"id": name, "check": [{"run": ["sh", "-c", expression], "name": name}], **more}

    @staticmethod
    def gate(name="accept", **more):
        return {"id": name, "confirm": {"ask": "Go on?", **more}}

    def done(self):
        return self.told.read_text().split() if self.told.exists() else []

    def touch(self, name):
        (self.folder / name).touch()

    def exists(self, name):
        return (self.folder / name).exists()
