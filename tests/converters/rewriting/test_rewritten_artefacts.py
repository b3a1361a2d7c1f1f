"""Operators that targets lack or compute otherwise, converted and run in their runtimes."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
import torch

from edgesdk import runtime
from edgesdk.converters.conversion import ConversionRequest
from edgesdk.converters.registry import TARGETS
from edgesdk.converters.rewriting.library import rewrite_for
from edgesdk.exporter.conversion_job import write_program
from edgesdk.frontend.capture import capture
from edgesdk.spec import TensorSpec

_PLACE = Path(__file__).with_name("networks.py")
_spec = importlib.util.spec_from_file_location("converted_networks", _PLACE)
assert _spec is not None and _spec.loader is not None
networks = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(networks)


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_each_target_that_needs_the_rewrite_gives_the_models_results(
    name: str, tmp_path: Path
) -> None:
    model = networks.build(name)
    x = torch.rand(networks.INPUT, generator=torch.Generator().manual_seed(0))
    found = capture(model, [TensorSpec("x", networks.INPUT)], [x])
    with torch.no_grad():
        answer = model(x)
    expected = answer if isinstance(answer, dict) else {"output": answer}
    program = tmp_path / "program.pt2"
    write_program(found.program, program)
    converted = []
    for target in TARGETS.values():
        if not target.installed:
            continue
        # Half precision would hide small mistakes.
        variant = "fp32" if "fp32" in target.variants else target.variants[0]
        if not rewrite_for(target.name, variant, found.program)[1]:
            continue
        artefact = tmp_path / f"{target.name}{target.suffix}"
        request = ConversionRequest(
            target.name,
            variant,
            program,
            artefact,
            found.inputs,
            found.outputs,
            found.inputs,
        )
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            conversion = importlib.import_module(target.module).convert(request)
        assert conversion.rewrites
        with runtime.open(
            artefact, inputs=conversion.inputs, outputs=conversion.outputs
        ) as session:
            outputs = session.run({"x": x.numpy()})
        converted.append(target.name)
        for key, tensor in expected.items():
            wanted = tensor.numpy()
            assert outputs[key].shape == wanted.shape
            assert np.abs(outputs[key] - wanted).max() <= 1e-3 * np.ptp(wanted), (target.name, key)
    assert converted
