"""The GraphQL documents that the command sends; `make trusted-documents` puts them into the servers' manifest."""

from guildhall_client.documents import Document

PAGE_ROWS_MAX = 100
"""What one request asks for at most; longer lists are fetched page by page."""

_ERRORS = "errors { code field message hint }"
_PAGE = "pageInfo { hasNextPage endCursor }"
_CALLER = """
  __typename
  ... on User { id name email }
  ... on ServiceAccount { id name team { name } }
  ... on Job { id name team { name } }
"""
_RESOURCE = """
  __typename id
  ... on Dataset { name team { name } }
  ... on DatasetVersion { number dataset { name team { name } } }
  ... on ModelVersion { number model { name team { name } } }
"""
_FILES = f"nodes {{ path sizeBytes sha256 url }} {_PAGE}"

WHO_AM_I = Document(f"""
query WhoAmI {{
  viewer {{ actor {{ {_CALLER} }} memberships {{ team {{ name }} roles }} }}
}}
""")

REVOKE_TOKEN = Document(f"""
mutation RevokeToken($input: RevokeTokenInput!) {{
  revokeToken(input: $input) {{ token {{ id }} {_ERRORS} }}
}}
""")

FIND_MODELS = Document(f"""
query FindModels($text: String!, $first: Int!, $after: String) {{
  searchModels(text: $text, first: $first, after: $after) {{
    count {{ value exact }}
    edges {{
      highlights {{ field text }}
      node {{
        id name task description team {{ name }} lessons(first: 1) {{ nodes {{ summary }} }} adoptions {{ totalCount }}
      }}
    }}
    {_PAGE}
  }}
}}
""")

SHOW_MODEL = Document("""
query ShowModel($team: String!, $name: String!) {
  model(team: $team, name: $name) {
    id name task description riskTier visibility tags createdAt
    team { name }
    dataNeeds { features { name type unit required } labelDefinition rowsMin }
    aliases { name version { number } protected }
    versions(first: 10, orderBy: {field: NUMBER, direction: DESC}) {
      totalCount
      nodes {
        id number status statusReason { code message } createdAt
        card { completeness missing }
        metrics { name value split }
        producedBy { id }
      }
    }
    lessons(first: 5) { nodes { id summary outcome dontUseWhen createdAt } }
    adoptions(first: 10) { totalCount nodes { team { name } version { number } since } }
  }
}
""")

MODEL_VERSIONS = Document(f"""
query ModelVersions($team: String!, $name: String!, $first: Int!, $after: String) {{
  model(team: $team, name: $name) {{
    id aliases {{ name version {{ id number }} }}
    versions(first: $first, after: $after, orderBy: {{field: NUMBER, direction: DESC}}) {{
      nodes {{ id number status }}
      {_PAGE}
    }}
  }}
}}
""")

MODEL_FILES = Document(f"""
query ModelFiles($id: ID!, $first: Int!, $after: String) {{
  node(id: $id) {{ ... on ModelVersion {{
    number model {{ name team {{ name }} }} files: artifacts(first: $first, after: $after) {{ {_FILES} }}
  }} }}
}}
""")

REGISTER_MODEL = Document(f"""
mutation RegisterModel($input: RegisterModelInput!) {{
  registerModel(input: $input) {{ model {{ id name team {{ name }} }} {_ERRORS} }}
}}
""")

UPDATE_CARD = Document(f"""
mutation UpdateCard($input: UpdateCardInput!) {{
  updateCard(input: $input) {{ card {{ completeness missing }} {_ERRORS} }}
}}
""")

PUBLISH_MODEL_VERSION = Document(f"""
mutation PublishModelVersion($input: PublishModelVersionInput!) {{
  publishModelVersion(input: $input) {{
    modelVersion {{ id number status statusReason {{ code message }} }} {_ERRORS}
  }}
}}
""")

SET_ALIAS = Document(f"""
mutation SetAlias($input: SetAliasInput!) {{
  setAlias(input: $input) {{ alias {{ name version {{ id number }} protected }} {_ERRORS} }}
}}
""")

RECORD_LESSON = Document(f"""
mutation RecordLesson($input: RecordLessonInput!) {{
  recordLesson(input: $input) {{ lesson {{ id summary outcome }} {_ERRORS} }}
}}
""")

SHOW_DATASET = Document("""
query ShowDataset($team: String!, $name: String!) {
  dataset(team: $team, name: $name) {
    id name description visibility classification createdAt
    team { name }
    legal { licence legalBasis consent permittedPurposes retentionEndsOn regions }
    stewards { name email }
    versions(first: 10, orderBy: {field: NUMBER, direction: DESC}) {
      totalCount
      nodes { id number state rows createdAt columns { name type unit personal } files { totalCount } }
    }
    viewerAccess { allowed reason { code message } accessGrant { id validTo purpose } }
  }
}
""")

DATASET_VERSIONS = Document(f"""
query DatasetVersions($team: String!, $name: String!, $first: Int!, $after: String) {{
  dataset(team: $team, name: $name) {{
    id
    versions(first: $first, after: $after, orderBy: {{field: NUMBER, direction: DESC}}) {{
      nodes {{ id number state }}
      {_PAGE}
    }}
  }}
}}
""")

DATASET_FILES = Document(f"""
query DatasetFiles($id: ID!, $first: Int!, $after: String) {{
  node(id: $id) {{ ... on DatasetVersion {{
    number dataset {{ name team {{ name }} }} files(first: $first, after: $after) {{ {_FILES} }}
  }} }}
}}
""")

REGISTER_DATASET = Document(f"""
mutation RegisterDataset($input: RegisterDatasetInput!) {{
  registerDataset(input: $input) {{
    dataset {{ id name team {{ name }} classification stewards {{ email }} }} {_ERRORS}
  }}
}}
""")

REQUEST_QUOTE = Document(f"""
mutation RequestQuote($input: RequestQuoteInput!) {{
  requestQuote(input: $input) {{
    quote {{
      id expiresAt startBy estimatedPrice hold predictedStart predictedEnergyKwh predictedCarbonKg
      segments {{ startsAt endsAt pool {{ name }} creditsPerHour credits }}
      eligiblePools {{ name }}
      excludedPools {{ pool {{ name }} reason {{ code message }} }}
      suggestions {{ kind message node {{ __typename id }} }}
    }}
    {_ERRORS}
  }}
}}
""")

ACCEPT_QUOTE = Document(f"""
mutation AcceptQuote($input: AcceptQuoteInput!) {{
  acceptQuote(input: $input) {{ job {{ id name state }} {_ERRORS} }}
}}
""")

PROGRAMMES_OF_TEAM = Document("""
query ProgrammesOfTeam($team: String!) {
  team(name: $team) {
    name
    wallet { allocations(first: 50) { nodes { programme { name } validFrom validTo remaining } } }
  }
}
""")

JOBS = Document(f"""
query ListJobs($first: Int!, $after: String, $filter: JobFilter) {{
  jobs(first: $first, after: $after, filter: $filter, orderBy: {{field: CREATED_AT, direction: DESC}}) {{
    nodes {{
      id name state stateReason {{ code message }} team {{ name }} programme {{ name }} pool {{ name }} tier
      createdAt startedAt endedAt predictedStart charge {{ held captured released }}
    }}
    {_PAGE}
  }}
}}
""")

LOG_TAIL = Document("""
query LogTail($id: ID!, $lines: Int!) {
  node(id: $id) { ... on Job { id name state stateReason { code message } logTail(lines: $lines) } }
}
""")

CANCEL_JOB = Document(f"""
mutation CancelJob($input: CancelJobInput!) {{
  cancelJob(input: $input) {{ job {{ id state }} {_ERRORS} }}
}}
""")

WALLET = Document("""
query ShowWallet($team: String!) {
  team(name: $team) {
    name
    wallet {
      available held
      allocations(first: 50) {
        nodes {
          id programme { name strategicClass } validFrom validTo
          allocated received captured held expired returned sent remaining
        }
      }
      transfers(first: 20) {
        nodes { id occurredAt kind phase direction credits availableChange reason job { id } }
      }
    }
  }
}
""")

REQUEST_ACCESS = Document(f"""
mutation RequestAccess($input: RequestAccessInput!) {{
  requestAccess(input: $input) {{ accessRequest {{ id state }} {_ERRORS} }}
}}
""")

_ACCESS_REQUEST = f"""
  id state createdAt requester {{ name email }} team {{ name }} person {{ name email }}
  purpose justification durationSeconds decisionReason resources {{ {_RESOURCE} }} accessGrant {{ id validTo }}
"""

ACCESS_REQUESTS = Document(f"""
query ListAccessRequests($first: Int!, $after: String, $filter: AccessRequestFilter) {{
  accessRequests(first: $first, after: $after, filter: $filter) {{ nodes {{ {_ACCESS_REQUEST} }} {_PAGE} }}
}}
""")

ACCESS_TO_DECIDE = Document(f"""
query ListAccessToDecide($first: Int!, $after: String) {{
  viewer {{ accessRequestsToDecide(first: $first, after: $after) {{ nodes {{ {_ACCESS_REQUEST} }} {_PAGE} }} }}
}}
""")

ACCESS_GRANTS = Document(f"""
query ListAccessGrants($first: Int!, $after: String) {{
  accessGrants(first: $first, after: $after) {{
    nodes {{
      id basis team {{ name }} person {{ name email }} purpose validFrom validTo withdrawnAt
      approvedBy {{ name }} resources {{ {_RESOURCE} }}
    }}
    {_PAGE}
  }}
}}
""")

_NOTIFICATION = "id kind title text team { name } subject { __typename id } createdAt readAt"

INBOX = Document(f"""
query ListNotifications($first: Int!, $after: String, $unreadOnly: Boolean = false, $kinds: [EventKind!]) {{
  viewer {{
    unreadNotifications
    notifications(first: $first, after: $after, unreadOnly: $unreadOnly, kinds: $kinds) {{
      nodes {{ {_NOTIFICATION} }}
      {_PAGE}
    }}
  }}
}}
""")

NOTIFICATION_ADDED = Document(f"""
subscription NotificationAdded($after: String) {{
  notificationAdded(after: $after) {{ cursor notification {{ {_NOTIFICATION} }} }}
}}
""")

MARK_NOTIFICATIONS_READ = Document(f"""
mutation MarkNotificationsRead($input: MarkNotificationsReadInput!) {{
  markNotificationsRead(input: $input) {{ marked unreadNotifications {_ERRORS} }}
}}
""")

MARK_NOTIFICATIONS_UNREAD = Document(f"""
mutation MarkNotificationsUnread($input: MarkNotificationsUnreadInput!) {{
  markNotificationsUnread(input: $input) {{ marked unreadNotifications {_ERRORS} }}
}}
""")

DECIDE_ACCESS = Document(f"""
mutation DecideAccess($input: DecideAccessInput!) {{
  decideAccess(input: $input) {{
    accessRequest {{ id state }} accessGrant {{ id validTo purpose }} {_ERRORS}
  }}
}}
""")

WITHDRAW_ACCESS = Document(f"""
mutation WithdrawAccess($input: WithdrawAccessInput!) {{
  withdrawAccess(input: $input) {{ accessGrant {{ id validTo }} {_ERRORS} }}
}}
""")

_LOOSENING = """
  id state property classification permittedPurposes regions retentionEndsOn justification createdAt
  requester { name email } modelVersion { id number model { name team { name } } }
"""

ASK_LOOSENING = Document(f"""
mutation AskLoosening($input: AskLooseningInput!) {{
  askLoosening(input: $input) {{ loosening {{ id state }} {_ERRORS} }}
}}
""")

LOOSENINGS = Document(f"""
query ListLoosenings($first: Int!, $after: String, $filter: LooseningFilter) {{
  loosenings(first: $first, after: $after, filter: $filter) {{ nodes {{ {_LOOSENING} }} {_PAGE} }}
}}
""")

LOOSENINGS_TO_DECIDE = Document(f"""
query ListLooseningsToDecide($first: Int!, $after: String) {{
  viewer {{ looseningsToDecide(first: $first, after: $after) {{ nodes {{ {_LOOSENING} }} {_PAGE} }} }}
}}
""")

SHOW_LOOSENING = Document(f"""
query ShowLoosening($id: ID!) {{
  node(id: $id) {{ ... on Loosening {{
    {_LOOSENING}
    sources {{
      datasetVersion {{ id number dataset {{ name team {{ name }} }} }}
      classification permittedPurposes regions retentionEndsOn covered
    }}
    approvals {{ person {{ name email }} reason approvedAt }}
    decidedAt decidedBy {{ name email }} decisionReason withdrawnAt withdrawnBy {{ name email }} withdrawalReason
  }} }}
}}
""")

DECIDE_LOOSENING = Document(f"""
mutation DecideLoosening($input: DecideLooseningInput!) {{
  decideLoosening(input: $input) {{ loosening {{ id state }} {_ERRORS} }}
}}
""")

WITHDRAW_LOOSENING = Document(f"""
mutation WithdrawLoosening($input: WithdrawLooseningInput!) {{
  withdrawLoosening(input: $input) {{ loosening {{ id state }} {_ERRORS} }}
}}
""")

WHO_READ = Document(f"""
query WhoRead($resourceId: ID!, $from: DateTime, $to: DateTime, $first: Int!, $after: String) {{
  auditEvents(
    filter: {{resourceId: $resourceId, action: {{in: ["registry:dataset:read", "registry:model:read"]}},
             occurredAt: {{from: $from, to: $to}}}}
    first: $first, after: $after
  ) {{
    nodes {{
      id occurredAt action outcome reason {{ code message }}
      actor {{ {_CALLER} }}
      onBehalfOf {{ {_CALLER} }}
      team {{ name }} purpose justification accessGrant {{ id validTo }} rows bytes requestId
      resources {{ {_RESOURCE} }}
    }}
    {_PAGE}
  }}
}}
""")

APPLY_CONFIGURATION = Document(f"""
mutation ApplyConfiguration($input: ApplyConfigurationInput!) {{
  applyConfiguration(input: $input) {{ changes {{ kind name action differences {{ field before after }} }} {_ERRORS} }}
}}
""")
