from __future__ import annotations

import json
import re

import pytest

from edgesdk import models
from edgesdk.cli import main


def test_the_list_says_which_networks_have_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    rows = {
        match[1]: match[2]
        for match in re.finditer(
            r"^  (\w+) .*?  (random|trained|ImageNet)(?:  |$)",
            capsys.readouterr().out,
            re.MULTILINE,
        )
    }
    assert set(rows) == set(models.names())
    assert {name for name, weights in rows.items() if weights == "random"} == {
        name for name in models.names() if not models.entry(name).trained
    }
    assert rows["efficientnet_lite0"] == "ImageNet"
    assert rows["multi_style"] == "trained"
    assert rows["resnet18"] == "random"


def test_json_says_it_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json"]) == 0
    listed = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)["models"]}
    assert listed["efficientnet_lite0"]["trained"] is True
    assert listed["efficientnet_lite0"]["weights"] == "imagenet1k"
    assert listed["resnet18"]["trained"] is False
    assert listed["resnet18"]["weights"] is None
