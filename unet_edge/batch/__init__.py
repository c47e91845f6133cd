"""Many photos: a folder run that can be killed and repeated, and what it writes."""
