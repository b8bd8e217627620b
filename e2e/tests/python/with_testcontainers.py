"""testcontainers' way of working: start, wait for a word in the log, talk to the mapped port, exec, end."""

import urllib.request

from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

with Network() as network:
    server = (
        DockerContainer("busybox")
        .with_command(["sh", "-c", "mkdir /srv; echo page > /srv/index.html; echo ready; exec httpd -f -v -h /srv"])
        .with_exposed_ports(80)
        .with_env("A", "1")
        .with_network(network)
        .with_network_aliases("server")
        .waiting_for(LogMessageWaitStrategy("ready"))
    )
    with server:
        host, port = server.get_container_host_ip(), server.get_exposed_port(80)
        assert urllib.request.urlopen(f"http://{host}:{port}/", timeout=10).read() == b"page\n"
        assert server.exec(["sh", "-c", "echo $A"]).output == b"1\n"
        stdout, _ = server.get_logs()
        assert b"ready" in stdout
        client = DockerContainer("busybox").with_network(network).with_command("wget -q -O - http://server/")
        with client:
            assert client.get_wrapped_container().wait()["StatusCode"] == 0
            assert client.get_logs()[0] == b"page\n"
