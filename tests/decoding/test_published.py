"""What is published of the results holds: JSON schema, data dictionary, page of docs."""

import json
import re
from pathlib import Path

import jsonschema
import pandas as pd
import pytest

from mindvis.metrics.protocols import PROTOCOLS
from mindvis.metrics.verdict import LABELS
from tests.decoding.test_compare import decoded

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def schema():
    return json.loads((DOCS / "metrics.schema.json").read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    import numpy as np

    rng = np.random.default_rng(2)
    truths = rng.integers(0, 256, (6, 9, 8, 3), dtype=np.uint8)
    return decoded(tmp_path_factory.mktemp("run"), truths, 60, rng)


@pytest.fixture(scope="module")
def content(folder):
    return json.loads((folder / "metrics.json").read_text())


def test_the_schema_is_one(schema):
    jsonschema.Draft202012Validator.check_schema(schema)


def test_results_follow_the_schema(schema, content):
    jsonschema.validate(content, schema)
    known = set(schema["properties"])
    assert set(content) == known, "every key is published, and every published key is written"


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda c: c["metrics"]["ssim"].pop("protocol"), "protocol"),
        (lambda c: c["metrics"]["ssim"].update(ci95=[0.1]), "too short"),
        (lambda c: c["metrics"]["n_way"].pop("reason"), "reason"),
        (lambda c: c.update(selected_on="luck"), "selected_on"),
        (lambda c: c.pop("leakage"), "leakage"),
    ],
)
def test_results_that_lack_something_do_not(schema, content, change, where):
    altered = json.loads(json.dumps(content))
    change(altered)
    with pytest.raises(jsonschema.ValidationError, match=where):
        jsonschema.validate(altered, schema)


def test_the_dictionary_names_exactly_the_columns(folder):
    dictionary = json.loads((folder / "per_sample.json").read_text())
    table = pd.read_csv(folder / "per_sample.csv")
    assert [field["name"] for field in dictionary["fields"]] == table.columns.tolist()
    assert all(field["description"] for field in dictionary["fields"])
    for field in dictionary["fields"]:
        if field["type"] in {"number", "integer"}:
            assert pd.api.types.is_numeric_dtype(table[field["name"]]), field["name"]
    assert table[dictionary["primaryKey"][0]].is_unique


def test_the_page_of_docs_names_every_protocol_and_verdict():
    text = (DOCS / "evaluation.md").read_text()
    named = set(re.findall(r"`([\w-]+)`", text))
    assert set(PROTOCOLS) <= named
    assert all(label in text for label in LABELS.values())
