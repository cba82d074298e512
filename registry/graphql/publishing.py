"""What is done with models and their versions."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from guildhall.graphql.context import Call
from guildhall.graphql.declare import extend, one, payload
from guildhall.graphql.ids import decode_id, decode_reference
from guildhall.graphql.inputs import MutationInput, input_type
from guildhall.graphql.mutations import mutation
from guildhall.graphql.scalars import ID, JSON
from registry.artifacts.tables import OwnerKind
from registry.datasets.tables import Visibility
from registry.graphql.artifacts import FileInput, uploads_of
from registry.graphql.lineage import NODE_TYPES
from registry.lineage.edges import Edge, LineageSource
from registry.lineage.tables import EdgeKind, NodeKind
from registry.models.aliases import ALIAS, set_alias
from registry.models.declaring import ADD_VERSION, create_model_version
from registry.models.publication import (
    PUBLISH,
    abandon_model_version,
    publish_model_version,
    withdraw_publication,
)
from registry.models.registering import REGISTER, register_model
from registry.models.reported import Metric
from registry.models.tables import RiskTier

_NODE_KINDS = {name: NodeKind(kind) for kind, name in NODE_TYPES.items()}


@input_type
class RegisterModelInput(MutationInput):
    """`task` in a few words, as `image-classification`; the risk tier decides what a card must say."""

    team: str
    name: str
    task: str
    description: str
    risk_tier: RiskTier
    visibility: Visibility = Visibility.ORGANISATION
    tags: list[str] | None = None


@payload
class RegisterModelPayload:
    """The model."""

    model = one("Model", local="model")


@input_type
class MetricInput:
    """A number about a version; `split` names the rows that it was measured on."""

    name: str
    value: float
    split: str | None = None
    step: int | None = None


@input_type
class SourceInput:
    """A source: TRAINED_ON a data set's version, FINE_TUNED_FROM a model version, or BUILT_FROM a package."""

    kind: EdgeKind
    node_id: ID


@input_type
class CreateModelVersionInput(MutationInput):
    """A version that was made elsewhere: all its files, what was measured, and what it was made from."""

    model_id: ID
    files: list[FileInput]
    metrics: list[MetricInput] | None = None
    parameters: JSON | None = None
    sources: list[SourceInput] | None = None


@payload
class CreateModelVersionPayload:
    """The version, a draft, and where its files are to be sent."""

    model_version = one("ModelVersion", local="model_version")
    uploads = uploads_of("model_version", OwnerKind.MODEL_VERSION)


@input_type
class PublishModelVersionInput(MutationInput):
    """The version."""

    model_version_id: ID


@payload
class PublishModelVersionPayload:
    """The version: published, or blocked; then `errors` names each thing to mend."""

    model_version = one("ModelVersion", local="model_version")


@input_type
class WithdrawPublicationInput(MutationInput):
    """The version, and why."""

    model_version_id: ID
    reason: str


@payload
class WithdrawPublicationPayload:
    """The version, ready again."""

    model_version = one("ModelVersion", local="model_version")


@input_type
class AbandonModelVersionInput(MutationInput):
    """The version, and why."""

    model_version_id: ID
    reason: str


@payload
class AbandonModelVersionPayload:
    """The version, abandoned."""

    model_version = one("ModelVersion", local="model_version")


@input_type
class SetAliasInput(MutationInput):
    """`protected` left out keeps the alias's protection; a new alias has none."""

    model_id: ID
    name: str
    model_version_id: ID
    reason: str
    protected: bool | None = None


@payload
class SetAliasPayload:
    """The alias."""

    alias = one("Alias", local="alias")


@extend("Mutation")
class ModelMutations:
    """What is done with models and their versions."""

    @mutation(permission=REGISTER, payload=RegisterModelPayload)
    async def register_model(call: Call, given: RegisterModelInput) -> Mapping[str, Any]:
        """Register a model under a team's name."""
        model_id = await register_model(
            call.session,
            call.actor,
            team=given.team,
            name=given.name,
            task=given.task,
            description=given.description,
            visibility=given.visibility,
            risk_tier=given.risk_tier,
            tags=given.tags or (),
            at=call.at,
            new_id=call.new_id,
        )
        return {"model": model_id}

    @mutation(permission=ADD_VERSION, payload=CreateModelVersionPayload)
    async def create_model_version(call: Call, given: CreateModelVersionInput) -> Mapping[str, Any]:
        """Add a version that was made elsewhere; it is ready once its files are uploaded and completed."""
        version_id = await create_model_version(
            call.session,
            call.actor,
            model_id=decode_id(given.model_id, "Model", field="modelId"),
            files=[file.as_spec() for file in given.files],
            metrics=[
                Metric(name=each.name, value=each.value, split=each.split, step=each.step)
                for each in given.metrics or ()
            ],
            parameters=given.parameters,
            sources=[_edge(source, f"sources[{number}]") for number, source in enumerate(given.sources or ())],
            at=call.at,
            new_id=call.new_id,
        )
        return {"model_version": version_id}

    @mutation(permission=PUBLISH, payload=PublishModelVersionPayload)
    async def publish_model_version(call: Call, given: PublishModelVersionInput) -> Mapping[str, Any]:
        """Publish a version; where its card lacks something, it is blocked and each missing section is named."""
        result = await publish_model_version(
            call.session, call.actor, model_version_id=_version(given.model_version_id), at=call.at, new_id=call.new_id
        )
        errors = [{"code": each.code, "message": each.message, "field": each.field} for each in result.problems]
        return {"model_version": result.model_version_id, "errors": errors}

    @mutation(permission=PUBLISH, payload=WithdrawPublicationPayload)
    async def withdraw_publication(call: Call, given: WithdrawPublicationInput) -> Mapping[str, Any]:
        """Take a publication back; refused while an alias points at the version."""
        version_id = await withdraw_publication(
            call.session,
            call.actor,
            model_version_id=_version(given.model_version_id),
            reason=given.reason,
            at=call.at,
            new_id=call.new_id,
        )
        return {"model_version": version_id}

    @mutation(permission=PUBLISH, payload=AbandonModelVersionPayload)
    async def abandon_model_version(call: Call, given: AbandonModelVersionInput) -> Mapping[str, Any]:
        """Give a version up for good; its lessons stay. Refused while it is published or an alias points at it."""
        version_id = await abandon_model_version(
            call.session,
            call.actor,
            model_version_id=_version(given.model_version_id),
            reason=given.reason,
            at=call.at,
            new_id=call.new_id,
        )
        return {"model_version": version_id}

    @mutation(permission=ALIAS, payload=SetAliasPayload)
    async def set_alias(call: Call, given: SetAliasInput) -> Mapping[str, Any]:
        """Point an alias of a model at one of its versions, making the alias where it is new."""
        alias_id = await set_alias(
            call.session,
            call.actor,
            model_id=decode_id(given.model_id, "Model", field="modelId"),
            name=given.name,
            model_version_id=_version(given.model_version_id),
            reason=given.reason,
            protected=given.protected,
            at=call.at,
            new_id=call.new_id,
        )
        return {"alias": alias_id}


def _version(text: str) -> UUID:
    return decode_id(text, "ModelVersion", field="modelVersionId")


def _edge(source: SourceInput, field: str) -> Edge:
    name, key = decode_reference(source.node_id, *_NODE_KINDS, field=f"{field}.nodeId")
    return Edge(EdgeKind(source.kind), LineageSource(_NODE_KINDS[name], key))


TYPES = [
    RegisterModelPayload,
    CreateModelVersionPayload,
    PublishModelVersionPayload,
    WithdrawPublicationPayload,
    AbandonModelVersionPayload,
    SetAliasPayload,
    ModelMutations,
]
