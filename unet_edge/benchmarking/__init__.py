"""What each file costs on this machine, as figures, tables, a page, and a tuned choice."""
