"""What a browser is shown that is no answer of GraphQL's: GraphiQL, the landing page, the metrics."""

import httpx
import pytest
from sqlalchemy import delete

from guildhall.audit.checkpoints import Signer
from guildhall.audit.record import record
from guildhall.audit.sealing import seal_once
from guildhall.audit.stream_cursor import take_lease
from guildhall.audit.tables import AuditSeal, AuditStream
from guildhall.auth.actor import system_actor
from guildhall.clock import SystemClock, new_id
from guildhall.db.transaction import Database


class TestBrowsers:
    async def test_graphiql_needs_nothing_from_elsewhere(self, client: httpx.AsyncClient) -> None:
        page = await client.get("/graphql", headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
        assert page.status_code == 200
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "script-src 'self';" in page.headers["content-security-policy"]
        assert "http" not in page.text.replace("https://", "x")
        addresses = [part.split('"')[0] for part in page.text.split('="/graphql/assets/')[1:]]
        assert len(addresses) == 6
        for address in addresses:
            asset = await client.get(f"/graphql/assets/{address}")
            assert (asset.status_code, asset.headers["x-content-type-options"]) == (200, "nosniff")
            assert "immutable" in asset.headers["cache-control"]

    @pytest.mark.parametrize("path", ["0/boot.js", "0/../../../settings.py", "0/..%2f..%2fkeys.py", "0/README.md"])
    async def test_no_other_file_is_an_asset(self, client: httpx.AsyncClient, path: str) -> None:
        assert (await client.get(f"/graphql/assets/{path}")).status_code == 404

    async def test_the_landing_page_links_to_what_is_there(self, client: httpx.AsyncClient) -> None:
        page = await client.get("/")
        assert page.status_code == 200
        for path in ("/graphql", "/healthz", "/readyz", "/metrics"):
            assert f'href="{path}"' in page.text
        assert (await client.get("/readyz")).json() == {"status": "ready"}

    async def test_what_waits_for_the_receiver_of_the_audit_stream_is_told(
        self, client: httpx.AsyncClient, database: Database
    ) -> None:
        assert "guildhall_audit_stream_waiting{" not in (await client.get("/metrics")).text
        clock = SystemClock()
        lease = await take_lease(database, owner="one", clock=clock, new_id=new_id)
        assert lease is not None
        async with database.transaction() as session:
            await record(session, system_actor("tests"), action="registry:dataset:read", at=clock.now(), new_id=new_id)
        await seal_once(database, [Signer("guildhall.example/audit", b"s" * 32)], at=clock.now())
        async with database.read() as session:
            sealed = (await session.get_one(AuditSeal, 1)).size
        assert sealed > 0
        assert 'guildhall_audit_stream_waiting{stream="siem"} ' + f"{sealed}.0" in (await client.get("/metrics")).text
        assert (await client.get("/readyz")).json() == {"status": "ready", "audit_stream_waiting": str(sealed)}
        async with database.transaction() as session:
            await session.execute(delete(AuditStream))
        assert (await client.get("/readyz")).json() == {"status": "ready"}

    async def test_metrics_count_by_route_and_code(self, client: httpx.AsyncClient) -> None:
        for query in ("{ __typename }", "{ nothing }"):
            await client.post("/graphql", json={"query": query})
        text = (await client.get("/metrics")).text
        assert 'guildhall_http_requests_total{method="POST",route="/graphql",status="200"}' in text
        assert 'guildhall_graphql_errors_total{code="UNAUTHENTICATED"}' in text

    async def test_words_that_are_no_methods_make_one_series(self, client: httpx.AsyncClient) -> None:
        for index in range(3):
            assert (await client.request(f"FOO{index}", "/graphql")).status_code == 405
        text = (await client.get("/metrics")).text
        assert 'guildhall_http_requests_total{method="other",route="/graphql",status="405"} 3.0' in text
        assert "FOO" not in text
