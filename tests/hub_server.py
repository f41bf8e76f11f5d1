"""The Hugging Face hub's protocol, as far as huggingface_hub uses it here, on loopback.

Downloads of single files, large ones (LFS) redirected to another host; creating a
repository; commits, whose large files are uploaded first.
"""

import base64
import contextlib
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading

REVISION = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.ThreadingHTTPServer):
    """A hub with one repository.

    Attributes:
      repo: its name, "OWNER/NAME".
      commits: files, name to content, by commit.
      head: the commit of its branch, "main".
      large: name of the file that is kept by LFS.
      claimed: its SHA-256, if the hub tells another than `sha256`.
      break_after: bytes of it after which its first transfer breaks off.
      token: that a commit needs.
      requests: path and range of each request so far.
    """

    token = "hf_secret"

    def __init__(self, files, *, repo, large):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repo, self.large, self.head = repo, large, REVISION
        self.commits = {REVISION: files}
        self.claimed = self.break_after = None
        self.uploads = {}
        self.requests = []

    @property
    def files(self):
        return self.commits[self.head]

    @files.setter
    def files(self, files):
        self.commits[self.head] = files

    @property
    def sha256(self):
        return hashlib.sha256(self.files[self.large]).hexdigest()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.server_port}"


@contextlib.contextmanager
def serving(files, *, repo, large):
    """A `Hub` that answers as long as the block runs."""
    hub = Hub(files, repo=repo, large=large)
    thread = threading.Thread(target=hub.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()


def run_python(*args, hub_cache=None, endpoint=None, **more):
    """In a process of its own, since huggingface_hub reads its settings only once."""
    settings = {"JAX_PLATFORMS": "cpu", "NO_PROXY": "*", "no_proxy": "*"}
    if endpoint:
        settings |= {"HF_HOME": str(hub_cache), "HF_ENDPOINT": endpoint}
    return subprocess.run(
        [sys.executable, *args],
        env=os.environ | settings | more,
        capture_output=True,
        text=True,
        timeout=600,
    )


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def log_message(self, *args):
        pass

    def answer(self):
        hub, wanted = self.server, self.headers.get("Range")
        hub.requests.append((self.path, wanted))
        if self.path.startswith("/cdn/"):
            revision, _, name = self.path.removeprefix("/cdn/").partition("/")
            return self.send(hub.commits[revision][name], {}, wanted)
        prefix, _, rest = self.path.partition("/resolve/")
        revision, _, name = rest.partition("/")
        revision = hub.head if revision == "main" else revision
        commit = {"X-Repo-Commit": revision}
        if prefix != f"/{hub.repo}":
            return self.refuse("RepoNotFound", {})
        if revision not in hub.commits:
            return self.refuse("RevisionNotFound", {})
        if name not in hub.commits[revision]:
            return self.refuse("EntryNotFound", commit)
        content = hub.commits[revision][name]
        if name == hub.large:
            return self.redirect(f"{revision}/{name}", content, commit)
        sha1 = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        return self.send(content, commit | {"ETag": f'"{sha1}"'}, wanted)

    def refuse(self, code, headers):
        self.head(404, headers | {"X-Error-Code": code, "Content-Length": "0"})

    def redirect(self, path, content, commit):
        location = f"http://localhost:{self.server.server_port}/cdn/{path}"
        sha256 = self.server.claimed or hashlib.sha256(content).hexdigest()
        linked = {
            "X-Linked-Etag": f'"{sha256}"',
            "X-Linked-Size": str(len(content)),
        }
        headers = commit | linked | {"Location": location, "Content-Length": "0"}
        self.head(302, headers)

    def send(self, content, headers, wanted):
        start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
        size = {"Content-Length": str(len(content) - start)}
        self.head(206 if wanted else 200, headers | size)
        if self.command == "HEAD":
            return
        if self.path.startswith("/cdn/") and self.server.break_after:
            self.wfile.write(content[: self.server.break_after])
            self.server.break_after = None
            self.close_connection = True
        else:
            self.wfile.write(content[start:])

    def head(self, status, headers):
        self.send_response(status)
        for header in headers.items():
            self.send_header(*header)
        self.end_headers()

    # What is written

    def body(self):
        return self.rfile.read(int(self.headers["Content-Length"]))

    def do_PUT(self):
        content = self.body()
        self.server.uploads[hashlib.sha256(content).hexdigest()] = content
        self.head(200, {"Content-Length": "0"})

    def do_POST(self):
        hub, body = self.server, self.body()
        hub.requests.append((self.path, None))
        if self.headers.get("Authorization") != f"Bearer {hub.token}":
            return self.head(401, {"Content-Length": "0"})
        endpoint, api = hub.endpoint, f"/api/models/{hub.repo}"
        if self.path == "/api/repos/create":
            return self.reply({"url": f"{endpoint}/{hub.repo}"})
        if self.path == "/api/validate-yaml":
            return self.reply({"warnings": [], "errors": []})
        if self.path == f"{api}/preupload/main":
            modes = {hub.large: "lfs"}
            files = [file["path"] for file in json.loads(body)["files"]]
            entry = {"shouldIgnore": False}
            return self.reply(
                {
                    "files": [
                        entry | {"path": f, "uploadMode": modes.get(f, "regular")}
                        for f in files
                    ]
                }
            )
        if self.path == f"/{hub.repo}.git/info/lfs/objects/batch":
            objects = json.loads(body)["objects"]
            actions = {"upload": {"href": f"{endpoint}/upload"}}
            return self.reply({"objects": [o | {"actions": actions} for o in objects]})
        assert self.path == f"{api}/commit/main", self.path
        self.commit(map(json.loads, body.splitlines()))
        url = f"{endpoint}/{hub.repo}/commit/{hub.head}"
        return self.reply({"commitUrl": url, "commitOid": hub.head})

    def commit(self, lines):
        hub, files = self.server, {}
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = hub.uploads[value["oid"]]
        head = hashlib.sha1(json.dumps(sorted(map(str, files.values()))).encode())
        hub.commits[head.hexdigest()] = hub.files | files
        hub.head = head.hexdigest()

    def reply(self, answer):
        content = json.dumps(answer).encode()
        self.head(200, {"Content-Length": str(len(content))})
        self.wfile.write(content)
