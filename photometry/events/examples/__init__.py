"""Pipelines to read and to copy from."""
