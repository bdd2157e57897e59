"""A made-up observer in the true formats: pictures, a brain that sees them, a BIDS data set."""
