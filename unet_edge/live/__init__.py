"""The live page of a camera, and the service that segments pictures."""
