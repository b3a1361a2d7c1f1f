"""Video files, folders of pictures and cameras: read into frames, written from frames.

PyAV (the extra ``video``) does the work; it is imported when a file is opened.
"""

from __future__ import annotations

__all__: list[str] = []
