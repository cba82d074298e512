"""Our signatures as the specification's own library verifies them, and its example."""

from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from guildhall.clock import SystemClock
from guildhall.inbox.webhook_signing import make_secret, signed_headers

BODY = '{"title":"Überfällig ✓"}'.encode()


class TestSignedHeaders:
    def test_the_library_of_the_specification_verifies_them(self) -> None:
        secret = make_secret()
        headers = signed_headers(BODY, message_id="0198", at=SystemClock().now(), secrets_valid=[secret])
        assert Verifier(secret).verify(BODY, dict(headers)) == {"title": "Überfällig ✓"}

    def test_of_each_valid_secret(self) -> None:
        newest, earlier, other = make_secret(), make_secret(), make_secret()
        headers = dict(signed_headers(BODY, message_id="0198", at=SystemClock().now(), secrets_valid=[newest, earlier]))
        for secret in (newest, earlier):
            Verifier(secret).verify(BODY, headers)
        with pytest.raises(WebhookVerificationError):
            Verifier(other).verify(BODY, headers)

    def test_a_known_one(self) -> None:
        secret = make_secret(lambda number: b"k" * number)
        headers = signed_headers(b"{}", message_id="m", at=datetime(2026, 3, 2, tzinfo=UTC), secrets_valid=[secret])
        library = Verifier(secret).sign("m", datetime(2026, 3, 2, tzinfo=UTC), "{}")
        assert headers == {"webhook-id": "m", "webhook-timestamp": "1772409600", "webhook-signature": library}

    def test_an_id_with_a_full_stop_is_a_mistake(self) -> None:
        with pytest.raises(AssertionError):
            signed_headers(b"", message_id="a.b", at=SystemClock().now(), secrets_valid=[])
