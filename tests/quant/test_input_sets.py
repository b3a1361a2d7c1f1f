"""Inputs for ranges and for the drop, in every form people have them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from edgesdk.errors import DataError, InputNotFoundError, InputSpecError
from edgesdk.quant.array_file import load_arrays, save_arrays
from edgesdk.quant.input_sets import enough_samples, picture_files, read_inputs
from edgesdk.spec import IMAGE_PRESETS, TensorSpec

SPEC = TensorSpec("x", (1, 3, 8, 8), layout="NCHW")


@pytest.fixture
def photographs(tmp_path):
    generator = np.random.default_rng(0)
    folder = tmp_path / "photos"
    (folder / "deeper").mkdir(parents=True)
    for index in range(6):
        pixels = generator.integers(0, 256, (20, 24, 3), dtype=np.uint8)
        place = folder / "deeper" if index > 3 else folder
        Image.fromarray(pixels).save(place / f"{index}.png")
    return folder


def test_a_folder_is_read_with_what_lies_below_it(photographs):
    assert len(picture_files(photographs)) == 6
    found = read_inputs(photographs, [SPEC], image=IMAGE_PRESETS["imagenet"])
    assert len(found) == 6
    assert sorted(found.names)[-1] == "deeper/5.png"
    assert found.inputs[0]["x"].shape == SPEC.shape
    # Normalised as the model's own preprocessing says, not left at 0..1.
    assert min(float(arrays["x"].min()) for arrays in found.inputs) < -1


def test_the_seed_decides_which(photographs):
    first = read_inputs(photographs, [SPEC], limit=3, seed=1)
    again = read_inputs(photographs, [SPEC], limit=3, seed=1)
    other = read_inputs(photographs, [SPEC], limit=3, seed=2)
    assert first.names == again.names
    assert first.sha256 == again.sha256
    assert first.sha256 != other.sha256


def test_photographs_take_turns_with_what_they_do_not_tell(photographs):
    style = TensorSpec("style", (1, 8))
    backgrounds = [{"style": np.eye(8, dtype=np.float32)[[place]]} for place in range(8)]
    found = read_inputs(photographs, [SPEC, style], backgrounds=backgrounds)
    # Six photographs come again until each of eight styles was shown.
    assert [int(arrays["style"].argmax()) for arrays in found.inputs] == list(range(8))
    assert found.names[6:] == found.names[:2]
    assert len(set(found.names)) == 6
    fewer = read_inputs(photographs, [SPEC, style], backgrounds=backgrounds[:4])
    assert [int(arrays["style"].argmax()) for arrays in fewer.inputs] == [0, 1, 2, 3, 0, 1]
    assert len(read_inputs(photographs, [SPEC, style], backgrounds=backgrounds, limit=5)) == 5
    with pytest.raises(DataError, match="no samples remain"):
        read_inputs(photographs, [SPEC, style], backgrounds=backgrounds, exclude=set(found.names))


def test_one_folder_can_be_split(photographs):
    first = read_inputs(photographs, [SPEC], limit=4)
    rest = read_inputs(photographs, [SPEC], exclude=first.names)
    assert len(rest) == 2
    assert not set(first.names) & set(rest.names)
    with pytest.raises(DataError, match="no samples remain"):
        read_inputs(photographs, [SPEC], exclude=(*first.names, *rest.names))


def test_arrays_in_a_file(tmp_path):
    arrays = np.random.default_rng(0).standard_normal((5, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "many.npz", x=arrays)
    np.savez(tmp_path / "one.npz", x=arrays[:1])
    many = read_inputs(tmp_path / "many.npz", [SPEC])
    assert len(many) == 5
    place = many.names.index("many.npz[3]")
    np.testing.assert_array_equal(many.inputs[place]["x"][0], arrays[3])
    one = read_inputs(tmp_path / "one.npz", [SPEC])
    assert len(one) == 1
    assert "only one sample" in one.notes[0]


def test_a_loader_with_labels():
    images = torch.randn(6, 3, 8, 8)
    loader = DataLoader(TensorDataset(images, torch.arange(6)), batch_size=2)
    found = read_inputs(loader, [SPEC])
    assert len(found) == 6
    rows = sorted(float(arrays["x"].sum()) for arrays in found.inputs)
    assert rows == pytest.approx(sorted(float(image.sum()) for image in images), abs=1e-4)


def test_dictionaries_for_several_inputs():
    specs = [TensorSpec("left", (1, 2)), TensorSpec("right", (1, 3))]
    rows = [
        {"left": np.full((1, 2), index, np.float32), "right": np.eye(3, dtype=np.float32)[:1]}
        for index in range(3)
    ]
    found = read_inputs(rows, specs)
    assert len(found) == 3
    assert set(found.inputs[0]) == {"left", "right"}
    with pytest.raises(DataError, match="no input 'right'"):
        read_inputs([{"left": rows[0]["left"]}], specs)


def test_bad_inputs(tmp_path, photographs):
    good = np.random.default_rng(0).standard_normal(SPEC.shape).astype(np.float32)
    with pytest.raises(DataError, match="NaN"):
        read_inputs([good, np.full(SPEC.shape, np.nan, np.float32)], [SPEC])
    with pytest.raises(DataError, match="has shape \\(1, 3, 8, 9\\), not"):
        read_inputs([np.zeros((1, 3, 8, 9), np.float32)] * 2, [SPEC])
    with pytest.raises(DataError, match="complex64"):
        read_inputs([good.astype(np.complex64)], [SPEC])
    with pytest.raises(DataError, match="constant"):
        read_inputs([np.zeros(SPEC.shape, np.float32)] * 3, [SPEC])
    with pytest.raises(DataError, match="at least one"):
        read_inputs([], [SPEC])
    with pytest.raises(DataError, match="cannot read inputs from a int"):
        read_inputs(3, [SPEC])
    with pytest.raises(InputNotFoundError, match="no such file"):
        read_inputs(tmp_path / "nothing.npz", [SPEC])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no photographs"):
        read_inputs(tmp_path / "empty", [SPEC])
    np.savez(tmp_path / "other.npz", y=good)
    with pytest.raises(DataError, match="no array 'x'"):
        read_inputs(tmp_path / "other.npz", [SPEC])
    (photographs / "broken.png").write_bytes(b"no picture")
    with pytest.raises(InputSpecError, match=r"broken\.png"):
        read_inputs(photographs, [SPEC])


def test_some_black_pictures_are_told(tmp_path):
    rows = [np.zeros(SPEC.shape, np.float32)]
    rows += [
        np.random.default_rng(i).standard_normal(SPEC.shape).astype(np.float32) for i in (1, 2)
    ]
    assert read_inputs(rows, [SPEC]).notes == ("1 of 3 samples are constant",)


def test_arrays_cross_a_file(tmp_path):
    samples = [{"x": np.arange(4.0, dtype=np.float32) + index} for index in range(12)]
    save_arrays(tmp_path / "a.safetensors", samples)
    for saved, sample in zip(load_arrays(tmp_path / "a.safetensors"), samples, strict=True):
        np.testing.assert_array_equal(saved["x"], sample["x"])


class _Scaled(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.layer(x))


def test_samples_are_taken_until_the_ranges_stand_still():
    """The same sample over and over teaches nothing after the second look."""
    program = torch.export.export(_Scaled().eval(), (torch.zeros(1, 4),))
    same = [{"x": np.ones((1, 4), np.float32)}] * 200
    assert enough_samples(program, ["x"], same) == (32, 0.0)
    # No fewer than there are styles, however still the ranges stand.
    assert enough_samples(program, ["x"], same, least=40) == (80, 0.0)
    assert enough_samples(program, ["x"], same, least=3) == (32, 0.0)
    # Inputs that grow and grow never stand still.
    growing = [{"x": np.full((1, 4), 1.3**i, np.float32)} for i in range(100)]
    count, change = enough_samples(program, ["x"], growing)
    assert count == 100
    assert change > 0.01
