"""docker-py's calls, each with what must come back."""

import io
import os
import socket as socketlib
import tarfile
import threading

import docker
import websocket
from docker.errors import APIError, ContainerError, ImageLoadError, ImageNotFound, NotFound

client = docker.from_env(timeout=30)
assert client.ping()
assert client.version()["ApiVersion"]
assert client.info()["ServerVersion"]

# Images
image = client.images.get("busybox")
assert "busybox:latest" in image.tags
assert image.history() is not None
assert image.tag("busybox", "other")
client.images.remove("busybox:other")
try:
    client.images.get("no-such-image")
    raise AssertionError("found")
except ImageNotFound:
    pass
saved = b"".join(image.save(named=True))
assert client.images.load(saved)[0].id == image.id
try:
    client.images.load(b"no archive")
    raise AssertionError("loaded")
except ImageLoadError:
    pass

# Building, by the classic builder
built, log = client.images.build(
    fileobj=io.BytesIO(b"FROM busybox\nARG A\nRUN echo built $A > /made\nLABEL kind=test\n"),
    tag="made:1",
    buildargs={"A": "here"},
    rm=True,
)
assert built.labels["kind"] == "test"
assert any("Successfully built" in line.get("stream", "") for line in log)
assert client.containers.run("made:1", "cat /made", remove=True) == b"built here\n"

# Running
assert client.containers.run("busybox", "echo out", remove=True) == b"out\n"
try:
    client.containers.run("busybox", ["sh", "-c", "echo oops >&2; exit 3"], remove=True)
    raise AssertionError("succeeded")
except ContainerError as error:
    assert error.exit_status == 3 and b"oops" in error.stderr
container = client.containers.run(
    "busybox",
    ["sh", "-c", "trap 'exit 5' TERM; echo up; while :; do sleep 0.1; done"],
    detach=True,
    name="py1",
    environment={"A": "1"},
    labels={"kind": "test"},
    ports={"80/tcp": None},
    mem_limit="64m",
)
container.reload()
assert container.status == "running"
assert container.ports["80/tcp"][0]["HostPort"]
assert [c.id for c in client.containers.list(filters={"label": "kind=test"})] == [container.id]
for line in container.logs(stream=True, follow=True):
    assert line == b"up\n"
    break

# Exec: plain, split, streamed, by socket
code, output = container.exec_run("sh -c 'echo $A; exit 2'")
assert (code, output) == (2, b"1\n")
code, (out, err) = container.exec_run(["sh", "-c", "echo o; echo e >&2"], demux=True)
assert (out, err) == (b"o\n", b"e\n")
execution = client.api.exec_create(container.id, "cat", stdin=True)
socket = client.api.exec_start(execution["Id"], socket=True)
socket._sock.sendall(b"through\n")
header = socket.read(8)
assert header[0] == 1 and socket.read(int.from_bytes(header[4:], "big")) == b"through\n"
socket.close()

# Files in and out
tree = io.BytesIO()
with tarfile.open(fileobj=tree, mode="w") as tar:
    entry = tarfile.TarInfo("put.txt")
    entry.size, entry.uid, entry.mode = 3, 1000, 0o640
    tar.addfile(entry, io.BytesIO(b"put"))
assert container.put_archive("/tmp", tree.getvalue())
assert container.exec_run("stat -c '%u %a' /tmp/put.txt").output == b"1000 640\n"
chunks, stat = container.get_archive("/tmp/put.txt")
assert stat["name"] == "put.txt" and stat["size"] == 3
with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
    assert tar.extractfile("put.txt").read() == b"put"
assert {"Path": "/tmp/put.txt", "Kind": 1} in container.diff()

# Statistics and processes
stats = container.stats(stream=False)
assert stats["memory_stats"]["limit"] == 64 << 20 and stats["cpu_stats"]["cpu_usage"]["total_usage"] > 0
assert next(container.stats(stream=True, decode=True))["id"] == container.id
assert container.top()["Titles"]

# Changing, stopping, waiting
container.update(mem_limit="96m", memswap_limit="96m")
container.rename("py2")
container.pause()
container.unpause()
events = client.events(decode=True, filters={"container": container.id})
waited = []
waiter = threading.Thread(target=lambda: waited.append(container.wait()))
waiter.start()
container.stop(timeout=10)
waiter.join(10)
assert waited == [{"StatusCode": 5}], waited
seen = []
while "stop" not in seen:
    seen.append(next(events)["Action"])
assert [e for e in seen if not e.startswith("exec_")] == ["kill", "die", "stop"], seen
committed = container.commit(repository="committed", tag="1")
assert client.containers.run("committed:1", "cat /tmp/put.txt", remove=True) == b"put"
exported = io.BytesIO(b"".join(container.export()))
with tarfile.open(fileobj=exported) as tar:
    assert "tmp/put.txt" in tar.getnames()
container.remove(v=True)
try:
    container.reload()
    raise AssertionError("still there")
except NotFound:
    pass

# Attaching: by a raw socket, and by a websocket (docker-py itself speaks it over TCP only)
cat = client.containers.create("busybox", "cat", stdin_open=True)
sock = cat.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
cat.start()
sock._sock.sendall(b"hello\n")
assert sock.read(8)[0] == 1 and sock.read(6) == b"hello\n"
sock.close()
web = socketlib.socket(socketlib.AF_UNIX)
web.connect(os.environ["DOCKER_HOST"].removeprefix("unix://"))
where = f"ws://localhost/v1.45/containers/{cat.id}/attach/ws?stdin=1&stdout=1&stream=1"
web = websocket.create_connection(where, socket=web, timeout=10)
web.send_binary(b"again\n")
assert web.recv() == b"again\n"
web.close()
cat.remove(force=True)

# Networks and volumes
network = client.networks.create("pynet", driver="bridge", labels={"kind": "test"})
volume = client.volumes.create("pyvol", labels={"kind": "test"})
server = client.containers.run(
    "busybox", "httpd -f -h /srv", detach=True, name="srv", network="pynet", volumes={"pyvol": {"bind": "/srv", "mode": "rw"}}
)
server.exec_run("sh -c 'echo page > /srv/index.html'")
assert client.containers.run("busybox", "wget -q -O - http://srv/", network="pynet", remove=True) == b"page\n"
network.reload()
assert [c.id for c in network.containers] == [server.id]
network.disconnect(server)
network.connect(server, aliases=["again"])
server.remove(force=True)
network.remove()
volume.remove()
try:
    client.api.create_container("busybox", name="!")
    raise AssertionError("created")
except APIError as error:
    assert error.response.status_code == 400
assert client.containers.prune()["ContainersDeleted"] is None
assert client.df()["Images"]
client.images.remove("made:1", force=True)
client.images.remove("committed:1", force=True)
