"""What becomes of segmented frames: video files, tables, messages."""
