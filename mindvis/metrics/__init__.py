"""Scores of decoded pictures, their controls and their uncertainty."""
