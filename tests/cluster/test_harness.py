"""The test cluster itself: it runs pods that reach us, and stands up, side by side, and leaves nothing behind."""

from tests.cluster.handle import RealCluster


class TestControlPlane:
    async def test_answers(self, control_plane: RealCluster) -> None:
        async with control_plane.client() as http:
            assert (await http.get("/version")).json()["gitVersion"] == "v1.37.1"
