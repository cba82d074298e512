"""Marketplace: a hold that is settled alone takes its locks once, and no function is called by way of another.

One hold's key, hold and balances are locked in the same order by its own resolution; only several need the pass before.
"""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

SETTLE_HOLDS = """
CREATE OR REPLACE FUNCTION ledger_settle_holds(
    operation_keys text[], base_ids uuid[], of_holds uuid[], amounts bigint[], moment timestamptz, becauses text[]
) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    answers jsonb[] := '{}';
    name text;
BEGIN
    IF cardinality(of_holds) > 1 THEN
        FOR name IN SELECT 'ledger key ' || key FROM unnest(operation_keys) AS given (key) ORDER BY key LOOP
            PERFORM pg_advisory_xact_lock(hashtextextended(name, 0));
        END LOOP;
        FOR name IN SELECT 'ledger hold ' || hold FROM unnest(of_holds) AS given (hold) ORDER BY hold LOOP
            PERFORM pg_advisory_xact_lock(hashtextextended(name, 0));
        END LOOP;
        PERFORM ledger_lock(ARRAY(
            SELECT DISTINCT from_account_id FROM transfers WHERE hold_id = ANY (of_holds) AND kind = 'HOLD'));
    END IF;
    FOR n IN 1 .. cardinality(of_holds) LOOP
        answers := answers || CASE
            WHEN amounts[n] IS NULL THEN ledger_resolve_hold(
                operation_keys[n], 'void_hold', base_ids[n], of_holds[n], 'VOIDED', 0, moment, becauses[n])
            ELSE ledger_resolve_hold(
                operation_keys[n], 'settle_hold', base_ids[n], of_holds[n], 'POSTED', amounts[n], moment, becauses[n])
        END;
    END LOOP;
    RETURN to_jsonb(answers);
END $$
"""


def upgrade() -> None:
    """The function keeps its owner and grants."""
    op.get_bind().exec_driver_sql(SETTLE_HOLDS)


def downgrade() -> None:
    """Nothing is released that could be taken back; a development database is made anew."""
    raise NotImplementedError
