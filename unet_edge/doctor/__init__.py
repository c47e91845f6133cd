"""Whether interpreters and files work on this machine, and how to fix what does not."""
