"""Cameras: which device is meant, and what is said where there is none.

No machine of the tests has a camera, so no frame of one is read; a device file that is no camera
stands for one that cannot be opened.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgesdk.errors import MissingEnvironmentError, UsageError
from edgesdk.video.media import camera
from edgesdk.video.media.camera import CameraReader
from edgesdk.video.media.opening import camera_index, open_source

pytest.importorskip("av")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="device files are Linux's")
def test_a_machine_without_a_camera() -> None:
    if Path("/dev/video250").exists():
        pytest.skip("this machine has a great many cameras")
    with pytest.raises(MissingEnvironmentError, match="this machine has no camera 250") as caught:
        CameraReader(250)
    assert caught.value.exit_code == 3 and "connect a camera" in str(caught.value)
    with pytest.raises(MissingEnvironmentError, match="no camera 250"):
        open_source("250")


def test_a_device_that_is_no_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "_device", lambda index: ("/dev/null", "v4l2"))
    with pytest.raises(MissingEnvironmentError, match="camera 0 cannot be opened") as caught:
        CameraReader(0)
    assert "no other program uses it" in str(caught.value)


@pytest.mark.parametrize(
    ("platform", "name", "kind"), [("darwin", "2:none", "avfoundation"), ("linux", None, "v4l2")]
)
def test_devices_by_system(
    platform: str, name: str | None, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "exists", lambda self: True)
    assert camera._device(2) == (name or "/dev/video2", kind)


def test_a_system_without_cameras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "sunos5")
    with pytest.raises(MissingEnvironmentError, match="sunos5"):
        CameraReader(0)
    with pytest.raises(UsageError, match="from 0"):
        CameraReader(-1)


def test_digits_name_a_camera_unless_they_name_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert camera_index("1") == camera_index(1) == 1
    assert camera_index("clip.mp4") is None and camera_index("2024") is None
    (tmp_path / "1").mkdir()
    assert camera_index("1") is None
    with pytest.raises(UsageError):
        camera_index(True)
