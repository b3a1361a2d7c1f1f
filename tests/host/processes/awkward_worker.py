"""A child that behaves badly on request."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np

from edgesdk.errors import UnknownNameError
from edgesdk.host.processes import serve

if os.environ.get("AWKWARD") == "dies at once":
    print("no good morning", flush=True)
    os._exit(7)


def echo(payload, arrays, progress):
    return payload, arrays


def steps(payload, arrays, progress):
    for step in range(payload["steps"]):
        progress({"step": step})
    return {"done": True}, {}


def crash(payload, arrays, progress):
    print("about to read address zero", flush=True)
    ctypes.string_at(0)


def raise_signal(payload, arrays, progress):
    os.kill(os.getpid(), signal.Signals[payload["signal"]])
    time.sleep(60)


def leave(payload, arrays, progress):
    os._exit(payload["status"])


def ask_to_leave(payload, arrays, progress):
    sys.exit("the vendor calls sys.exit")


def hang(payload, arrays, progress):
    progress({"pid": os.getpid()})
    time.sleep(600)


def hang_with_the_lock(payload, arrays, progress):
    progress({"pid": os.getpid()})
    # PyDLL, unlike CDLL, keeps the interpreter's lock during the call: no thread runs.
    ctypes.PyDLL(None).sleep(600)


def eat(payload, arrays, progress):
    hoard = []
    while True:
        hoard.append(np.ones(2**21))
        time.sleep(0.01)


def eat_in_grandchild(payload, arrays, progress):
    program = "import time\nh=[]\nwhile 1: h.append(bytearray(b'x' * 2**24)); time.sleep(.01)"
    subprocess.run([sys.executable, "-c", program], check=False)
    return {}, {}


def shout(payload, arrays, progress):
    for number in range(payload["lines"]):
        print(f"out {number} " + "o" * 60)
        os.write(2, f"err {number}\n".encode())
    return {"lines": payload["lines"]}, {}


def progress_bar(payload, arrays, progress):
    sys.stderr.write("10 %\r50 %\r100 %\r\nlast\n")
    return {}, {}


def start_sleeper(payload, arrays, progress):
    sleeper = subprocess.Popen(["sleep", "600"], start_new_session=payload["own_session"])
    return {"pid": sleeper.pid}, {}


def our_error(payload, arrays, progress):
    raise UnknownNameError("colour", "gren", ["green", "red"])


def foreign_error(payload, arrays, progress):
    raise ZeroDivisionError("no such quotient")


def no_json(payload, arrays, progress):
    return {"bad": {1, 2}}, {}


def garbage(payload, arrays, progress):
    os.write(int(sys.argv[2]), b"this is no message at all, only bytes")
    time.sleep(600)


def where(payload, arrays, progress):
    scratch = tempfile.mkdtemp()
    return {"path": sys.path, "scratch": scratch, "variable": os.environ.get("SOME_SETTING")}, {}


if __name__ == "__main__":
    functions = (
        echo, steps, crash, raise_signal, leave, ask_to_leave, hang, hang_with_the_lock, eat,
        eat_in_grandchild, shout, progress_bar, start_sleeper, our_error, foreign_error, no_json,
        garbage, where,
    )  # fmt: skip
    serve({function.__name__: function for function in functions})
