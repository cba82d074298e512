"""All types of the inbox."""

from guildhall.inbox.graphql import notification_changes, notifications, webhook_deliveries, webhooks

TYPES = [*notifications.TYPES, *notification_changes.TYPES, *webhooks.TYPES, *webhook_deliveries.TYPES]
