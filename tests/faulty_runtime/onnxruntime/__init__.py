"""ONNX Runtime itself, except that models of certain names make it crash, hang or overeat.

Put the folder above on ``PYTHONPATH``: a process started with it finds this module first, and this
module loads the real one in its own place.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
import time
from pathlib import Path

import numpy as np

_FOLDER = Path(__file__).resolve().parents[1]
sys.path = [folder for folder in sys.path if Path(folder).resolve() != _FOLDER]
del sys.modules["onnxruntime"]
_real = importlib.import_module("onnxruntime")
_Session = _real.InferenceSession


class _FaultySession(_Session):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._runs = 0
        if self._fault == "crash at load":
            ctypes.string_at(0)

    @property
    def _fault(self):
        return self.get_modelmeta().graph_name

    def run(self, *args, **kwargs):
        self._runs += 1
        if self._fault == "crash":
            print("the runtime says its last words")
            ctypes.string_at(0)
        elif self._fault == "crash at third run" and self._runs == 3:
            os.abort()
        elif self._fault == "hang":
            # Keeps the interpreter's lock, as a hanging native library does.
            ctypes.PyDLL(None).sleep(600)
        elif self._fault == "overeat":
            hoard = []
            while True:
                hoard.append(np.ones(2**21))
                time.sleep(0.01)
        elif self._fault == "refuse":
            raise ValueError("this input does not taste")
        return super().run(*args, **kwargs)


_real.InferenceSession = _FaultySession
sys.modules["onnxruntime"] = _real
