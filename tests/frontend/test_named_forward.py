"""A method with the parameters it was told."""

from __future__ import annotations

import inspect

import pytest

from edgesdk.frontend.named_forward import named_forward


class Holder:
    forward = named_forward(["image", "args", "kwargs"], lambda self, given: (self, given))


def test_by_position_by_name_and_mixed() -> None:
    holder = Holder()
    for found in (
        holder.forward(1, 2, 3),
        holder.forward(image=1, args=2, kwargs=3),
        holder.forward(kwargs=3, args=2, image=1),
        holder.forward(1, kwargs=3, args=2),
    ):
        assert found == (holder, [1, 2, 3])


def test_its_signature_is_the_names() -> None:
    assert list(inspect.signature(Holder.forward).parameters) == ["self", "image", "args", "kwargs"]
    assert str(inspect.signature(Holder().forward)) == "(image, args, kwargs)"


def test_wrong_arguments_are_refused_as_python_does() -> None:
    holder = Holder()
    with pytest.raises(TypeError, match="missing a required argument: 'kwargs'"):
        holder.forward(1, 2)
    with pytest.raises(TypeError, match="too many positional arguments"):
        holder.forward(1, 2, 3, 4)
    with pytest.raises(TypeError, match="unexpected keyword argument 'other'"):
        holder.forward(1, 2, 3, other=4)
    with pytest.raises(TypeError, match="multiple values for argument 'image'"):
        holder.forward(1, 2, 3, image=4)
