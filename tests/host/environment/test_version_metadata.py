from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version

from edgesdk.host.environment.versions import (
    broken_requirements,
    closure,
    compare,
    find_installed,
    in_series,
    torch_cuda,
)

releases = st.lists(st.integers(0, 30), min_size=1, max_size=4).map(
    lambda parts: ".".join(map(str, parts))
)
versions = st.builds(
    "{}{}{}".format, releases, st.sampled_from(["", "a1", "b2", "rc1", ".dev3"]), st.just("+cpu")
)


def distribution(folder: Path, name: str, version: str, *requirements: str) -> None:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {requirement}" for requirement in requirements]
    (info / "METADATA").write_text("\n".join(lines) + "\n")


@settings(max_examples=80, deadline=None)
@given(versions, releases)
def test_a_version_compares_with_a_release_as_the_standard_says(left: str, right: str) -> None:
    expected_left, expected_right = Version(Version(left).public), Version(right)
    expected = (expected_left > expected_right) - (expected_left < expected_right)
    assert compare(left, right) == expected


@pytest.mark.parametrize(
    ("version", "series", "inside"),
    [
        ("2.13.0+cpu", "2.13", True),
        ("2.13", "2.13", True),
        ("2", "2.0", True),
        ("2.130.0", "2.13", False),
        ("2.1.3", "2.13", False),
        ("unknown", "2.13", False),
    ],
)
def test_series(version: str, series: str, inside: bool) -> None:
    assert in_series(version, series) is inside


def test_a_text_that_is_no_version_is_older_than_any() -> None:
    assert compare("unknown", "0.1") == -1
    assert compare("0.1", "unknown") == 1
    assert compare("unknown", "none") == 0


def test_names_are_compared_as_indexes_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distribution(tmp_path, "Ruamel.YAML_clib", "1.0")
    monkeypatch.syspath_prepend(tmp_path)
    assert find_installed().versions["ruamel-yaml-clib"] == "1.0"


def test_metadata_of_what_is_installed_is_found() -> None:
    installed = find_installed()
    assert compare(installed.versions["torch"], "2") > 0
    assert "ml-dtypes" in installed.versions


def test_a_distribution_in_two_folders_is_reported_once_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution(tmp_path / "old", "Twice_There", "1.0")
    distribution(tmp_path / "new", "twice-there", "2.0")
    monkeypatch.syspath_prepend(tmp_path / "old")
    monkeypatch.syspath_prepend(tmp_path / "new")
    # The same folder again under another spelling is no second installation.
    monkeypatch.syspath_prepend(tmp_path / "old" / ".." / "new")
    installed = find_installed()
    assert installed.versions["twice-there"] == "2.0"
    assert installed.folders["twice-there"] == (
        f"2.0 in {tmp_path / 'new'}",
        f"1.0 in {tmp_path / 'old'}",
    )


@pytest.mark.parametrize("backport", [False, True])
def test_metadata_without_a_name_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backport: bool
) -> None:
    if backport:
        # Imported by many packages, it puts a finder of its own beside Python's.
        pytest.importorskip("importlib_metadata")
    (tmp_path / "half_removed-1.0.dist-info").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert "torch" in find_installed().versions


def test_closure_follows_requirements_but_not_those_of_extras(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution(tmp_path, "top", "1.0", "Middle_One>=2; python_version > '3'", "x; extra == 'y'")
    distribution(tmp_path, "middle_one", "2.0", "top", "bottom[fast] (<3)")
    monkeypatch.syspath_prepend(tmp_path)
    assert closure(["top"]) == {"top", "middle-one", "bottom"}


def test_pip_names_a_requirement_that_is_not_met(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution(tmp_path, "broken-one", "1.0", "numpy<1")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    complaints = broken_requirements()
    assert complaints is not None
    assert [
        text for text in complaints if text.startswith("broken-one 1.0 has requirement numpy<1")
    ]


def test_an_interpreter_without_pip_cannot_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "__init__.py").write_text("raise ImportError('no pip here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert broken_requirements() is None


@pytest.mark.parametrize(
    ("text", "cuda"),
    [
        ("from typing import Optional\ncuda: Optional[str] = '13.0'\n", "13.0"),
        ("cuda = '12.8'\n", "12.8"),
        ("cuda: Optional[str] = None\n", None),
        ("debug = False\n", None),
        ("cuda = call()\n", None),
        ("cuda = = 1", None),
    ],
)
def test_the_build_of_torch_is_read_without_running_it(
    tmp_path: Path, text: str, cuda: str | None
) -> None:
    path = tmp_path / "version.py"
    path.write_text(text)
    assert torch_cuda(path) == cuda


def test_the_installed_torch_is_asked_by_default() -> None:
    import torch

    assert torch_cuda() == torch.version.cuda
