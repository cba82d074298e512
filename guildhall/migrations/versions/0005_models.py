"""Models: versions, cards, metrics, aliases, lineage, lessons, adoptions, and the search document of a model."""

from alembic import op

from guildhall.db import ddl

revision = "0005"
down_revision = "0002"
branch_labels = None
depends_on = None

SLUG = "'^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$'"


def upgrade() -> None:
    """Tables first; then the triggers that refuse circles and keep the search document true."""
    create_models()
    create_model_versions()
    create_metrics_and_aliases()
    create_cards()
    create_lineage()
    create_lessons()
    create_adoptions()
    for record in ("lineage_edges", "alias_changes"):
        ddl.append_only(op, record)
    refuse_circles()
    keep_search_documents()


def downgrade() -> None:
    """Nothing is released that could be taken back; a development database is made anew."""
    raise NotImplementedError


def create_models() -> None:
    op.execute(f"""
        CREATE TABLE models (
            id uuid NOT NULL,
            team_id uuid NOT NULL,
            name varchar NOT NULL,
            task varchar NOT NULL,
            description varchar NOT NULL,
            visibility varchar NOT NULL,
            risk_tier varchar NOT NULL,
            tags text[] NOT NULL,
            versions_made integer NOT NULL,
            created_by uuid NOT NULL,
            created_at timestamptz NOT NULL,
            search tsvector DEFAULT '' NOT NULL,
            CONSTRAINT pk_models PRIMARY KEY (id),
            CONSTRAINT uq_models_team_id_name UNIQUE (team_id, name),
            CONSTRAINT fk_models_team_id_teams FOREIGN KEY (team_id) REFERENCES teams (id),
            CONSTRAINT ck_models_name_slug CHECK (name ~ {SLUG}),
            CONSTRAINT ck_models_visibility_known CHECK (visibility IN ('TEAM', 'ORGANISATION')),
            CONSTRAINT ck_models_risk_tier_known CHECK (risk_tier IN ('LOW', 'LIMITED', 'HIGH')),
            CONSTRAINT ck_models_versions_made_not_negative CHECK (versions_made >= 0)
        )
    """)
    op.execute("CREATE INDEX ix_models_search ON models USING gin (search)")
    op.execute("CREATE INDEX ix_models_created_at ON models (created_at, id)")


def create_model_versions() -> None:
    op.execute("""
        CREATE TABLE model_versions (
            id uuid NOT NULL,
            model_id uuid NOT NULL,
            number integer NOT NULL,
            status varchar NOT NULL,
            status_code varchar,
            status_message varchar,
            parameters jsonb NOT NULL,
            effective_classification varchar NOT NULL,
            effective_permitted_purposes text[],
            effective_regions text[],
            effective_retention_ends_on date,
            produced_by_job_id uuid,
            produced_by_attempt_id uuid,
            created_by uuid NOT NULL,
            created_at timestamptz NOT NULL,
            ready_at timestamptz,
            published_at timestamptz,
            CONSTRAINT pk_model_versions PRIMARY KEY (id),
            CONSTRAINT uq_model_versions_model_id_number UNIQUE (model_id, number),
            CONSTRAINT uq_model_versions_produced_by_attempt_id UNIQUE (produced_by_attempt_id),
            CONSTRAINT fk_model_versions_model_id_models FOREIGN KEY (model_id) REFERENCES models (id),
            CONSTRAINT ck_model_versions_number_positive CHECK (number > 0),
            CONSTRAINT ck_model_versions_status_known
                CHECK (status IN ('DRAFT', 'READY', 'BLOCKED', 'PUBLISHED', 'ABANDONED')),
            CONSTRAINT ck_model_versions_reason_whole CHECK ((status_code IS NULL) = (status_message IS NULL)),
            CONSTRAINT ck_model_versions_reason_given
                CHECK (status NOT IN ('BLOCKED', 'ABANDONED') OR status_code IS NOT NULL),
            CONSTRAINT ck_model_versions_published_at_when_published
                CHECK ((status = 'PUBLISHED') = (published_at IS NOT NULL)),
            CONSTRAINT ck_model_versions_classification_known
                CHECK (effective_classification IN ('PUBLIC', 'INTERNAL', 'CONFIDENTIAL', 'RESTRICTED')),
            CONSTRAINT ck_model_versions_attempt_of_a_job
                CHECK (produced_by_attempt_id IS NULL OR produced_by_job_id IS NOT NULL)
        )
    """)
    op.execute("CREATE INDEX ix_model_versions_produced_by_job_id ON model_versions (produced_by_job_id)")
    op.execute("CREATE INDEX ix_model_versions_model_created ON model_versions (model_id, created_at, id)")


def create_metrics_and_aliases() -> None:
    op.execute("""
        CREATE TABLE model_metrics (
            id uuid NOT NULL,
            model_version_id uuid NOT NULL,
            name varchar NOT NULL,
            value double precision NOT NULL,
            split varchar,
            step integer,
            CONSTRAINT pk_model_metrics PRIMARY KEY (id),
            CONSTRAINT uq_model_metrics_model_version_id_name_split_step
                UNIQUE NULLS NOT DISTINCT (model_version_id, name, split, step),
            CONSTRAINT fk_model_metrics_model_version_id_model_versions
                FOREIGN KEY (model_version_id) REFERENCES model_versions (id),
            CONSTRAINT ck_model_metrics_step_not_negative CHECK (step IS NULL OR step >= 0)
        )
    """)
    op.execute(f"""
        CREATE TABLE aliases (
            id uuid NOT NULL,
            model_id uuid NOT NULL,
            name varchar NOT NULL,
            model_version_id uuid NOT NULL,
            protected boolean NOT NULL,
            created_at timestamptz NOT NULL,
            CONSTRAINT pk_aliases PRIMARY KEY (id),
            CONSTRAINT uq_aliases_model_id_name UNIQUE (model_id, name),
            CONSTRAINT fk_aliases_model_id_models FOREIGN KEY (model_id) REFERENCES models (id),
            CONSTRAINT fk_aliases_model_version_id_model_versions
                FOREIGN KEY (model_version_id) REFERENCES model_versions (id),
            CONSTRAINT ck_aliases_name_slug CHECK (name ~ {SLUG})
        )
    """)
    op.execute("CREATE INDEX ix_aliases_model_version_id ON aliases (model_version_id)")
    op.execute("""
        CREATE TABLE alias_changes (
            id uuid NOT NULL,
            alias_id uuid NOT NULL,
            from_version_id uuid,
            to_version_id uuid NOT NULL,
            protected boolean NOT NULL,
            reason varchar NOT NULL,
            changed_by uuid NOT NULL,
            changed_at timestamptz NOT NULL,
            CONSTRAINT pk_alias_changes PRIMARY KEY (id),
            CONSTRAINT fk_alias_changes_alias_id_aliases FOREIGN KEY (alias_id) REFERENCES aliases (id),
            CONSTRAINT fk_alias_changes_from_version_id_model_versions
                FOREIGN KEY (from_version_id) REFERENCES model_versions (id),
            CONSTRAINT fk_alias_changes_to_version_id_model_versions
                FOREIGN KEY (to_version_id) REFERENCES model_versions (id)
        )
    """)
    op.execute("CREATE INDEX ix_alias_changes_alias_id ON alias_changes (alias_id, id)")


def create_cards() -> None:
    op.execute("""
        CREATE TABLE card_sections (
            id uuid NOT NULL,
            model_version_id uuid NOT NULL,
            name varchar NOT NULL,
            body varchar NOT NULL,
            origin varchar NOT NULL,
            position integer NOT NULL,
            updated_by uuid NOT NULL,
            updated_at timestamptz NOT NULL,
            CONSTRAINT pk_card_sections PRIMARY KEY (id),
            CONSTRAINT uq_card_sections_model_version_id_name UNIQUE (model_version_id, name),
            CONSTRAINT fk_card_sections_model_version_id_model_versions
                FOREIGN KEY (model_version_id) REFERENCES model_versions (id),
            CONSTRAINT ck_card_sections_origin_known CHECK (origin IN ('RUN', 'PERSON')),
            CONSTRAINT ck_card_sections_not_empty CHECK (name <> '' AND body <> '')
        )
    """)
    op.execute("""
        CREATE TABLE data_needs (
            id uuid NOT NULL,
            model_version_id uuid NOT NULL,
            features jsonb NOT NULL,
            label_definition varchar,
            rows_min bigint,
            updated_by uuid NOT NULL,
            updated_at timestamptz NOT NULL,
            CONSTRAINT pk_data_needs PRIMARY KEY (id),
            CONSTRAINT uq_data_needs_model_version_id UNIQUE (model_version_id),
            CONSTRAINT fk_data_needs_model_version_id_model_versions
                FOREIGN KEY (model_version_id) REFERENCES model_versions (id),
            CONSTRAINT ck_data_needs_features_array CHECK (jsonb_typeof(features) = 'array'),
            CONSTRAINT ck_data_needs_rows_min_not_negative CHECK (rows_min IS NULL OR rows_min >= 0)
        )
    """)


def create_lineage() -> None:
    op.execute("""
        CREATE TABLE environments (
            id uuid NOT NULL,
            digest varchar NOT NULL,
            description jsonb NOT NULL,
            created_at timestamptz NOT NULL,
            CONSTRAINT pk_environments PRIMARY KEY (id),
            CONSTRAINT uq_environments_digest UNIQUE (digest),
            CONSTRAINT ck_environments_digest_sha256 CHECK (digest ~ '^[0-9a-f]{64}$')
        )
    """)
    op.execute("""
        CREATE TABLE lineage_edges (
            id uuid NOT NULL,
            kind varchar NOT NULL,
            from_kind varchar NOT NULL,
            from_id uuid NOT NULL,
            to_kind varchar NOT NULL,
            to_id uuid NOT NULL,
            basis varchar NOT NULL,
            job_id uuid,
            created_at timestamptz NOT NULL,
            CONSTRAINT pk_lineage_edges PRIMARY KEY (id),
            CONSTRAINT uq_lineage_edges_from_id_to_id_kind UNIQUE (from_id, to_id, kind),
            CONSTRAINT ck_lineage_edges_kinds_allowed CHECK (
                (kind = 'TRAINED_ON' AND from_kind = 'MODEL_VERSION' AND to_kind = 'DATASET_VERSION') OR
                (kind = 'FINE_TUNED_FROM' AND from_kind = 'MODEL_VERSION' AND to_kind = 'MODEL_VERSION') OR
                (kind = 'DERIVED_FROM' AND from_kind = 'DATASET_VERSION'
                    AND to_kind IN ('DATASET_VERSION', 'MODEL_VERSION')) OR
                (kind = 'BUILT_FROM' AND from_kind IN ('MODEL_VERSION', 'DATASET_VERSION') AND to_kind = 'PACKAGE') OR
                (kind = 'RAN_IN' AND from_kind IN ('MODEL_VERSION', 'DATASET_VERSION') AND to_kind = 'ENVIRONMENT') OR
                (kind = 'PRODUCED_BY' AND from_kind IN ('MODEL_VERSION', 'DATASET_VERSION') AND to_kind = 'JOB')
            ),
            CONSTRAINT ck_lineage_edges_basis_known CHECK (basis IN ('OBSERVED', 'DECLARED')),
            CONSTRAINT ck_lineage_edges_observed_in_a_job CHECK (basis <> 'OBSERVED' OR job_id IS NOT NULL)
        )
    """)
    op.execute("CREATE INDEX ix_lineage_edges_to_id ON lineage_edges (to_id, from_id)")


def create_lessons() -> None:
    op.execute("""
        CREATE TABLE lessons (
            id uuid NOT NULL,
            subject_kind varchar NOT NULL,
            subject_id uuid NOT NULL,
            team_id uuid NOT NULL,
            model_id uuid,
            dataset_id uuid,
            job_id uuid,
            summary varchar NOT NULL,
            body varchar NOT NULL,
            outcome varchar NOT NULL,
            dont_use_when varchar,
            tags text[] NOT NULL,
            author_kind varchar NOT NULL,
            author_id uuid NOT NULL,
            created_at timestamptz NOT NULL,
            CONSTRAINT pk_lessons PRIMARY KEY (id),
            CONSTRAINT fk_lessons_team_id_teams FOREIGN KEY (team_id) REFERENCES teams (id),
            CONSTRAINT fk_lessons_model_id_models FOREIGN KEY (model_id) REFERENCES models (id),
            CONSTRAINT fk_lessons_dataset_id_datasets FOREIGN KEY (dataset_id) REFERENCES datasets (id),
            CONSTRAINT ck_lessons_outcome_known CHECK (outcome IN ('WORKED', 'FAILED', 'MIXED')),
            CONSTRAINT ck_lessons_subject_whole CHECK (
                (subject_kind = 'MODEL_VERSION' AND model_id IS NOT NULL) OR
                (subject_kind = 'DATASET' AND dataset_id = subject_id) OR
                (subject_kind = 'DATASET_VERSION' AND dataset_id IS NOT NULL) OR
                (subject_kind = 'JOB' AND job_id = subject_id)
            ),
            CONSTRAINT ck_lessons_author_kind_known CHECK (author_kind IN ('USER', 'SERVICE_ACCOUNT')),
            CONSTRAINT ck_lessons_summary_given CHECK (summary <> '')
        )
    """)
    for column in ("model_id", "dataset_id", "subject_id"):
        op.execute(f"CREATE INDEX ix_lessons_{column} ON lessons ({column}, id)")


def create_adoptions() -> None:
    op.execute("""
        CREATE TABLE adoptions (
            id uuid NOT NULL,
            model_id uuid NOT NULL,
            model_version_id uuid NOT NULL,
            team_id uuid NOT NULL,
            purpose varchar NOT NULL,
            adopted_by uuid NOT NULL,
            since timestamptz NOT NULL,
            ended_by uuid,
            ended_at timestamptz,
            CONSTRAINT pk_adoptions PRIMARY KEY (id),
            CONSTRAINT fk_adoptions_model_id_models FOREIGN KEY (model_id) REFERENCES models (id),
            CONSTRAINT fk_adoptions_model_version_id_model_versions
                FOREIGN KEY (model_version_id) REFERENCES model_versions (id),
            CONSTRAINT fk_adoptions_team_id_teams FOREIGN KEY (team_id) REFERENCES teams (id),
            CONSTRAINT ck_adoptions_purpose_given CHECK (purpose <> ''),
            CONSTRAINT ck_adoptions_ends_after_start CHECK (ended_at IS NULL OR ended_at >= since)
        )
    """)
    op.execute("CREATE UNIQUE INDEX uq_adoptions_live ON adoptions (model_id, team_id) WHERE ended_at IS NULL")
    for column in ("model_id", "team_id"):
        op.execute(f"CREATE INDEX ix_adoptions_{column} ON adoptions ({column}, id)")
    op.execute("CREATE INDEX ix_adoptions_model_version_id ON adoptions (model_version_id)")


def refuse_circles() -> None:
    """Nothing was made from itself, over any number of steps."""
    op.execute("""
        CREATE FUNCTION registry_refuse_lineage_circle() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF EXISTS (
                WITH RECURSIVE upstream (id) AS (
                    SELECT NEW.to_id
                    UNION
                    SELECT edge.to_id FROM lineage_edges AS edge JOIN upstream ON edge.from_id = upstream.id
                )
                SELECT FROM upstream WHERE id = NEW.from_id
            ) THEN
                RAISE EXCEPTION 'lineage may not run in a circle'
                    USING ERRCODE = 'check_violation', TABLE = TG_TABLE_NAME, CONSTRAINT = 'lineage_edges_no_circle';
            END IF;
            RETURN NEW;
        END $$
    """)
    op.execute("""
        CREATE TRIGGER lineage_edges_no_circle BEFORE INSERT ON lineage_edges
        FOR EACH ROW EXECUTE FUNCTION registry_refuse_lineage_circle()
    """)


def keep_search_documents() -> None:
    """The document is written by the statement that changes a source, whoever runs it, so it can never lag behind.

    Each text goes in twice: stemmed as English, so that "digit" finds "digits", and as it stands, so that a prefix of
    what was written matches. The row is locked by a statement of its own before the sources are read: two lessons
    recorded at once would otherwise each write a document without the other.
    """
    op.execute("""
        CREATE FUNCTION registry_weigh(content text, weight "char") RETURNS tsvector LANGUAGE sql IMMUTABLE
        RETURN setweight(to_tsvector('english', coalesce(content, '')), weight)
            || setweight(to_tsvector('simple', coalesce(content, '')), weight)
    """)
    op.execute("""
        CREATE FUNCTION registry_refresh_model_search(ids uuid[]) RETURNS void LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM FROM models WHERE id = ANY (ids) ORDER BY id FOR NO KEY UPDATE;
            UPDATE models SET search =
                registry_weigh(name, 'A')
                || registry_weigh(task || ' ' || array_to_string(tags, ' '), 'B')
                || registry_weigh(description, 'C')
                || registry_weigh((
                    SELECT left(string_agg(section.name || ' ' || section.body, ' ' ORDER BY version.number DESC, position), 100000)
                    FROM card_sections AS section JOIN model_versions AS version ON version.id = section.model_version_id
                    WHERE version.model_id = models.id AND version.status <> 'ABANDONED'), 'D')
                || registry_weigh((
                    SELECT left(string_agg(concat_ws(' ', summary, lesson.body, dont_use_when,
                        array_to_string(lesson.tags, ' ')), ' ' ORDER BY lesson.id DESC), 100000)
                    FROM lessons AS lesson WHERE lesson.model_id = models.id), 'D')
            WHERE id = ANY (ids);
        END $$
    """)
    follow_one = {
        "models_inserted": ("AFTER INSERT ON models", "id"),
        "models_updated": ("AFTER UPDATE OF name, task, description, tags ON models", "id"),
        "lessons_inserted": ("AFTER INSERT ON lessons", "model_id"),
    }
    for column in ("id", "model_id"):
        op.execute(f"""
            CREATE FUNCTION registry_search_follows_{column}() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                PERFORM registry_refresh_model_search(ARRAY[NEW.{column}]);
                RETURN NULL;
            END $$
        """)
    for name, (moment, column) in follow_one.items():
        op.execute(
            f"CREATE TRIGGER search_{name} {moment} FOR EACH ROW EXECUTE FUNCTION registry_search_follows_{column}()"
        )
    op.execute("""
        CREATE TRIGGER search_model_versions_abandoned AFTER UPDATE OF status ON model_versions
        FOR EACH ROW WHEN ((OLD.status = 'ABANDONED') <> (NEW.status = 'ABANDONED'))
        EXECUTE FUNCTION registry_search_follows_model_id()
    """)
    op.execute("""
        CREATE FUNCTION registry_search_follows_card() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM registry_refresh_model_search(ARRAY(
                SELECT DISTINCT model_id FROM changed JOIN model_versions ON model_versions.id = changed.model_version_id));
            RETURN NULL;
        END $$
    """)
    for event, rows in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")):
        op.execute(f"""
            CREATE TRIGGER search_card_sections_{event.lower()} AFTER {event} ON card_sections
            REFERENCING {rows} TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION registry_search_follows_card()
        """)
