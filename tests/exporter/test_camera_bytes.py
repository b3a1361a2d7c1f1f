"""Camera bytes with every recipe on every target: converted, run, compared, and blamed rightly."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import edgesdk
from edgesdk import QuantizeOptions
from edgesdk.bundle.bundle import Bundle
from edgesdk.bundle.manifest import ArtefactRecord
from edgesdk.converters.error_locations import unsupported_operator
from edgesdk.converters.registry import parse_target
from edgesdk.exporter.quantization.error_analysis import operator_errors
from edgesdk.frontend.capture import Capture, capture
from edgesdk.frontend.flatten import flat_example
from edgesdk.frontend.provenance import PREPROCESSING, module_path, where
from edgesdk.quant.fake_quantization.simulated import SimulatedQuantization
from edgesdk.quant.recipes import RECIPES
from edgesdk.quant.support import supported_recipes
from edgesdk.runtime import opening
from edgesdk.spec import ImageSpec, TensorSpec
from edgesdk.verification.int8_io import FloatIoSession
from edgesdk.verification.verify_bundle import require_parity

TARGETS = ("coreml", "executorch", "litert", "onnx")
#: Recipes of the fast tests; the slow ones run all that the target supports.
FAST = {
    "coreml": ("w8a8_static",),
    "executorch": ("w8a8_static",),
    "litert": ("w8a8_static", "w8a32_dynamic"),
    "onnx": ("w8a8_static",),
}
#: Smallest cosine between the answers of the artefact and of the float model, by bits of weights.
NEAR = {1: 0.2, 2: 0.7, 4: 0.95, 6: 0.99, 8: 0.995, 16: 0.9999}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LAYERS = {"stem.0", "depthwise.0", "pointwise", "head"}


class Net(nn.Module):
    """A small classifier whose answers follow its input."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU())
        self.depthwise = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.Hardswish())
        self.pointwise = nn.Conv2d(16, 32, 1)
        self.head = nn.Linear(32, 5)
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(layer.weight)
                nn.init.normal_(layer.bias, std=0.1)

    def forward(self, image: Tensor) -> Tensor:
        x = torch.relu(self.pointwise(self.depthwise(self.stem(image))))
        return self.head(x.mean((2, 3)))


@pytest.fixture(scope="module")
def net() -> Net:
    torch.manual_seed(3)
    return Net().eval()


@pytest.fixture(scope="module")
def photographs() -> list[np.ndarray]:
    """Smooth shapes of differing colours and contrasts with noise, ``uint8 [1, 32, 32, 3]``."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[0:32, 0:32] / 32
    found = []
    for _ in range(40):
        planes = []
        for _ in range(3):
            level, contrast, phase = generator.uniform((40, 20, 0), (215, 140, 6))
            across, down = generator.uniform(0, 12, 2)
            planes.append(level + contrast * np.sin(across * x + down * y + phase))
        image = np.stack(planes, -1) + generator.normal(0, 6, (32, 32, 3))
        found.append(image.clip(0, 255).astype(np.uint8)[None])
    return found


@pytest.fixture(scope="module")
def wanted(net: Net, photographs: list[np.ndarray]) -> np.ndarray:
    """Answers of the float model, normalized here and not by the SDK."""
    pixels = torch.from_numpy(np.concatenate(photographs)).permute(0, 3, 1, 2).double() / 255
    mean, std = (torch.tensor(each).double().view(1, 3, 1, 1) for each in (MEAN, STD))
    with torch.no_grad():
        return net(((pixels - mean) / std).float()).numpy()


@pytest.fixture(scope="module")
def export(
    net: Net, photographs: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Bundle]:
    """Export once per target, recipes and type of inputs and outputs."""
    made: dict[tuple[str, ...], Bundle] = {}

    def exported(target: str, recipes: tuple[str, ...], io_dtype: str = "float") -> Bundle:
        key = (target, io_dtype, *recipes)
        if key not in made:
            made[key] = edgesdk.export(
                net,
                torch.rand(1, 3, 32, 32),
                targets=(target,),
                output=tmp_path_factory.mktemp(target) / "camera.edge",
                image="imagenet",
                quantize=QuantizeOptions(
                    recipes,
                    calibration=[{"image": each} for each in photographs[:16]],
                    evaluation=[{"image": each} for each in photographs[16:]],
                    calibration_samples=16,
                    io_dtype=io_dtype,
                ),
            )
        return made[key]

    return exported


def artefacts(bundle: Bundle, recipes: tuple[str, ...]) -> Iterator[ArtefactRecord]:
    manifest = bundle.manifest
    assert not manifest.failures, [each.message for each in manifest.failures]
    assert [each.quantization for each in manifest.artefacts] == list(recipes)
    yield from manifest.artefacts


def near(recipe: str) -> float:
    weights = RECIPES[recipe].weights
    return NEAR[weights.bits if weights else 16]


def check(
    bundle: Bundle, recipes: tuple[str, ...], photographs: list[np.ndarray], wanted: np.ndarray
) -> None:
    """Check proof, loss, layers and places of every artefact, and run it again by hand."""
    require_parity(bundle.manifest)
    for artefact in artefacts(bundle, recipes):
        recipe = artefact.quantization or ""
        (taken,) = artefact.inputs
        assert (taken.dtype, taken.shape, taken.layout) == ("uint8", (1, 32, 32, 3), "NHWC")
        assert taken.image is not None
        assert artefact.parity is not None
        assert artefact.parity.samples >= 2
        assert artefact.quantized is not None
        drop = artefact.quantized.drop
        assert drop is not None
        assert drop.samples == 24
        assert drop.cosine is not None
        assert near(recipe) <= drop.cosine < 1, recipe
        with opening.open(
            bundle.path_of(artefact), inputs=artefact.inputs, outputs=artefact.outputs
        ) as session:
            plain = FloatIoSession(session, artefact.quantized.faces)
            answers = np.concatenate(
                [plain.run({"image": each})["output"] for each in photographs[16:]]
            )
        assert cosine(answers, wanted[16:]) >= near(recipe), recipe
        assert cosine(answers - answers.mean(0), wanted[16:] - wanted[16:].mean(0)) > 0.2, recipe
        assert {layer.path for layer in artefact.quantized.layers} == LAYERS
        assert all("test_camera_bytes.py" in layer.where for layer in artefact.quantized.layers)
        assert not {"_to_copy", "to", "CAST", "Cast"} & artefact.quantized.float_operators.keys()
        assert_places(artefact)


def cosine(left: np.ndarray, right: np.ndarray) -> float:
    a, b = left.ravel().astype(float), right.ravel().astype(float)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def assert_places(artefact: ArtefactRecord) -> None:
    """Check that the user's lines and modules are named for the user's operators only."""
    assert artefact.coverage is not None
    for record in (artefact.coverage, *artefact.coverage.also):
        for left in record.left:
            assert "preprocessing" not in left.module
            if left.where == PREPROCESSING:
                assert (left.module, left.rewrite) == ("", "")
            elif "uint8" in left.detail.lower():
                pytest.fail(f"{left.operator} of the camera bytes is said to be at {left.where!r}")


def test_the_answers_of_the_network_follow_its_input(wanted: np.ndarray) -> None:
    spread = wanted.std(axis=0)
    assert (spread > 0.1 * np.abs(wanted).max()).sum() >= 3
    assert len(set(wanted.argmax(axis=1))) >= 2


@pytest.mark.parametrize("target", TARGETS)
def test_common_recipes(
    export: Callable[..., Bundle],
    photographs: list[np.ndarray],
    wanted: np.ndarray,
    target: str,
) -> None:
    check(export(target, FAST[target]), FAST[target], photographs, wanted)


@pytest.mark.parametrize(
    ("target", "operator"),
    [
        ("executorch", "dim_order_ops._to_dim_order_copy.default"),
        ("litert", "CAST"),
    ],
)
def test_the_conversion_of_bytes_is_the_preprocessing(
    export: Callable[..., Bundle], target: str, operator: str
) -> None:
    for artefact in export(target, FAST[target]).manifest.artefacts:
        assert artefact.coverage is not None
        places = {each.where for each in artefact.coverage.left if each.operator == operator}
        assert places == {PREPROCESSING}


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_every_recipe(
    export: Callable[..., Bundle],
    photographs: list[np.ndarray],
    wanted: np.ndarray,
    target: str,
) -> None:
    found, variant = parse_target(target)
    recipes = supported_recipes(found.qualified(variant))
    check(export(target, recipes), recipes, photographs, wanted)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["executorch", "litert", "onnx"])
def test_int8_outputs(
    export: Callable[..., Bundle],
    photographs: list[np.ndarray],
    wanted: np.ndarray,
    target: str,
) -> None:
    bundle = export(target, ("w8a8_static",), "int8")
    check(bundle, ("w8a8_static",), photographs, wanted)
    for artefact in bundle.manifest.artefacts:
        assert [spec.dtype for spec in artefact.outputs] == ["int8"]


def camera_capture(net: nn.Module) -> Capture:
    names, _, structure = flat_example(net, torch.rand(1, 3, 32, 32))
    image = ImageSpec(mean=MEAN, std=STD)
    spec = TensorSpec(names[0], (1, 32, 32, 3), "uint8", layout="NHWC", image=image)
    bytes_ = torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    return capture(net, [spec], [bytes_], structure, (0, image))


@pytest.fixture(scope="module")
def captured(net: Net) -> Capture:
    return camera_capture(net)


def test_errors_of_operators_name_the_preprocessing(
    captured: Capture, photographs: list[np.ndarray]
) -> None:
    samples = [{"image": each} for each in photographs[:2]]
    simulated = SimulatedQuantization(captured.program, RECIPES["w8a8_static"], calibration=samples)
    records = {each.name: each for each in operator_errors(simulated, samples)}
    assert records["mul"].where == PREPROCESSING
    assert records["mul"].path == ""
    assert "test_camera_bytes.py" in records["conv2d"].where


def test_an_unsupported_operator_is_looked_for_in_the_model_first() -> None:
    class Doubled(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return image * 2  # its line

    found = camera_capture(Doubled())
    error = unsupported_operator(found.program, "aten.mul.Tensor", "litert")
    assert "test_camera_bytes.py" in (error.where or "")
    # Only the preprocessing permutes.
    error = unsupported_operator(found.program, "aten.permute.default", "litert")
    assert error.where == PREPROCESSING
    assert "module" not in error.message
    assert error.remedy == "export without --image and pass normalized floats"


def test_a_bisection_names_the_preprocessing(captured: Capture) -> None:
    node = next(node for node in captured.program.graph.nodes if "permute" in str(node.target))
    assert (where(node), module_path(node.meta["nn_module_stack"])) == (PREPROCESSING, "")


def test_a_module_of_the_user_may_be_called_preprocessing() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.preprocessing = nn.ReLU()

        def forward(self, image: Tensor) -> Tensor:
            return self.preprocessing(image)

    found = camera_capture(Own())
    node = next(node for node in found.program.graph.nodes if "relu" in str(node.target))
    assert module_path(node.meta["nn_module_stack"]) == "preprocessing"
    assert "test_camera_bytes.py" in where(node)
