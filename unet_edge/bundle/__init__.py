"""The bundle: the folder that is copied to the device, and its manifest."""
