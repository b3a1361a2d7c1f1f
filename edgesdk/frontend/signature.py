"""Flat signature of a model: named tensors in and out, whatever its own signature is.

Artefacts have neither nested arguments nor dictionaries of outputs, and apps pass camera bytes.
:class:`FlatModel` wraps a model so that the captured program has that flat signature.
"""

from __future__ import annotations

import keyword
from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from edgesdk.errors import InputSpecError
from edgesdk.frontend.flatten import name_outputs
from edgesdk.frontend.named_forward import named_forward
from edgesdk.frontend.preprocessing import ImagePreprocessing
from edgesdk.spec import ImageSpec

__all__ = ["FlatModel"]


class FlatModel(nn.Module):
    """A model behind flat, named tensors.

    Args:
        model: The user's model, in evaluation mode.
        names: Names of the inputs, in the order of the flattened arguments: unique identifiers.
        structure: Structure that turns the flat inputs into ``(args, kwargs)``; None passes them in
            order.
        image: Index of the input that takes camera bytes, with its preprocessing.
        planes: See :class:`ImagePreprocessing`.

    Raises:
        InputSpecError: A name is not a valid argument name or occurs twice.
    """

    def __init__(
        self,
        model: nn.Module,
        names: Sequence[str],
        structure: pytree.TreeSpec | None = None,
        image: tuple[int, ImageSpec] | None = None,
        *,
        planes: bool = False,
    ) -> None:
        super().__init__()
        _check_names(names)
        self.model = model
        self._names = tuple(names)
        self.image_index = image[0] if image else None
        if image:
            self.preprocessing = ImagePreprocessing(image[1], planes=planes)
        self._structure = structure
        #: Names of inputs that the model writes into, and therefore gets copies of.
        self.copied: frozenset[str] = frozenset()
        # torch.export names the inputs of a program after the parameters of forward.
        forward = named_forward(names, FlatModel.call)
        self.__class__ = cast(Any, type("FlatModel", (FlatModel,), {"forward": forward}))
        # Set only the wrapper's flag: the model is in evaluation mode already, and a loaded
        # exported program refuses the switch.
        for module in self.modules():
            if isinstance(module, FlatModel | ImagePreprocessing):
                module.training = False

    def call(self, flat: Sequence[Tensor]) -> dict[str, Tensor]:
        """Run the model on the flat inputs and name its flat outputs."""
        tensors = [
            tensor.clone() if name in self.copied else tensor
            for name, tensor in zip(self._names, flat, strict=True)
        ]
        if self.image_index is not None:
            tensors[self.image_index] = self.preprocessing(tensors[self.image_index])
        if self._structure is None:
            result = self.model(*tensors)
        else:
            args, kwargs = pytree.tree_unflatten(tensors, self._structure)
            result = self.model(*args, **kwargs)
        return name_outputs(result, self._names)


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if not name.isidentifier() or keyword.iskeyword(name) or name == "self":
            raise InputSpecError(
                f"an input cannot be called {name!r}",
                remedy="use letters, digits and underscores, but not a Python keyword",
            )
        if list(names).count(name) > 1:
            raise InputSpecError(
                f"two inputs are called {name!r}",
                remedy="name them: --input left:1x3 --input right:1x3",
            )
