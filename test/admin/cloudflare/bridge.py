"""Cloudflare's official Python client, driven over standard input: one JSON call a line, one JSON answer a line."""
import json
import sys

import cloudflare


def found(client, path):
    method = client
    for name in path.split("."):
        method = getattr(method, name)
    return method


def plain(value):
    return value if value is None or isinstance(value, (dict, list, str, int)) else value.to_dict(mode="json")


def answered(client, call):
    method = found(client, call["path"])
    ids, params = call["ids"], call["params"]
    try:
        if call["all"]:
            return {"result": [plain(item) for item in method(*ids, **params)]}
        return {"result": plain(method(*ids, **params))}
    except cloudflare.APIStatusError as error:
        body = error.body if isinstance(error.body, dict) else {}
        return {"error": {"type": type(error).__name__, "status": error.status_code, "errors": body.get("errors", [])}}


def main():
    client = cloudflare.Cloudflare(api_token=sys.argv[2], base_url=sys.argv[1], max_retries=0)
    for line in sys.stdin:
        print(json.dumps(answered(client, json.loads(line))), flush=True)


main()
