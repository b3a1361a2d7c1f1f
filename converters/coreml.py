"""Core ML converter: an ML Program package with named outputs and reproducible bytes."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgesdk.converters.conversion import (
    Conversion,
    ConversionRequest,
    QuantizedConversion,
    check_free_dimensions,
    narrowed,
)
from edgesdk.converters.error_locations import conversion_error
from edgesdk.converters.quantization_plan import plan_for, save_simulated
from edgesdk.converters.rewriting.library import rewrite_for
from edgesdk.errors import ConversionError, DynamicShapeError, EdgeSdkError
from edgesdk.frontend.provenance import where
from edgesdk.frontend.pt2.reader import load_program
from edgesdk.spec import ImageSpec, TensorSpec

__all__ = ["convert"]

# ML Programs take and return float32, float16 and int32.
_NARROW = {
    "int64": "int32",
    "int16": "int32",
    "int8": "int32",
    "uint8": "int32",
    "bool": "float32",
    "float64": "float32",
}


def convert(request: ConversionRequest) -> Conversion:
    """Convert one program.

    Raises:
        UnsupportedOperatorError: coremltools has no translation for an operator.
        DynamicShapeError: A free dimension became fixed.
        ConversionError: The converter failed.
    """
    _check_images(request.app_inputs)
    import coremltools as ct

    program, rewrites = rewrite_for(
        "coreml", request.variant, load_program(request.program), _takes
    )
    given, plan, prepared = program, None, None
    halved = request.variant == "fp16"
    if request.quantization is not None:
        from edgesdk.quant.coreml.program import quantize_program

        plan = plan_for(request, given)
        prepared = quantize_program(plan)
        program = prepared.program
        halved |= plan.spec.precision == "fp16"
    precision = ct.precision.FLOAT16 if halved else ct.precision.FLOAT32
    decomposed = program
    try:
        decomposed = program.run_decompositions({})
        model = ct.convert(
            decomposed,
            convert_to="mlprogram",
            compute_precision=precision,
            minimum_deployment_target=getattr(ct.target, prepared.system if prepared else "iOS16"),
            skip_model_load=True,
            # Only weights and arithmetic are fp16; inputs and outputs keep the model's dtypes.
            outputs=[ct.TensorType(dtype=_io_dtype(spec)) for spec in request.outputs],
        )
        if plan is not None and prepared is not None:
            from edgesdk.quant.coreml.program import compress_model

            model = compress_model(plan, prepared, model)
        specification = model.get_spec()
        weights = model.weights_dir
        signature = _name_signature(specification, request)
        _remove_date(specification)
        named = ct.models.MLModel(specification, weights_dir=weights, skip_model_load=True)
        named.save(str(request.output))
    except EdgeSdkError:
        raise
    except Exception as error:
        raise conversion_error(decomposed, "coreml", error) from error
    _make_reproducible(request.output, specification)
    _set_file_modes(request.output)
    quantized: QuantizedConversion | None = None
    notes: list[str] = []
    if plan is not None and prepared is not None:
        from edgesdk.quant.coreml.program import read_back

        found = read_back(plan, prepared, request.output)
        quantized = save_simulated(request, given, found)
        notes += found.notes
    coverage = None
    if request.coverage:
        from edgesdk.converters.coverage.coreml import cover_coreml

        places = {node.name: where(node) for node in decomposed.graph.nodes}
        coverage = cover_coreml(request.output, places)
    if not halved:
        notes.append(
            "float32 runs on CPU and GPU; the Neural Engine computes in float16: "
            "export coreml without a variant for it"
        )
    return Conversion(
        signature,
        tuple(narrowed(spec, _NARROW) for spec in request.outputs),
        precision="fp16" if halved else "fp32",
        notes=tuple(notes),
        coverage=coverage,
        quantized=quantized,
        rewrites=rewrites,
    )


def _takes(operator: Any) -> bool:
    """Return True if coremltools translates an operator of torch."""
    from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY
    from coremltools.converters.mil.frontend.torch.utils import sanitize_op_kind

    kind = sanitize_op_kind(operator.name())
    return _TORCH_OPS_REGISTRY.get_func(kind) is not None


def _check_images(inputs: Sequence[TensorSpec]) -> None:
    """Refuse image inputs with a free or larger batch: Core ML passes one image at a time."""
    for spec in inputs:
        if spec.image is None:
            continue
        if 0 in spec.dynamic:
            raise DynamicShapeError(
                f"coreml cannot keep {spec.dynamic[0].name!r} free: "
                f"input {spec.name!r} is an image",
                remedy="make it free on other targets only, as in --dynamic onnx:batch, or "
                "export coreml without --image",
            )
        if spec.shape[0] != 1:
            raise ConversionError(
                f"coreml takes one image at a time, but input {spec.name!r} has {spec.shape[0]}",
                remedy="export coreml with a batch of 1, or without --image",
            )


def _io_dtype(spec: TensorSpec) -> Any:
    import numpy as np

    return np.dtype(_NARROW.get(spec.dtype, spec.dtype)).type


def _name_signature(specification: Any, request: ConversionRequest) -> tuple[TensorSpec, ...]:
    """Give inputs and outputs the model's names, set image types, and check free dimensions."""
    import coremltools as ct

    description = specification.description
    sizes: dict[str, list[Any]] = {}
    for spec, feature in zip(request.inputs, description.input, strict=True):
        if feature.name != spec.name:
            ct.utils.rename_feature(specification, feature.name, spec.name, rename_outputs=False)
    for spec, feature in zip(request.outputs, description.output, strict=True):
        if feature.name != spec.name:
            taken = {f.name for f in (*description.input, *description.output)}
            if spec.name in taken:
                continue
            ct.utils.rename_feature(specification, feature.name, spec.name, rename_inputs=False)
    signature = []
    features = specification.description.input
    for spec, app_input, feature in zip(request.inputs, request.app_inputs, features, strict=True):
        array = feature.type.multiArrayType
        ranges = array.shapeRange.sizeRanges
        listed: list[Any] = [int(size) for size in array.shape]
        for axis, bounds in enumerate(ranges):
            if bounds.upperBound != bounds.lowerBound:
                listed[axis] = "free"
        sizes[spec.name] = listed
        if app_input.image is not None:
            _type_as_image(feature, app_input.image)
            signature.append(app_input)
        else:
            signature.append(narrowed(spec, _NARROW))
    check_free_dimensions("coreml", request.inputs, sizes)
    return tuple(signature)


def _type_as_image(feature: Any, spec: ImageSpec) -> None:
    """Make an input of 0..255 planes an image input, which takes camera buffers."""
    from coremltools.proto import FeatureTypes_pb2

    spaces = FeatureTypes_pb2.ImageFeatureType.ColorSpace
    array = feature.type.multiArrayType
    height, width = int(array.shape[2]), int(array.shape[3])
    ranges = [(int(r.lowerBound), int(r.upperBound)) for r in array.shapeRange.sizeRanges]
    optional = feature.type.isOptional
    image = feature.type.imageType
    image.height, image.width = height, width
    color = {"rgb": "RGB", "bgr": "BGR", "grey": "GRAYSCALE"}[spec.color]
    image.colorSpace = spaces.Value(color)
    if len(ranges) == 4 and ranges[2][0] != ranges[2][1]:
        image.imageSizeRange.heightRange.lowerBound = ranges[2][0]
        image.imageSizeRange.heightRange.upperBound = ranges[2][1]
        image.imageSizeRange.widthRange.lowerBound = ranges[3][0]
        image.imageSizeRange.widthRange.upperBound = ranges[3][1]
    feature.type.isOptional = optional


def _remove_date(specification: Any) -> None:
    # With the date inside, no two packages would be equal.
    user = specification.description.metadata.userDefined
    for key in list(user):
        if key.endswith("conversion_date"):
            del user[key]


def _set_file_modes(package: Path) -> None:
    """Apply the user's umask to the files; coremltools writes them unreadable for others."""
    umask = os.umask(0)
    os.umask(umask)
    for path in package.rglob("*"):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)


def _make_reproducible(package: Path, specification: Any) -> None:
    """Replace the package's random identifiers by ones derived from its file names."""
    # By default protobuf writes the maps of a message in an arbitrary order.
    saved = type(specification)()
    model = next(package.glob("Data/*/model.mlmodel"))
    saved.ParseFromString(model.read_bytes())
    model.write_bytes(saved.SerializeToString(deterministic=True))
    listing = package / "Manifest.json"
    manifest = json.loads(listing.read_text(encoding="utf-8"))
    entries = manifest["itemInfoEntries"]
    renamed = {
        old: str(uuid.uuid5(uuid.NAMESPACE_URL, entry["path"])).upper()
        for old, entry in entries.items()
    }
    manifest["itemInfoEntries"] = {
        renamed[old]: entries[old] for old in sorted(entries, key=lambda key: entries[key]["path"])
    }
    root = manifest.get("rootModelIdentifier")
    if root in renamed:
        manifest["rootModelIdentifier"] = renamed[root]
    listing.write_text(json.dumps(manifest, indent=4, sort_keys=True) + "\n", encoding="utf-8")
