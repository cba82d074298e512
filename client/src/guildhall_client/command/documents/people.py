"""Who is signed in."""

from guildhall_client.command.documents.fragments import CALLER, ERRORS
from guildhall_client.documents import Document

WHO_AM_I = Document(f"""
query WhoAmI {{
  viewer {{ actor {{ {CALLER} }} memberships {{ team {{ name }} roles }} }}
}}
""")

REVOKE_TOKEN = Document(f"""
mutation RevokeToken($input: RevokeTokenInput!) {{
  revokeToken(input: $input) {{ token {{ id }} {ERRORS} }}
}}
""")
