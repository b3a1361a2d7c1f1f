"""Read frames from video files, folders of pictures and cameras; write them to files and folders.

PyAV (the extra ``video``) does the work; it is imported when a file is opened.
"""

from __future__ import annotations

__all__: list[str] = []
