"""Most ids are those of real things: nothing is learned from a 404. MOCHILA_THINGS names the file of seed.py, MOCHILA_CALLER who calls."""

import itertools
import json
import os
import pathlib
import uuid

import schemathesis

CALLER = json.loads(pathlib.Path(os.environ["MOCHILA_THINGS"]).read_text())[os.environ["MOCHILA_CALLER"]]
COUNT = itertools.count()
KINDS = {
    "contact_id": "contacts",
    "contact_ids": "contacts",
    "list_id": "lists",
    "list_ids": "lists",
    "route_id": "routes",
    "template_id": "templates",
    "workspace_id": "workspaces",
}


@schemathesis.hook
def map_path_parameters(context, parameters):
    if not isinstance(parameters, dict):
        return parameters
    steps = context.operation.path.removeprefix("/api/v1/").split("/")
    kind = "invitations" if "invitations" in steps else steps[0]
    for name, value in parameters.items():
        known = CALLER["things"].get(KINDS.get(name, kind), [])
        # What one half loses the other keeps.
        half = len(known) // 2
        known = known[half:] if context.operation.method.upper() == "DELETE" else known[: half or 1]
        if known and (chosen := choose(name, value, known)):
            parameters[name] = chosen
    return parameters


def choose(name, value, known):
    """Three of four ids; what is no id at all stays as it is."""
    if name == "domain":
        return known[len(value) % len(known)] if isinstance(value, str) and len(value) % 4 else None
    try:
        number = uuid.UUID(str(value)).int
    except ValueError:
        return None
    return known[number % len(known)] if (number >> 64) % 4 else None


@schemathesis.hook
def map_body(context, body):
    return with_known_ids(body)


def with_known_ids(body, name=None):
    if isinstance(body, dict):
        return {name: with_known_ids(value, name) for name, value in body.items()}
    if isinstance(body, list):
        return [with_known_ids(value, name) for value in body]
    known = CALLER["things"].get(KINDS.get(name))
    return (known and choose(name, body, known)) or body


@schemathesis.hook
def map_headers(context, headers):
    """Most requests bring a key of their own, since one that was used is refused for any other, and stay in their own workspace."""
    if not isinstance(headers, dict):
        return headers
    key = headers.get("Idempotency-Key")
    if isinstance(key, str) and key.isascii() and len(key) % 4:
        headers["Idempotency-Key"] = f"{context.operation.label}-{next(COUNT)}".replace(" ", "")
    if choose("X-Workspace-Id", headers.get("X-Workspace-Id"), ["own"]):
        del headers["X-Workspace-Id"]
    return headers
