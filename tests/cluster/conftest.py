"""One S3 server and one small Ray cluster for all tests of this folder, both stopped at the end."""

from __future__ import annotations

import os

import pytest
import s3_server


@pytest.fixture(scope="session")
def server():
    yield from s3_server.started()


@pytest.fixture(scope="session")
def cluster(server, tmp_path_factory):
    """A cluster of two nodes with 2 CPUs each, on the loopback interface."""
    pytest.importorskip("ray", reason="needs Ray (extra: ray): run make test-scale")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 2, "object_store_memory": 128 << 20}
    # Ray replaces 127.0.0.1 with the address of the machine in its network.
    head = {**node, "node_ip_address": "127.0.0.2", "include_dashboard": False}
    started = Cluster(initialize_head=True, head_node_args=head)
    started.add_node(**node, node_ip_address="127.0.0.3")
    try:
        yield started
    finally:
        ray.shutdown()
        started.shutdown()
