"""The machine below: files and folders, board, timing, progress, other processes' output."""
