"""Data sets and their versions."""

from guildhall_client.command.documents.fragments import ERRORS, FILES, PAGE
from guildhall_client.documents import Document

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
      {PAGE}
    }}
  }}
}}
""")

DATASET_FILES = Document(f"""
query DatasetFiles($id: ID!, $first: Int!, $after: String) {{
  node(id: $id) {{ ... on DatasetVersion {{
    number dataset {{ name team {{ name }} }} files(first: $first, after: $after) {{ {FILES} }}
  }} }}
}}
""")

REGISTER_DATASET = Document(f"""
mutation RegisterDataset($input: RegisterDatasetInput!) {{
  registerDataset(input: $input) {{
    dataset {{ id name team {{ name }} classification stewards {{ email }} }} {ERRORS}
  }}
}}
""")
