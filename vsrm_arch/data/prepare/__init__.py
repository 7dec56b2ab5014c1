"""From downloads, folders and video files to BasicSR's layout."""

__all__: list[str] = []
