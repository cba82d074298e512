"""Marketplace: many holds resolved by one call, whose locks are taken in one order across all of them."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# Everything that the single resolutions will lock is locked here before: keys, holds, balances, each in its order.
SETTLE_HOLDS = """
CREATE FUNCTION ledger_settle_holds(
    operation_keys text[], base_ids uuid[], of_holds uuid[], amounts bigint[], moment timestamptz, becauses text[]
) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    answers jsonb[] := '{}';
    n integer;
    name text;
BEGIN
    FOR name IN SELECT 'ledger key ' || key FROM unnest(operation_keys) AS given (key) ORDER BY key LOOP
        PERFORM pg_advisory_xact_lock(hashtextextended(name, 0));
    END LOOP;
    FOR name IN SELECT 'ledger hold ' || hold FROM unnest(of_holds) AS given (hold) ORDER BY hold LOOP
        PERFORM pg_advisory_xact_lock(hashtextextended(name, 0));
    END LOOP;
    PERFORM ledger_lock(ARRAY(
        SELECT DISTINCT from_account_id FROM transfers WHERE hold_id = ANY (of_holds) AND kind = 'HOLD'));
    FOR n IN 1 .. cardinality(of_holds) LOOP
        answers := answers || CASE
            WHEN amounts[n] IS NULL
                THEN ledger_void_hold(operation_keys[n], base_ids[n], of_holds[n], moment, becauses[n])
            ELSE ledger_settle_hold(operation_keys[n], base_ids[n], of_holds[n], amounts[n], moment, becauses[n])
        END;
    END LOOP;
    RETURN to_jsonb(answers);
END $$
"""


def upgrade() -> None:
    """The single functions stay: this one calls them."""
    op.get_bind().exec_driver_sql(SETTLE_HOLDS)
    op.execute("REVOKE EXECUTE ON FUNCTION ledger_settle_holds FROM PUBLIC")


def downgrade() -> None:
    """Nothing is released that could be taken back; a development database is made anew."""
    raise NotImplementedError
