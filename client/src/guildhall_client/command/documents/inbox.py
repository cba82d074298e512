"""What people are told."""

from guildhall_client.command.documents.fragments import ERRORS, PAGE
from guildhall_client.documents import Document

_NOTIFICATION = "id kind title text team { name } subject { __typename id } createdAt readAt"

INBOX = Document(f"""
query ListNotifications($first: Int!, $after: String, $unreadOnly: Boolean = false, $kinds: [EventKind!]) {{
  viewer {{
    unreadNotifications
    notifications(first: $first, after: $after, unreadOnly: $unreadOnly, kinds: $kinds) {{
      nodes {{ {_NOTIFICATION} }}
      {PAGE}
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
  markNotificationsRead(input: $input) {{ marked unreadNotifications {ERRORS} }}
}}
""")

MARK_NOTIFICATIONS_UNREAD = Document(f"""
mutation MarkNotificationsUnread($input: MarkNotificationsUnreadInput!) {{
  markNotificationsUnread(input: $input) {{ marked unreadNotifications {ERRORS} }}
}}
""")
