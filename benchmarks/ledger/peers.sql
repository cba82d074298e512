-- Three ledgers beside ours, with the same tables and indexes and none of the rules: no CHECK, no foreign key, no trigger,
-- no key that is looked up. `bare` has functions that only write; `locking` and `serial` are written to by a client.
-- Statements are separated by lines of "-- ----".
CREATE SCHEMA %(schema)s
-- ----
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['balances', 'holds', 'transfers', 'hold_resolutions', 'ledger_operations'] LOOP
        EXECUTE format('CREATE TABLE %(schema)s.%%I (LIKE public.%%I INCLUDING GENERATED INCLUDING INDEXES)', name, name);
    END LOOP;
END $$
-- ----
-- Under SERIALIZABLE a unique version is refused as a duplicate before the conflict is noticed.
ALTER TABLE %(schema)s.transfers DROP CONSTRAINT transfers_from_account_id_from_version_key
-- ----
CREATE INDEX ON %(schema)s.transfers (from_account_id, from_version)
-- ----
INSERT INTO %(schema)s.balances (account_id, version, allocated, received, captured, held, expired, returned, sent)
SELECT account_id, version, allocated, received, captured, held, expired, returned, sent FROM public.balances
-- ----
CREATE FUNCTION %(schema)s.place_hold(
    operation_key text, new_hold_id uuid, transfer_id uuid, allocation uuid, team uuid, programme uuid, amount bigint,
    moment timestamptz, until timestamptz, because text
) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    answer jsonb := jsonb_build_object('hold_id', new_hold_id);
    number bigint;
BEGIN
    UPDATE %(schema)s.balances SET version = version + 1, held = held + amount
    WHERE account_id = allocation RETURNING version INTO number;
    INSERT INTO %(schema)s.holds (id, team_id, programme_id, credits, placed_at, expires_at)
    VALUES (new_hold_id, team, programme, amount, moment, until);
    INSERT INTO %(schema)s.transfers (
        id, occurred_at, kind, phase, from_account_id, to_account_id, credits, hold_id, reason, from_version)
    VALUES (transfer_id, moment, 'HOLD', 'PENDING', allocation,
        '00000000-0000-7000-8000-000000000002', amount, new_hold_id, because, number);
    INSERT INTO %(schema)s.ledger_operations (key, operation, input_hash, answer, occurred_at)
    VALUES (operation_key, 'place_hold', ''::bytea, answer, moment);
    RETURN answer;
END $$
-- ----
CREATE FUNCTION %(schema)s.resolve_hold(
    operation_key text, of_hold uuid, pending uuid, transfer_id uuid, allocation uuid, amount bigint, taken bigint,
    moment timestamptz, because text
) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    answer jsonb := jsonb_build_object('hold_id', of_hold, 'captured', taken);
    new_phase text := CASE WHEN taken > 0 THEN 'POSTED' ELSE 'VOIDED' END;
    number bigint;
BEGIN
    UPDATE %(schema)s.balances SET version = version + 1, held = held - amount, captured = captured + taken
    WHERE account_id = allocation RETURNING version INTO number;
    INSERT INTO %(schema)s.transfers (
        id, occurred_at, kind, phase, from_account_id, to_account_id, credits, pending_id, pending_credits, hold_id,
        reason, from_version)
    VALUES (transfer_id, moment, CASE WHEN taken > 0 THEN 'CAPTURE' ELSE 'RELEASE' END, new_phase, allocation,
        '00000000-0000-7000-8000-000000000002', CASE WHEN taken > 0 THEN taken ELSE amount END, pending, amount, of_hold,
        because, number);
    INSERT INTO %(schema)s.hold_resolutions (hold_id, phase, captured, released, expired, reason, resolved_at)
    VALUES (of_hold, new_phase, taken, amount - taken, 0, because, moment);
    INSERT INTO %(schema)s.ledger_operations (key, operation, input_hash, answer, occurred_at)
    VALUES (operation_key, 'resolve_hold', ''::bytea, answer, moment);
    RETURN answer;
END $$
-- ----
GRANT USAGE ON SCHEMA %(schema)s TO guildhall_service
-- ----
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA %(schema)s TO guildhall_service
