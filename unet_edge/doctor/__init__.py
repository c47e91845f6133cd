"""The doctor: which interpreters and files work on this machine, and how to fix the others."""
