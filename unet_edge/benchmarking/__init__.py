"""The cost of each file on this machine: figures, tables, an HTML page, and a tuned choice."""
