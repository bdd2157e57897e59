"""The data dictionary of per_sample.csv, written beside it as a table schema.

The form is Frictionless Data's Table Schema (https://specs.frictionlessdata.io/table-schema), which
other programs read.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mindvis.files import write_json
from mindvis.metrics.protocols import Metric

# column: type and meaning; a column for each metric follows
COLUMNS = {
    "sample_id": ("string", "subject/stimulus/draw; unique"),
    "subject": ("string", "whose response was decoded"),
    "stimulus": ("string", "id of the picture that was seen: the independent unit"),
    "label": ("string", "class of the picture; empty where unknown"),
    "category": ("string", "coarser group of the picture; empty where unknown"),
    "seen": ("boolean", "whether the subject's training held responses to the class"),
    "draw": ("integer", "number of the picture among those of its response; average over them"),
    "rank": ("integer", "place of the right class in the judge's opinion, 0 the first"),
    "judged_as": ("string", "the judge's first choice"),
}


def table_schema(metrics: Sequence[Metric]) -> dict[str, Any]:
    """Name, type and meaning of every column.

    Args:
        metrics: Those that are reported.
    """
    fields = [
        {"name": name, "type": kind, "description": meaning}
        for name, (kind, meaning) in COLUMNS.items()
    ]
    scores = [
        {
            "name": metric.name,
            "type": "number",
            "title": metric.title,
            "description": f"score by protocol {metric.protocol}, {metric.better} is better; empty "
            "where it was not computed",
        }
        for metric in metrics
    ]
    return {"fields": [*fields, *scores], "primaryKey": ["sample_id"], "missingValues": [""]}


def write_dictionary(path: Path, metrics: Sequence[Metric]) -> None:
    """Write the dictionary of a table of single pictures."""
    write_json(path, table_schema(metrics))
