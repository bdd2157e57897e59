"""From brain responses to pictures: the pipeline, whole splits, and their evaluation."""
