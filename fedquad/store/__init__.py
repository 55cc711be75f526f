"""Files: campaigns on disk."""
