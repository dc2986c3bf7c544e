"""A W&B server on loopback that answers what `wandb.Api` asks to read the runs of a project."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Run = tuple[dict[str, Any], list[dict[str, Any]]]  # run.json and the rows of metrics.jsonl


@contextmanager
def serving(runs: list[Run]) -> Iterator[str]:
    """The server's address while the block lasts."""
    handler = type("Handler", (_Handler,), {"runs": {run[0]["run_id"]: run for run in runs}})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    runs: dict[str, Run]

    def do_POST(self) -> None:
        body = self._body()
        if self.path != "/graphql":  # telemetry
            self.send_error(404)
            return
        request = json.loads(body)
        answer = json.dumps({"data": self._data(request["query"], request.get("variables") or {})})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer.encode())))
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _data(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        if "runCount" in query:
            return {"project": self._project()}
        if "viewer" in query:
            viewer = {"id": "1", "entity": "e", "username": "u", "flags": "{}"}
            return {"viewer": viewer | {"teams": {"edges": []}}}
        name = variables.get("name") or variables.get("runName") or variables["run"]
        about, rows = self.runs[name]
        if "historyKeys" in query:
            return _run({"historyKeys": {"lastStep": rows[-1]["step"], "keys": {}}})
        if "parquetHistory" in query:  # nothing exported yet: all of the history is live
            return _run({"parquetHistory": {"parquetUrls": [], "liveData": [{"_step": 0}]}})
        if "history(" in query:
            wanted = range(variables["minStep"], variables["maxStep"])
            return _run({"history": [_history(row) for row in rows if row["step"] in wanted]})
        return _run(_node(about))

    def _project(self) -> dict[str, Any]:
        edges = [{"node": _node(run[0]), "cursor": name} for name, run in self.runs.items()]
        page = {"endCursor": edges[-1]["cursor"], "hasNextPage": False}
        runs = {"edges": edges, "pageInfo": page}
        return {"internalId": "1", "runCount": len(edges), "readOnly": True, "runs": runs}


def _run(content: dict[str, Any]) -> dict[str, Any]:
    return {"project": {"run": content}}


def _history(row: dict[str, Any]) -> str:
    values = {key: value for key, value in row.items() if key != "step"}
    return json.dumps({"_step": row["step"], "_timestamp": 1.0} | values)


def _node(about: dict[str, Any]) -> dict[str, Any]:
    ours = {k: v for k, v in about.items() if k not in ("config", "status", "summary")}
    config = {key: {"value": value} for key, value in {**about["config"], "_run": ours}.items()}
    unused = dict.fromkeys(["group", "jobType", "commit", "heartbeatAt", "notes", "sweepName"])
    return unused | {
        "id": about["run_id"],
        "name": about["run_id"],
        "displayName": about["config"]["run_name"],
        "state": "finished" if about["status"] == "finished" else "crashed",
        "config": json.dumps(config | {"_wandb": {"value": {}}}),
        "summaryMetrics": json.dumps({"status": about["status"], "_step": 1}),
        "systemMetrics": "{}",
        "historyLineCount": 1,
        "createdAt": "2026-11-22T00:00:00",
        "projectId": "1",
        "tags": [],
        "user": {"name": "u", "username": "u"},
        "readOnly": True,
        "description": "",
    }
