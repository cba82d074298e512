"""The routes under /runner/v1: what a runner asks and tells, with the token of its attempt. All may be repeated.

Nothing that a runner says moves money or proves identity: intervals come from the platform, and the token says which
attempt is speaking.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler
from litestar.types import HTTPScope, Receive, Send

from guildhall.audit.record import record_refusal
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import Refused
from guildhall.errors import GuildhallError
from registry.artifacts.files import FileSpec
from registry.artifacts.planning import Upload
from registry.http.answers import send_json, send_refusal, send_start
from registry.http.routing import raw_route
from registry.models.reported import Metric
from scheduler.clusters.runner_archive import runner_archive
from scheduler.http.bodies import OutputBody, ReportBody, ResultBody, RunnerGone, StartedBody, read_body
from scheduler.http.desk import RunnerDesk, desk_of
from scheduler.jobs.spec import InputSpec
from scheduler.runs.live import read_live
from scheduler.runs.outputs import Announced, announce_output, complete_output
from scheduler.runs.reporting import Report, take_report, take_result, take_started
from scheduler.runs.staging import Assignment, open_input, read_assignment, staged_files

Answer = Callable[[RunnerDesk, Actor, HTTPScope, Receive], Awaitable[dict[str, Any]]]


def route(method: HttpMethod, path: str) -> Callable[[Answer], HTTPRouteHandler]:
    """A route that answers in JSON to a caller who is known; refusals are JSON, and recorded where they are to be."""

    def declare(answer: Answer) -> HTTPRouteHandler:
        async def handle(scope: HTTPScope, receive: Receive, send: Send) -> None:
            desk = desk_of(scope)
            try:
                actor = await desk.identify(scope)
                await send_json(send, 200, await _recorded(desk, actor, answer, scope, receive))
            except RunnerGone:
                return
            except GuildhallError as error:
                await send_refusal(send, error)

        handle.__name__ = answer.__name__
        return raw_route(f"/runner/v1/{path}", method)(handle)

    return declare


@raw_route("/runner/v1/archive", HttpMethod.GET)
async def archive_route(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """The runner itself, for pods, which begin without one."""
    desk = desk_of(scope)
    try:
        actor = await desk.identify(scope)
        await _recorded(desk, actor, _require_live, scope, receive)
    except GuildhallError as error:
        await send_refusal(send, error)
    else:
        archive = runner_archive()
        about = [("content-type", "application/zip"), ("content-length", str(len(archive)))]
        await send_start(send, 200, about)
        await send({"type": "http.response.body", "body": archive, "more_body": False})


async def _require_live(desk: RunnerDesk, actor: Actor, _scope: HTTPScope, _receive: Receive) -> dict[str, Any]:
    async with desk.database.read() as session:
        await read_live(session, actor)
    return {}


async def _recorded(
    desk: RunnerDesk, actor: Actor, answer: Answer, scope: HTTPScope, receive: Receive
) -> dict[str, Any]:
    try:
        return await answer(desk, actor, scope, receive)
    except Refused as refusal:
        await record_refusal(desk.database, actor, refusal, at=desk.clock.now(), new_id=desk.new_id)
        raise


@route(HttpMethod.GET, "assignment")
async def assignment_route(desk: RunnerDesk, actor: Actor, _scope: HTTPScope, _receive: Receive) -> dict[str, Any]:
    """What to run."""
    async with desk.database.read() as session:
        assignment = await read_assignment(
            session,
            actor,
            public_url=desk.settings.jobs_url,
            grace_seconds=desk.settings.runner_grace_seconds,
            at=desk.clock.now(),
        )
    return _assignment(assignment, part_size_bytes=desk.settings.upload_part_bytes)


@route(HttpMethod.POST, "inputs/{index:int}/open")
async def open_route(desk: RunnerDesk, actor: Actor, scope: HTTPScope, _receive: Receive) -> dict[str, Any]:
    """The files of one input."""
    async with desk.database.transaction() as session:
        opened = await open_input(
            session,
            actor,
            index=int(scope["path_params"]["index"]),
            public_url=desk.settings.jobs_url,
            at=desk.clock.now(),
            new_id=desk.new_id,
        )
    files = await staged_files(desk.minimiser, opened)
    return {
        "files": [
            {"path": file.path, "sizeBytes": file.size_bytes, "sha256": file.sha256, "url": file.url} for file in files
        ]
    }


@route(HttpMethod.POST, "started")
async def started_route(desk: RunnerDesk, actor: Actor, _scope: HTTPScope, receive: Receive) -> dict[str, Any]:
    """The command starts, in this environment."""
    body = await read_body(receive, StartedBody)
    async with desk.database.transaction() as session:
        await take_started(session, actor, body.environment, at=desk.clock.now(), new_id=desk.new_id)
    return {}


@route(HttpMethod.POST, "reports")
async def reports_route(desk: RunnerDesk, actor: Actor, _scope: HTTPScope, receive: Receive) -> dict[str, Any]:
    """A numbered batch; the answer says whether to stop."""
    body = await read_body(receive, ReportBody)
    report = Report(
        sequence=body.sequence,
        lines=body.logs,
        metrics=body.metrics,
        parameters=body.parameters,
        progress=body.progress,
    )
    async with desk.database.transaction() as session:
        orders = await take_report(session, actor, report, at=desk.clock.now(), new_id=desk.new_id)
    return {"stop": orders.stop, "reason": orders.reason}


@route(HttpMethod.POST, "outputs")
async def outputs_route(desk: RunnerDesk, actor: Actor, _scope: HTTPScope, receive: Receive) -> dict[str, Any]:
    """The output's files; the answer says where to send them."""
    body = await read_body(receive, OutputBody)
    async with desk.database.transaction() as session:
        announced = await announce_output(
            session,
            actor,
            files=[FileSpec(path=file.path, size_bytes=file.size_bytes, sha256=file.sha256) for file in body.files],
            metrics=[
                Metric(name=metric.name, value=metric.value, split=metric.split, step=metric.step)
                for metric in body.metrics
            ],
            parameters=body.parameters,
            card=body.card,
            public_url=desk.settings.jobs_url,
            part_size_bytes=desk.settings.upload_part_bytes,
            tickets=desk.tickets,
            at=desk.clock.now(),
            new_id=desk.new_id,
        )
    return {
        "modelVersionId": str(announced.model_version_id),
        "uploads": [_upload(upload, announced) for upload in announced.uploads],
    }


@route(HttpMethod.POST, "outputs/complete")
async def complete_route(desk: RunnerDesk, actor: Actor, _scope: HTTPScope, _receive: Receive) -> dict[str, Any]:
    """Everything was sent; the answer says what is missing or wrong."""
    missing = await complete_output(desk.database, desk.store, actor, clock=desk.clock, new_id=desk.new_id)
    return {"missing": [{"path": file.path, "code": file.code, "message": file.message} for file in missing]}


@route(HttpMethod.POST, "result")
async def result_route(desk: RunnerDesk, actor: Actor, _scope: HTTPScope, receive: Receive) -> dict[str, Any]:
    """How the command ended."""
    body = await read_body(receive, ResultBody)
    result = {
        "outcome": body.outcome,
        "exitCode": body.exit_code,
        "signal": body.signal,
        "code": body.code,
        "message": body.message,
    }
    async with desk.database.transaction() as session:
        await take_result(session, actor, result)
    return {}


ROUTES: list[HTTPRouteHandler] = [
    archive_route, assignment_route, open_route, started_route, reports_route, outputs_route, complete_route,
    result_route,
]  # fmt: skip
"""What the application mounts; it puts a `RunnerDesk` into its state under `scheduler.http.desk.STATE_KEY`."""


def _assignment(assignment: Assignment, *, part_size_bytes: int) -> dict[str, Any]:
    spec, package = assignment.spec, assignment.package
    return {
        "jobId": str(assignment.job_id),
        "attempt": assignment.attempt,
        "name": assignment.name,
        "command": list(spec.command),
        "environment": dict(spec.environment),
        "package": None
        if package is None
        else {"artifactUrl": package.url, "sha256": package.sha256, "sizeBytes": package.size_bytes},
        "inputs": [_input(index, each) for index, each in enumerate(spec.inputs)],
        "output": None if spec.output is None else {"path": spec.output.path},
        "walltimeSeconds": spec.walltime_seconds,
        "holdEndsAt": assignment.hold_ends_at.isoformat(),
        "partSizeBytes": part_size_bytes,
    }


def _input(index: int, each: InputSpec) -> dict[str, Any]:
    return {"index": index, "kind": each.kind.value, "mountPath": each.mount_path, "purpose": each.purpose}


def _upload(upload: Upload, announced: Announced) -> dict[str, Any]:
    return {
        "path": upload.path,
        "url": upload.url,
        "method": upload.method,
        "partSizeBytes": upload.part_size_bytes,
        "headers": [{"name": header.name, "value": header.value} for header in upload.headers],
        "partsReceived": list(announced.parts_received.get(upload.path, ())),
    }
