# SPDX-License-Identifier: MIT
"""
A stand-in for systemd on a bus of its own: it speaks as much D-Bus as a client needs that says hello
and starts a unit, and keeps a list of what it was asked for.
"""
import re
import socket
import struct
import threading

REPLY, ERROR = 2, 3


def field(code, kind, value):
    head = bytes([code, 1]) + kind + b"\0"
    if kind == b"u":
        return head + struct.pack("<I", value)
    if kind == b"g":
        return head + bytes([len(value)]) + value + b"\0"
    return head + struct.pack("<I", len(value)) + value + b"\0"


def message(kind, serial, reply_to, signature, body, error=None):
    fields = b""
    for one in ([field(5, b"u", reply_to), field(8, b"g", signature)]
                + ([field(4, b"s", error)] if error else [])):
        fields += b"\0" * (-len(fields) % 8) + one
    head = struct.pack("<BBBBIII", ord("l"), kind, 1, 1, len(body), serial, len(fields)) + fields
    return head + b"\0" * (-len(head) % 8) + body


def text(value):
    return struct.pack("<I", len(value)) + value + b"\0"


class Systemd:
    """`refuses`: the words in which it says no; `greets`: not set, it does not even say hello."""

    def __init__(self, path):
        self.path = str(path)
        self.asked, self.refuses = [], None
        self.greets = threading.Event()
        self.greets.set()
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(self.path)
        self.socket.listen()
        threading.Thread(target=self.serve, daemon=True).start()

    def close(self):
        self.socket.close()

    def serve(self):
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.talk, args=(client,), daemon=True).start()

    def talk(self, client):
        with client, client.makefile("rb") as f:
            try:
                self.greet(client, f)
                while True:
                    self.answer(client, f)
            except (struct.error, OSError):
                return

    @staticmethod
    def greet(client, f):
        f.read(1)
        while True:
            line = f.readline().strip()
            if line == b"AUTH EXTERNAL":
                client.sendall(b"DATA\r\n")
            elif line.startswith((b"AUTH EXTERNAL", b"DATA")):
                client.sendall(b"OK 0123456789abcdef0123456789abcdef\r\n")
            elif line == b"NEGOTIATE_UNIX_FD":
                client.sendall(b"AGREE_UNIX_FD\r\n")
            elif line == b"BEGIN" or not line:
                return

    def answer(self, client, f):
        head = f.read(16)
        _, _, _, _, size, serial, n_fields = struct.unpack("<BBBBIII", head)
        fields = f.read(n_fields + (-n_fields % 8))
        body = f.read(size)
        if b"Hello\0" in fields:
            self.greets.wait()
            client.sendall(message(REPLY, 1, serial, b"s", text(b":1.7")))
        elif b"StartUnit\0" in fields:
            self.asked.append(tuple(w.decode() for w in re.findall(rb"[a-z.-]{5,}", body)))
            if self.refuses:
                client.sendall(message(ERROR, 2, serial, b"s", text(self.refuses.encode()),
                                       b"org.freedesktop.systemd1.Refused"))
            else:
                client.sendall(message(REPLY, 2, serial, b"o", text(b"/job/1")))
