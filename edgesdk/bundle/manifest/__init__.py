"""``manifest.json``: records, schema and JSON form."""

from __future__ import annotations

from edgesdk.bundle.manifest.cost import (
    CostRecord,
    LayerCostRecord,
)
from edgesdk.bundle.manifest.coverage import (
    CoverageRecord,
    UndelegatedOperator,
)
from edgesdk.bundle.manifest.json import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    is_manifest,
    manifest_bytes,
    manifest_schema,
    parse_manifest,
)
from edgesdk.bundle.manifest.paintings import (
    PaintedPictureRecord,
    PaintedRecord,
    PaintingsRecord,
    ThumbnailRecord,
)
from edgesdk.bundle.manifest.parity import (
    GateRecord,
    OutputParity,
    ParityRecord,
)
from edgesdk.bundle.manifest.profile import (
    OperatorTime,
    Percentiles,
    ProfileRecord,
)
from edgesdk.bundle.manifest.quantization import (
    CalibrationRecord,
    DropRecord,
    IoScaleRecord,
    LayerSensitivityRecord,
    OperatorErrorRecord,
    QuantizationRecord,
    QuantizedLayerRecord,
    SensitivityRecord,
)
from edgesdk.bundle.manifest.record import (
    FileRecord,
    file_record,
)
from edgesdk.bundle.manifest.schema import (
    DEFAULT_VARIANTS,
    SCHEMA_VERSION,
    ArtefactRecord,
    ConstantOutputRecord,
    FailureRecord,
    Manifest,
    ReferenceRecord,
    RewriteRecord,
    SourceRecord,
    artefact_name,
    artefact_names,
)

__all__ = [
    "DEFAULT_VARIANTS",
    "MANIFEST_NAME",
    "MAX_MANIFEST_BYTES",
    "SCHEMA_VERSION",
    "ArtefactRecord",
    "CalibrationRecord",
    "ConstantOutputRecord",
    "CostRecord",
    "CoverageRecord",
    "DropRecord",
    "FailureRecord",
    "FileRecord",
    "GateRecord",
    "IoScaleRecord",
    "LayerCostRecord",
    "LayerSensitivityRecord",
    "Manifest",
    "OperatorErrorRecord",
    "OperatorTime",
    "OutputParity",
    "PaintedPictureRecord",
    "PaintedRecord",
    "PaintingsRecord",
    "ParityRecord",
    "Percentiles",
    "ProfileRecord",
    "QuantizationRecord",
    "QuantizedLayerRecord",
    "ReferenceRecord",
    "RewriteRecord",
    "SensitivityRecord",
    "SourceRecord",
    "ThumbnailRecord",
    "UndelegatedOperator",
    "artefact_name",
    "artefact_names",
    "file_record",
    "is_manifest",
    "manifest_bytes",
    "manifest_schema",
    "parse_manifest",
]
