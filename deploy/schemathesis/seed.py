"""Fills an empty Mochila with things of every kind, and writes who may call and what there is to the file named as the argument."""

import json
import os
import pathlib
import sys

import requests

URL = os.environ["MOCHILA_URL"] + "/api/v1"
MANY = 24  # of whatever can be deleted: the run deletes
PASSWORD = "correct horse battery staple"
TEMPLATE = '<p>Hi {{ contact.name }}</p><a href="{{ unsubscribe_url }}">Unsubscribe</a>'


def call(method, path, token=None, **what):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = requests.request(method, URL + path, headers=headers, timeout=30, **what)
    if not answer.ok:
        sys.exit(f"{method} {path} answered {answer.status_code}: {answer.text}")
    return answer.json()


def log_in(email, password):
    return call("POST", "/auth/login", json={"email": email, "password": password})["access_token"]


admin = log_in(os.environ["MOCHILA_ADMIN_EMAIL"], os.environ["MOCHILA_ADMIN_PASSWORD"])


def furnish(token, prefix):
    """The caller's workspace with something of everything."""
    workspace = call("GET", "/me", token)["workspace"]["id"]
    make = lambda path, body: call("POST", path, token, json=body)["id"]
    lists = [make("/lists", {"name": f"{prefix} list {n}"}) for n in range(MANY)]
    contacts = [make("/contacts", {"email": f"{prefix}{n}@example.com", "list_ids": lists[:2]}) for n in range(MANY)]
    draft = {"subject": "Hi", "from": {"name": "Shop", "email": "news@shop.test"}, "html": TEMPLATE, "list_ids": lists[:2]}
    campaigns = [make("/campaigns", draft | {"name": f"{prefix} campaign {n}"}) for n in range(MANY)]
    domains = [make("/sending-domains", {"domain": f"{prefix}{n}.test"}) for n in range(MANY)]
    suppressions = [make("/suppressions", {"kind": "address", "value": f"no{n}@{prefix}.test"}) for n in range(MANY)]
    said = {"subject": "Order {{ number }}", "html": "<p>Order {{ number }}</p>"}
    templates = [make("/templates", said | {"name": f"{prefix} template {n}"}) for n in range(MANY)]
    form = {"target": (None, "contacts"), "list_id": (None, lists[0]), "file": ("sample.csv", "email,name\na@example.com,Ann\n")}
    imports = [call("POST", "/imports", token, files=form) for _ in range(8)]
    member = {"password": PASSWORD, "workspace_id": workspace, "level": "editor"}
    users = [call("POST", "/users", admin, json=member | {"email": f"{prefix}{n}@team.test"})["id"] for n in range(4)]
    invitations = [make("/users/invite", {"email": f"{prefix}{n}@guest.test", "level": "viewer"}) for n in range(8)]
    return {
        "workspaces": [workspace],
        "users": users,
        "invitations": invitations,
        "lists": lists,
        "contacts": contacts,
        "campaigns": campaigns,
        "sending-domains": domains,
        "suppressions": suppressions,
        "templates": templates,
        "imports": [made["id"] for made in imports],
        "jobs": [made["job_id"] for made in imports],
    }


routes = [
    call("POST", "/routes", admin, json={"name": f"relay {n}", "url": f"smtp://127.0.0.{n + 1}:2525", "tls": "none"})["id"]
    for n in range(8)
]
client = call("POST", "/users", admin, json={"email": "client@example.com", "password": PASSWORD})
owner = log_in(client["email"], PASSWORD)
shared = {"routes": routes, "destinations": ["example.com", "one.test"]}
things = {
    "admin": {"token": admin, "things": furnish(admin, "hq") | shared},
    "owner": {"token": owner, "things": furnish(owner, "shop") | shared},
    "nobody": {"token": None, "things": {}},
}
pathlib.Path(sys.argv[1]).write_text(json.dumps(things))
