"""The JSON Schema (2020-12) of rule files, for editors; kept in ``rules/schema.json``.

Made from the tables that the reader itself uses, so it cannot say anything else. It
knows the shape, not the meaning: fallthroughs, names of lists and patterns are for
``smtpguard check``. Whoever changes a table writes the file anew (``rules/README.md``
says how); a test holds the two together.
"""

from __future__ import annotations

import json

from smtpguard.policy.document import ROOT


TITLE = "smtpguard rules"


def schema_text() -> str:
    """Return the schema as the text of ``rules/schema.json``."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": TITLE,
        "description": "Rules of smtpguard; see rules/README.md.",
        **ROOT.schema(),
    }
    return json.dumps(schema, indent=1, ensure_ascii=True) + "\n"
