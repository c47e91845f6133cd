"""The bundle: the one folder that is copied to the device, and its manifest."""
