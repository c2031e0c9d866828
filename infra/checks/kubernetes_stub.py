"""A stand-in for a cluster: enough of the API for kubectl to find the project's objects, and to create and read Jobs."""

import contextlib
import http.server
import json
import threading

import yaml

import common

KINDS = {
    ("", "v1"): {"pods": "Pod", "pods/log": "Pod", "configmaps": "ConfigMap", "serviceaccounts": "ServiceAccount"},
    ("apps", "v1"): {"deployments": "Deployment", "replicasets": "ReplicaSet"},
    ("batch", "v1"): {"jobs": "Job", "cronjobs": "CronJob"},
}
SELECTOR = {"matchLabels": {"app": "here"}}


class Cluster:
    """The objects by path."""

    def __init__(self, objects, namespace):
        self.namespace = namespace
        self.objects = {}
        for one in objects:
            self.put(one)
        self.put({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "vod-tender"}, "spec": {"selector": SELECTOR}})
        self.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "vod-tender-switches"}, "data": {}})
        self.put({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "token-status"}, "spec": {"selector": SELECTOR}})
        self.put({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "vod-tender-0", "labels": SELECTOR["matchLabels"]},
                  "spec": {"containers": [{"name": "tokenseal"}]}, "status": {"phase": "Running"}})

    def put(self, one):
        group, _, version = one["apiVersion"].rpartition("/")
        plural = next((name for name, kind in KINDS.get((group, version), {}).items() if kind == one["kind"] and "/" not in name), None)
        if plural:
            one["metadata"]["namespace"] = self.namespace
            prefix = f"/apis/{group}/{version}" if group else f"/api/{version}"
            self.objects[f"{prefix}/namespaces/{self.namespace}/{plural}/{one['metadata']['name']}"] = one

    def create(self, path, one):
        """A Job that is created has ended, so that no one waits for it."""
        one["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
        one["spec"]["selector"] = SELECTOR
        self.objects[f"{path}/{one['metadata']['name']}"] = one
        return one

    def listed(self, path, kind):
        items = [one for place, one in self.objects.items() if place.rpartition("/")[0] == path]
        return {"kind": f"{kind}List", "apiVersion": items[0]["apiVersion"] if items else "v1", "metadata": {}, "items": items}


def discovery(path):
    """Answers to kubectl's first requests: groups, and the resources of each."""
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        groups = [{"name": group, "versions": [{"groupVersion": f"{group}/{version}", "version": version}],
                   "preferredVersion": {"groupVersion": f"{group}/{version}", "version": version}} for group, version in KINDS if group]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    for (group, version), kinds in KINDS.items():
        if path == (f"/apis/{group}/{version}" if group else f"/api/{version}"):
            verbs = ["create", "get", "list", "patch", "watch"]
            resources = [{"name": name, "singularName": kind.lower(), "namespaced": True, "kind": kind, "verbs": verbs} for name, kind in kinds.items()]
            return {"kind": "APIResourceList", "groupVersion": f"{group}/{version}".lstrip("/"), "resources": resources}
    return None


def handler(cluster):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, code, body, kind="application/json"):
            data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def body(self):
            return json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))

        def do_GET(self):
            path = self.path.split("?")[0]
            found = discovery(path) or cluster.objects.get(path)
            plural = path.rpartition("/")[2]
            kind = next((kinds[plural] for kinds in KINDS.values() if plural in kinds), None)
            if path.endswith("/proxy/readyz"):
                self.answer(200, "ready\n", "text/plain")
            elif path.endswith("/log"):
                self.answer(200, "the log of the pod\n", "text/plain")
            elif found or kind:
                self.answer(200, found or cluster.listed(path, kind))
            else:
                self.answer(404, {"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": f"{path} not found"})

        def do_POST(self):
            self.answer(201, cluster.create(self.path.split("?")[0], self.body()))

        def do_PATCH(self):
            one = cluster.objects[self.path.split("?")[0]]
            for key, value in self.body()["data"].items():
                one["data"].pop(key, None) if value is None else one["data"].__setitem__(key, value)
            self.answer(200, one)

        def log_message(self, *_):
            pass

    return Handler


@contextlib.contextmanager
def serving(place):
    """The path of a kubeconfig for a server that knows the objects of the production overlay."""
    import kubernetes_schemas

    objects = kubernetes_schemas.kustomize(kubernetes_schemas.PLACE / "overlays" / "prod")
    namespace = next(one["metadata"]["name"] for one in objects if one["kind"] == "Namespace")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler(Cluster(objects, namespace)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    kubeconfig = f"{place}/kubeconfig"
    with open(kubeconfig, "w") as file:
        yaml.safe_dump({
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "here"}}], "users": [{"name": "here", "user": {}}],
        }, file)
    try:
        yield kubeconfig
    finally:
        server.shutdown()
