"""Frames of video files, cameras and network streams, one after another."""
