"""An organisation as a file."""

from guildhall_client.command.documents.fragments import ERRORS
from guildhall_client.documents import Document

APPLY_CONFIGURATION = Document(f"""
mutation ApplyConfiguration($input: ApplyConfigurationInput!) {{
  applyConfiguration(input: $input) {{ changes {{ kind name action differences {{ field before after }} }} {ERRORS} }}
}}
""")
