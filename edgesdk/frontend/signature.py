"""The face of a model: flat, named tensors in and out, whatever its own signature is.

Artefacts know neither nested arguments nor dictionaries of outputs, and an app wants to pass camera
bytes. :class:`FlatModel` wraps a model so that what is captured has exactly that face.
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
        names: Names of the inputs, in the order of the flattened arguments; identifiers, and none
            of them twice.
        structure: How the flat inputs become ``(args, kwargs)``; None passes them in order.
        image: Index of the input that takes camera bytes, with its preprocessing.
        planes: See :class:`ImagePreprocessing`.

    Raises:
        InputSpecError: A name that no argument can have.
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
        # torch.export names the inputs of a program after the parameters of forward.
        forward = named_forward(names, FlatModel.call)
        self.__class__ = cast(Any, type("FlatModel", (FlatModel,), {"forward": forward}))
        # Its own flags alone: the model is in evaluation mode, and an exported program that came
        # out of a file refuses to be switched.
        for module in self.modules():
            if isinstance(module, FlatModel | ImagePreprocessing):
                module.training = False

    def call(self, flat: Sequence[Tensor]) -> dict[str, Tensor]:
        """Run the model on the flat inputs and name its flat outputs."""
        tensors = list(flat)
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
                remedy="use letters, digits and underscores, and no word of Python's own",
            )
        if list(names).count(name) > 1:
            raise InputSpecError(
                f"two inputs are called {name!r}",
                remedy="name them: --input left:1x3 --input right:1x3",
            )
