"""A model hub on this machine: folders, served in the protocol of the Hugging Face hub."""

import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "5" * 40
FILE = re.compile(r"/(?:(datasets)/)?([\w.-]+/[\w.-]+)/resolve/[\w.-]+/(.+)")
API = re.compile(r"/api/(models|datasets)/([\w.-]+/[\w.-]+)(?:/([\w-]+)/[\w.-]+(?:/(.+))?)?")


class _Hub(BaseHTTPRequestHandler):
    """`server.root` holds models/OWNER/NAME and datasets/OWNER/NAME."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.server.asked.append(f"{self.command} {self.path}")
        path = unquote(urlsplit(self.path).path)
        if path == "/":
            self.answer(b"")
        elif match := FILE.fullmatch(path):
            self.send_file(self.server.root / (match[1] or "models") / match[2], match[3])
        elif match := API.fullmatch(path):
            self.send_listing(self.server.root / match[1] / match[2], *match.groups()[1:])
        else:
            self.missing("EntryNotFound")

    do_GET = do_POST = do_HEAD

    def send_file(self, repository, name):
        file = repository / name
        if not repository.is_dir():
            self.missing("RepoNotFound")
        elif not file.is_file():
            self.missing("EntryNotFound")
        else:
            content = file.read_bytes()
            self.answer(content, ETag=f'"{hashlib.sha1(content).hexdigest()}"')

    def send_listing(self, repository, name, what, under):
        asked = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not repository.is_dir():
            self.missing("RepoNotFound")
            return
        files = sorted(file for file in repository.rglob("*") if file.is_file())
        names = [file.relative_to(repository).as_posix() for file in files]
        entries = [
            {"type": "file", "path": name, "size": file.stat().st_size, "oid": COMMIT}
            for name, file in zip(names, files, strict=True)
        ]
        if what == "tree":
            found = [e for e in entries if under is None or e["path"].startswith(f"{under}/")]
            if under is not None and not found:
                self.missing("EntryNotFound")
                return
            self.send_json(found)
        elif what == "paths-info":
            paths = json.loads(asked)["paths"]
            self.send_json([entry for entry in entries if entry["path"] in paths])
        else:
            siblings = [{"rfilename": name} for name in names]
            about = {"id": name, "sha": COMMIT, "siblings": siblings, "tags": []}
            self.send_json(about | {"private": False, "gated": False, "disabled": False})

    def send_json(self, content):
        self.answer(json.dumps(content).encode(), **{"Content-Type": "application/json"})

    def missing(self, code):
        self.answer(b"", 404, **{"X-Error-Code": code, "X-Error-Message": "not on this hub"})

    def answer(self, content, status=200, **headers):
        self.send_response(status)
        headers |= {"Content-Length": str(len(content)), "X-Repo-Commit": COMMIT}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *args):
        """Say nothing: `server.asked` has the requests."""


@contextmanager
def local_hub(root: Path):
    """Serve `root` meanwhile; gives the address for HF_ENDPOINT, and the list of requests."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    server.root, server.asked = root, []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
