"""Settings: a laptop needs none, and a wrong one is told in one sentence."""

from pathlib import Path

import pytest

from guildhall.settings import PREFIX, Settings, SettingsError, describe, unknown_variables

HOME = {"HOME": "/home/ada"}


class TestFromEnvironment:
    def test_nothing_set_works_on_a_laptop(self) -> None:
        settings = Settings.from_environment(HOME)
        assert settings.data_dir == Path("/home/ada/.local/share/guildhall")
        assert settings.database_url is None
        assert settings.migration_database_url is None
        assert settings.artifacts_url == "file:///home/ada/.local/share/guildhall/artifacts"
        assert (settings.bind, settings.bind_host, settings.bind_port) == ("127.0.0.1:8321", "127.0.0.1", 8321)
        assert settings.public_url == "http://127.0.0.1:8321"
        assert settings.secret_key_file == settings.data_dir / "secret.key"
        assert settings.audit_key_file == settings.data_dir / "audit.key"

    def test_the_data_folder_follows_xdg(self) -> None:
        settings = Settings.from_environment(HOME | {"XDG_DATA_HOME": "/data"})
        assert settings.data_dir == Path("/data/guildhall")

    def test_what_follows_from_the_data_folder_follows_it(self) -> None:
        settings = Settings.from_environment({"GUILDHALL_DATA_DIR": "/srv/a b"})
        assert settings.artifacts_url == "file:///srv/a%20b/artifacts"
        assert settings.secret_key_file == Path("/srv/a b/secret.key")

    @pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
    def test_every_spelling_of_postgres_is_understood(self, scheme: str) -> None:
        settings = Settings.from_environment(HOME | {"GUILDHALL_DATABASE_URL": f"{scheme}://a:b@db/guildhall"})
        assert settings.database_url == "postgresql+asyncpg://a:b@db/guildhall"
        assert settings.migration_database_url == "postgresql+asyncpg://a:b@db/guildhall"

    def test_an_address_may_say_how_the_connection_is_encrypted(self) -> None:
        url = "postgresql+asyncpg://a:b@db/guildhall?sslmode=verify-full&sslrootcert=/etc/ca.crt"
        assert Settings.from_environment(HOME | {"GUILDHALL_DATABASE_URL": url}).database_url == url

    def test_migrations_may_have_a_login_of_their_own(self) -> None:
        settings = Settings.from_environment({
            "GUILDHALL_DATABASE_URL": "postgresql://a@db/g", "GUILDHALL_MIGRATION_DATABASE_URL": "postgresql://o@db/g",
        })  # fmt: skip
        assert settings.database_url == "postgresql+asyncpg://a@db/g"
        assert settings.migration_database_url == "postgresql+asyncpg://o@db/g"

    @pytest.mark.parametrize(
        ("bind", "host", "public"),
        [
            ("0.0.0.0:80", "0.0.0.0", "http://127.0.0.1:80"),  # noqa: S104 -- parsed, not bound
            ("[::1]:8080", "::1", "http://[::1]:8080"),
            ("guild.example:443", "guild.example", "http://guild.example:443"),
        ],
    )
    def test_the_public_address_follows_the_listening_one(self, bind: str, host: str, public: str) -> None:
        settings = Settings.from_environment(HOME | {"GUILDHALL_BIND": bind})
        assert (settings.bind_host, settings.public_url, settings.jobs_url) == (host, public, public)

    def test_jobs_may_see_the_api_elsewhere_than_callers(self) -> None:
        seen = {"GUILDHALL_PUBLIC_URL": "https://guild.example", "GUILDHALL_JOBS_URL": "http://guild.internal:8321/"}
        settings = Settings.from_environment(HOME | seen)
        assert (settings.public_url, settings.jobs_url) == ("https://guild.example", "http://guild.internal:8321")

    def test_pods_may_reach_the_api_in_networks(self) -> None:
        settings = Settings.from_environment(HOME | {"GUILDHALL_JOBS_NETWORKS": "10.0.0.0/16, 192.0.2.7,fd00::/8"})
        assert [str(each) for each in settings.jobs_networks] == ["10.0.0.0/16", "192.0.2.7/32", "fd00::/8"]

    @pytest.mark.parametrize("issuer", ["https://id.example/", "http://127.0.0.1:3000", "http://localhost/realm"])
    def test_an_issuer_is_kept_letter_by_letter(self, issuer: str) -> None:
        settings = Settings.from_environment(HOME | {"GUILDHALL_OIDC_ISSUER": issuer})
        assert (settings.oidc_issuer, settings.oidc_audience) == (issuer, settings.public_url)

    def test_words_and_networks_are_lists(self) -> None:
        given = {"GUILDHALL_OIDC_SCOPES": "openid, email openid", "GUILDHALL_TRUSTED_PROXIES": "10.1.2.3/8,::1"}
        settings = Settings.from_environment(HOME | given)
        assert settings.oidc_scopes == ("openid", "email")
        assert [str(network) for network in settings.trusted_proxies] == ["10.0.0.0/8", "::1/128"]

    @pytest.mark.parametrize(
        "url", ["file:///var/log/audit.jsonl", "https://siem.example/in/", "http://127.0.0.1:8088"]
    )
    def test_a_stream_goes_into_a_file_or_to_an_address(self, url: str) -> None:
        settings = Settings.from_environment(
            HOME | {"GUILDHALL_AUDIT_STREAM_URL": url, "GUILDHALL_AUDIT_STREAM_BODY": "ARRAY"}
        )
        assert (settings.audit_stream_url, settings.audit_stream_body) == (url, "array")

    @pytest.mark.parametrize("url", ["file://host/audit.jsonl", "file:///", "s3://bucket/x", "audit.jsonl"])
    def test_and_nowhere_else(self, url: str) -> None:
        with pytest.raises(SettingsError, match="GUILDHALL_AUDIT_STREAM_URL cannot be its value"):
            Settings.from_environment(HOME | {"GUILDHALL_AUDIT_STREAM_URL": url})

    def test_the_record_has_a_name_and_a_store_of_heads(self) -> None:
        given = {"GUILDHALL_AUDIT_ORIGIN": "guild.example/audit", "GUILDHALL_AUDIT_HEADS_URL": "s3://heads/ours/"}
        settings = Settings.from_environment(HOME | given | {"GUILDHALL_LOG_LEVEL": "debug"})
        assert (settings.audit_origin, settings.audit_heads_url) == ("guild.example/audit", "s3://heads/ours")
        assert settings.log_level == "DEBUG"

    def test_an_empty_value_counts_as_not_set(self) -> None:
        settings = Settings.from_environment(HOME | {"GUILDHALL_BIND": "", "GUILDHALL_DATABASE_URL": ""})
        assert (settings.bind, settings.database_url) == ("127.0.0.1:8321", None)

    @pytest.mark.parametrize(
        ("name", "value", "sentence"),
        [
            ("BIND", "8321", "cannot be '8321': it must be host:port, the port from 1 to 65535."),
            ("BIND", "localhost:0", "cannot be 'localhost:0': it must be host:port, the port from 1 to 65535."),
            ("PUBLIC_URL", "guild", "cannot be 'guild': it must be a URL that begins with http:// or https://."),
            ("JOBS_NETWORKS", "here", "cannot be 'here': it must be networks such as 10.0.0.0/16,192.0.2.7/32."),
            (
                "AUDIT_ORIGIN", "+",
                "cannot be '+': it must be a name such as guildhall.example.org/audit, without a scheme, spaces or +.",
            ),
            ("AUDIT_STREAM_AUTHENTICATION", "none", "cannot be 'none': it must be bearer or hmac."),
            ("LOG_LEVEL", "loud", "cannot be 'loud': it must be DEBUG, INFO, WARNING or ERROR."),
            ("GRAPHQL_INTROSPECTION", "maybe", "cannot be 'maybe': it must be true or false."),
            (
                "OIDC_ISSUER", "http://a.b",
                "cannot be 'http://a.b': it must be the issuer's https:// address, or one of http:// on this machine.",
            ),
            (
                "TRUSTED_PROXIES", "10.0.0.0/8 here",
                "cannot be '10.0.0.0/8 here': it must be networks such as 10.0.0.0/8, separated by spaces or commas.",
            ),
            ("GRAPHQL_PAGE_MAX", "0", "cannot be '0': it must be a whole number from 1 to 1000."),
            ("GRAPHQL_PAGE_MAX", "ten", "cannot be 'ten': it must be a whole number from 1 to 1000."),
            (
                "ARTIFACTS_URL", "ftp://x",
                "cannot be 'ftp://x': it must be a URL that begins with file:///, s3://, gs:// or az://.",
            ),
            (
                "DATABASE_URL", "mysql://root:geheim@db/x",
                "cannot be its value (not shown, it may hold a password): it must be a URL such as postgresql://user:password@host/database?sslmode=verify-full.",
            ),
            (
                "DATABASE_URL", "postgresql://u@db/x?sslmod=require",
                "cannot be its value (not shown, it may hold a password): it must be a URL such as postgresql://user:password@host/database?sslmode=verify-full.",
            ),
            (
                "MIGRATION_DATABASE_URL", "postgresql://u@db/x?sslmode=verify",
                "cannot be its value (not shown, it may hold a password): it must be a URL such as postgresql://owner:password@host/database?sslmode=verify-full.",
            ),
        ],
    )  # fmt: skip
    def test_a_wrong_value_is_told_in_one_sentence(self, name: str, value: str, sentence: str) -> None:
        with pytest.raises(SettingsError) as refusal:
            Settings.from_environment(HOME | {PREFIX + name: value})
        assert refusal.value.message == f"GUILDHALL_{name} {sentence}"
        assert refusal.value.field == f"GUILDHALL_{name}"

    def test_passwords_are_not_in_the_representation(self) -> None:
        assert "geheim" not in repr(Settings(database_url="postgresql://a:geheim@db/x"))


class TestMail:
    @pytest.mark.parametrize(
        "url",
        [
            "smtps://u:p@mail.example.org",
            "smtp+starttls://u@mail.example.org:587/",
            "smtp://mail",
            "smtp://u@127.0.0.1:25",
        ],
    )
    def test_a_server_and_who_mails_are_from(self, url: str) -> None:
        given = {"GUILDHALL_SMTP_URL": url, "GUILDHALL_MAIL_FROM": "Güild <guildhall@example.org>"}
        settings = Settings.from_environment(HOME | given)
        assert (settings.smtp_url, settings.mail_from[-23:]) == (url, "<guildhall@example.org>")

    @pytest.mark.parametrize(
        "url",
        ["mail.example.org", "http://mail", "smtp://", "smtp://u:p@mail.example.org", "smtps://mail/x", "smtps://mail:0",
         "smtps://mail?x=1"],
    )  # fmt: skip
    def test_what_is_no_server_or_would_tell_the_password(self, url: str) -> None:
        given = {"GUILDHALL_SMTP_URL": url, "GUILDHALL_MAIL_FROM": "guildhall@example.org"}
        with pytest.raises(SettingsError, match="GUILDHALL_SMTP_URL cannot be its value"):
            Settings.from_environment(HOME | given)

    @pytest.mark.parametrize(
        "address", ["guildhall", "@example.org", "a@b\nBcc: eve@example.org", "ü@example.org", "a b@c"]
    )
    def test_what_is_no_address(self, address: str) -> None:
        given = {"GUILDHALL_SMTP_URL": "smtp://mail", "GUILDHALL_MAIL_FROM": address}
        with pytest.raises(SettingsError, match="GUILDHALL_MAIL_FROM cannot be"):
            Settings.from_environment(HOME | given)

    @pytest.mark.parametrize("given", [{"smtp_url": "smtp://mail"}, {"mail_from": "guildhall@example.org"}])
    def test_one_without_the_other(self, given: dict[str, str]) -> None:
        with pytest.raises(SettingsError, match="go together"):
            Settings(**given)  # type: ignore[arg-type]


class TestUnknownVariables:
    def test_a_typing_mistake_is_seen(self) -> None:
        (sentence,) = unknown_variables({"GUILDHALL_BINDE": "x", "GUILDHALL_BIND": "x", "PATH": "x"})
        assert sentence.startswith("GUILDHALL_BINDE is set but is not a setting")


class TestDescribe:
    def test_lists_every_field_with_its_default_in_words(self) -> None:
        rows = {variable: (default, text) for variable, default, text in describe()}
        assert len(rows) == len(Settings.__dataclass_fields__)
        assert rows["GUILDHALL_BIND"] == ("127.0.0.1:8321", "Where the API listens.")
        assert rows["GUILDHALL_GRAPHQL_GRAPHIQL"][0] == "true"
        assert [variable for variable, (default, text) in rows.items() if not default or not text] == []
