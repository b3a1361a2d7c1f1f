"""Every network of the zoo: size, configuration, answers, capture."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from edgesdk import models
from edgesdk.errors import UnknownNameError, UsageError
from edgesdk.models.labels import labels

#: Published numbers of parameters. Those for ImageNet are of the 1000-class networks.
PARAMETERS = {
    "densenet121": 7_978_856,
    "densenet_small": 176_122,
    "efficientnet_lite0": 4_652_008,
    "googlenet": 6_624_904,
    "johnson": 1_679_235,
    "johnson_mobile": 1_679_235,
    "mobilenet_v2": 3_504_872,
    "mobilenet_v3_large": 5_483_032,
    "mobilenet_v3_small": 2_542_856,
    "resnet110": 1_727_962,
    "resnet18": 11_689_512,
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet56": 853_018,
    "shufflenet_v2_x1_0": 2_278_604,
    "squeezenet1_1": 1_235_496,
    # 1*25*64+64 + 64*9*32+32 + 32*9*9+9
    "super_resolution": 22_729,
    # 14,710,464 in convolutions, 8,448 in batch normalisation, 5,130 in the classifier
    "vgg16": 14_724_042,
    "vgg19_cifar100": 20_344_868,
}
#: Multiply-accumulates of convolutions and linear layers for one declared input.
MACS = {
    "resnet18": 1_814_073_344,
    "resnet20": 40_551_040,
    "vgg19_cifar100": 398_444_544,
}

ENTRIES = models.names()
#: Entries that differ from another entry in depth only.
DEEPER = ("densenet121", "resnet110", "resnet32", "resnet34", "resnet56", "vgg16")
FAMILIES = [name for name in ENTRIES if name not in DEEPER]
#: Entries without residual blocks.
NO_BLOCKS = (
    "googlenet",
    "style_encoder",
    "super_resolution",
    "two_stream",
    "unet",
    "vgg19_cifar100",
)
#: Configuration keys of the widths inside blocks.
INNER = ("inner_widths", "expanded_widths", "bottleneck_widths", "mlp_widths", "fire_widths")
_built: dict[str, nn.Module] = {}


def _network(name: str) -> nn.Module:
    """Build the published network once, in evaluation mode; do not change it."""
    if name not in _built:
        config = {"pretrained": False} if models.entry(name).extra else {}
        _built[name] = models.create(name, **config)
    return _built[name]


def _inputs(name: str, seed: int = 7) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(spec.shape, generator=generator) for spec in models.entry(name).inputs]


def _tensors(output: Any) -> Iterator[torch.Tensor]:
    if isinstance(output, torch.Tensor):
        yield output
    else:
        for part in output.values() if isinstance(output, dict) else output:
            yield from _tensors(part)


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


@pytest.fixture(autouse=True, scope="module")
def _free_memory() -> Iterator[None]:
    yield
    _built.clear()


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_number_of_parameters_is_the_published_one(name: str) -> None:
    parameters = sum(parameter.numel() for parameter in _network(name).parameters())
    assert parameters == PARAMETERS[name]


@pytest.mark.parametrize("name", sorted(MACS))
def test_arithmetic_is_the_published_one(name: str) -> None:
    total = 0

    def count(module: Any, _: Any, output: torch.Tensor) -> None:
        nonlocal total
        pixels = output[0, 0].numel() if isinstance(module, nn.Conv2d) else 1
        total += pixels * module.weight.numel()

    model = _network(name)
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(count) for layer in layers]
    with torch.no_grad():
        model(*_inputs(name))
    for handle in handles:
        handle.remove()
    assert total == MACS[name]


@pytest.mark.parametrize("name", ENTRIES)
def test_answers_are_finite_at_a_sane_scale_and_follow_the_input(name: str) -> None:
    model = _network(name)
    assert not model.training
    with torch.no_grad():
        first, again, other = (model(*_inputs(name, seed)) for seed in (1, 1, 2))
    for a, b, c in zip(_tensors(first), _tensors(again), _tensors(other), strict=True):
        assert a.shape == c.shape
        assert torch.isfinite(a).all()
        assert torch.equal(a, b)
        assert 0.01 < a.std() < 50
        assert (a - c).abs().mean() > 0.005 * a.std()


@pytest.mark.parametrize("name", FAMILIES)
def test_configuration_survives_json_and_rebuilds_the_architecture(name: str) -> None:
    model = _network(name)
    config = json.loads(json.dumps(model.config))
    assert config == model.config
    rebuilt = models.create(name, **config)
    assert rebuilt.config == model.config
    assert _shapes(rebuilt) == _shapes(model)


def _halved(value: Any) -> Any:
    return [_halved(element) for element in value] if isinstance(value, list) else value // 2


@pytest.mark.parametrize("name", FAMILIES)
def test_every_width_can_be_halved(name: str) -> None:
    config = dict(_network(name).config)
    widths = [key for key in config if key.endswith(("width", "widths"))]
    assert widths
    small = models.create(name, **{**config, **{key: _halved(config[key]) for key in widths}})
    assert {key: small.config[key] for key in widths} == {
        key: _halved(config[key]) for key in widths
    }
    with torch.no_grad():
        output = small(*_inputs(name))
    assert all(torch.isfinite(part).all() for part in _tensors(output))
    parameters = [sum(p.numel() for p in model.parameters()) for model in (small, _network(name))]
    assert parameters[0] < 0.6 * parameters[1]


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in NO_BLOCKS])
def test_one_inner_width_can_be_pruned_alone(name: str) -> None:
    """Pruning can give one layer inside a block an odd number of channels."""
    config = json.loads(json.dumps(_network(name).config))
    key = next(key for key in INNER if key in config)
    holder, position = config[key], 0
    while isinstance(holder[position], list):
        holder = holder[position]
    position = next(index for index, width in enumerate(holder) if width)
    holder[position] -= 3
    pruned = models.create(name, **config)
    assert pruned.config == config
    with torch.no_grad():
        assert all(torch.isfinite(part).all() for part in _tensors(pruned(*_inputs(name))))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in DEEPER)) for name in ENTRIES]
)
def test_torch_export_captures_it(name: str) -> None:
    model, inputs = _network(name), tuple(_inputs(name))
    program = torch.export.export(model, inputs, strict=False)
    with torch.no_grad():
        expected, actual = model(*inputs), program.module()(*inputs)
    for a, b in zip(_tensors(expected), _tensors(actual), strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5)


def test_weights_are_the_same_every_time_and_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = models.create("resnet20").state_dict()
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(2)
    second = models.create("resnet20").state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_batch_normalisation_statistics_are_those_of_data_not_of_a_fresh_layer() -> None:
    state = models.create("resnet20").state_dict()
    means = [value for key, value in state.items() if key.endswith("running_mean")]
    variances = [value for key, value in state.items() if key.endswith("running_var")]
    assert all(mean.abs().max() > 0.01 for mean in means)
    assert all((variance > 0).all() for variance in variances)
    counters = [value for key, value in state.items() if key.endswith("num_batches_tracked")]
    assert all(counter == 0 for counter in counters)


def test_listing_the_zoo_imports_no_torch() -> None:
    code = (
        "import sys; from edgesdk import models; "
        "[models.entry(name) for name in models.names()]; "
        "from edgesdk.models.labels import labels; labels('imagenet1k'); "
        "from edgesdk.models import photos; photos.paths(); "
        "print('torch' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "False"


def test_entries_describe_themselves() -> None:
    assert len(set(ENTRIES)) == len(ENTRIES) >= 20
    for name in ENTRIES:
        found = models.entry(name)
        assert found.name == name
        assert found.summary and found.source and found.task
        if found.image is not None:
            assert found.image.channels == found.inputs[0].shape[1]
        if found.labels:
            assert len(labels(found.labels)) == 1000


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'mobilenet_v2'"):
        models.create("mobilenetv2")
    with pytest.raises(UnknownNameError):
        models.entry("")


def test_unknown_option_names_the_valid_ones() -> None:
    with pytest.raises(UsageError) as caught:
        models.create("resnet18", widht=[1])
    assert "'widths'" in str(caught.value)
    assert "inner_widths" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("resnet18", {"widths": [64, 128]}),
        ("resnet18", {"widths": [64, 128, 256, 0]}),
        ("resnet18", {"widths": "wide"}),
        ("resnet18", {"block": "round"}),
        ("resnet18", {"num_classes": 0}),
        ("resnet18", {"num_classes": True}),
        ("resnet50", {"inner_widths": [[64] * 3, [128] * 4, [256] * 6, [512] * 3]}),
        ("resnet20", {"widths": [64, 32, 16]}),
        ("resnet20", {"inner_widths": [[16, 16], [32] * 3, [64] * 3]}),
        ("vgg16", {"widths": [[64, -1]]}),
        ("vgg16", {"dropout": 1.0}),
        ("densenet_small", {"transition_widths": [10]}),
        ("densenet_small", {"stem": "mnist"}),
        ("squeezenet1_1", {"fire_widths": [[16, 64, 64]]}),
        ("mobilenet_v2", {"expanded_widths": [0]}),
        ("mobilenet_v2", {"residuals": [True] * 17}),
        ("mobilenet_v3_small", {"variant": "medium"}),
        ("mobilenet_v3_small", {"activations": ["swish"] * 11}),
        ("shufflenet_v2_x1_0", {"widths": [116, 231, 464]}),
        ("googlenet", {"third_kernel": 7}),
        ("unet", {"up_widths": [64]}),
        ("johnson", {"form": "tablet"}),
        ("johnson", {"encoder_widths": [32, 64]}),
        ("multi_style", {"style_names": ["night"]}),
        ("super_resolution", {"scale": 0}),
        ("super_resolution", {"scale": 2.5}),
        ("vit_tiny", {"image_size": 65}),
        ("vit_tiny", {"mlp_widths": [768]}),
        ("two_stream", {"flow_widths": [8]}),
        ("detector", {"image_size": 100}),
    ],
)
def test_impossible_configurations_are_refused(name: str, config: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        models.create(name, **config)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("name", "config", "shape"),
    [
        ("resnet20", {"shortcut": "conv", "in_channels": 1, "num_classes": 7}, (1, 1, 32, 32)),
        ("super_resolution", {"scale": 2, "channels": 3, "activation": "relu"}, (1, 3, 20, 28)),
        ("vit_tiny", {"image_size": 96, "heads": [3] * 12}, (1, 3, 96, 96)),
        ("googlenet", {"third_kernel": 5}, (1, 3, 97, 65)),
        ("johnson", {"output": "tanh"}, (1, 3, 36, 44)),
    ],
)
def test_other_configurations_run(
    name: str, config: dict[str, Any], shape: tuple[int, ...]
) -> None:
    model = models.create(name, **config)
    with torch.no_grad():
        assert torch.isfinite(model(torch.randn(shape))).all()
