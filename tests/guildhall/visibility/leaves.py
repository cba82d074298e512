"""Which leaves each type has: whoever adds one looks at what it tells, and of whom.

All of these tell of their own object, which is there for the caller, or of what the caller may. Counts are
compared with the rules by `list_everything`.
"""

from collections.abc import Mapping

from graphql import GraphQLObjectType, GraphQLSchema, get_named_type, is_leaf_type

LEAVES: Mapping[str, str] = {
    "AccessAlert": (
        "acknowledgedAt acknowledgement action bytes delayedUntil id message raisedAt rows scope windowSeconds "
        "windowStart"
    ),
    "AccessApproval": "approvedAt capacity reason",
    "AccessExplanation": "allowed ground permission rolesThatAllow sentence visible",
    "AccessGrant": (
        "basis columns createdAt firstRows firstUsedAt id justification lastUsedAt purpose sampleFraction timesUsed "
        "validFrom validTo withdrawalReason withdrawnAt"
    ),
    "AccessRequest": "basis createdAt decidedAt decisionReason durationSeconds id justification purpose state",
    "AccessRule": "counts effect endsAt path role startsAt",
    "Adoption": "endedAt id purpose since",
    "Alias": "createdAt id name protected",
    "AliasChange": "changedAt protected reason",
    "Allocation": (
        "allocated captured createdAt expired held id reason received remaining returned sent validFrom validTo"
    ),
    "AllocationReport": "allocated balances captured expired held received remaining returned sent validFrom validTo",
    "Artifact": "id mediaType path rows sha256 sizeBytes state storedAt url",
    "Attempt": "createdAt endedAt exitCode id number parameters startedAt state",
    "AuditEvent": (
        "action address after before bytes client concludedAt erasedAt id justification leafNumber occurredAt outcome "
        "permissionClass purpose requestId rows"
    ),
    "Card": "completeness missing",
    "CardSection": "body name origin updatedAt",
    "Cluster": (
        "carbonGramsPerKwh id jobsLostAfterSeconds kind lastSeenAt name observedAt region requestsPerSecond state "
        "version"
    ),
    "ConfigurationChange": "action kind name",
    "ConfigurationDifference": "after before field",
    "Count": "exact value",
    "DataAccess": "allowed",
    "DataFeature": "name required type unit",
    "DataNeeds": "labelDefinition rowsMin updatedAt",
    "Dataset": "classification createdAt description id name visibility withdrawalPolicy",
    "DatasetColumn": "name personal type unit",
    "DatasetVersion": "createdAt id number readyAt rows state",
    "Delivery": "attempts channel createdAt endedAt id kind messageId nextAttemptAt state status",
    "EmergencyRole": "endsAt id reason review reviewedAt startsAt",
    "Environment": "createdAt digest id packages platform python",
    "GroupMapping": "createdAt group id personCount role",
    "Highlight": "field text",
    "ImpactStep": "basis kind",
    "InboxSettings": "mail",
    "InputError": "code field hint message",
    "Job": (
        "admittedAt createdAt endedAt id name predictedStart startBy startedAt state tier waitingUntil walltimeSeconds"
    ),
    "JobChange": "cursor state",
    "JobCharge": "captured held released settledAt",
    "JobEvent": "code id message occurredAt state",
    "JobInput": "mountPath purpose",
    "JobMetric": "id name reportedAt split step value",
    "JobOutput": "completedAt",
    "JobProgress": "fraction message",
    "LedgerCheck": "allocations allocationsWrong balances postingsSum transfers",
    "LegalRecord": "consent legalBasis licence permittedPurposes regions retentionEndsOn",
    "Lesson": "body createdAt dontUseWhen id outcome summary tags",
    "Lineage": "complete",
    "LineageLink": "basis kind",
    "LogLine": "at stream text",
    "Loosening": (
        "classification createdAt decidedAt decisionReason id justification permittedPurposes property regions "
        "retentionEndsOn state withdrawalReason withdrawnAt"
    ),
    "LooseningApproval": "approvedAt reason",
    "LooseningSource": "classification covered permittedPurposes regions retentionEndsOn",
    "Machine": "cpuMillis memoryBytes name reason schedulable",
    "MachineAccelerators": "allocatable foreign resource",
    "Membership": "roles",
    "Metric": "name split step value",
    "MissingFile": "code message path",
    "Model": "createdAt description id name riskTier tags task visibility",
    "ModelVersion": "createdAt id number parameters publishedAt readyAt status",
    "NodeLabel": "name value",
    "Notification": "createdAt id kind readAt text title",
    "NotificationAdded": "cursor",
    "Package": "createdAt id sha256 sizeBytes state",
    "Period": "endsAt id name startsAt",
    "Permission": "inOwnTeam name permissionClass sentence",
    "PolicyLine": "changedAt id kind line",
    "Pool": "accelerator acceleratorResource id image name nodes walltimeSecondsMax wattsPerAccelerator",
    "PoolCapacity": "total used waiting",
    "PriceList": "id name validFrom validTo",
    "Programme": "createdAt id name strategicClass title",
    "Purpose": "description name",
    "Quote": (
        "acceptedAt createdAt estimatedPrice expiresAt hold id predictedCarbonKg predictedEnergyKwh predictedStart "
        "startBy"
    ),
    "QuoteSegment": "credits creditsPerHour endsAt startsAt",
    "QuoteSuggestion": "kind message",
    "Rate": "creditsPerHour id tier validFrom validTo",
    "RateHours": "days from to",
    "ReadBudget": "action bytesMax delaySeconds habitFactor rowsMax scope windowSeconds",
    "Reason": "code message",
    "Restrictions": "classification permittedPurposes regions retentionEndsOn",
    "RiskReviewer": "riskTier subject",
    "Role": "custom name sentence",
    "RoleBinding": "createdAt endsAt id source startsAt",
    "RoleLine": "effect permission",
    "RunInterval": "endedAt startedAt",
    "ServiceAccount": "createdAt deactivatedAt id name",
    "Session": "address client createdAt current endedAt endsAt id lastUsedAt",
    "Team": "createdAt id name title",
    "Token": "createdAt expiresAt id label lastUsedAt networks origin prefix revokedAt roles",
    "Transfer": "availableChange credits direction id kind occurredAt phase reason",
    "Upload": "method partSizeBytes path url",
    "UploadHeader": "name value",
    "User": "createdAt deactivatedAt email id name",
    "Viewer": "permissions unreadNotifications",
    "ViewerAccess": "allowed",
    "Wallet": "available held",
    "WalletChange": "cursor",
    "Webhook": "createdAt id kinds label pausedAt previousSecretExpiresAt restsUntil url",
}
"""By type, all of its leaves."""


def leaves_of(schema: GraphQLSchema) -> dict[str, frozenset[str]]:
    """By type, the fields that are no objects and need no argument; payloads of mutations have none to speak of."""
    return {
        type_.name: leaves
        for type_ in schema.type_map.values()
        if isinstance(type_, GraphQLObjectType) and _is_read(schema, type_)
        and (leaves := frozenset(
            name for name, field in type_.fields.items() if not field.args and is_leaf_type(get_named_type(field.type))
        ))
    }  # fmt: skip


def _is_read(schema: GraphQLSchema, type_: GraphQLObjectType) -> bool:
    roots = (schema.query_type, schema.mutation_type, schema.subscription_type)
    pages = ("Connection", "Edge", "Payload", "PageInfo")
    return not type_.name.startswith("__") and type_ not in roots and not type_.name.endswith(pages)
