"""Models that were trained elsewhere: reading them and bringing them into the form of a run."""
