"""Detect an unchanged model without capturing it again.

Capturing a model takes seconds; an unchanged export should not. The fingerprint covers everything
readable that decides a model's behaviour: weights and buffers, the module tree with its plain
attributes, the source of every module of code the model comes from, and plain global values of the
user's own files. A model that holds anything else (an open file, a lambda's closure, hooks) has no
fingerprint and is captured.

Code can still read the outside world while it runs, so a fingerprint alone never serves a result:
the caller also runs the model on the samples and compares the outputs bit by bit.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import nn

__all__ = ["fingerprint"]

_STDLIB = tuple(
    str(Path(folder).resolve())
    for folder in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
)
_SITE = ("site-packages", "dist-packages")
# Cache keys already contain the versions of these packages.
_VERSIONED_PACKAGES = frozenset({"torch", "numpy", "edgesdk"})
_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_load_state_dict_pre_hooks",
)
_OWN_ATTRIBUTES = frozenset(nn.Module().__dict__)
_MAX_DEPTH = 8


class _Unreadable(Exception):
    """A part of the model is not a plain value."""


class _Digest:
    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def text(self, value: str) -> None:
        data = value.encode("utf-8", "surrogatepass")
        self._hash.update(len(data).to_bytes(8, "little"))
        self._hash.update(data)

    def tensor(self, tensor: torch.Tensor) -> None:
        if tensor.layout is not torch.strided or tensor.is_quantized:
            raise _Unreadable("a tensor that is not plain")
        data = tensor.detach().cpu().contiguous()
        self.text(f"{tuple(data.shape)} {data.dtype} {tensor.stride()}")
        if data.numel():
            self._hash.update(data.reshape(-1).view(torch.uint8).numpy().data)

    def value(self, value: Any, depth: int = 0) -> None:
        if depth > _MAX_DEPTH:
            raise _Unreadable("values nested too deeply")
        self.text(type(value).__name__)
        if value is None or isinstance(value, (bool, int, str, bytes)):
            self.text(repr(value))
        elif isinstance(value, float):
            self.text("nan" if math.isnan(value) else value.hex())
        elif isinstance(value, (torch.dtype, torch.device, torch.memory_format)):
            self.text(str(value))
        elif isinstance(value, torch.Tensor):
            self.tensor(value)
        elif isinstance(value, (list, tuple)):
            self.text(str(len(value)))
            for item in value:
                self.value(item, depth + 1)
        elif isinstance(value, Mapping):
            for key, item in value.items():
                self.value(key, depth + 1)
                self.value(item, depth + 1)
        elif isinstance(value, (set, frozenset)):
            for text in sorted(repr(item) for item in value):
                self.text(text)
        elif isinstance(value, FunctionType):
            self._function(value, depth)
        elif isinstance(value, type) or inspect.isbuiltin(value):
            self.text(f"{value.__module__}.{value.__qualname__}")
        else:
            raise _Unreadable(f"a {type(value).__name__}")

    def _function(self, function: FunctionType, depth: int) -> None:
        if function.__closure__:
            raise _Unreadable("a function with a closure")
        self.text(f"{function.__module__}.{function.__qualname__}")
        self.text(function.__code__.co_code.hex())
        self.text(repr(function.__code__.co_consts))
        self.value(function.__defaults__, depth + 1)

    def finish(self) -> str:
        return self._hash.hexdigest()


def fingerprint(model: nn.Module) -> str | None:
    """Hash everything that decides a model's behaviour; None if a part cannot be read."""
    digest = _Digest()
    try:
        for name, module in model.named_modules():
            _module(digest, name, module)
        for source in _sources(model):
            digest.text(source.__name__)
            digest.text(hashlib.sha256(Path(str(source.__file__)).read_bytes()).hexdigest())
            if not _packaged(str(source.__file__)):
                _globals(digest, source)
    except (_Unreadable, OSError, RuntimeError, TypeError, NotImplementedError):
        return None
    return digest.finish()


def _module(digest: _Digest, name: str, module: nn.Module) -> None:
    if any(getattr(module, hooks, None) for hooks in _HOOKS):
        raise _Unreadable("hooks")
    if isinstance(module, torch.fx.GraphModule):
        digest.text(module.code)
    digest.text(f"{name}: {type(module).__module__}.{type(module).__qualname__}")
    for kind in (module._parameters, module._buffers):
        for key, tensor in kind.items():
            digest.text(key)
            digest.value(tensor.detach() if tensor is not None else None)
    digest.text(str(list(module._modules)))
    for key in sorted(set(module.__dict__) - _OWN_ATTRIBUTES):
        digest.text(key)
        digest.value(module.__dict__[key])


def _packaged(file: str) -> bool:
    return any(part in _SITE for part in Path(file).parts)


def _sources(model: nn.Module) -> Iterable[ModuleType]:
    """Yield code modules the model may use: the user's own, and packages its classes come from."""
    packages = {type(module).__module__.partition(".")[0] for module in model.modules()}
    packages -= _VERSIONED_PACKAGES
    for name in sorted(sys.modules):
        module = sys.modules[name]
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or not file.endswith(".py"):
            continue
        top = name.partition(".")[0]
        if top in _VERSIONED_PACKAGES:
            continue
        resolved = str(Path(file).resolve())
        own = not _packaged(resolved) and not resolved.startswith(_STDLIB)
        if own or top in packages:
            yield module


def _globals(digest: _Digest, module: ModuleType) -> None:
    for key, value in sorted(vars(module).items()):
        if key.startswith("__") or isinstance(value, (ModuleType, type, FunctionType, nn.Module)):
            continue
        if isinstance(value, (bool, int, float, str, bytes, tuple, list, dict, torch.Tensor)):
            digest.text(key)
            digest.value(value)
