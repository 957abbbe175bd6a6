"""AsyncAPI's own parser accepts what we publish for the WebSocket."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.need import need, need_node_package
from whatsapp import contract

ERROR = 0
SCRIPT = Path(__file__).with_name("parse_asyncapi.mjs")


def parsed(document: bytes) -> Any:
    modules = need_node_package("@asyncapi/parser")
    done = subprocess.run(
        [need("node"), str(SCRIPT)],
        input=document,
        capture_output=True,
        env={**os.environ, "NODE_PATH": str(modules)},
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.external
def test_the_document_is_accepted():
    told = parsed(contract.asyncapi())
    assert [finding for finding in told["findings"] if finding["severity"] == ERROR] == []
    assert told["parsed"]


@pytest.mark.external
def test_a_broken_document_is_not():
    document = contract.asyncapi_document()
    document["operations"]["onSend"]["messages"] = [{"$ref": "#/channels/ws/messages/Nothing"}]
    assert not parsed(json.dumps(document).encode())["parsed"]
