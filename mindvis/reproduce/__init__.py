"""Named benchmarks: from stores to one table of results over subjects and seeds."""
