"""The machine: files and folders, board, timing, progress, child processes and output."""
