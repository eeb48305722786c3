# SPDX-License-Identifier: MIT
"""
A terminal of 80 columns with a program on it, and what its user would see: the cursor movements that
updctl uses are carried out, any other escape sequence but colours fails the test.
"""
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
import unicodedata


class Terminal:
    def __init__(self, argv, env, columns=80, rows=50):
        self.columns, self.raw = columns, b""
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

        def own_terminal():
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        self.process = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, env=env,
                                        preexec_fn=own_terminal)
        self.slave = slave

    def __enter__(self):
        return self

    def __exit__(self, *args):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.slave)
        os.close(self.master)

    def read(self, timeout):
        if select.select([self.master], [], [], timeout)[0]:
            self.raw += os.read(self.master, 65536)
            return True
        return False

    def until(self, text, timeout=20):
        end = time.monotonic() + timeout
        while text not in self.screen():
            assert time.monotonic() < end, f"never '{text}':\n{self.screen()}"
            self.read(0.1)

    def send(self, text):
        os.write(self.master, text.encode())

    def echo(self):
        return bool(termios.tcgetattr(self.slave)[3] & termios.ECHO)

    def end(self, timeout=30):
        """The exit code."""
        end = time.monotonic() + timeout
        while self.process.poll() is None:
            assert time.monotonic() < end, f"it does not end:\n{self.screen()}"
            self.read(0.05)
        while self.read(0.05):
            pass
        assert b"AddressSanitizer" not in self.raw and b"runtime error:" not in self.raw, self.screen()
        return self.process.returncode

    @staticmethod
    def width(c):
        return 2 if unicodedata.east_asian_width(c) in "WF" else 0 if unicodedata.combining(c) else 1

    def screen(self):
        """The lines as they stand, without those that were taken back. Sets `widest`."""
        lines, row, column, self.widest = [""], 0, 0, 0
        for part in re.findall(r"\x1b\[[\d;]*[A-Za-z]|.", self.raw.decode(errors="replace"), re.S):
            if part == "\n":
                row, column = row + 1, column
                lines += [""] * (row + 1 - len(lines))
            elif part == "\r":
                column = 0
            elif part.endswith("A") and part.startswith("\x1b["):
                row = max(0, row - int(part[2:-1] or 1))
            elif part == "\x1b[J":
                lines = lines[:row] + [lines[row][:column]]
            elif part.endswith("m") and part.startswith("\x1b["):
                pass
            else:
                assert not part.startswith("\x1b"), f"{part!r} reached the terminal"
                if column >= self.columns:
                    row, column = row + 1, 0
                    lines.insert(row, "")
                lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + 1:]
                column += self.width(part)
                self.widest = max(self.widest, column)
        return "\n".join(lines)
