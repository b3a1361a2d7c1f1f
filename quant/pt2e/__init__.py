"""torchao's PT2E flow for ExecuTorch and Core ML: conversion, layers and simulation."""

from __future__ import annotations

__all__: list[str] = []
