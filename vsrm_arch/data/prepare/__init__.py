"""From downloads, folders and video files to BasicSR's layout."""
