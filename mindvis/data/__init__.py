"""Stored responses to standardised batches: the VoxelStore and everything that reads it."""
