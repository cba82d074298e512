"""Downloads by jobs, and of models: the same rule, asked through what they were given and what they were made from."""

from dataclasses import replace
from datetime import timedelta

from guildhall.auth.actor import TokenUse, system_actor
from guildhall.auth.subjects import ActorKind
from guildhall.clock import new_id
from guildhall.organisation.tokens import issue_token
from registry.access.jobs import JobInput
from registry.artifacts.tables import OwnerKind
from tests.registry.house import trained_on
from tests.registry.http.conftest import Site
from tests.registry.http.reading import ASK, CONTENT, address, get, grant_to_quality, packed, reads, stored


class TestLimitedTokens:
    async def test_open_a_grant_of_ones_own_where_a_role_of_theirs_reads(self, site: Site) -> None:
        dataset_id, version_id = await stored(site)
        await grant_to_quality(site, dataset_id, email="paul@example.org")
        url, paul = await address(site, version_id), site.estate.actor("paul")
        for role in ("viewer", "contributor"):
            async with site.estate.database.transaction() as session:
                issued = await issue_token(
                    session, system_actor("tests"), subject_kind=ActorKind.USER, subject_id=paul.id, label=role,
                    expires_at=site.estate.clock.now() + timedelta(days=1), at=site.estate.clock.now(), new_id=new_id,
                )  # fmt: skip
            site.jobs[role] = replace(paul, token=TokenUse(issued.id, None, roles=(role,)))
        assert (await get(site, url, by="contributor")).content == CONTENT
        answer = await get(site, url, by="viewer")
        assert (answer.status_code, answer.json()["error"]["reason"]) == (403, "ACCESS_GRANT_REQUIRED")
        assert [event.outcome for event in await reads(site)] == ["STARTED", "COMPLETED", "REFUSED"]


class TestJobs:
    async def test_read_their_inputs_alone(self, site: Site) -> None:
        dataset_id, version_id = await stored(site)
        other_id = await site.estate.stored(dataset_id, {"b.bin": b"b"})
        grant_id = await grant_to_quality(site, dataset_id)
        job = site.jobs["job"] = site.estate.house.job("quality", "paul")
        site.inputs[job.id, version_id] = JobInput(purpose="quality")
        assert (await get(site, await address(site, version_id), by="job")).content == CONTENT
        intent, _ = await reads(site)
        assert (intent.actor_kind, intent.actor_id, intent.on_behalf_of_id) == (
            "JOB",
            job.id,
            site.estate.house.people["paul"],
        )
        assert (intent.team_id, intent.purpose, intent.access_grant_id) == (job.team_id, "quality", grant_id)
        answer = await get(site, await address(site, other_id, "b.bin"), by="job")
        assert (answer.status_code, answer.json()["error"]["reason"]) == (403, "NOT_AN_INPUT")
        assert [event.outcome for event in await reads(site)] == ["STARTED", "COMPLETED", "REFUSED"]

    async def test_need_access_to_their_inputs_for_the_stated_purpose(self, site: Site) -> None:
        dataset_id, version_id = await stored(site)
        await grant_to_quality(site, dataset_id)
        job = site.jobs["job"] = site.estate.house.job("quality", "paul")
        site.inputs[job.id, version_id] = JobInput(purpose="research")
        answer = await get(site, await address(site, version_id), by="job")
        assert (answer.status_code, answer.json()["error"]["reason"]) == (403, "PURPOSE_NOT_GRANTED")
        (event,) = await reads(site)
        assert (event.outcome, event.purpose, event.actor_id) == ("REFUSED", "research", job.id)

    async def test_read_their_package(self, site: Site) -> None:
        archive = b"an archive"
        package_id = await packed(site, archive)
        url = await address(site, package_id, "package.tar.gz")
        job = site.jobs["job"] = site.estate.house.job("quality", "paul")
        assert (await get(site, url, by="job")).status_code == 403
        site.inputs[job.id, package_id] = JobInput()
        assert (await get(site, url, by="job")).content == archive
        statuses = {name: (await get(site, url, by=name)).status_code for name in ("paul", "quinn", "carl", "mia")}
        assert statuses == {"paul": 200, "quinn": 200, "carl": 404, "mia": 404}


class TestModels:
    async def test_are_read_as_their_data_is(self, site: Site) -> None:
        estate = site.estate
        dataset_id, version_id = await stored(site)
        async with estate.database.transaction() as session:
            estate.house.session = session
            model_id = await estate.house.model()
            made_id = await estate.house.version(model_id, ready=False, sources=[trained_on(version_id)])
        await estate.send(made_id, "model.bin", b"abc")
        assert (await estate.complete(made_id, kind=OwnerKind.MODEL_VERSION)).missing == ()
        url = await address(site, made_id, "model.bin")
        assert (await get(site, url, by="carl")).content == b"abc"
        refused = await get(site, url, by="paul")
        assert refused.json()["error"]["message"] == (
            "You may not read model.bin of the model gauge-reader. "
            f"It is CONFIDENTIAL and goes by access grant only. {ASK}"
        )
        await grant_to_quality(site, dataset_id)
        assert (await get(site, url, by="paul")).content == b"abc"
        assert [(event.action, event.outcome, event.resource_types[:2]) for event in await reads(site)] == [
            ("registry:model:read", outcome, ["ModelVersion", "Model"])
            for outcome in ("STARTED", "COMPLETED", "REFUSED", "STARTED", "COMPLETED")
        ]
