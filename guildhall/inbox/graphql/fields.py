"""All types of the inbox."""

from guildhall.inbox.graphql import notifications

TYPES = [*notifications.TYPES]
