-- The ledger's rules, where raw SQL meets them too. Statements are separated by lines of "-- ----".
--
-- Transfers are added, never changed. A trigger applies each one to the balance rows that it touches, in the same
-- statement; nobody else writes balances. At commit, deferred constraint triggers compare the two again by the version that
-- both carry, and each hold with its transfers. A money operation is one call of a function ledger_…: it waits for its
-- idempotency key, locks balance rows in id order, decides, and inserts. Refusals that a caller can mend are answered as
-- {"outcome": …} and write nothing; what must never happen raises. Time and ids are parameters.
INSERT INTO accounts (id, kind) VALUES
    ('00000000-0000-7000-8000-000000000001', 'TREASURY'),
    ('00000000-0000-7000-8000-000000000002', 'POOL_REVENUE'),
    ('00000000-0000-7000-8000-000000000003', 'ROYALTIES'),
    ('00000000-0000-7000-8000-000000000004', 'EXPIRED')
-- ----
-- Both sides of what truly moved; the sum over all of them is zero.
CREATE VIEW postings AS
    SELECT id AS transfer_id, from_account_id AS account_id, -credits AS credits FROM transfers WHERE phase = 'POSTED'
    UNION ALL
    SELECT id, to_account_id, credits FROM transfers WHERE phase = 'POSTED'
-- ----
-- The nth id made from one that the caller supplied: its time, version and variant stay, the last 60 bits are hashed, so
-- that an operation with several transfers needs one id and gives the same ones in simulated time.
CREATE FUNCTION ledger_id(base uuid, n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (left(replace(base::text, '-', ''), 17) || right(md5(base::text || ':' || n::text), 15))::uuid
$$
-- ----
CREATE FUNCTION ledger_refuse(sentence text, rule text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%', sentence USING ERRCODE = 'check_violation', CONSTRAINT = rule, TABLE = 'transfers';
END $$
-- ----
-- Which phase, which sides and which references a kind of transfer has. The side that is an allocation is known to be one
-- by its balance row.
CREATE FUNCTION ledger_fits(made transfers) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    treasury CONSTANT uuid := '00000000-0000-7000-8000-000000000001';
    pool_revenue CONSTANT uuid := '00000000-0000-7000-8000-000000000002';
    expired CONSTANT uuid := '00000000-0000-7000-8000-000000000004';
    refers CONSTANT boolean := made.pending_id IS NOT NULL OR made.refunds_id IS NOT NULL;
BEGIN
    CASE made.kind
    WHEN 'HOLD' THEN
        RETURN made.phase = 'PENDING' AND made.to_account_id = pool_revenue AND made.hold_id IS NOT NULL AND NOT refers;
    WHEN 'CAPTURE' THEN
        RETURN made.phase = 'POSTED' AND made.to_account_id = pool_revenue AND made.hold_id IS NOT NULL
            AND made.pending_id IS NOT NULL AND made.refunds_id IS NULL AND made.credits <= made.pending_credits;
    WHEN 'RELEASE' THEN
        RETURN made.phase IN ('VOIDED', 'EXPIRED') AND made.to_account_id = pool_revenue AND made.hold_id IS NOT NULL
            AND made.pending_id IS NOT NULL AND made.refunds_id IS NULL AND made.credits = made.pending_credits;
    WHEN 'REFUND' THEN
        RETURN made.phase = 'POSTED' AND made.from_account_id = pool_revenue AND made.hold_id IS NOT NULL
            AND made.pending_id IS NULL AND made.refunds_id IS NOT NULL;
    WHEN 'ALLOCATION' THEN
        RETURN made.phase = 'POSTED' AND made.from_account_id = treasury AND made.hold_id IS NULL AND NOT refers;
    WHEN 'EXPIRY' THEN
        RETURN made.phase = 'POSTED' AND made.to_account_id = expired AND made.hold_id IS NULL AND NOT refers;
    WHEN 'RETURN' THEN
        RETURN made.phase = 'POSTED' AND made.to_account_id = treasury AND made.hold_id IS NULL AND NOT refers;
    WHEN 'SEND' THEN
        RETURN made.phase = 'POSTED' AND made.hold_id IS NULL AND NOT refers;
    ELSE
        RETURN false;
    END CASE;
END $$
-- ----
-- What a transfer must find to be of its kind: the right allocation at the right time, what it resolves, what it refunds.
CREATE FUNCTION ledger_check_kind(made transfers, resolved transfers) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    CASE made.kind
    WHEN 'HOLD' THEN
        IF NOT EXISTS (
            SELECT FROM holds JOIN allocations
                ON allocations.team_id = holds.team_id AND allocations.programme_id = holds.programme_id
            WHERE holds.id = made.hold_id AND allocations.id = made.from_account_id
                AND allocations.valid_from <= made.occurred_at AND made.occurred_at < allocations.valid_to
        ) THEN
            PERFORM ledger_refuse('a hold draws from valid allocations of its own team and programme', 'transfers_hold_owner');
        END IF;
    WHEN 'CAPTURE', 'RELEASE' THEN
        IF resolved.phase IS DISTINCT FROM 'PENDING' OR resolved.from_account_id <> made.from_account_id
            OR resolved.to_account_id <> made.to_account_id OR resolved.hold_id <> made.hold_id
        THEN
            PERFORM ledger_refuse('only a pending transfer between the same accounts can be resolved', 'transfers_pending');
        END IF;
    WHEN 'EXPIRY' THEN
        IF NOT EXISTS (SELECT FROM allocations WHERE id = made.from_account_id AND valid_to <= made.occurred_at) THEN
            PERFORM ledger_refuse('credits expire at the end of their allocation, not before', 'transfers_expiry_over');
        END IF;
    WHEN 'SEND' THEN
        IF NOT EXISTS (
            SELECT FROM allocations source JOIN allocations target
                ON target.team_id <> source.team_id AND target.programme_id = source.programme_id
                AND target.valid_from = source.valid_from AND target.valid_to = source.valid_to
            WHERE source.id = made.from_account_id AND target.id = made.to_account_id
        ) THEN
            PERFORM ledger_refuse('credits keep their programme and times on the way to another team', 'transfers_send_same');
        END IF;
    WHEN 'REFUND' THEN
        -- The balance row is locked by now, so no rival refunds from the same capture.
        IF NOT EXISTS (
            SELECT FROM transfers capture
            WHERE capture.id = made.refunds_id AND capture.kind = 'CAPTURE' AND capture.hold_id = made.hold_id
                AND capture.from_account_id = made.to_account_id
                AND capture.credits >= made.credits
                    + (SELECT coalesce(sum(credits), 0) FROM transfers WHERE refunds_id = made.refunds_id)
        ) THEN
            PERFORM ledger_refuse('a refund gives back what a capture took, once', 'transfers_refund_captured');
        END IF;
    ELSE
        NULL;
    END CASE;
END $$
-- ----
-- Apply a new transfer to the balance rows of its allocations, lower id first. Runs as the owner: the service may not write
-- balances. CHECK on balances refuses what would bring any figure below zero.
CREATE FUNCTION ledger_apply_transfer() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    resolved transfers;
    gives boolean := NEW.kind NOT IN ('ALLOCATION', 'REFUND');
    takes boolean := NEW.kind IN ('ALLOCATION', 'REFUND', 'SEND');
    target_first boolean := NEW.kind = 'SEND' AND NEW.to_account_id < NEW.from_account_id;
BEGIN
    IF NEW.pending_id IS NOT NULL THEN
        SELECT * INTO resolved FROM transfers WHERE id = NEW.pending_id;
    END IF;
    NEW.pending_credits := resolved.credits;
    NEW.from_version := NULL;
    NEW.to_version := NULL;
    IF ledger_fits(NEW) IS NOT TRUE OR NEW.reason = '' THEN
        PERFORM ledger_refuse('phase, sides, references and reason of a transfer fit its kind', 'transfers_fit_kind');
    END IF;

    IF target_first THEN
        UPDATE balances SET version = version + 1, received = received + NEW.credits
        WHERE account_id = NEW.to_account_id RETURNING version INTO NEW.to_version;
    END IF;
    IF gives THEN
        UPDATE balances SET
            version = version + 1,
            held = held + CASE NEW.phase WHEN 'PENDING' THEN NEW.credits ELSE -coalesce(resolved.credits, 0) END,
            captured = captured + CASE NEW.kind WHEN 'CAPTURE' THEN NEW.credits ELSE 0 END,
            expired = expired + CASE NEW.kind WHEN 'EXPIRY' THEN NEW.credits ELSE 0 END,
            returned = returned + CASE NEW.kind WHEN 'RETURN' THEN NEW.credits ELSE 0 END,
            sent = sent + CASE NEW.kind WHEN 'SEND' THEN NEW.credits ELSE 0 END
        WHERE account_id = NEW.from_account_id RETURNING version INTO NEW.from_version;
    END IF;
    IF takes AND NOT target_first THEN
        UPDATE balances SET
            version = version + 1,
            allocated = allocated + CASE NEW.kind WHEN 'ALLOCATION' THEN NEW.credits ELSE 0 END,
            received = received + CASE NEW.kind WHEN 'SEND' THEN NEW.credits ELSE 0 END,
            captured = captured - CASE NEW.kind WHEN 'REFUND' THEN NEW.credits ELSE 0 END
        WHERE account_id = NEW.to_account_id RETURNING version INTO NEW.to_version;
    END IF;
    IF gives AND NEW.from_version IS NULL OR takes AND NEW.to_version IS NULL THEN
        PERFORM ledger_refuse('a transfer is between accounts that exist', 'transfers_accounts_exist');
    END IF;
    PERFORM ledger_check_kind(NEW, resolved);
    RETURN NEW;
END $$
-- ----
CREATE TRIGGER transfers_apply BEFORE INSERT ON transfers FOR EACH ROW EXECUTE FUNCTION ledger_apply_transfer()
-- ----
-- At commit: the nth change of a balance row is explained by the transfer that has its version, and moves what that
-- transfer's phase says. Double entry again, without a look at the kinds by which the change was made. Names are qualified
-- instead of a search_path that is set: this runs once for each change, with whatever path the session has.
CREATE FUNCTION ledger_check_balance() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    moved bigint := NEW.remaining;
    reserved bigint := NEW.held;
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.version <> 0 OR NEW.remaining <> 0
            OR NEW.allocated + NEW.received + NEW.captured + NEW.held + NEW.expired + NEW.returned + NEW.sent <> 0
        THEN
            PERFORM public.ledger_refuse('a balance begins at zero', 'balances_begin_at_zero');
        END IF;
        RETURN NULL;
    END IF;
    moved := moved - OLD.remaining;
    reserved := reserved - OLD.held;
    IF NEW.account_id <> OLD.account_id OR NEW.version <> OLD.version + 1 OR NOT (
        EXISTS (
            SELECT FROM public.transfers
            WHERE from_account_id = NEW.account_id AND from_version = NEW.version
                AND reserved = CASE phase WHEN 'PENDING' THEN credits ELSE -coalesce(pending_credits, 0) END
                AND moved = coalesce(pending_credits, 0)
                    - CASE WHEN phase = 'PENDING' OR phase = 'POSTED' THEN credits ELSE 0 END
        ) OR EXISTS (
            SELECT FROM public.transfers
            WHERE to_account_id = NEW.account_id AND to_version = NEW.version AND reserved = 0 AND moved = credits
        )
    ) THEN
        PERFORM public.ledger_refuse('a balance changes by a transfer, and by nothing else', 'balances_match_transfers');
    END IF;
    RETURN NULL;
END $$
-- ----
CREATE CONSTRAINT TRIGGER balances_match_transfers AFTER INSERT OR UPDATE ON balances
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_check_balance()
-- ----
CREATE TRIGGER balances_stay BEFORE DELETE OR TRUNCATE ON balances
FOR EACH STATEMENT EXECUTE FUNCTION guildhall_refuse_change()
-- ----
-- At commit: the transfer has reached the balance rows, and the hold it belongs to is whole: its pending transfers sum up
-- to it, and they are resolved together, as its resolution says.
CREATE FUNCTION ledger_check_transfer() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    whole boolean := true;
BEGIN
    IF NEW.from_version IS NULL AND NEW.to_version IS NULL THEN
        PERFORM public.ledger_refuse('a transfer reaches the balances that it names', 'transfers_reach_balances');
    END IF;
    IF NEW.kind = 'HOLD' THEN
        whole := (SELECT sum(credits) FROM public.transfers WHERE hold_id = NEW.hold_id AND kind = 'HOLD')
            = (SELECT credits FROM public.holds WHERE id = NEW.hold_id);
    ELSIF NEW.kind IN ('CAPTURE', 'RELEASE') THEN
        SELECT
            sum(CASE part.kind WHEN 'HOLD' THEN 1 WHEN 'CAPTURE' THEN -1 WHEN 'RELEASE' THEN -1 ELSE 0 END) = 0
            AND sum(CASE part.kind WHEN 'CAPTURE' THEN part.credits ELSE 0 END) = resolution.captured
            AND sum(CASE part.kind WHEN 'HOLD' THEN part.credits ELSE 0 END) = resolution.captured + resolution.released
        INTO whole
        FROM public.hold_resolutions resolution JOIN public.transfers part ON part.hold_id = resolution.hold_id
        WHERE resolution.hold_id = NEW.hold_id
        GROUP BY resolution.hold_id;
    END IF;
    IF whole IS NOT TRUE THEN
        PERFORM public.ledger_refuse('a hold is placed whole and resolved whole', 'transfers_hold_whole');
    END IF;
    RETURN NULL;
END $$
-- ----
CREATE CONSTRAINT TRIGGER transfers_reach_balances AFTER INSERT ON transfers
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_check_transfer()
-- ----
-- The first answer of this key, or {"outcome": "KEY_REUSED"} where the input was another; NULL for a new key, which then
-- belongs to this transaction: rivals with the same key wait here for its end.
CREATE FUNCTION ledger_first_answer(operation_key text, operation_name text, input jsonb) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    waited CONSTANT text := pg_advisory_xact_lock(hashtextextended('ledger key ' || operation_key, 0))::text;
    earlier record;
BEGIN
    SELECT operation, input_hash, answer INTO earlier FROM ledger_operations WHERE key = operation_key;
    IF NOT FOUND THEN
        RETURN NULL;
    ELSIF earlier.operation = operation_name AND earlier.input_hash = sha256(convert_to(input::text, 'UTF8')) THEN
        RETURN earlier.answer;
    END IF;
    RETURN jsonb_build_object('outcome', 'KEY_REUSED');
END $$
-- ----
CREATE FUNCTION ledger_keep_answer(operation_key text, operation_name text, input jsonb, moment timestamptz, answer jsonb)
RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ledger_operations (key, operation, input_hash, answer, occurred_at)
    VALUES (operation_key, operation_name, sha256(convert_to(input::text, 'UTF8')), answer, moment);
    RETURN answer;
END $$
-- ----
-- Lock the balances of these allocations, in id order.
CREATE FUNCTION ledger_lock(account_ids uuid[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM balances WHERE account_id = ANY (account_ids) ORDER BY account_id FOR NO KEY UPDATE;
END $$
-- ----
CREATE FUNCTION ledger_open_allocation(
    allocation_id uuid, for_team uuid, for_programme uuid, for_period uuid,
    valid_since timestamptz, valid_until timestamptz, because text, moment timestamptz
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO accounts (id, kind) VALUES (allocation_id, 'ALLOCATION');
    INSERT INTO allocations (id, team_id, programme_id, period_id, valid_from, valid_to, reason, created_at)
    VALUES (allocation_id, for_team, for_programme, for_period, valid_since, valid_until, because, moment);
    INSERT INTO balances (account_id, version, allocated, received, captured, held, expired, returned, sent)
    VALUES (allocation_id, 0, 0, 0, 0, 0, 0, 0, 0);
END $$
-- ----
-- Give credits to a team, for a programme and a time.
CREATE FUNCTION ledger_allocate(
    operation_key text, allocation_id uuid, for_team uuid, for_programme uuid, for_period uuid, amount bigint,
    valid_since timestamptz, valid_until timestamptz, because text, moment timestamptz
) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    input jsonb := jsonb_build_array(
        for_team, for_programme, for_period, amount, valid_since AT TIME ZONE 'UTC', valid_until AT TIME ZONE 'UTC', because);
    answer jsonb := ledger_first_answer(operation_key, 'allocate', input);
BEGIN
    IF answer IS NOT NULL THEN
        RETURN answer;
    END IF;
    PERFORM ledger_open_allocation(
        allocation_id, for_team, for_programme, for_period, valid_since, valid_until, because, moment);
    INSERT INTO transfers (id, occurred_at, kind, phase, from_account_id, to_account_id, credits, reason)
    VALUES (ledger_id(allocation_id, 1), moment, 'ALLOCATION', 'POSTED',
        '00000000-0000-7000-8000-000000000001', allocation_id, amount, because);
    RETURN ledger_keep_answer(operation_key, 'allocate', input, moment,
        jsonb_build_object('outcome', 'DONE', 'allocation_id', allocation_id));
END $$
-- ----
-- Reserve credits of a team's programme, those that end first first.
CREATE FUNCTION ledger_place_hold(
    operation_key text, new_hold_id uuid, for_team uuid, for_programme uuid, amount bigint, for_job uuid,
    moment timestamptz, until timestamptz, because text
) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    input jsonb := jsonb_build_array(for_team, for_programme, amount, for_job, until AT TIME ZONE 'UTC');
    answer jsonb := ledger_first_answer(operation_key, 'place_hold', input);
    sources uuid[];
    remainders bigint[];
    available numeric;
    wanted bigint := amount;
    drawn bigint;
    parts jsonb := '[]';
BEGIN
    IF answer IS NOT NULL THEN
        RETURN answer;
    END IF;
    SELECT array_agg(account_id ORDER BY valid_to, account_id), array_agg(remaining ORDER BY valid_to, account_id),
        coalesce(sum(remaining), 0)
    INTO sources, remainders, available
    FROM (
        SELECT balances.account_id, balances.remaining, allocations.valid_to
        FROM allocations JOIN balances ON balances.account_id = allocations.id
        WHERE allocations.team_id = for_team AND allocations.programme_id = for_programme
            AND allocations.valid_from <= moment AND moment < allocations.valid_to
        ORDER BY balances.account_id
        FOR NO KEY UPDATE OF balances
    ) AS locked;
    IF available < amount THEN
        RETURN jsonb_build_object('outcome', 'INSUFFICIENT', 'missing', amount - available, 'available', available);
    END IF;
    INSERT INTO holds (id, team_id, programme_id, job_id, credits, placed_at, expires_at)
    VALUES (new_hold_id, for_team, for_programme, for_job, amount, moment, until);
    FOR n IN 1 .. coalesce(cardinality(sources), 0) LOOP
        drawn := least(wanted, remainders[n]);
        CONTINUE WHEN drawn = 0;
        INSERT INTO transfers (
            id, occurred_at, kind, phase, from_account_id, to_account_id, credits, hold_id, job_id, reason)
        VALUES (ledger_id(new_hold_id, n), moment, 'HOLD', 'PENDING', sources[n],
            '00000000-0000-7000-8000-000000000002', drawn, new_hold_id, for_job, because);
        parts := parts || jsonb_build_object('allocation_id', sources[n], 'credits', drawn);
        wanted := wanted - drawn;
    END LOOP;
    RETURN ledger_keep_answer(operation_key, 'place_hold', input, moment,
        jsonb_build_object('outcome', 'DONE', 'hold_id', new_hold_id, 'parts', parts));
END $$
-- ----
-- Resolve a hold: post the amount and release the rest (POSTED), or release all of it (VOIDED, EXPIRED). The amount is taken
-- from the allocation that ends first; what is released to an allocation that has ended meanwhile expires.
CREATE FUNCTION ledger_resolve_hold(
    operation_key text, operation_name text, base_id uuid, of_hold uuid, new_phase text, amount bigint,
    moment timestamptz, because text
) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    input jsonb := jsonb_build_array(of_hold, amount);
    answer jsonb := ledger_first_answer(operation_key, operation_name, input);
    hold holds;
    earlier hold_resolutions;
    part record;
    left_over bigint := amount;
    taken bigint;
    expired_credits bigint := 0;
    n integer := 0;
BEGIN
    IF answer IS NOT NULL THEN
        RETURN answer;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('ledger hold ' || of_hold, 0));
    SELECT * INTO hold FROM holds WHERE id = of_hold;
    IF NOT FOUND THEN
        RETURN jsonb_build_object('outcome', 'UNKNOWN_HOLD');
    END IF;
    SELECT * INTO earlier FROM hold_resolutions WHERE hold_id = of_hold;
    IF FOUND THEN
        RETURN jsonb_build_object('outcome', 'ALREADY_RESOLVED', 'phase', earlier.phase);
    ELSIF amount > hold.credits THEN
        RETURN jsonb_build_object('outcome', 'MORE_THAN_HELD', 'held', hold.credits);
    ELSIF new_phase = 'EXPIRED' AND moment < hold.expires_at THEN
        RETURN jsonb_build_object('outcome', 'NOT_EXPIRED');
    END IF;
    -- In the order in which the hold was drawn; locked in the order of ids, before anything is written.
    PERFORM ledger_lock(ARRAY(SELECT from_account_id FROM transfers WHERE hold_id = of_hold AND kind = 'HOLD'));
    FOR part IN
        SELECT pending.*, allocations.valid_to
        FROM transfers pending JOIN allocations ON allocations.id = pending.from_account_id
        WHERE pending.hold_id = of_hold AND pending.kind = 'HOLD'
        ORDER BY allocations.valid_to, allocations.id
    LOOP
        taken := least(left_over, part.credits);
        left_over := left_over - taken;
        n := n + 1;
        INSERT INTO transfers (
            id, occurred_at, kind, phase, from_account_id, to_account_id, credits, pending_id, hold_id, job_id, reason)
        VALUES (ledger_id(base_id, n), moment,
            CASE WHEN taken > 0 THEN 'CAPTURE' ELSE 'RELEASE' END,
            CASE WHEN taken > 0 OR new_phase <> 'POSTED' THEN new_phase ELSE 'VOIDED' END,
            part.from_account_id, part.to_account_id, CASE WHEN taken > 0 THEN taken ELSE part.credits END,
            part.id, of_hold, part.job_id, because);
        IF part.valid_to <= moment AND taken < part.credits THEN
            n := n + 1;
            INSERT INTO transfers (id, occurred_at, kind, phase, from_account_id, to_account_id, credits, job_id, reason)
            VALUES (ledger_id(base_id, n), moment, 'EXPIRY', 'POSTED', part.from_account_id,
                '00000000-0000-7000-8000-000000000004', part.credits - taken, part.job_id,
                'The allocation ended while its credits were held.');
            expired_credits := expired_credits + part.credits - taken;
        END IF;
    END LOOP;

    INSERT INTO hold_resolutions (hold_id, phase, captured, released, expired, reason, resolved_at)
    VALUES (of_hold, new_phase, amount, hold.credits - amount, expired_credits, because, moment);
    RETURN ledger_keep_answer(operation_key, operation_name, input, moment,
        jsonb_build_object('outcome', 'DONE', 'hold_id', of_hold, 'phase', new_phase,
            'captured', amount, 'released', hold.credits - amount, 'expired', expired_credits));
END $$
-- ----
CREATE FUNCTION ledger_settle_hold(
    operation_key text, base_id uuid, of_hold uuid, amount bigint, moment timestamptz, because text
) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    RETURN ledger_resolve_hold(operation_key, 'settle_hold', base_id, of_hold, 'POSTED', amount, moment, because);
END $$
-- ----
CREATE FUNCTION ledger_void_hold(operation_key text, base_id uuid, of_hold uuid, moment timestamptz, because text)
RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    RETURN ledger_resolve_hold(operation_key, 'void_hold', base_id, of_hold, 'VOIDED', 0, moment, because);
END $$
-- ----
CREATE FUNCTION ledger_expire_hold(operation_key text, base_id uuid, of_hold uuid, moment timestamptz, because text)
RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    RETURN ledger_resolve_hold(operation_key, 'expire_hold', base_id, of_hold, 'EXPIRED', 0, moment, because);
END $$
-- ----
-- Expire what is left of allocations that have ended. Needs no key: there is nothing left to expire twice.
CREATE FUNCTION ledger_expire_allocations(base_id uuid, moment timestamptz, rows_max integer, because text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    answer jsonb;
BEGIN
    WITH ended AS MATERIALIZED (
        SELECT balances.account_id, balances.remaining
        FROM allocations JOIN balances ON balances.account_id = allocations.id
        WHERE allocations.valid_to <= moment AND balances.remaining > 0
        ORDER BY balances.account_id
        LIMIT rows_max
        FOR NO KEY UPDATE OF balances
    ), made AS (
        INSERT INTO transfers (id, occurred_at, kind, phase, from_account_id, to_account_id, credits, reason)
        SELECT ledger_id(base_id, row_number() OVER (ORDER BY account_id)), moment, 'EXPIRY', 'POSTED', account_id,
            '00000000-0000-7000-8000-000000000004', remaining, because
        FROM ended
        ORDER BY account_id
        RETURNING from_account_id, credits
    )
    SELECT jsonb_build_object('outcome', 'DONE', 'expired', coalesce(
        jsonb_agg(jsonb_build_object('allocation_id', from_account_id, 'credits', credits) ORDER BY from_account_id), '[]'))
    INTO answer FROM made;
    RETURN answer;
END $$
-- ----
-- Hand credits of an allocation back to the treasury.
CREATE FUNCTION ledger_return_credits(
    operation_key text, base_id uuid, of_allocation uuid, amount bigint, moment timestamptz, because text
) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    input jsonb := jsonb_build_array(of_allocation, amount, because);
    answer jsonb := ledger_first_answer(operation_key, 'return_credits', input);
BEGIN
    IF answer IS NOT NULL THEN
        RETURN answer;
    END IF;
    PERFORM ledger_lock(ARRAY[of_allocation]);
    answer := ledger_spendable(of_allocation, amount, moment);
    IF answer IS NOT NULL THEN
        RETURN answer;
    END IF;
    INSERT INTO transfers (id, occurred_at, kind, phase, from_account_id, to_account_id, credits, reason)
    VALUES (ledger_id(base_id, 1), moment, 'RETURN', 'POSTED', of_allocation,
        '00000000-0000-7000-8000-000000000001', amount, because);
    RETURN ledger_keep_answer(operation_key, 'return_credits', input, moment,
        jsonb_build_object('outcome', 'DONE', 'allocation_id', of_allocation));
END $$
-- ----
-- NULL if the locked allocation can give the amount away, else the refusal.
CREATE FUNCTION ledger_spendable(of_allocation uuid, amount bigint, moment timestamptz) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    ends_at timestamptz;
    available bigint;
BEGIN
    SELECT allocations.valid_to, balances.remaining INTO ends_at, available
    FROM allocations JOIN balances ON balances.account_id = allocations.id WHERE allocations.id = of_allocation;
    IF NOT FOUND THEN
        RETURN jsonb_build_object('outcome', 'UNKNOWN_ALLOCATION');
    ELSIF ends_at <= moment THEN
        RETURN jsonb_build_object('outcome', 'ALLOCATION_ENDED');
    ELSIF available < amount THEN
        RETURN jsonb_build_object('outcome', 'INSUFFICIENT', 'missing', amount - available, 'available', available);
    END IF;
    RETURN NULL;
END $$
-- ----
-- Send credits to another team: they keep their programme, period and times, in an allocation that is opened if need be.
CREATE FUNCTION ledger_send_credits(
    operation_key text, base_id uuid, of_allocation uuid, to_team uuid, amount bigint, moment timestamptz, because text
) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    input jsonb := jsonb_build_array(of_allocation, to_team, amount, because);
    answer jsonb := ledger_first_answer(operation_key, 'send_credits', input);
    source allocations;
    target_id uuid;
BEGIN
    IF answer IS NOT NULL THEN
        RETURN answer;
    END IF;
    SELECT * INTO source FROM allocations WHERE id = of_allocation;
    IF source.team_id = to_team THEN
        RETURN jsonb_build_object('outcome', 'SAME_TEAM');
    END IF;
    SELECT min(id::text)::uuid INTO target_id FROM allocations
    WHERE team_id = to_team AND programme_id = source.programme_id AND valid_from = source.valid_from
        AND valid_to = source.valid_to AND period_id IS NOT DISTINCT FROM source.period_id;
    PERFORM ledger_lock(ARRAY[of_allocation, target_id]);
    answer := ledger_spendable(of_allocation, amount, moment);
    IF answer IS NOT NULL THEN
        RETURN answer;
    END IF;
    IF target_id IS NULL THEN
        target_id := base_id;
        PERFORM ledger_open_allocation(target_id, to_team, source.programme_id, source.period_id,
            source.valid_from, source.valid_to, because, moment);
    END IF;
    INSERT INTO transfers (id, occurred_at, kind, phase, from_account_id, to_account_id, credits, reason)
    VALUES (ledger_id(base_id, 1), moment, 'SEND', 'POSTED', of_allocation, target_id, amount, because);
    RETURN ledger_keep_answer(operation_key, 'send_credits', input, moment,
        jsonb_build_object('outcome', 'DONE', 'allocation_id', of_allocation, 'target_id', target_id));
END $$
-- ----
-- Give back part of what a settled hold was charged, to the allocation that ends last first.
CREATE FUNCTION ledger_refund(
    operation_key text, base_id uuid, of_hold uuid, amount bigint, moment timestamptz, because text
) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    input jsonb := jsonb_build_array(of_hold, amount, because);
    answer jsonb := ledger_first_answer(operation_key, 'refund', input);
    refundable numeric;
BEGIN
    IF answer IS NOT NULL THEN
        RETURN answer;
    END IF;
    PERFORM ledger_lock(ARRAY(SELECT from_account_id FROM transfers WHERE hold_id = of_hold AND kind = 'CAPTURE'));
    SELECT coalesce(sum(CASE kind WHEN 'CAPTURE' THEN credits ELSE -credits END), 0) INTO refundable
    FROM transfers WHERE hold_id = of_hold AND kind IN ('CAPTURE', 'REFUND');
    IF refundable < amount THEN
        RETURN jsonb_build_object('outcome', 'MORE_THAN_CAPTURED', 'refundable', refundable);
    END IF;
    INSERT INTO transfers (
        id, occurred_at, kind, phase, from_account_id, to_account_id, credits, refunds_id, hold_id, job_id, reason)
    SELECT ledger_id(base_id, n), moment, 'REFUND', 'POSTED', '00000000-0000-7000-8000-000000000002', from_account_id,
        least(left_over, amount - (given_before - left_over))::bigint, id, of_hold, job_id, because
    FROM (
        SELECT *, row_number() OVER last_first AS n, sum(left_over) OVER last_first AS given_before
        FROM (
            SELECT capture.id, capture.from_account_id, capture.job_id, allocations.valid_to,
                capture.credits - (
                    SELECT coalesce(sum(credits), 0) FROM transfers WHERE refunds_id = capture.id
                ) AS left_over
            FROM transfers capture JOIN allocations ON allocations.id = capture.from_account_id
            WHERE capture.hold_id = of_hold AND capture.kind = 'CAPTURE'
        ) AS captures
        WHERE left_over > 0
        WINDOW last_first AS (ORDER BY valid_to DESC, id DESC)
    ) AS shares
    WHERE given_before - left_over < amount
    ORDER BY from_account_id;
    RETURN ledger_keep_answer(operation_key, 'refund', input, moment,
        jsonb_build_object('outcome', 'DONE', 'hold_id', of_hold, 'refunded', amount));
END $$
-- ----
-- What became of each allocation's credits, summed up from its transfers alone, beside its balance row: `balances` says
-- whether the two agree in every figure and the identity holds.
CREATE VIEW allocation_figures AS
    SELECT figures.*,
        allocated + received = captured + held + expired + returned + sent + remaining
        AND (allocated, received, captured, held, expired, returned, sent, remaining)
            = (SELECT b.allocated, b.received, b.captured, b.held, b.expired, b.returned, b.sent, b.remaining
               FROM balances b WHERE b.account_id = figures.allocation_id) AS balances
    FROM (
        SELECT a.id AS allocation_id, a.team_id, a.programme_id, a.period_id, a.valid_from, a.valid_to,
            coalesce(sum(t.credits) FILTER (WHERE t.kind = 'ALLOCATION'), 0)::bigint AS allocated,
            coalesce(sum(t.credits) FILTER (WHERE t.kind = 'SEND' AND t.to_account_id = a.id), 0)::bigint AS received,
            (coalesce(sum(t.credits) FILTER (WHERE t.kind = 'CAPTURE'), 0)
                - coalesce(sum(t.credits) FILTER (WHERE t.kind = 'REFUND'), 0))::bigint AS captured,
            (coalesce(sum(t.credits) FILTER (WHERE t.phase = 'PENDING'), 0) - coalesce(sum(t.pending_credits), 0))::bigint
                AS held,
            coalesce(sum(t.credits) FILTER (WHERE t.kind = 'EXPIRY'), 0)::bigint AS expired,
            coalesce(sum(t.credits) FILTER (WHERE t.kind = 'RETURN'), 0)::bigint AS returned,
            coalesce(sum(t.credits) FILTER (WHERE t.kind = 'SEND' AND t.from_account_id = a.id), 0)::bigint AS sent,
            -- By what was posted and what is pending, without a look at the kinds.
            (coalesce(sum(CASE t.to_account_id WHEN a.id THEN t.credits ELSE -t.credits END)
                    FILTER (WHERE t.phase = 'POSTED'), 0)
                - coalesce(sum(t.credits) FILTER (WHERE t.phase = 'PENDING'), 0)
                + coalesce(sum(t.pending_credits), 0))::bigint AS remaining
        FROM allocations a LEFT JOIN transfers t ON a.id IN (t.from_account_id, t.to_account_id)
        GROUP BY a.id
    ) AS figures
-- ----
-- A team's side of the transfers that touch its allocations: one line for each, and for credits sent one in either wallet.
-- `available_change` is what the line did to what is available.
CREATE VIEW wallet_transfers AS
    SELECT t.id, t.id AS transfer_id, a.id AS allocation_id, a.team_id, t.occurred_at, t.kind, t.phase, t.credits,
        t.reason, t.hold_id, t.job_id,
        CASE t.kind WHEN 'RELEASE' THEN 'IN' ELSE 'OUT' END AS direction,
        coalesce(t.pending_credits, 0) - CASE WHEN t.phase IN ('PENDING', 'POSTED') THEN t.credits ELSE 0 END
            AS available_change
    FROM transfers t JOIN allocations a ON a.id = t.from_account_id
    UNION ALL
    SELECT t.id, t.id, a.id, a.team_id, t.occurred_at, t.kind, t.phase, t.credits, t.reason, t.hold_id, t.job_id, 'IN',
        t.credits
    FROM transfers t JOIN allocations a ON a.id = t.to_account_id WHERE t.kind <> 'SEND'
    UNION ALL
    SELECT ledger_id(t.id, 1), t.id, a.id, a.team_id, t.occurred_at, t.kind, t.phase, t.credits, t.reason, t.hold_id,
        t.job_id, 'IN', t.credits
    FROM transfers t JOIN allocations a ON a.id = t.to_account_id WHERE t.kind = 'SEND'
-- ----
CREATE INDEX ix_transfers_received ON transfers (ledger_id(id, 1)) WHERE kind = 'SEND'
-- ----
-- Money operations run as the owner: they are for the service's role, not for whoever else may log in.
DO $$
DECLARE
    made regprocedure;
BEGIN
    FOR made IN SELECT oid::regprocedure FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND proname LIKE 'ledger\_%'
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', made);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO guildhall_service', made);
    END LOOP;
END $$
