"""A folder of photos: a run that can be killed and resumed, and the files it writes."""
