"""Quotes, jobs, and the credits that pay for them."""

from guildhall_client.command.documents.fragments import ERRORS, PAGE
from guildhall_client.documents import Document

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
    {ERRORS}
  }}
}}
""")

ACCEPT_QUOTE = Document(f"""
mutation AcceptQuote($input: AcceptQuoteInput!) {{
  acceptQuote(input: $input) {{ job {{ id name state }} {ERRORS} }}
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
    {PAGE}
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
  cancelJob(input: $input) {{ job {{ id state }} {ERRORS} }}
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
