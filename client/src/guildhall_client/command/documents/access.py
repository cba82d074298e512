"""Access to data: asked for, decided about, withdrawn; and who made use of it."""

from guildhall_client.command.documents.fragments import CALLER, ERRORS, PAGE, RESOURCE
from guildhall_client.documents import Document

REQUEST_ACCESS = Document(f"""
mutation RequestAccess($input: RequestAccessInput!) {{
  requestAccess(input: $input) {{ accessRequest {{ id state }} {ERRORS} }}
}}
""")

_ACCESS_REQUEST = f"""
  id state createdAt requester {{ name email }} team {{ name }} person {{ name email }}
  purpose justification durationSeconds decisionReason resources {{ {RESOURCE} }} accessGrant {{ id validTo }}
"""

ACCESS_REQUESTS = Document(f"""
query ListAccessRequests($first: Int!, $after: String, $filter: AccessRequestFilter) {{
  accessRequests(first: $first, after: $after, filter: $filter) {{ nodes {{ {_ACCESS_REQUEST} }} {PAGE} }}
}}
""")

ACCESS_TO_DECIDE = Document(f"""
query ListAccessToDecide($first: Int!, $after: String) {{
  viewer {{ accessRequestsToDecide(first: $first, after: $after) {{ nodes {{ {_ACCESS_REQUEST} }} {PAGE} }} }}
}}
""")

ACCESS_GRANTS = Document(f"""
query ListAccessGrants($first: Int!, $after: String) {{
  accessGrants(first: $first, after: $after) {{
    nodes {{
      id basis team {{ name }} person {{ name email }} purpose validFrom validTo withdrawnAt
      approvedBy {{ name }} resources {{ {RESOURCE} }}
    }}
    {PAGE}
  }}
}}
""")

DECIDE_ACCESS = Document(f"""
mutation DecideAccess($input: DecideAccessInput!) {{
  decideAccess(input: $input) {{
    accessRequest {{ id state }} accessGrant {{ id validTo purpose }} {ERRORS}
  }}
}}
""")

WITHDRAW_ACCESS = Document(f"""
mutation WithdrawAccess($input: WithdrawAccessInput!) {{
  withdrawAccess(input: $input) {{ accessGrant {{ id validTo }} {ERRORS} }}
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
      actor {{ {CALLER} }}
      onBehalfOf {{ {CALLER} }}
      team {{ name }} purpose justification accessGrant {{ id validTo }} rows bytes requestId
      resources {{ {RESOURCE} }}
    }}
    {PAGE}
  }}
}}
""")
