"""What the platform kept of a launch, as it comes over the API server."""

from scheduler.clusters.kubernetes.connection import KubernetesApi
from scheduler.clusters.kubernetes.platform_log import read_platform_log
from tests.scheduler.clusters.kubernetes.faulty_proxy import FaultyProxy
from tests.scheduler.clusters.kubernetes.shapes import pod, running


async def test_what_a_kubelet_says_in_the_place_of_lines_is_none(
    proxied_api: KubernetesApi, proxy: FaultyProxy
) -> None:
    proxy.answer_times(
        1,
        200,
        text="2026-03-02T08:00:00Z guildhall runner: unable to retrieve container logs for once\n"
        "unable to retrieve container logs for containerd://0123",
    )
    lines = await read_platform_log(proxied_api, [pod(main=running(), metadata={"namespace": "team"})])
    assert lines == ["guildhall runner: unable to retrieve container logs for once"]
