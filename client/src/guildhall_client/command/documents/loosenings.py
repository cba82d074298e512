"""Loosenings of what models inherit from their data."""

from guildhall_client.command.documents.fragments import ERRORS, PAGE
from guildhall_client.documents import Document

_LOOSENING = """
  id state property classification permittedPurposes regions retentionEndsOn justification createdAt
  requester { name email } modelVersion { id number model { name team { name } } }
"""

ASK_LOOSENING = Document(f"""
mutation AskLoosening($input: AskLooseningInput!) {{
  askLoosening(input: $input) {{ loosening {{ id state }} {ERRORS} }}
}}
""")

LOOSENINGS = Document(f"""
query ListLoosenings($first: Int!, $after: String, $filter: LooseningFilter) {{
  loosenings(first: $first, after: $after, filter: $filter) {{ nodes {{ {_LOOSENING} }} {PAGE} }}
}}
""")

LOOSENINGS_TO_DECIDE = Document(f"""
query ListLooseningsToDecide($first: Int!, $after: String) {{
  viewer {{ looseningsToDecide(first: $first, after: $after) {{ nodes {{ {_LOOSENING} }} {PAGE} }} }}
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
  decideLoosening(input: $input) {{ loosening {{ id state }} {ERRORS} }}
}}
""")

WITHDRAW_LOOSENING = Document(f"""
mutation WithdrawLoosening($input: WithdrawLooseningInput!) {{
  withdrawLoosening(input: $input) {{ loosening {{ id state }} {ERRORS} }}
}}
""")
