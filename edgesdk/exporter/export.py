"""Export a model to several targets, verify each artefact, and write one bundle."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from edgesdk.bundle.bundle import Bundle
from edgesdk.bundle.writer import BundleWriter
from edgesdk.converters.isolation import Limits
from edgesdk.converters.registry import TARGETS, Target, parse_targets
from edgesdk.errors import UsageError
from edgesdk.exporter.options import (
    UNSET,
    ExportOptions,
    Progress,
    default_name,
    dynamic_by_target,
    known_arguments,
    with_keyword_arguments,
)
from edgesdk.exporter.prepared import prepare
from edgesdk.exporter.quantization.options import QuantizeOptions
from edgesdk.exporter.run import ExportRun
from edgesdk.host.cache import Cache
from edgesdk.host.progress import AUTO, Auto, progress_shown
from edgesdk.spec import ImageSpec, TensorSpec
from edgesdk.verification.parity import Tolerances

__all__ = ["ExportOptions", "Progress", "export"]


@known_arguments
@progress_shown("model", lambda display: display.step)
def export(
    model: str | nn.Module,
    example: Any = None,
    *,
    to: Sequence[str] | str = UNSET,
    output: str | os.PathLike[str] | None = None,
    options: ExportOptions | None = None,
    on_progress: Progress | Auto | None = AUTO,
    name: str = UNSET,
    inputs: Sequence[TensorSpec | str] | TensorSpec | str = UNSET,
    image: ImageSpec | str | None = UNSET,
    dynamic: Sequence[str] | str = UNSET,
    weights: str | os.PathLike[str] | None = UNSET,
    samples: Sequence[str | os.PathLike[str]] | str | os.PathLike[str] = UNSET,
    gates: Tolerances = UNSET,
    min_cosine: float | None = UNSET,
    max_error: float | None = UNSET,
    min_agreement: float | None = UNSET,
    verify: bool = UNSET,
    reference: bool = UNSET,
    overwrite: bool = UNSET,
    jobs: int = UNSET,
    limits: Limits = UNSET,
    timeout: float = UNSET,
    memory_limit: float | None = UNSET,
    cache: Cache | bool | None = UNSET,
    quantize: QuantizeOptions | Sequence[str] | str | None = UNSET,
    calibration: Any = UNSET,
    data: str | os.PathLike[str] | None = UNSET,
    evaluate: Any = UNSET,
    max_drop: float | str | None = UNSET,
    accuracy_control: bool = UNSET,
    keep_float: Sequence[str] | str = UNSET,
    io_dtype: str = UNSET,
    ranges: str = UNSET,
    calibration_samples: int = UNSET,
    evaluation_samples: int = UNSET,
    targets: Sequence[str] | str | None = None,
) -> Bundle:
    """Convert a model to every target, verify each artefact, and write one bundle.

    Each target is converted in a separate process; a failure is recorded and the others continue.
    Arguments have the names of the options of ``edgesdk export``.

        bundle = edgesdk.export("mobilenet_v2", to="onnx,litert", output="net.edge")
        print(bundle["onnx"].parity.passed)

    Args:
        model: The model, or a SOURCE.
        example: Example arguments: a tensor, a tuple, or a dictionary by argument name. Zoo
            networks and programs bring their own.
        to: Targets, with a variant after a colon if it is not the default one; a string may
            list several, separated by commas. By default executorch, coreml, litert and onnx.
        output: The bundle to write; by default ``NAME.edge`` in the working folder.
        options: Values for arguments that are not given; see :class:`ExportOptions`.
        on_progress: Called with target and step, from several threads but one at a time. ``auto``
            shows a live display on a terminal and in a notebook, and elsewhere logs to the logger
            ``edgesdk``; None is silent.
        name: Name of the bundle, at most 200 characters; by default the output's without suffix.
        inputs: Input specs in place of an example, such as ``image:1x3x224x224``.
        image: Preprocessing to build in, so that an app passes camera bytes: ``auto`` (the
            source's own), ``imagenet``, ``unit``, ..., or an ImageSpec.
        dynamic: Free dimensions: ``[TARGET:]batch[=1..8]`` or ``[TARGET:]hw[=64..1024/32]``.
        weights: File of weights to load.
        samples: Photographs or files of arrays that parity is measured on.
        gates: Bounds on parity that replace the default ones.
        min_cosine: Smallest cosine similarity to the model; part of ``gates``.
        max_error: Largest difference as a share of the output's range; part of ``gates``.
        min_agreement: Smallest share of samples with the same top-1 class, 0..1; part of ``gates``.
        verify: True (default) to run each artefact and compare it with the model.
        reference: True (default) to store the program in the bundle, for bisection.
        overwrite: True to replace an existing bundle.
        jobs: Number of concurrent conversions; 0 (default) for one per core.
        limits: Resource limits of each converter.
        timeout: Largest time for one target in seconds, by default 900; part of ``limits``.
        memory_limit: Largest memory of one conversion in GiB; part of ``limits``.
        cache: Cache of finished work; True for the usual one, None (default) or False for none.
        quantize: Names of recipes, one artefact per target and recipe, or QuantizeOptions. The
            arguments below replace fields of these options.
        calibration: Inputs that set int8 ranges: a folder of photographs, a file of arrays, a
            DataLoader or any iterable of inputs.
        data: Folder of labelled images: calibrates on training images, measures on test images.
        evaluate: Unlabelled inputs for measuring the accuracy drop, in the forms of
            ``calibration``.
        max_drop: Largest accuracy drop allowed: ``0.01`` or ``"1%"``.
        accuracy_control: True to keep the most sensitive layers float until ``max_drop`` holds.
        keep_float: Module paths of layers to keep float.
        io_dtype: Type of inputs and outputs with w8a8_static: ``float`` (default) or ``int8``.
        ranges: Estimator of int8 ranges: ``min_max``, ``moving_average``, ``percentile``,
            ``entropy`` or ``mse``.
        calibration_samples: Number of calibration inputs; 0 (default) until ranges converge.
        evaluation_samples: Largest number of inputs to measure the drop on, by default 512.
        targets: Former name of ``to``.

    Returns:
        The bundle. Its manifest records which artefacts passed; see
        :func:`edgesdk.verification.verify_bundle.require_parity`.

    Raises:
        EdgeSdkError: Nothing was written: invalid usage, a model that cannot be captured, a failure
            of every target, or an output that cannot be written.
    """
    given = {
        "name": name,
        "inputs": inputs,
        "image": image,
        "dynamic": dynamic,
        "weights": weights,
        "samples": samples,
        "gates": gates,
        "min_cosine": min_cosine,
        "max_error": max_error,
        "min_agreement": min_agreement,
        "verify": verify,
        "reference": reference,
        "overwrite": overwrite,
        "jobs": jobs,
        "limits": limits,
        "timeout": timeout,
        "memory_limit": memory_limit,
        "cache": cache,
        "quantize": quantize,
        "calibration": calibration,
        "data": data,
        "evaluate": evaluate,
        "max_drop": max_drop,
        "accuracy_control": accuracy_control,
        "keep_float": keep_float,
        "io_dtype": io_dtype,
        "ranges": ranges,
        "calibration_samples": calibration_samples,
        "evaluation_samples": evaluation_samples,
    }
    settings = with_keyword_arguments(options, given)
    chosen = _chosen(to, targets)
    free = dynamic_by_target(settings.dynamic, [target.name for target, _ in chosen])
    place = Path(output if output is not None else f"{_name_of(model)}.edge")
    title = settings.name or place.name.removesuffix(".edge")
    lock = threading.Lock()

    def report(target: str, step: str) -> None:
        if callable(on_progress):
            with lock:
                on_progress(target, step)

    # Check that the output is writable before spending minutes on conversions.
    with BundleWriter(place, overwrite=settings.overwrite) as writer:
        report("model", "loading")
        prepared = prepare(
            model,
            example,
            inputs=settings.inputs,
            image=settings.image,
            weights=settings.weights,
        )
        return ExportRun(settings, prepared, chosen, free, writer, report).run(title)


def _chosen(
    to: Sequence[str] | str, targets: Sequence[str] | str | None
) -> list[tuple[Target, str]]:
    if to is not UNSET and targets is not None:
        raise UsageError("to and targets name the same thing twice", remedy="give to alone")
    named = to if to is not UNSET else tuple(TARGETS) if targets is None else targets
    return parse_targets([named] if isinstance(named, str) else named)


def _name_of(model: str | nn.Module) -> str:
    return default_name(model) if isinstance(model, str) else type(model).__name__
