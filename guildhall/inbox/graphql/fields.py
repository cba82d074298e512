"""All types of the inbox."""

from guildhall.inbox.graphql import notifications, webhook_deliveries, webhooks

TYPES = [*notifications.TYPES, *webhooks.TYPES, *webhook_deliveries.TYPES]
