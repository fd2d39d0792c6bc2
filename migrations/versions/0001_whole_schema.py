"""The whole schema: tenants, people, gateways, money, callbacks, clinic and hotspot.

The audit's chained rows and the ledger are append-only by trigger, on both databases: who can write still cannot
rewrite history unseen.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (  # in the order in which they point at each other
    "tenants",
    "patient_sign_ins",
    "incoming_sms",
    "message_templates",
    "meeting_settings",
    "price_items",
    "branches",
    "closed_days",
    "branch_hours",
    "quiet_phones",
    "services",
    "phone_codes",
    "sites",
    "outages",
    "sign_in_refusals",
    "gateway_clients",
    "router_states",
    "users",
    "shifts",
    "drawers",
    "drawer_reports",
    "api_keys",
    "audit_chain_heads",
    "audit_entries",
    "clinicians",
    "leaves",
    "working_hours",
    "clinician_services",
    "counters",
    "customers",
    "customer_words",
    "gateways",
    "retired_hooks",
    "ledger_journals",
    "memberships",
    "sign_ins",
    "outbox",
    "packages",
    "voucher_batches",
    "package_sites",
    "patients",
    "notices",
    "patient_words",
    "appointment_series",
    "ledger_lines",
    "payments",
    "vouchers",
    "voucher_openings",
    "reconciliations",
    "invoices",
    "invoice_words",
    "credit_notes",
    "invoice_discounts",
    "purchases",
    "stk_pushes",
    "access_grants",
    "device_holds",
    "outage_credits",
    "pass_devices",
    "lines",
    "line_promises",
    "line_periods",
    "provisionings",
    "access_sessions",
    "device_sign_ins",
    "appointments",
    "visit_questions",
    "meetings",
    "queue_tickets",
    "waiting_wishes",
    "bookings",
    "occupied_times",
    "inbox",
    "invoice_lines",
    "transactions",
    "shift_money",
    "allocations",
    "sms_submissions",
    "unverified_reports",
    "refunds",
    "mpesa_requests",
    "statement_rows",
    "transaction_sources",
    "sms_reports",
)
APPEND_ONLY = ("ledger_journals", "ledger_lines", "drawer_reports")
PG_REFUSE = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$
"""


VIEWS = (
    "radius_clock",
    "radius_sites",
    "radius_names",
    "radius_passes",
    "radius_counted",
    "radius_access",
    "radius_vouchers",
)  # as they are built
SQLITE_STAMP = "'%Y-%m-%d %H:%M:%f000'"  # how SQLAlchemy writes an instant
VIEW_TEXTS = {
    "radius_clock": {
        "postgresql": """
            SELECT now() AS now, now() - interval '15 minutes' AS silent_before,
                now() - interval '10 seconds' AS held_since,
                date_trunc('day', now() AT TIME ZONE 'Africa/Nairobi') AT TIME ZONE 'Africa/Nairobi' AS midnight,
                to_timestamp(floor(extract(epoch FROM now()) / 600) * 600) AS refusals_since
            """,
        "sqlite": f"""
            SELECT strftime({SQLITE_STAMP}, 'now') AS now,
                strftime({SQLITE_STAMP}, 'now', '-15 minutes') AS silent_before,
                strftime({SQLITE_STAMP}, 'now', '-10 seconds') AS held_since,
                strftime({SQLITE_STAMP}, 'now', '+3 hours', 'start of day', '-3 hours') AS midnight,
                strftime({SQLITE_STAMP}, strftime('%s', 'now') / 600 * 600, 'unixepoch') AS refusals_since
            """,
    },
    "radius_sites": """
        SELECT s.id, s.tenant_id, s.address, s.secret, s.expired_pool, t.locale FROM sites s
        JOIN tenants t ON t.id = s.tenant_id WHERE s.kind = 'radius' AND s.closed_at IS NULL AND s.secret <> ''
        """,
    "radius_names": """
        SELECT g.tenant_id, g.username, g.password, g.leader_id AS pass_id, g.mac AS known_mac,
            NULL AS sign_in_id, '' AS only_mac, 0 AS is_over, g.ended_at
        FROM access_grants g
        UNION ALL
        SELECT d.tenant_id, d.username, d.password, g.leader_id, d.mac, d.id, d.mac,
            CASE WHEN d.used_at IS NULL AND d.expires_at > k.now THEN 0 ELSE 1 END, g.ended_at
        FROM device_sign_ins d JOIN access_grants g ON g.id = d.grant_id CROSS JOIN radius_clock k
        UNION ALL
        SELECT v.tenant_id, v.mac, NULL, v.leader_id, v.mac, NULL, v.mac, 0, NULL
        FROM pass_devices v WHERE v.removed_at IS NULL AND v.how = 'added' AND v.mac <> ''
        """,
    "radius_passes": """
        SELECT n.tenant_id, n.username, n.password, n.pass_id, n.known_mac, n.sign_in_id, n.only_mac, n.is_over,
            CASE WHEN n.ended_at IS NULL THEN 0 ELSE 1 END AS is_closed,
            (SELECT min(c.starts_at) FROM access_grants c CROSS JOIN radius_clock k
                WHERE c.leader_id = n.pass_id AND c.ended_at IS NULL AND c.expires_at > k.now) AS begins_at,
            (SELECT max(c.expires_at) FROM access_grants c
                WHERE c.leader_id = n.pass_id AND c.ended_at IS NULL) AS ends_at,
            (SELECT count(*) FROM access_grants c CROSS JOIN radius_clock k
                WHERE c.leader_id = n.pass_id AND c.ended_at IS NULL AND c.expires_at > k.now
                AND c.suspended_at IS NOT NULL) AS suspended,
            (SELECT CAST(sum(q.online_s) AS bigint) FROM access_grants c JOIN packages q ON q.id = c.package_id
                WHERE c.leader_id = n.pass_id AND c.ended_at IS NULL) AS sold_online_s,
            (SELECT CAST(sum(q.data_cap_bytes) AS bigint) FROM access_grants c JOIN packages q ON q.id = c.package_id
                WHERE c.leader_id = n.pass_id AND c.ended_at IS NULL) AS sold_bytes,
            (SELECT t.id FROM access_grants t JOIN packages tp ON tp.id = t.package_id CROSS JOIN radius_clock tk
                WHERE t.leader_id = n.pass_id
                ORDER BY CASE WHEN t.ended_at IS NULL THEN 0 ELSE 1 END,
                    CASE WHEN tp.is_addon AND t.id <> t.leader_id THEN 1 ELSE 0 END,
                    CASE WHEN t.starts_at <= tk.now AND t.expires_at > tk.now THEN 0 ELSE 1 END,
                    CASE WHEN t.starts_at <= tk.now AND t.expires_at > tk.now THEN t.starts_at END,
                    t.starts_at DESC, t.id
                LIMIT 1) AS grant_id
        FROM radius_names n
        """,
    "radius_counted": """
        SELECT a.*, l.locale AS line_locale,
            (SELECT max(i.starts_at) FROM line_periods i CROSS JOIN radius_clock ik
                WHERE i.line_id = l.id AND i.starts_at <= ik.now AND i.withdrawn_at IS NULL) AS counted_from
        FROM radius_passes a LEFT JOIN lines l ON l.grant_id = a.pass_id
        """,
    "radius_access": """
        SELECT a.tenant_id, a.username, a.password, a.pass_id, a.known_mac, a.sign_in_id, a.only_mac, a.is_over, a.is_closed,
            a.begins_at, a.ends_at, a.suspended, a.grant_id, p.id AS package_id, p.service, p.devices, p.at_cap,
            p.rate, p.throttled_rate, coalesce(u.locale, a.line_locale, o.locale) AS locale,
            g.created_at AS bought_at, u.wanted_url,
            CASE WHEN p.online_s IS NOT NULL THEN a.sold_online_s
                - coalesce((SELECT CAST(sum(s.online_s) AS bigint) FROM access_sessions s
                    WHERE s.grant_id = a.pass_id AND NOT s.is_walled
                    AND (a.counted_from IS NULL OR s.started_at >= a.counted_from)), 0)
                END AS online_left_s,
            CASE WHEN p.data_cap_bytes IS NOT NULL THEN a.sold_bytes
                - coalesce((SELECT CAST(sum(s.bytes_in + s.bytes_out) AS bigint) FROM access_sessions s
                    WHERE s.grant_id = a.pass_id AND NOT s.is_walled
                    AND (a.counted_from IS NULL OR s.started_at >= a.counted_from)), 0)
                END AS bytes_left,
            CASE WHEN p.daily_cap_bytes IS NOT NULL THEN p.daily_cap_bytes
                - coalesce((SELECT CAST(sum(s.bytes_in + s.bytes_out - s.bytes_before_today) AS bigint)
                    FROM access_sessions s CROSS JOIN radius_clock sk
                    WHERE s.grant_id = a.pass_id AND NOT s.is_walled AND s.updated_at >= sk.midnight), 0)
                END AS bytes_left_today
        FROM radius_counted a JOIN access_grants g ON g.id = a.grant_id JOIN packages p ON p.id = g.package_id
        JOIN tenants o ON o.id = a.tenant_id LEFT JOIN purchases u ON u.id = g.purchase_id
        """,
    "radius_vouchers": """
        SELECT v.tenant_id, v.id, v.code, v.package_id FROM vouchers v CROSS JOIN radius_clock k
        WHERE v.state IN ('made', 'sold') AND v.expires_at > k.now
        """,
}


def make_views() -> None:
    """What FreeRADIUS reads: the clock, its clients, and what a user name opens (one row, a few look-ups)."""
    dialect = op.get_bind().dialect.name
    for name in VIEWS:
        body = VIEW_TEXTS[name]
        op.execute(f"CREATE VIEW {name} AS {body if isinstance(body, str) else body[dialect]}")


# Until when the device is taken, as `places` has it: by what has time left on it and is not used up.
TAKEN_UNTIL = """
    SELECT max(g.expires_at) FROM access_grants g CROSS JOIN radius_clock gk
    JOIN radius_access a ON a.tenant_id = g.tenant_id AND a.username = g.username
    WHERE g.tenant_id = NEW.tenant_id AND g.mac = NEW.mac AND NEW.mac <> '' AND g.ended_at IS NULL
        AND g.expires_at > gk.now AND coalesce(a.online_left_s, 1) > 0
        AND (coalesce(a.bytes_left, 1) > 0 OR a.at_cap <> 'stop')
"""
PG_OPEN_VOUCHER = f"""
CREATE FUNCTION open_voucher() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE opened vouchers%ROWTYPE; grant_id bigint; begins timestamptz;
BEGIN
    UPDATE vouchers SET state = 'redeemed', redeemed_at = now() WHERE id = NEW.voucher_id AND tenant_id = NEW.tenant_id
        AND state IN ('made', 'sold') AND expires_at > now() RETURNING * INTO opened;
    IF NOT FOUND THEN RETURN NULL; END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('hotspot/' || NEW.tenant_id || '/mac/' || NEW.mac, 0));  -- `turns`
    begins := greatest(now(), ({TAKEN_UNTIL}));
    INSERT INTO access_grants (created_at, tenant_id, voucher_id, package_id, origin, mac, username, password, starts_at,
        expires_at, is_waiting, provision_at)
    SELECT now(), opened.tenant_id, opened.id, p.id, 'voucher', NEW.mac, opened.code, opened.code, begins,
        begins + interval '1 second' * p.lifetime_s, begins > now(), now() FROM packages p
    WHERE p.id = opened.package_id
    RETURNING id INTO grant_id;
    UPDATE access_grants SET leader_id = id WHERE id = grant_id;
    RETURN NULL;
END $$
"""  # noqa: S608 - our own words
SQLITE_OPEN_VOUCHER = f"""
CREATE TRIGGER voucher_openings_open AFTER INSERT ON voucher_openings BEGIN
    INSERT INTO access_grants (created_at, tenant_id, voucher_id, package_id, origin, mac, username, password, starts_at,
        expires_at, is_waiting, provision_at)
    SELECT k.now, v.tenant_id, v.id, p.id, 'voucher', NEW.mac, v.code, v.code, k.begins,
        strftime({SQLITE_STAMP}, k.begins, '+' || p.lifetime_s || ' seconds'), k.begins > k.now, k.now
    FROM radius_vouchers v JOIN packages p ON p.id = v.package_id
    CROSS JOIN (SELECT c.now, max(c.now, coalesce(({TAKEN_UNTIL}), c.now)) AS begins FROM radius_clock c) k
    WHERE v.id = NEW.voucher_id AND v.tenant_id = NEW.tenant_id;
    UPDATE access_grants SET leader_id = id WHERE voucher_id = NEW.voucher_id AND leader_id IS NULL;
    UPDATE vouchers SET state = 'redeemed', redeemed_at = (SELECT now FROM radius_clock)
    WHERE id = NEW.voucher_id AND state IN ('made', 'sold')
        AND EXISTS (SELECT 1 FROM access_grants g WHERE g.voucher_id = vouchers.id);
END
"""  # noqa: S608 - our own words


def open_vouchers_at_routers() -> None:
    """A code that is typed at a router opens its voucher, by a row that is all FreeRADIUS may write of it."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(PG_OPEN_VOUCHER)
        op.execute(
            "CREATE TRIGGER voucher_openings_open AFTER INSERT ON voucher_openings "
            "FOR EACH ROW EXECUTE FUNCTION open_voucher()"
        )
    else:
        op.execute(SQLITE_OPEN_VOUCHER)


# The other devices that use the pass of a new hold: those online, and those that were let in just now.
OTHERS_ON_PASS = """
    (SELECT count(DISTINCT s.mac) FROM access_sessions s CROSS JOIN radius_clock k
        WHERE s.grant_id = NEW.leader_id AND s.tenant_id = NEW.tenant_id AND s.stopped_at IS NULL
        AND s.updated_at > k.silent_before AND s.mac <> NEW.mac AND NOT EXISTS (SELECT 1 FROM device_holds w
            WHERE w.leader_id = s.grant_id AND w.mac = s.mac AND w.given_up_at >= s.started_at))
    + (SELECT count(*) FROM device_holds h CROSS JOIN radius_clock k
        WHERE h.leader_id = NEW.leader_id AND h.tenant_id = NEW.tenant_id AND h.held_at > k.held_since
        AND (h.given_up_at IS NULL OR h.given_up_at < h.held_at) AND h.mac <> NEW.mac
        AND NOT EXISTS (SELECT 1 FROM access_sessions s
            WHERE s.grant_id = h.leader_id AND s.mac = h.mac AND (s.created_at >= h.held_at
                OR (s.stopped_at IS NULL AND s.updated_at > k.silent_before))))
"""
PG_HOLD_PLACE = f"""
CREATE FUNCTION hold_place() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('hotspot/place/' || NEW.leader_id, 0));
    IF {OTHERS_ON_PASS} >= NEW.places THEN RETURN NULL; END IF;
    RETURN NEW;
END $$
"""


def hold_places_at_routers() -> None:
    """Of the devices of a pass that sign in at the same instant as many get in as it is for: one is counted at a time."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(PG_HOLD_PLACE)
        op.execute(
            "CREATE TRIGGER device_holds_place BEFORE INSERT ON device_holds FOR EACH ROW EXECUTE FUNCTION hold_place()"
        )
    else:
        op.execute(
            f"CREATE TRIGGER device_holds_place BEFORE INSERT ON device_holds WHEN {OTHERS_ON_PASS} >= NEW.places "
            "BEGIN SELECT RAISE(IGNORE); END"
        )


def protect() -> None:
    """Refuse changes of the ledger, of chained audit rows, and every deletion of either."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(PG_REFUSE)
        for table in APPEND_ONLY:
            op.execute(
                f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
                "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
            )
        op.execute(
            "CREATE TRIGGER audit_entries_no_delete BEFORE DELETE ON audit_entries "
            "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
        op.execute(
            "CREATE TRIGGER audit_entries_no_change BEFORE UPDATE ON audit_entries "
            "FOR EACH ROW WHEN (OLD.seq IS NOT NULL) EXECUTE FUNCTION refuse_change()"
        )
        return
    for table in APPEND_ONLY:
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
    op.execute(
        "CREATE TRIGGER audit_entries_no_delete BEFORE DELETE ON audit_entries "
        "BEGIN SELECT RAISE(ABORT, 'audit_entries is append-only'); END"
    )
    op.execute(
        "CREATE TRIGGER audit_entries_no_change BEFORE UPDATE ON audit_entries WHEN OLD.seq IS NOT NULL "
        "BEGIN SELECT RAISE(ABORT, 'audit_entries is append-only'); END"
    )


def unprotect() -> None:
    """Take the triggers away again."""
    if op.get_bind().dialect.name == "postgresql":
        for table in (*APPEND_ONLY, "audit_entries"):
            op.execute(f"DROP TRIGGER IF EXISTS {table}_append_only ON {table}")
        op.execute("DROP TRIGGER audit_entries_no_delete ON audit_entries")
        op.execute("DROP TRIGGER audit_entries_no_change ON audit_entries")
        op.execute("DROP FUNCTION refuse_change()")
        op.execute("DROP TRIGGER voucher_openings_open ON voucher_openings")
        op.execute("DROP FUNCTION open_voucher()")
        op.execute("DROP TRIGGER device_holds_place ON device_holds")
        op.execute("DROP FUNCTION hold_place()")


def upgrade() -> None:
    op.create_table(
        "tenants",
        sa.Column("slug", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("is_clinic", sa.Boolean(), nullable=False),
        sa.Column("is_hotspot", sa.Boolean(), nullable=False),
        sa.Column("colour", sa.String(length=7), nullable=False),
        sa.Column("help_phone", sa.String(length=20), nullable=False),
        sa.Column("address", sa.String(length=200), nullable=False),
        sa.Column("locale", sa.String(length=5), nullable=False),
        sa.Column("push_limit_cents", sa.Integer(), nullable=False),
        sa.Column("refuses_unknown_accounts", sa.Boolean(), nullable=False),
        sa.Column("tax_number", sa.String(length=20), nullable=False),
        sa.Column("consent_text", sa.String(length=1000), nullable=False),
        sa.Column("checkin_package_uid", sa.String(length=24), nullable=False),
        sa.Column("meeting_base_url", sa.String(length=200), nullable=False),
        sa.Column("refund_approval_above_cents", sa.Integer(), nullable=False),
        sa.Column("discount_approval_above_cents", sa.Integer(), nullable=False),
        sa.Column("sms_policy", sa.String(length=10), nullable=False),
        sa.Column("unverified_per_day", sa.Integer(), nullable=False),
        sa.Column("message_hours", sa.Integer(), nullable=False),
        sa.Column("webhook_key_hash", sa.String(length=64), nullable=True),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("push_limit_cents > 0", name=op.f("ck_tenants_push_limit_positive")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenants")),
        sa.UniqueConstraint("slug", name=op.f("uq_tenants_slug")),
        sa.UniqueConstraint("webhook_key_hash", name=op.f("uq_tenants_webhook_key_hash")),
    )
    op.create_table(
        "patient_sign_ins",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("channel", sa.String(length=10), nullable=False),
        sa.Column("address_hash", sa.String(length=64), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_patient_sign_ins_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_patient_sign_ins")),
        sa.UniqueConstraint("digest", name=op.f("uq_patient_sign_ins_digest")),
    )
    op.create_index("ix_patient_sign_ins_address", "patient_sign_ins", ["tenant_id", "address_hash"], unique=False)

    op.create_table(
        "incoming_sms",
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("provider_id", sa.String(length=100), nullable=False),
        sa.Column("body_sealed", sa.Text(), nullable=True),
        sa.Column("outcome", sa.String(length=20), nullable=False),
        sa.Column("look_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_incoming_sms_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_incoming_sms")),
        sa.UniqueConstraint("provider_id", name=op.f("uq_incoming_sms_provider_id")),
    )
    op.create_index(
        "ix_incoming_sms_due",
        "incoming_sms",
        ["look_at"],
        unique=False,
        sqlite_where=sa.text("look_at IS NOT NULL"),
        postgresql_where=sa.text("look_at IS NOT NULL"),
    )

    op.create_table(
        "message_templates",
        sa.Column("event", sa.String(length=30), nullable=False),
        sa.Column("channel", sa.String(length=10), nullable=False),
        sa.Column("locale", sa.String(length=5), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("text", sa.String(length=1000), nullable=False),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_message_templates_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_message_templates")),
        sa.UniqueConstraint(
            "tenant_id", "event", "channel", "locale", name=op.f("uq_message_templates_tenant_id_event_channel_locale")
        ),
    )

    op.create_table(
        "meeting_settings",
        sa.Column("provider", sa.String(length=10), nullable=False),
        sa.Column("fallback", sa.String(length=10), nullable=False),
        sa.Column("config_sealed", sa.Text(), nullable=True),
        sa.Column("opens_minutes", sa.Integer(), nullable=False),
        sa.Column("check_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("check_error", sa.String(length=300), nullable=False),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_meeting_settings_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_meeting_settings")),
        sa.UniqueConstraint("tenant_id", name=op.f("uq_meeting_settings_tenant_id")),
    )
    op.create_index(
        "ix_meeting_settings_check",
        "meeting_settings",
        ["check_at"],
        unique=False,
        sqlite_where=sa.text("check_at IS NOT NULL"),
        postgresql_where=sa.text("check_at IS NOT NULL"),
    )

    op.create_table(
        "price_items",
        sa.Column("uid", sa.String(length=24), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("price_cents", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("price_cents > 0", name=op.f("ck_price_items_price_positive")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_price_items_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_price_items")),
        sa.UniqueConstraint("uid", name=op.f("uq_price_items_uid")),
    )
    op.create_index("ix_price_items_tenant_id", "price_items", ["tenant_id", "id"], unique=False)

    op.create_table(
        "branches",
        sa.Column("uid", sa.String(length=24), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("address", sa.String(length=200), nullable=False),
        sa.Column("phone", sa.String(length=20), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_branches_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_branches")),
        sa.UniqueConstraint("uid", name=op.f("uq_branches_uid")),
    )
    op.create_index("ix_branches_tenant_id", "branches", ["tenant_id", "id"], unique=False)
    op.create_table(
        "closed_days",
        sa.Column("branch_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("first_day", sa.Date(), nullable=False),
        sa.Column("last_day", sa.Date(), nullable=False),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("first_day <= last_day", name=op.f("ck_closed_days_not_empty")),
        sa.ForeignKeyConstraint(["branch_id"], ["branches.id"], name=op.f("fk_closed_days_branch_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_closed_days_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_closed_days")),
    )
    op.create_index("ix_closed_days_tenant", "closed_days", ["tenant_id", "last_day"], unique=False)

    op.create_table(
        "branch_hours",
        sa.Column("branch_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("weekday", sa.Integer(), nullable=False),
        sa.Column("starts_minute", sa.Integer(), nullable=False),
        sa.Column("ends_minute", sa.Integer(), nullable=False),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "starts_minute >= 0 AND starts_minute < ends_minute AND ends_minute <= 1440",
            name=op.f("ck_branch_hours_minutes"),
        ),
        sa.CheckConstraint("weekday BETWEEN 0 AND 6", name=op.f("ck_branch_hours_weekday")),
        sa.ForeignKeyConstraint(["branch_id"], ["branches.id"], name=op.f("fk_branch_hours_branch_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_branch_hours_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_branch_hours")),
    )
    op.create_index("ix_branch_hours_branch", "branch_hours", ["branch_id", "weekday"], unique=False)

    op.create_table(
        "quiet_phones",
        sa.Column("phone_hash", sa.String(length=64), nullable=False),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_quiet_phones_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quiet_phones")),
        sa.UniqueConstraint("tenant_id", "phone_hash", name=op.f("uq_quiet_phones_tenant_id_phone_hash")),
    )

    op.create_table(
        "services",
        sa.Column("uid", sa.String(length=24), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("kinds", sa.String(length=20), nullable=False),
        sa.Column("price_cents", sa.BigInteger(), nullable=False),
        sa.Column("duration_minutes", sa.Integer(), nullable=False),
        sa.Column("step_minutes", sa.Integer(), nullable=False),
        sa.Column("buffer_minutes", sa.Integer(), nullable=False),
        sa.Column("notice_minutes", sa.Integer(), nullable=False),
        sa.Column("horizon_days", sa.Integer(), nullable=False),
        sa.Column("hold_minutes", sa.Integer(), nullable=False),
        sa.Column("cancel_hours", sa.Integer(), nullable=False),
        sa.Column("late_keeps_percent", sa.Integer(), nullable=False),
        sa.Column("money_back", sa.String(length=10), nullable=False),
        sa.Column("deposit_cents", sa.BigInteger(), nullable=True),
        sa.Column("needs_approval", sa.Boolean(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("money_back IN ('refund', 'credit')", name=op.f("ck_services_money_back")),
        sa.CheckConstraint("deposit_cents > 0 AND deposit_cents < price_cents", name=op.f("ck_services_deposit")),
        sa.CheckConstraint("duration_minutes > 0", name=op.f("ck_services_duration_positive")),
        sa.CheckConstraint("late_keeps_percent BETWEEN 0 AND 100", name=op.f("ck_services_late_keeps")),
        sa.CheckConstraint("price_cents > 0", name=op.f("ck_services_price_positive")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_services_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_services")),
        sa.UniqueConstraint("uid", name=op.f("uq_services_uid")),
    )
    op.create_index("ix_services_tenant_id", "services", ["tenant_id", "id"], unique=False)

    op.create_table(
        "phone_codes",
        sa.Column("purpose", sa.String(length=20), nullable=False),
        sa.Column("phone_hash", sa.String(length=64), nullable=False),
        sa.Column("code_hash", sa.String(length=64), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("sends", sa.Integer(), nullable=False),
        sa.Column("counted_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_phone_codes_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_phone_codes")),
        sa.UniqueConstraint(
            "tenant_id", "purpose", "phone_hash", name=op.f("uq_phone_codes_tenant_id_purpose_phone_hash")
        ),
    )

    op.create_table(
        "sites",
        sa.Column("uid", sa.String(length=24), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("identity", sa.String(length=60), nullable=False),
        sa.Column("address", sa.String(length=45), nullable=False),
        sa.Column("secret", sa.String(length=64), nullable=False),
        sa.Column("coa_port", sa.Integer(), nullable=False),
        sa.Column("expired_pool", sa.String(length=40), nullable=False),
        sa.Column("login_hosts", sa.Text(), nullable=False),
        sa.Column("token", sa.String(length=40), nullable=False),
        sa.Column("api_port", sa.Integer(), nullable=False),
        sa.Column("api_uses_tls", sa.Boolean(), nullable=False),
        sa.Column("api_username", sa.String(length=60), nullable=False),
        sa.Column("api_password_sealed", sa.Text(), nullable=True),
        sa.Column("router_version", sa.String(length=40), nullable=False),
        sa.Column("clock_skew_s", sa.Integer(), nullable=True),
        sa.Column("tunnel_key", sa.String(length=44), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("kind IN ('radius', 'routeros', 'opennds', 'voucher')", name=op.f("ck_sites_kind")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_sites_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sites")),
        sa.UniqueConstraint("token", name=op.f("uq_sites_token")),
        sa.UniqueConstraint("uid", name=op.f("uq_sites_uid")),
    )
    op.create_index("ix_sites_tenant_id", "sites", ["tenant_id", "id"], unique=False)
    op.create_index(
        "uq_sites_name",
        "sites",
        ["tenant_id", "name"],
        unique=True,
        sqlite_where=sa.text("closed_at IS NULL"),
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.create_index(
        "uq_sites_radius_address",
        "sites",
        ["address"],
        unique=True,
        sqlite_where=sa.text("kind = 'radius' AND closed_at IS NULL"),
        postgresql_where=sa.text("kind = 'radius' AND closed_at IS NULL"),
    )
    op.create_table(
        "outages",
        sa.Column("site_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("noticed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("given_back_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_outages_site_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_outages_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outages")),
        sa.UniqueConstraint("site_id", "started_at", name=op.f("uq_outages_site_id_started_at")),
    )
    op.create_index("ix_outages_tenant_id", "outages", ["tenant_id", "id"], unique=False)
    op.create_index(
        "ix_outages_to_give_back",
        "outages",
        ["ended_at"],
        unique=False,
        sqlite_where=sa.text("given_back_at IS NULL AND ended_at IS NOT NULL"),
        postgresql_where=sa.text("given_back_at IS NULL AND ended_at IS NOT NULL"),
    )
    op.create_index(
        "uq_outages_open",
        "outages",
        ["site_id"],
        unique=True,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )

    op.create_table(
        "sign_in_refusals",
        sa.Column("site_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("window_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("about", sa.String(length=10), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("refusals", sa.Integer(), nullable=False),
        sa.Column("guesses", sa.Integer(), nullable=False),
        sa.Column("username", sa.String(length=64), nullable=False),
        sa.Column("mac", sa.String(length=17), nullable=False),
        sa.Column("reason", sa.String(length=20), nullable=False),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("about IN ('site', 'device', 'name')", name=op.f("ck_sign_in_refusals_about")),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_sign_in_refusals_site_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_sign_in_refusals_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_in_refusals")),
        sa.UniqueConstraint(
            "site_id", "window_at", "about", "subject", name=op.f("uq_sign_in_refusals_site_id_window_at_about_subject")
        ),
    )
    op.create_index("ix_sign_in_refusals_window", "sign_in_refusals", ["window_at"], unique=False)

    op.create_table(
        "gateway_clients",
        sa.Column("site_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("mac", sa.String(length=17), nullable=False),
        sa.Column("ip", sa.String(length=45), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_gateway_clients_site_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_gateway_clients_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gateway_clients")),
        sa.UniqueConstraint("site_id", "mac", name=op.f("uq_gateway_clients_site_id_mac")),
    )
    op.create_index("ix_gateway_clients_seen", "gateway_clients", ["site_id", "seen_at"], unique=False)

    op.create_table(
        "router_states",
        sa.Column("site_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("try_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.String(length=300), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sweep_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("certificate_sha256", sa.String(length=64), nullable=False),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_router_states_site_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_router_states_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_router_states")),
        sa.UniqueConstraint("site_id", name=op.f("uq_router_states_site_id")),
    )
    op.create_index(
        "ix_router_states_sweep",
        "router_states",
        ["sweep_at"],
        unique=False,
        sqlite_where=sa.text("sweep_at IS NOT NULL"),
        postgresql_where=sa.text("sweep_at IS NOT NULL"),
    )

    op.create_table(
        "users",
        sa.Column("email", sa.String(length=254), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("password_hash", sa.String(length=200), nullable=False),
        sa.Column("is_platform_admin", sa.Boolean(), nullable=False),
        sa.Column("is_proven", sa.Boolean(), nullable=False),
        sa.Column("deactivated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("session_key", sa.String(length=40), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("email", name=op.f("uq_users_email")),
    )
    op.create_table(
        "shifts",
        sa.Column("uid", sa.String(length=24), nullable=False),
        sa.Column("user_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("branch_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("float_cents", sa.BigInteger(), nullable=False),
        sa.Column("counted_cents", sa.BigInteger(), nullable=True),
        sa.Column("expected_cents", sa.BigInteger(), nullable=True),
        sa.Column("variance_why", sa.String(length=200), nullable=False),
        sa.Column("lines", sa.JSON(), nullable=False),
        sa.Column("to_place_count", sa.Integer(), nullable=False),
        sa.Column("to_place_cents", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("(closed_at IS NULL) = (number IS NULL)", name=op.f("ck_shifts_numbered")),
        sa.CheckConstraint("counted_cents >= 0", name=op.f("ck_shifts_counted")),
        sa.CheckConstraint("float_cents >= 0", name=op.f("ck_shifts_float")),
        sa.ForeignKeyConstraint(["branch_id"], ["branches.id"], name=op.f("fk_shifts_branch_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_shifts_tenant_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_shifts_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shifts")),
        sa.UniqueConstraint("tenant_id", "number", name=op.f("uq_shifts_tenant_id_number")),
        sa.UniqueConstraint("uid", name=op.f("uq_shifts_uid")),
    )
    op.create_index(
        "ix_shifts_open",
        "shifts",
        ["tenant_id", "user_id"],
        unique=True,
        sqlite_where=sa.text("closed_at IS NULL"),
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.create_index("ix_shifts_tenant_id", "shifts", ["tenant_id", "id"], unique=False)

    op.create_table(
        "drawers",
        sa.Column("uid", sa.String(length=24), nullable=False),
        sa.Column("user_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("float_cents", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("float_cents >= 0", name=op.f("ck_drawers_float_positive")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_drawers_tenant_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_drawers_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drawers")),
        sa.UniqueConstraint("uid", name=op.f("uq_drawers_uid")),
    )
    op.create_index("ix_drawers_tenant_id", "drawers", ["tenant_id", "id"], unique=False)
    op.create_index(
        "uq_drawers_open",
        "drawers",
        ["tenant_id", "user_id"],
        unique=True,
        sqlite_where=sa.text("closed_at IS NULL"),
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.create_table(
        "drawer_reports",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("drawer_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("user_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("float_cents", sa.BigInteger(), nullable=False),
        sa.Column("sales_cents", sa.BigInteger(), nullable=False),
        sa.Column("expected_cents", sa.BigInteger(), nullable=False),
        sa.Column("counted_cents", sa.BigInteger(), nullable=False),
        sa.Column("lines", sa.JSON(), nullable=False),
        sa.Column("note", sa.String(length=200), nullable=False),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["drawer_id"], ["drawers.id"], name=op.f("fk_drawer_reports_drawer_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_drawer_reports_tenant_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_drawer_reports_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drawer_reports")),
        sa.UniqueConstraint("drawer_id", name=op.f("uq_drawer_reports_drawer_id")),
        sa.UniqueConstraint("tenant_id", "number", name=op.f("uq_drawer_reports_tenant_id_number")),
    )
    op.create_index("ix_drawer_reports_tenant_id", "drawer_reports", ["tenant_id", "id"], unique=False)

    op.create_table(
        "api_keys",
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_api_keys_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("digest", name=op.f("uq_api_keys_digest")),
    )
    with op.batch_alter_table("api_keys", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_api_keys_tenant_id"), ["tenant_id", "id"], unique=False)

    op.create_table(
        "audit_chain_heads",
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("signature", sa.String(length=64), nullable=False),
        sa.Column("chained_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_audit_chain_heads_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_audit_chain_heads")),
    )
    op.create_table(
        "audit_entries",
        sa.Column("actor", sa.String(length=60), nullable=False),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("subject_kind", sa.String(length=20), nullable=False),
        sa.Column("subject_id", sa.Integer(), nullable=False),
        sa.Column("old", sa.String(length=40), nullable=True),
        sa.Column("new", sa.String(length=40), nullable=True),
        sa.Column("why", sa.String(length=300), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("request_id", sa.String(length=40), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=True),
        sa.Column("prev_hash", sa.String(length=64), nullable=True),
        sa.Column("hash", sa.String(length=64), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_audit_entries_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_entries")),
        sa.UniqueConstraint("tenant_id", "seq", name=op.f("uq_audit_entries_tenant_id_seq")),
    )
    with op.batch_alter_table("audit_entries", schema=None) as batch_op:
        batch_op.create_index("ix_audit_entries_subject", ["tenant_id", "subject_kind", "subject_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_audit_entries_tenant_id"), ["tenant_id", "id"], unique=False)
        batch_op.create_index(
            "ix_audit_entries_unchained",
            ["tenant_id", "id"],
            unique=False,
            sqlite_where=sa.text("seq IS NULL"),
            postgresql_where=sa.text("seq IS NULL"),
        )

    op.create_table(
        "clinicians",
        sa.Column("uid", sa.String(length=24), nullable=False),
        sa.Column("user_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("title", sa.String(length=80), nullable=False),
        sa.Column("fee_cents", sa.BigInteger(), nullable=False),
        sa.Column("phone_sealed", sa.Text(), nullable=True),
        sa.Column("works_holidays", sa.Boolean(), nullable=False),
        sa.Column("left_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_clinicians_tenant_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_clinicians_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clinicians")),
        sa.UniqueConstraint("uid", name=op.f("uq_clinicians_uid")),
    )
    op.create_index("ix_clinicians_tenant_id", "clinicians", ["tenant_id", "id"], unique=False)

    op.create_table(
        "leaves",
        sa.Column("clinician_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("starts_at < ends_at", name=op.f("ck_leaves_not_empty")),
        sa.ForeignKeyConstraint(["clinician_id"], ["clinicians.id"], name=op.f("fk_leaves_clinician_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_leaves_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_leaves")),
    )
    op.create_index("ix_leaves_clinician", "leaves", ["clinician_id", "ends_at"], unique=False)

    op.create_table(
        "working_hours",
        sa.Column("clinician_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("branch_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("weekday", sa.Integer(), nullable=False),
        sa.Column("starts_minute", sa.Integer(), nullable=False),
        sa.Column("ends_minute", sa.Integer(), nullable=False),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "starts_minute >= 0 AND starts_minute < ends_minute AND ends_minute <= 1440",
            name=op.f("ck_working_hours_minutes"),
        ),
        sa.CheckConstraint("weekday BETWEEN 0 AND 6", name=op.f("ck_working_hours_weekday")),
        sa.ForeignKeyConstraint(["branch_id"], ["branches.id"], name=op.f("fk_working_hours_branch_id")),
        sa.ForeignKeyConstraint(["clinician_id"], ["clinicians.id"], name=op.f("fk_working_hours_clinician_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_working_hours_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_working_hours")),
    )
    op.create_index("ix_working_hours_clinician", "working_hours", ["clinician_id", "weekday"], unique=False)

    op.create_table(
        "clinician_services",
        sa.Column("clinician_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("service_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("price_cents", sa.BigInteger(), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["clinician_id"], ["clinicians.id"], name=op.f("fk_clinician_services_clinician_id")),
        sa.ForeignKeyConstraint(["service_id"], ["services.id"], name=op.f("fk_clinician_services_service_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_clinician_services_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clinician_services")),
        sa.UniqueConstraint("clinician_id", "service_id", name=op.f("uq_clinician_services_clinician_id_service_id")),
    )
    op.create_index(op.f("ix_clinician_services_service_id"), "clinician_services", ["service_id"], unique=False)

    op.create_table(
        "counters",
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("series", sa.String(length=20), nullable=False),
        sa.Column("next_number", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_counters_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "series", name=op.f("pk_counters")),
    )
    op.create_table(
        "customers",
        sa.Column("uid", sa.String(length=24), nullable=False),
        sa.Column("account_number", sa.String(length=12), nullable=False),
        sa.Column("name_sealed", sa.Text(), nullable=True),
        sa.Column("phone_sealed", sa.Text(), nullable=True),
        sa.Column("phone_hash", sa.String(length=64), nullable=True),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("spend_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_customers_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_customers")),
        sa.UniqueConstraint("tenant_id", "account_number", name=op.f("uq_customers_tenant_id_account_number")),
        sa.UniqueConstraint("tenant_id", "phone_hash", name=op.f("uq_customers_tenant_id_phone_hash")),
        sa.UniqueConstraint("uid", name=op.f("uq_customers_uid")),
    )
    op.create_index("ix_customers_tenant_id", "customers", ["tenant_id", "id"], unique=False)
    op.create_index(
        "ix_customers_to_spend",
        "customers",
        ["spend_at"],
        unique=False,
        sqlite_where=sa.text("spend_at IS NOT NULL"),
        postgresql_where=sa.text("spend_at IS NOT NULL"),
    )
    op.create_table(
        "customer_words",
        sa.Column("customer_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("word_hash", sa.String(length=64), nullable=False),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], name=op.f("fk_customer_words_customer_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_customer_words_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_customer_words")),
        sa.UniqueConstraint(
            "tenant_id", "word_hash", "customer_id", name=op.f("uq_customer_words_tenant_id_word_hash_customer_id")
        ),
    )
    op.create_index(op.f("ix_customer_words_customer_id"), "customer_words", ["customer_id"], unique=False)

    op.create_table(
        "gateways",
        sa.Column("uid", sa.String(length=24), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("display_name", sa.String(length=60), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("sub_kind", sa.String(length=10), nullable=False),
        sa.Column("shortcode", sa.String(length=10), nullable=False),
        sa.Column("store_number", sa.String(length=10), nullable=False),
        sa.Column("account_number", sa.String(length=20), nullable=False),
        sa.Column("environment", sa.String(length=10), nullable=False),
        sa.Column("base_url", sa.String(length=200), nullable=False),
        sa.Column("consumer_key_sealed", sa.Text(), nullable=True),
        sa.Column("consumer_secret_sealed", sa.Text(), nullable=True),
        sa.Column("passkey_sealed", sa.Text(), nullable=True),
        sa.Column("initiator_name", sa.String(length=60), nullable=False),
        sa.Column("initiator_password_sealed", sa.Text(), nullable=True),
        sa.Column("certificate", sa.Text(), nullable=False),
        sa.Column("security_credential_sealed", sa.Text(), nullable=True),
        sa.Column("b2c_shortcode", sa.String(length=10), nullable=False),
        sa.Column("is_default", sa.Boolean(), nullable=False),
        sa.Column("for_clinic", sa.Boolean(), nullable=False),
        sa.Column("for_hotspot", sa.Boolean(), nullable=False),
        sa.Column("for_pppoe", sa.Boolean(), nullable=False),
        sa.Column("hook_token", sa.String(length=40), nullable=False),
        sa.Column("previous_hook_token", sa.String(length=40), nullable=True),
        sa.Column("urls_registered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("initiator_halted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("initiator_halted_why", sa.String(length=300), nullable=False),
        sa.Column("pull_registered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("pulled_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("balances", sa.JSON(), nullable=False),
        sa.Column("balances_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("test_passed", sa.Boolean(), nullable=True),
        sa.Column("test_message", sa.String(length=300), nullable=False),
        sa.Column("refused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("refused_why", sa.String(length=300), nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("environment IN ('sandbox', 'production')", name=op.f("ck_gateways_environment")),
        sa.CheckConstraint("kind IN ('MPESA_API', 'MPESA_NO_API')", name=op.f("ck_gateways_kind")),
        sa.CheckConstraint("sub_kind IN ('PAYBILL', 'BUYGOODS', 'BANK')", name=op.f("ck_gateways_sub_kind")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_gateways_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gateways")),
        sa.UniqueConstraint("hook_token", name=op.f("uq_gateways_hook_token")),
        sa.UniqueConstraint("previous_hook_token", name=op.f("uq_gateways_previous_hook_token")),
        sa.UniqueConstraint("uid", name=op.f("uq_gateways_uid")),
    )
    with op.batch_alter_table("gateways", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_gateways_tenant_id"), ["tenant_id", "id"], unique=False)
        batch_op.create_index(
            "uq_gateways_one_default",
            ["tenant_id"],
            unique=True,
            sqlite_where=sa.text("is_default AND archived_at IS NULL"),
            postgresql_where=sa.text("is_default AND archived_at IS NULL"),
        )

    op.create_table(
        "retired_hooks",
        sa.Column("gateway_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("token", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["gateway_id"], ["gateways.id"], name=op.f("fk_retired_hooks_gateway_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_retired_hooks_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retired_hooks")),
        sa.UniqueConstraint("token", name=op.f("uq_retired_hooks_token")),
    )
    with op.batch_alter_table("retired_hooks", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_retired_hooks_gateway_id"), ["gateway_id"], unique=False)

    op.create_table(
        "ledger_journals",
        sa.Column("environment", sa.String(length=10), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("reference", sa.String(length=60), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_ledger_journals_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_journals")),
        sa.UniqueConstraint(
            "tenant_id",
            "environment",
            "kind",
            "reference",
            name=op.f("uq_ledger_journals_tenant_id_environment_kind_reference"),
        ),
    )

    op.create_table(
        "memberships",
        sa.Column("user_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("deactivated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("approves_from", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_memberships_tenant_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_memberships_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_memberships")),
        sa.UniqueConstraint("user_id", "tenant_id", name=op.f("uq_memberships_user_id_tenant_id")),
    )
    with op.batch_alter_table("memberships", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_memberships_tenant_id"), ["tenant_id", "id"], unique=False)

    op.create_table(
        "sign_ins",
        sa.Column("user_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("session_key", sa.String(length=40), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_sign_ins_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_ins")),
        sa.UniqueConstraint("digest", name=op.f("uq_sign_ins_digest")),
    )
    with op.batch_alter_table("sign_ins", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_sign_ins_user_id"), ["user_id"], unique=False)

    op.create_table(
        "outbox",
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("key", sa.String(length=120), nullable=False),
        sa.Column("payload_sealed", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.String(length=300), nullable=False),
        sa.Column("about", sa.String(length=20), nullable=False),
        sa.Column("about_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("cost_cents", sa.Integer(), nullable=True),
        sa.Column("provider_id", sa.String(length=100), nullable=False),
        sa.Column("delivery", sa.String(length=10), nullable=False),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_outbox_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        sa.UniqueConstraint("tenant_id", "key", name=op.f("uq_outbox_tenant_id_key")),
    )
    op.create_index(
        "ix_outbox_dead",
        "outbox",
        ["tenant_id", "id"],
        unique=False,
        sqlite_where=sa.text("state = 'dead'"),
        postgresql_where=sa.text("state = 'dead'"),
    )
    op.create_index(
        "ix_outbox_due",
        "outbox",
        ["next_at"],
        unique=False,
        sqlite_where=sa.text("state = 'new'"),
        postgresql_where=sa.text("state = 'new'"),
    )
    op.create_index(
        "ix_outbox_listed",
        "outbox",
        ["tenant_id", "id"],
        unique=False,
        sqlite_where=sa.text("about <> 'access'"),
        postgresql_where=sa.text("about <> 'access'"),
    )
    op.create_index(
        "ix_outbox_not_reached",
        "outbox",
        ["tenant_id", "id"],
        unique=False,
        sqlite_where=sa.text("delivery = 'failed' AND about = 'appointment'"),
        postgresql_where=sa.text("delivery = 'failed' AND about = 'appointment'"),
    )
    op.create_index(
        "ix_outbox_provider",
        "outbox",
        ["provider_id"],
        unique=False,
        sqlite_where=sa.text("provider_id <> '' AND kind = 'sms'"),
        postgresql_where=sa.text("provider_id <> '' AND kind = 'sms'"),
    )
    op.create_index(
        "ix_outbox_visit",
        "outbox",
        ["about_id"],
        unique=False,
        sqlite_where=sa.text("about = 'appointment'"),
        postgresql_where=sa.text("about = 'appointment'"),
    )

    op.create_table(
        "packages",
        sa.Column("uid", sa.String(length=24), nullable=False),
        sa.Column("service", sa.String(length=10), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("group_name", sa.String(length=40), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("price_cents", sa.BigInteger(), nullable=False),
        sa.Column("duration_s", sa.BigInteger(), nullable=False),
        sa.Column("lifetime_s", sa.BigInteger(), nullable=False),
        sa.Column("online_s", sa.BigInteger(), nullable=True),
        sa.Column("rate", sa.String(length=60), nullable=False),
        sa.Column("data_cap_bytes", sa.BigInteger(), nullable=True),
        sa.Column("daily_cap_bytes", sa.BigInteger(), nullable=True),
        sa.Column("at_cap", sa.String(length=10), nullable=False),
        sa.Column("throttled_rate", sa.String(length=60), nullable=False),
        sa.Column("devices", sa.Integer(), nullable=False),
        sa.Column("is_trial", sa.Boolean(), nullable=False),
        sa.Column("is_addon", sa.Boolean(), nullable=False),
        sa.Column("is_hidden", sa.Boolean(), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("at_cap IN ('stop', 'throttle')", name=op.f("ck_packages_at_cap")),
        sa.CheckConstraint("kind IN ('time', 'online', 'data', 'mixed')", name=op.f("ck_packages_kind")),
        sa.CheckConstraint("service IN ('hotspot', 'pppoe')", name=op.f("ck_packages_service")),
        sa.CheckConstraint("duration_s > 0", name=op.f("ck_packages_duration_positive")),
        sa.CheckConstraint("lifetime_s > 0", name=op.f("ck_packages_lifetime_positive")),
        sa.CheckConstraint("price_cents > 0 OR is_trial", name=op.f("ck_packages_price_positive")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_packages_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_packages")),
        sa.UniqueConstraint("uid", name=op.f("uq_packages_uid")),
    )
    op.create_index("ix_packages_tenant_id", "packages", ["tenant_id", "id"], unique=False)
    op.create_table(
        "voucher_batches",
        sa.Column("uid", sa.String(length=24), nullable=False),
        sa.Column("package_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("made_by_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("note", sa.String(length=80), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["made_by_id"], ["users.id"], name=op.f("fk_voucher_batches_made_by_id")),
        sa.ForeignKeyConstraint(["package_id"], ["packages.id"], name=op.f("fk_voucher_batches_package_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_voucher_batches_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_voucher_batches")),
        sa.UniqueConstraint("uid", name=op.f("uq_voucher_batches_uid")),
    )
    op.create_index("ix_voucher_batches_tenant_id", "voucher_batches", ["tenant_id", "id"], unique=False)

    op.create_table(
        "package_sites",
        sa.Column("package_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("site_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["package_id"], ["packages.id"], name=op.f("fk_package_sites_package_id")),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_package_sites_site_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_package_sites_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_package_sites")),
        sa.UniqueConstraint("package_id", "site_id", name=op.f("uq_package_sites_package_id_site_id")),
    )
    op.create_index(op.f("ix_package_sites_site_id"), "package_sites", ["site_id"], unique=False)

    op.create_table(
        "patients",
        sa.Column("uid", sa.String(length=24), nullable=False),
        sa.Column("user_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("name_sealed", sa.Text(), nullable=True),
        sa.Column("phone_sealed", sa.Text(), nullable=True),
        sa.Column("phone_hash", sa.String(length=64), nullable=True),
        sa.Column("email_sealed", sa.Text(), nullable=True),
        sa.Column("email_hash", sa.String(length=64), nullable=True),
        sa.Column("guardian_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("consented_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("consent_by", sa.String(length=20), nullable=False),
        sa.Column("locale", sa.String(length=5), nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["guardian_id"], ["patients.id"], name=op.f("fk_patients_guardian_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_patients_tenant_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_patients_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_patients")),
        sa.UniqueConstraint("uid", name=op.f("uq_patients_uid")),
    )
    op.create_index("ix_patients_email", "patients", ["tenant_id", "email_hash"], unique=False)
    op.create_index(op.f("ix_patients_guardian_id"), "patients", ["guardian_id"], unique=False)
    op.create_index("ix_patients_phone", "patients", ["tenant_id", "phone_hash"], unique=False)
    op.create_index("ix_patients_tenant_id", "patients", ["tenant_id", "id"], unique=False)
    op.create_table(
        "notices",
        sa.Column("user_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("patient_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("key", sa.String(length=120), nullable=False),
        sa.Column("text", sa.String(length=300), nullable=False),
        sa.Column("url", sa.String(length=200), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("(user_id IS NULL) <> (patient_id IS NULL)", name=op.f("ck_notices_whose")),
        sa.ForeignKeyConstraint(["patient_id"], ["patients.id"], name=op.f("fk_notices_patient_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_notices_tenant_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_notices_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notices")),
        sa.UniqueConstraint("tenant_id", "key", name=op.f("uq_notices_tenant_id_key")),
    )
    op.create_index("ix_notices_of_patient", "notices", ["patient_id", "id"], unique=False)
    op.create_index("ix_notices_of_user", "notices", ["user_id", "id"], unique=False)
    op.create_index("ix_notices_unread", "notices", ["user_id", "read_at"], unique=False)

    op.create_table(
        "patient_words",
        sa.Column("patient_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("word_hash", sa.String(length=64), nullable=False),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["patient_id"], ["patients.id"], name=op.f("fk_patient_words_patient_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_patient_words_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_patient_words")),
        sa.UniqueConstraint(
            "tenant_id", "word_hash", "patient_id", name=op.f("uq_patient_words_tenant_id_word_hash_patient_id")
        ),
    )
    op.create_index(op.f("ix_patient_words_patient_id"), "patient_words", ["patient_id"], unique=False)

    op.create_table(
        "appointment_series",
        sa.Column("uid", sa.String(length=24), nullable=False),
        sa.Column("patient_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("every_days", sa.Integer(), nullable=False),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["patient_id"], ["patients.id"], name=op.f("fk_appointment_series_patient_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_appointment_series_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_appointment_series")),
        sa.UniqueConstraint("uid", name=op.f("uq_appointment_series_uid")),
    )

    op.create_table(
        "ledger_lines",
        sa.Column("journal_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("account", sa.String(length=80), nullable=False),
        sa.Column("amount_cents", sa.BigInteger(), nullable=False),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["journal_id"], ["ledger_journals.id"], name=op.f("fk_ledger_lines_journal_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_ledger_lines_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_lines")),
    )
    with op.batch_alter_table("ledger_lines", schema=None) as batch_op:
        batch_op.create_index("ix_ledger_lines_account", ["tenant_id", "account"], unique=False)

    op.create_table(
        "payments",
        sa.Column("token", sa.String(length=40), nullable=False),
        sa.Column("environment", sa.String(length=10), nullable=False),
        sa.Column("purpose", sa.String(length=10), nullable=False),
        sa.Column("reference", sa.String(length=20), nullable=False),
        sa.Column("title", sa.String(length=80), nullable=False),
        sa.Column("gateway_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("amount_cents", sa.BigInteger(), nullable=False),
        sa.Column("allocated_cents", sa.BigInteger(), nullable=False),
        sa.Column("refunded_cents", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("phone_sealed", sa.Text(), nullable=True),
        sa.Column("phone_hash", sa.String(length=64), nullable=True),
        sa.Column("order_id", sa.String(length=80), nullable=True),
        sa.Column("order_details", sa.JSON(), nullable=False),
        sa.Column("idempotency_key", sa.String(length=80), nullable=True),
        sa.Column("live_key", sa.String(length=160), nullable=True),
        sa.Column("push_count", sa.Integer(), nullable=False),
        sa.Column("pushed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("paid_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("fulfilled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_fulfil_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("fulfil_attempts", sa.Integer(), nullable=False),
        sa.Column("fulfil_error", sa.String(length=300), nullable=False),
        sa.Column("withdraw_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("look_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("enough_cents", sa.BigInteger(), nullable=True),
        sa.Column("customer_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("state IN ('open', 'paid', 'closed')", name=op.f("ck_payments_state")),
        sa.CheckConstraint(
            "allocated_cents >= 0 AND allocated_cents <= amount_cents", name=op.f("ck_payments_never_overpaid")
        ),
        sa.CheckConstraint("amount_cents >= 0", name=op.f("ck_payments_amount_not_negative")),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], name=op.f("fk_payments_customer_id")),
        sa.ForeignKeyConstraint(["gateway_id"], ["gateways.id"], name=op.f("fk_payments_gateway_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_payments_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payments")),
        sa.UniqueConstraint("tenant_id", "idempotency_key", name=op.f("uq_payments_tenant_id_idempotency_key")),
        sa.UniqueConstraint("tenant_id", "live_key", name=op.f("uq_payments_tenant_id_live_key")),
        sa.UniqueConstraint("tenant_id", "reference", name=op.f("uq_payments_tenant_id_reference")),
        sa.UniqueConstraint("token", name=op.f("uq_payments_token")),
    )
    op.create_index(
        "ix_payments_offered",
        "payments",
        ["created_at"],
        unique=False,
        sqlite_where=sa.text("state = 'open' AND purpose = 'hotspot'"),
        postgresql_where=sa.text("state = 'open' AND purpose = 'hotspot'"),
    )
    op.create_index("ix_payments_order", "payments", ["tenant_id", "order_id"], unique=False)
    op.create_index(
        "ix_payments_owing",
        "payments",
        ["tenant_id", "id"],
        unique=False,
        sqlite_where=sa.text("state = 'open' AND purpose <> 'hotspot'"),
        postgresql_where=sa.text("state = 'open' AND purpose <> 'hotspot'"),
    )
    op.create_index("ix_payments_tenant_id", "payments", ["tenant_id", "id"], unique=False)
    op.create_index(
        "ix_payments_to_fulfil",
        "payments",
        ["next_fulfil_at"],
        unique=False,
        sqlite_where=sa.text("state = 'paid' AND fulfilled_at IS NULL"),
        postgresql_where=sa.text("state = 'paid' AND fulfilled_at IS NULL"),
    )
    op.create_index(
        "ix_payments_to_look_at",
        "payments",
        ["look_at"],
        unique=False,
        sqlite_where=sa.text("look_at IS NOT NULL"),
        postgresql_where=sa.text("look_at IS NOT NULL"),
    )
    op.create_index(
        "ix_payments_to_withdraw",
        "payments",
        ["withdraw_at"],
        unique=False,
        sqlite_where=sa.text("withdraw_at IS NOT NULL"),
        postgresql_where=sa.text("withdraw_at IS NOT NULL"),
    )
    op.create_index(
        "ix_payments_undelivered",
        "payments",
        ["tenant_id", "id"],
        unique=False,
        sqlite_where=sa.text("state = 'paid' AND fulfilled_at IS NULL AND fulfil_error <> ''"),
        postgresql_where=sa.text("state = 'paid' AND fulfilled_at IS NULL AND fulfil_error <> ''"),
    )

    op.create_table(
        "vouchers",
        sa.Column("uid", sa.String(length=24), nullable=False),
        sa.Column("batch_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("package_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("payment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("drawer_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("code", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sold_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("redeemed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("state IN ('made', 'sold', 'redeemed', 'void', 'expired')", name=op.f("ck_vouchers_state")),
        sa.ForeignKeyConstraint(["batch_id"], ["voucher_batches.id"], name=op.f("fk_vouchers_batch_id")),
        sa.ForeignKeyConstraint(["drawer_id"], ["drawers.id"], name=op.f("fk_vouchers_drawer_id")),
        sa.ForeignKeyConstraint(["package_id"], ["packages.id"], name=op.f("fk_vouchers_package_id")),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name=op.f("fk_vouchers_payment_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_vouchers_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vouchers")),
        sa.UniqueConstraint("payment_id", name=op.f("uq_vouchers_payment_id")),
        sa.UniqueConstraint("tenant_id", "code", name=op.f("uq_vouchers_tenant_id_code")),
        sa.UniqueConstraint("uid", name=op.f("uq_vouchers_uid")),
    )
    op.create_index("ix_vouchers_batch", "vouchers", ["batch_id", "id"], unique=False)
    op.create_index("ix_vouchers_drawer", "vouchers", ["drawer_id", "id"], unique=False)
    op.create_index("ix_vouchers_tenant_id", "vouchers", ["tenant_id", "id"], unique=False)
    op.create_index(
        "ix_vouchers_to_expire",
        "vouchers",
        ["expires_at"],
        unique=False,
        sqlite_where=sa.text("state IN ('made', 'sold')"),
        postgresql_where=sa.text("state IN ('made', 'sold')"),
    )
    op.create_table(
        "voucher_openings",
        sa.Column("voucher_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("site_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("mac", sa.String(length=17), nullable=False),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_voucher_openings_site_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_voucher_openings_tenant_id")),
        sa.ForeignKeyConstraint(["voucher_id"], ["vouchers.id"], name=op.f("fk_voucher_openings_voucher_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_voucher_openings")),
    )
    op.create_index(op.f("ix_voucher_openings_voucher_id"), "voucher_openings", ["voucher_id"], unique=False)

    op.create_table(
        "reconciliations",
        sa.Column("uid", sa.String(length=24), nullable=False),
        sa.Column("gateway_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("environment", sa.String(length=10), nullable=False),
        sa.Column("source", sa.String(length=20), nullable=False),
        sa.Column("layout", sa.String(length=20), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("content_sealed", sa.Text(), nullable=True),
        sa.Column("unproved", sa.JSON(), nullable=False),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("accepted_by_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("booked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("made_by_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["accepted_by_id"], ["users.id"], name=op.f("fk_reconciliations_accepted_by_id")),
        sa.ForeignKeyConstraint(["gateway_id"], ["gateways.id"], name=op.f("fk_reconciliations_gateway_id")),
        sa.ForeignKeyConstraint(["made_by_id"], ["users.id"], name=op.f("fk_reconciliations_made_by_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_reconciliations_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reconciliations")),
        sa.UniqueConstraint(
            "tenant_id",
            "gateway_id",
            "environment",
            "digest",
            name=op.f("uq_reconciliations_tenant_id_gateway_id_environment_digest"),
        ),
        sa.UniqueConstraint("uid", name=op.f("uq_reconciliations_uid")),
    )
    with op.batch_alter_table("reconciliations", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_reconciliations_tenant_id"), ["tenant_id", "id"], unique=False)

    op.create_table(
        "invoices",
        sa.Column("uid", sa.String(length=24), nullable=False),
        sa.Column("number", sa.String(length=20), nullable=False),
        sa.Column("patient_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("payer_name_sealed", sa.Text(), nullable=True),
        sa.Column("payer_phone_sealed", sa.Text(), nullable=True),
        sa.Column("payer_phone_hash", sa.String(length=64), nullable=True),
        sa.Column("served_by_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("payment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("voided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("verify_token", sa.String(length=40), nullable=False),
        sa.Column("prints", sa.Integer(), nullable=False),
        sa.Column("notes_sealed", sa.Text(), nullable=True),
        sa.Column("branch_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["branch_id"], ["branches.id"], name=op.f("fk_invoices_branch_id")),
        sa.ForeignKeyConstraint(["patient_id"], ["patients.id"], name=op.f("fk_invoices_patient_id")),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name=op.f("fk_invoices_payment_id")),
        sa.ForeignKeyConstraint(["served_by_id"], ["users.id"], name=op.f("fk_invoices_served_by_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_invoices_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invoices")),
        sa.UniqueConstraint("payment_id", name=op.f("uq_invoices_payment_id")),
        sa.UniqueConstraint("tenant_id", "number", name=op.f("uq_invoices_tenant_id_number")),
        sa.UniqueConstraint("uid", name=op.f("uq_invoices_uid")),
        sa.UniqueConstraint("verify_token", name=op.f("uq_invoices_verify_token")),
    )
    op.create_index("ix_invoices_issued", "invoices", ["tenant_id", "created_at"], unique=False)
    op.create_index(op.f("ix_invoices_patient_id"), "invoices", ["patient_id"], unique=False)
    op.create_index("ix_invoices_payer", "invoices", ["tenant_id", "payer_phone_hash"], unique=False)
    op.create_index("ix_invoices_tenant_id", "invoices", ["tenant_id", "id"], unique=False)
    op.create_table(
        "invoice_words",
        sa.Column("invoice_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("word_hash", sa.String(length=64), nullable=False),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoices.id"], name=op.f("fk_invoice_words_invoice_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_invoice_words_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invoice_words")),
        sa.UniqueConstraint(
            "tenant_id", "word_hash", "invoice_id", name=op.f("uq_invoice_words_tenant_id_word_hash_invoice_id")
        ),
    )
    op.create_index(op.f("ix_invoice_words_invoice_id"), "invoice_words", ["invoice_id"], unique=False)

    op.create_table(
        "credit_notes",
        sa.Column("uid", sa.String(length=24), nullable=False),
        sa.Column("number", sa.String(length=20), nullable=False),
        sa.Column("invoice_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("amount_cents", sa.BigInteger(), nullable=False),
        sa.Column("less_due_cents", sa.BigInteger(), nullable=False),
        sa.Column("money_back", sa.String(length=10), nullable=False),
        sa.Column("why", sa.String(length=200), nullable=False),
        sa.Column("made_by", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("key", sa.String(length=80), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("money_back IN ('', 'refund', 'credit')", name=op.f("ck_credit_notes_money_back")),
        sa.CheckConstraint("amount_cents > 0", name=op.f("ck_credit_notes_amount_positive")),
        sa.CheckConstraint(
            "less_due_cents >= 0 AND less_due_cents <= amount_cents", name=op.f("ck_credit_notes_less_due")
        ),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoices.id"], name=op.f("fk_credit_notes_invoice_id")),
        sa.ForeignKeyConstraint(["made_by"], ["users.id"], name=op.f("fk_credit_notes_made_by")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_credit_notes_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credit_notes")),
        sa.UniqueConstraint("key", name=op.f("uq_credit_notes_key")),
        sa.UniqueConstraint("tenant_id", "number", name=op.f("uq_credit_notes_tenant_id_number")),
        sa.UniqueConstraint("uid", name=op.f("uq_credit_notes_uid")),
    )
    op.create_index(op.f("ix_credit_notes_invoice_id"), "credit_notes", ["invoice_id"], unique=False)
    op.create_index("ix_credit_notes_tenant_id", "credit_notes", ["tenant_id", "id"], unique=False)

    op.create_table(
        "invoice_discounts",
        sa.Column("uid", sa.String(length=24), nullable=False),
        sa.Column("invoice_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("amount_cents", sa.BigInteger(), nullable=False),
        sa.Column("why", sa.String(length=200), nullable=False),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("requested_by", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("decided_by", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("amount_cents > 0", name=op.f("ck_invoice_discounts_amount_positive")),
        sa.ForeignKeyConstraint(["decided_by"], ["users.id"], name=op.f("fk_invoice_discounts_decided_by")),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoices.id"], name=op.f("fk_invoice_discounts_invoice_id")),
        sa.ForeignKeyConstraint(["requested_by"], ["users.id"], name=op.f("fk_invoice_discounts_requested_by")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_invoice_discounts_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invoice_discounts")),
        sa.UniqueConstraint("uid", name=op.f("uq_invoice_discounts_uid")),
    )
    op.create_index(op.f("ix_invoice_discounts_invoice_id"), "invoice_discounts", ["invoice_id"], unique=False)
    op.create_index("ix_invoice_discounts_tenant_id", "invoice_discounts", ["tenant_id", "id"], unique=False)

    op.create_table(
        "purchases",
        sa.Column("payment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("package_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("mac", sa.String(length=17), nullable=False),
        sa.Column("browser_hash", sa.String(length=64), nullable=False),
        sa.Column("locale", sa.String(length=5), nullable=False),
        sa.Column("client_ip", sa.String(length=45), nullable=False),
        sa.Column("nas_address", sa.String(length=45), nullable=False),
        sa.Column("nas_identity", sa.String(length=60), nullable=False),
        sa.Column("login_url", sa.String(length=300), nullable=False),
        sa.Column("wanted_url", sa.String(length=500), nullable=False),
        sa.Column("chap_id", sa.String(length=8), nullable=False),
        sa.Column("chap_challenge", sa.String(length=100), nullable=False),
        sa.Column("switches_now", sa.Boolean(), nullable=False),
        sa.Column("gift_phone_sealed", sa.Text(), nullable=True),
        sa.Column("gift_phone_hash", sa.String(length=64), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["package_id"], ["packages.id"], name=op.f("fk_purchases_package_id")),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name=op.f("fk_purchases_payment_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_purchases_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_purchases")),
        sa.UniqueConstraint("payment_id", name=op.f("uq_purchases_payment_id")),
    )
    op.create_index("ix_purchases_browser", "purchases", ["tenant_id", "browser_hash", "id"], unique=False)
    op.create_index("ix_purchases_device", "purchases", ["tenant_id", "mac", "id"], unique=False)

    op.create_table(
        "stk_pushes",
        sa.Column("payment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("gateway_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("token", sa.String(length=40), nullable=False),
        sa.Column("reference", sa.String(length=20), nullable=False),
        sa.Column("idempotency_key", sa.String(length=80), nullable=True),
        sa.Column("amount_cents", sa.BigInteger(), nullable=False),
        sa.Column("phone_sealed", sa.Text(), nullable=True),
        sa.Column("phone_hash", sa.String(length=64), nullable=True),
        sa.Column("phone_key", sa.String(length=64), nullable=True),
        sa.Column("network_key", sa.String(length=64), nullable=True),
        sa.Column("device_key", sa.String(length=64), nullable=True),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("checkout_sealed", sa.Text(), nullable=True),
        sa.Column("checkout_hash", sa.String(length=64), nullable=True),
        sa.Column("merchant_request_id", sa.String(length=120), nullable=True),
        sa.Column("result_code", sa.String(length=20), nullable=True),
        sa.Column("failure", sa.String(length=300), nullable=False),
        sa.Column("sends", sa.Integer(), nullable=False),
        sa.Column("next_send_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_query_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("queries", sa.Integer(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tell_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["gateway_id"], ["gateways.id"], name=op.f("fk_stk_pushes_gateway_id")),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name=op.f("fk_stk_pushes_payment_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_stk_pushes_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stk_pushes")),
        sa.UniqueConstraint("checkout_hash", "gateway_id", name=op.f("uq_stk_pushes_checkout_hash_gateway_id")),
        sa.UniqueConstraint("tenant_id", "idempotency_key", name=op.f("uq_stk_pushes_tenant_id_idempotency_key")),
        sa.UniqueConstraint("tenant_id", "reference", name=op.f("uq_stk_pushes_tenant_id_reference")),
        sa.UniqueConstraint("token", name=op.f("uq_stk_pushes_token")),
    )
    op.create_index("ix_stk_pushes_alike", "stk_pushes", ["gateway_id", "amount_cents", "sent_at"], unique=False)
    op.create_index(
        "ix_stk_pushes_of_device",
        "stk_pushes",
        ["device_key", "created_at"],
        unique=False,
        sqlite_where=sa.text("device_key IS NOT NULL"),
        postgresql_where=sa.text("device_key IS NOT NULL"),
    )
    op.create_index(
        "ix_stk_pushes_of_network",
        "stk_pushes",
        ["network_key", "created_at"],
        unique=False,
        sqlite_where=sa.text("network_key IS NOT NULL"),
        postgresql_where=sa.text("network_key IS NOT NULL"),
    )
    op.create_index("ix_stk_pushes_of_phone", "stk_pushes", ["phone_key", "created_at"], unique=False)
    op.create_index(op.f("ix_stk_pushes_payment_id"), "stk_pushes", ["payment_id"], unique=False)
    op.create_index("ix_stk_pushes_phone", "stk_pushes", ["tenant_id", "phone_hash", "id"], unique=False)
    op.create_index("ix_stk_pushes_recent", "stk_pushes", ["tenant_id", "created_at"], unique=False)
    op.create_index(
        "ix_stk_pushes_to_query",
        "stk_pushes",
        ["next_query_at"],
        unique=False,
        sqlite_where=sa.text("next_query_at IS NOT NULL"),
        postgresql_where=sa.text("next_query_at IS NOT NULL"),
    )
    op.create_index(
        "ix_stk_pushes_to_send",
        "stk_pushes",
        ["next_send_at"],
        unique=False,
        sqlite_where=sa.text("state = 'created'"),
        postgresql_where=sa.text("state = 'created'"),
    )
    op.create_index(
        "ix_stk_pushes_to_tell",
        "stk_pushes",
        ["tell_at"],
        unique=False,
        sqlite_where=sa.text("tell_at IS NOT NULL"),
        postgresql_where=sa.text("tell_at IS NOT NULL"),
    )
    op.create_index(
        "ix_stk_pushes_unconfirmed",
        "stk_pushes",
        ["tenant_id", "id"],
        unique=False,
        sqlite_where=sa.text("state = 'unconfirmed'"),
        postgresql_where=sa.text("state = 'unconfirmed'"),
    )
    op.create_index(
        "ix_stk_pushes_waiting",
        "stk_pushes",
        ["sent_at"],
        unique=False,
        sqlite_where=sa.text("state IN ('sending', 'awaiting_pin')"),
        postgresql_where=sa.text("state IN ('sending', 'awaiting_pin')"),
    )
    op.create_index(
        "uq_stk_pushes_one_open",
        "stk_pushes",
        ["payment_id"],
        unique=True,
        sqlite_where=sa.text("state IN ('created', 'sending', 'awaiting_pin')"),
        postgresql_where=sa.text("state IN ('created', 'sending', 'awaiting_pin')"),
    )

    op.create_table(
        "access_grants",
        sa.Column("purchase_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("voucher_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("package_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("leader_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("origin", sa.String(length=10), nullable=False),
        sa.Column("phone_hash", sa.String(length=64), nullable=True),
        sa.Column("mac", sa.String(length=17), nullable=False),
        sa.Column("username", sa.String(length=40), nullable=False),
        sa.Column("password", sa.String(length=40), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("is_waiting", sa.Boolean(), nullable=False),
        sa.Column("suspended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("provision_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["package_id"], ["packages.id"], name=op.f("fk_access_grants_package_id")),
        sa.ForeignKeyConstraint(["purchase_id"], ["purchases.id"], name=op.f("fk_access_grants_purchase_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_access_grants_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_access_grants")),
        sa.UniqueConstraint("purchase_id", name=op.f("uq_access_grants_purchase_id")),
        sa.UniqueConstraint("tenant_id", "username", name=op.f("uq_access_grants_tenant_id_username")),
        sa.UniqueConstraint("voucher_id", name=op.f("uq_access_grants_voucher_id")),
    )
    op.create_index("ix_access_grants_device", "access_grants", ["tenant_id", "mac", "expires_at"], unique=False)
    op.create_index(
        "ix_access_grants_ends",
        "access_grants",
        ["expires_at"],
        unique=False,
        sqlite_where=sa.text("purchase_id IS NOT NULL AND ended_at IS NULL"),
        postgresql_where=sa.text("purchase_id IS NOT NULL AND ended_at IS NULL"),
    )
    op.create_index("ix_access_grants_leader", "access_grants", ["leader_id"], unique=False)
    op.create_index("ix_access_grants_owner", "access_grants", ["tenant_id", "phone_hash", "expires_at"], unique=False)
    op.create_index(
        "ix_access_grants_provision",
        "access_grants",
        ["provision_at"],
        unique=False,
        sqlite_where=sa.text("provision_at IS NOT NULL"),
        postgresql_where=sa.text("provision_at IS NOT NULL"),
    )
    op.create_index(
        "ix_access_grants_to_begin",
        "access_grants",
        ["id"],
        unique=False,
        sqlite_where=sa.text("is_waiting"),
        postgresql_where=sa.text("is_waiting"),
    )
    op.create_table(
        "device_holds",
        sa.Column("leader_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("mac", sa.String(length=17), nullable=False),
        sa.Column("places", sa.Integer(), nullable=False),
        sa.Column("held_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("given_up_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["leader_id"], ["access_grants.id"], name=op.f("fk_device_holds_leader_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_device_holds_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device_holds")),
        sa.UniqueConstraint("leader_id", "mac", name=op.f("uq_device_holds_leader_id_mac")),
    )
    op.create_index("ix_device_holds_held", "device_holds", ["held_at"], unique=False)

    op.create_table(
        "outage_credits",
        sa.Column("outage_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("leader_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("seconds", sa.BigInteger(), nullable=False),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["leader_id"], ["access_grants.id"], name=op.f("fk_outage_credits_leader_id")),
        sa.ForeignKeyConstraint(["outage_id"], ["outages.id"], name=op.f("fk_outage_credits_outage_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_outage_credits_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outage_credits")),
        sa.UniqueConstraint("outage_id", "leader_id", name=op.f("uq_outage_credits_outage_id_leader_id")),
    )
    op.create_index(op.f("ix_outage_credits_leader_id"), "outage_credits", ["leader_id"], unique=False)

    op.create_table(
        "pass_devices",
        sa.Column("leader_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("mac", sa.String(length=17), nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("how", sa.String(length=10), nullable=False),
        sa.Column("browser_hash", sa.String(length=64), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("how IN ('moved', 'code', 'added')", name=op.f("ck_pass_devices_how")),
        sa.ForeignKeyConstraint(["leader_id"], ["access_grants.id"], name=op.f("fk_pass_devices_leader_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_pass_devices_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pass_devices")),
    )
    op.create_index(
        "ix_pass_devices_browser",
        "pass_devices",
        ["tenant_id", "browser_hash"],
        unique=False,
        sqlite_where=sa.text("browser_hash != ''"),
        postgresql_where=sa.text("browser_hash != ''"),
    )
    op.create_index("ix_pass_devices_leader", "pass_devices", ["leader_id", "created_at"], unique=False)
    op.create_index(
        "ix_pass_devices_mac",
        "pass_devices",
        ["tenant_id", "mac"],
        unique=False,
        sqlite_where=sa.text("removed_at IS NULL"),
        postgresql_where=sa.text("removed_at IS NULL"),
    )
    op.create_index(
        "uq_pass_devices_place",
        "pass_devices",
        ["leader_id", "mac"],
        unique=True,
        sqlite_where=sa.text("removed_at IS NULL"),
        postgresql_where=sa.text("removed_at IS NULL"),
    )

    op.create_table(
        "lines",
        sa.Column("uid", sa.String(length=24), nullable=False),
        sa.Column("customer_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("package_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("site_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("grant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("paid_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("grace_days", sa.Integer(), nullable=False),
        sa.Column("on_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("held_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("held_why", sa.String(length=20), nullable=False),
        sa.Column("is_renewed", sa.Boolean(), nullable=False),
        sa.Column("is_prompted", sa.Boolean(), nullable=False),
        sa.Column("locale", sa.String(length=5), nullable=False),
        sa.Column("look_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("state IN ('active', 'walled', 'suspended', 'closed')", name=op.f("ck_lines_state")),
        sa.CheckConstraint("grace_days >= 0 AND grace_days <= 31", name=op.f("ck_lines_grace_days")),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], name=op.f("fk_lines_customer_id")),
        sa.ForeignKeyConstraint(["grant_id"], ["access_grants.id"], name=op.f("fk_lines_grant_id")),
        sa.ForeignKeyConstraint(["package_id"], ["packages.id"], name=op.f("fk_lines_package_id")),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_lines_site_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_lines_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lines")),
        sa.UniqueConstraint("grant_id", name=op.f("uq_lines_grant_id")),
        sa.UniqueConstraint("uid", name=op.f("uq_lines_uid")),
    )
    op.create_index(op.f("ix_lines_customer_id"), "lines", ["customer_id"], unique=False)
    op.create_index("ix_lines_tenant_id", "lines", ["tenant_id", "id"], unique=False)
    op.create_index(
        "ix_lines_to_look_at",
        "lines",
        ["look_at"],
        unique=False,
        sqlite_where=sa.text("look_at IS NOT NULL"),
        postgresql_where=sa.text("look_at IS NOT NULL"),
    )

    op.create_table(
        "line_promises",
        sa.Column("line_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("of_end", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("granted_by", sa.String(length=80), nullable=False),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["line_id"], ["lines.id"], name=op.f("fk_line_promises_line_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_line_promises_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_line_promises")),
        sa.UniqueConstraint("line_id", "of_end", name=op.f("uq_line_promises_line_id_of_end")),
    )

    op.create_table(
        "line_periods",
        sa.Column("line_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("package_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("payment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["line_id"], ["lines.id"], name=op.f("fk_line_periods_line_id")),
        sa.ForeignKeyConstraint(["package_id"], ["packages.id"], name=op.f("fk_line_periods_package_id")),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name=op.f("fk_line_periods_payment_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_line_periods_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_line_periods")),
        sa.UniqueConstraint("payment_id", name=op.f("uq_line_periods_payment_id")),
    )
    op.create_index("ix_line_periods_line", "line_periods", ["line_id", "id"], unique=False)
    op.create_index(
        "uq_line_periods_start",
        "line_periods",
        ["line_id", "starts_at"],
        unique=True,
        sqlite_where=sa.text("starts_at IS NOT NULL AND withdrawn_at IS NULL"),
        postgresql_where=sa.text("starts_at IS NOT NULL AND withdrawn_at IS NULL"),
    )

    op.create_table(
        "provisionings",
        sa.Column("site_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("grant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("wanted", sa.String(length=5), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.String(length=300), nullable=False),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("signed_in_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("wanted IN ('on', 'off')", name=op.f("ck_provisionings_wanted")),
        sa.ForeignKeyConstraint(["grant_id"], ["access_grants.id"], name=op.f("fk_provisionings_grant_id")),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_provisionings_site_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_provisionings_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_provisionings")),
        sa.UniqueConstraint("site_id", "grant_id", name=op.f("uq_provisionings_site_id_grant_id")),
    )
    op.create_index(
        "ix_provisionings_due",
        "provisionings",
        ["next_at"],
        unique=False,
        sqlite_where=sa.text("next_at IS NOT NULL"),
        postgresql_where=sa.text("next_at IS NOT NULL"),
    )
    op.create_index(op.f("ix_provisionings_grant_id"), "provisionings", ["grant_id"], unique=False)
    op.create_index(
        "ix_provisionings_on",
        "provisionings",
        ["site_id"],
        unique=False,
        sqlite_where=sa.text("wanted = 'on'"),
        postgresql_where=sa.text("wanted = 'on'"),
    )
    op.create_index(
        "ix_provisionings_site",
        "provisionings",
        ["site_id"],
        unique=False,
        sqlite_where=sa.text("next_at IS NOT NULL"),
        postgresql_where=sa.text("next_at IS NOT NULL"),
    )
    op.create_index("ix_provisionings_tenant_id", "provisionings", ["tenant_id", "id"], unique=False)
    op.create_index(
        "ix_provisionings_unconfirmed",
        "provisionings",
        ["tenant_id", "since"],
        unique=False,
        sqlite_where=sa.text("confirmed_at IS NULL"),
        postgresql_where=sa.text("confirmed_at IS NULL"),
    )

    op.create_table(
        "access_sessions",
        sa.Column("uid", sa.String(length=32), nullable=False),
        sa.Column("accounting_id", sa.String(length=64), nullable=False),
        sa.Column("site_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("grant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("username", sa.String(length=64), nullable=False),
        sa.Column("session_id", sa.String(length=64), nullable=False),
        sa.Column("mac", sa.String(length=17), nullable=False),
        sa.Column("ip", sa.String(length=45), nullable=False),
        sa.Column("called_station", sa.String(length=64), nullable=False),
        sa.Column("nas_port", sa.String(length=64), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("online_s", sa.BigInteger(), nullable=False),
        sa.Column("bytes_in", sa.BigInteger(), nullable=False),
        sa.Column("bytes_out", sa.BigInteger(), nullable=False),
        sa.Column("bytes_before_today", sa.BigInteger(), nullable=False),
        sa.Column("is_walled", sa.Boolean(), nullable=False),
        sa.Column("capped_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("end_cause", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["grant_id"], ["access_grants.id"], name=op.f("fk_access_sessions_grant_id")),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_access_sessions_site_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_access_sessions_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_access_sessions")),
        sa.UniqueConstraint("accounting_id", name=op.f("uq_access_sessions_accounting_id")),
    )
    op.create_index("ix_access_sessions_grant", "access_sessions", ["grant_id", "started_at"], unique=False)
    op.create_index(
        "ix_access_sessions_open",
        "access_sessions",
        ["grant_id"],
        unique=False,
        sqlite_where=sa.text("stopped_at IS NULL"),
        postgresql_where=sa.text("stopped_at IS NULL"),
    )
    op.create_index(
        "ix_access_sessions_open_device",
        "access_sessions",
        ["tenant_id", "mac"],
        unique=False,
        sqlite_where=sa.text("stopped_at IS NULL"),
        postgresql_where=sa.text("stopped_at IS NULL"),
    )
    op.create_index(
        "ix_access_sessions_open_site",
        "access_sessions",
        ["site_id", "updated_at"],
        unique=False,
        sqlite_where=sa.text("stopped_at IS NULL"),
        postgresql_where=sa.text("stopped_at IS NULL"),
    )
    op.create_index("ix_access_sessions_tenant", "access_sessions", ["tenant_id", "started_at"], unique=False)

    op.create_table(
        "device_sign_ins",
        sa.Column("grant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("mac", sa.String(length=17), nullable=False),
        sa.Column("username", sa.String(length=40), nullable=False),
        sa.Column("password", sa.String(length=40), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["grant_id"], ["access_grants.id"], name=op.f("fk_device_sign_ins_grant_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_device_sign_ins_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device_sign_ins")),
        sa.UniqueConstraint("tenant_id", "username", name=op.f("uq_device_sign_ins_tenant_id_username")),
    )
    op.create_index(op.f("ix_device_sign_ins_grant_id"), "device_sign_ins", ["grant_id"], unique=False)

    op.create_table(
        "appointments",
        sa.Column("uid", sa.String(length=24), nullable=False),
        sa.Column("patient_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("clinician_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("duration_minutes", sa.Integer(), nullable=False),
        sa.Column("price_cents", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("place", sa.String(length=200), nullable=False),
        sa.Column("join_token", sa.String(length=40), nullable=False),
        sa.Column("meeting_url", sa.String(length=300), nullable=True),
        sa.Column("invoice_number", sa.String(length=20), nullable=False),
        sa.Column("invoice_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("service_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("token", sa.String(length=40), nullable=False),
        sa.Column("pay_by", sa.DateTime(timezone=True), nullable=True),
        sa.Column("buffer_minutes", sa.Integer(), nullable=False),
        sa.Column("overlap_why", sa.String(length=200), nullable=False),
        sa.Column("branch_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("series_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("cancel_hours", sa.Integer(), nullable=False),
        sa.Column("late_keeps_percent", sa.Integer(), nullable=False),
        sa.Column("money_back", sa.String(length=10), nullable=False),
        sa.Column("deposit_cents", sa.BigInteger(), nullable=True),
        sa.Column("hold_minutes", sa.Integer(), nullable=True),
        sa.Column("remind_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attending_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("calendar_sequence", sa.Integer(), nullable=False),
        sa.Column("arrived_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("kept_cents", sa.BigInteger(), nullable=True),
        sa.Column("owes_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("kind IN ('virtual', 'onsite')", name=op.f("ck_appointments_kind")),
        sa.ForeignKeyConstraint(["branch_id"], ["branches.id"], name=op.f("fk_appointments_branch_id")),
        sa.ForeignKeyConstraint(["clinician_id"], ["clinicians.id"], name=op.f("fk_appointments_clinician_id")),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoices.id"], name=op.f("fk_appointments_invoice_id")),
        sa.ForeignKeyConstraint(["patient_id"], ["patients.id"], name=op.f("fk_appointments_patient_id")),
        sa.ForeignKeyConstraint(["series_id"], ["appointment_series.id"], name=op.f("fk_appointments_series_id")),
        sa.ForeignKeyConstraint(["service_id"], ["services.id"], name=op.f("fk_appointments_service_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_appointments_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_appointments")),
        sa.UniqueConstraint("invoice_id", name=op.f("uq_appointments_invoice_id")),
        sa.UniqueConstraint("join_token", name=op.f("uq_appointments_join_token")),
        sa.UniqueConstraint("tenant_id", "invoice_number", name=op.f("uq_appointments_tenant_id_invoice_number")),
        sa.UniqueConstraint("token", name=op.f("uq_appointments_token")),
        sa.UniqueConstraint("uid", name=op.f("uq_appointments_uid")),
    )
    op.create_index("ix_appointments_clinician_day", "appointments", ["clinician_id", "starts_at"], unique=False)
    op.create_index("ix_appointments_day", "appointments", ["tenant_id", "starts_at"], unique=False)
    op.create_index(
        "ix_appointments_owes",
        "appointments",
        ["tenant_id", "id"],
        unique=False,
        sqlite_where=sa.text("owes_since IS NOT NULL"),
        postgresql_where=sa.text("owes_since IS NOT NULL"),
    )
    op.create_index(op.f("ix_appointments_patient_id"), "appointments", ["patient_id"], unique=False)
    op.create_index(
        "ix_appointments_release",
        "appointments",
        ["pay_by"],
        unique=False,
        sqlite_where=sa.text("status = 'approved' AND pay_by IS NOT NULL"),
        postgresql_where=sa.text("status = 'approved' AND pay_by IS NOT NULL"),
    )
    op.create_index(
        "ix_appointments_remind",
        "appointments",
        ["remind_at"],
        unique=False,
        sqlite_where=sa.text("status = 'confirmed' AND remind_at IS NOT NULL"),
        postgresql_where=sa.text("status = 'confirmed' AND remind_at IS NOT NULL"),
    )
    op.create_index(op.f("ix_appointments_series_id"), "appointments", ["series_id"], unique=False)
    op.create_index("ix_appointments_tenant_id", "appointments", ["tenant_id", "id"], unique=False)

    op.create_table(
        "visit_questions",
        sa.Column("appointment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("phone_key", sa.String(length=64), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["appointment_id"], ["appointments.id"], name=op.f("fk_visit_questions_appointment_id")
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_visit_questions_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_visit_questions")),
        sa.UniqueConstraint("appointment_id", name=op.f("uq_visit_questions_appointment_id")),
    )
    op.create_index("ix_visit_questions_phone", "visit_questions", ["phone_key", "until"], unique=False)

    op.create_table(
        "meetings",
        sa.Column("appointment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("provider", sa.String(length=10), nullable=False),
        sa.Column("wanted", sa.String(length=10), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("told_version", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.String(length=40), nullable=False),
        sa.Column("external_id", sa.String(length=120), nullable=False),
        sa.Column("join_url_sealed", sa.Text(), nullable=True),
        sa.Column("handed_url_sealed", sa.Text(), nullable=True),
        sa.Column("fell_back", sa.Boolean(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.String(length=300), nullable=False),
        sa.Column("knocked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("host_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("admitted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["appointment_id"], ["appointments.id"], name=op.f("fk_meetings_appointment_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_meetings_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_meetings")),
        sa.UniqueConstraint("appointment_id", name=op.f("uq_meetings_appointment_id")),
    )
    op.create_index(
        "ix_meetings_due",
        "meetings",
        ["next_at"],
        unique=False,
        sqlite_where=sa.text("next_at IS NOT NULL"),
        postgresql_where=sa.text("next_at IS NOT NULL"),
    )

    op.create_table(
        "queue_tickets",
        sa.Column("uid", sa.String(length=24), nullable=False),
        sa.Column("token", sa.String(length=40), nullable=False),
        sa.Column("desk", sa.String(length=30), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("appointment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("room", sa.String(length=40), nullable=False),
        sa.Column("called_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["appointment_id"], ["appointments.id"], name=op.f("fk_queue_tickets_appointment_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_queue_tickets_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_queue_tickets")),
        sa.UniqueConstraint("appointment_id", name=op.f("uq_queue_tickets_appointment_id")),
        sa.UniqueConstraint(
            "tenant_id", "desk", "day", "number", name=op.f("uq_queue_tickets_tenant_id_desk_day_number")
        ),
        sa.UniqueConstraint("token", name=op.f("uq_queue_tickets_token")),
        sa.UniqueConstraint("uid", name=op.f("uq_queue_tickets_uid")),
    )
    op.create_index("ix_queue_tickets_day", "queue_tickets", ["tenant_id", "day", "state"], unique=False)

    op.create_table(
        "waiting_wishes",
        sa.Column("uid", sa.String(length=24), nullable=False),
        sa.Column("token", sa.String(length=40), nullable=False),
        sa.Column("service_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("clinician_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("patient_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("first_day", sa.Date(), nullable=False),
        sa.Column("last_day", sa.Date(), nullable=False),
        sa.Column("name_sealed", sa.Text(), nullable=False),
        sa.Column("phone_sealed", sa.Text(), nullable=False),
        sa.Column("phone_hash", sa.String(length=64), nullable=False),
        sa.Column("locale", sa.String(length=5), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("look_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("appointment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("first_day <= last_day", name=op.f("ck_waiting_wishes_not_empty")),
        sa.ForeignKeyConstraint(["appointment_id"], ["appointments.id"], name=op.f("fk_waiting_wishes_appointment_id")),
        sa.ForeignKeyConstraint(["clinician_id"], ["clinicians.id"], name=op.f("fk_waiting_wishes_clinician_id")),
        sa.ForeignKeyConstraint(["patient_id"], ["patients.id"], name=op.f("fk_waiting_wishes_patient_id")),
        sa.ForeignKeyConstraint(["service_id"], ["services.id"], name=op.f("fk_waiting_wishes_service_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_waiting_wishes_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_waiting_wishes")),
        sa.UniqueConstraint("appointment_id", name=op.f("uq_waiting_wishes_appointment_id")),
        sa.UniqueConstraint("token", name=op.f("uq_waiting_wishes_token")),
        sa.UniqueConstraint("uid", name=op.f("uq_waiting_wishes_uid")),
    )
    op.create_index(
        "ix_waiting_wishes_offer",
        "waiting_wishes",
        ["look_at"],
        unique=False,
        sqlite_where=sa.text("state = 'waiting' AND look_at IS NOT NULL"),
        postgresql_where=sa.text("state = 'waiting' AND look_at IS NOT NULL"),
    )
    op.create_index("ix_waiting_wishes_phone", "waiting_wishes", ["tenant_id", "phone_hash"], unique=False)
    op.create_index("ix_waiting_wishes_service", "waiting_wishes", ["service_id", "state", "id"], unique=False)

    op.create_table(
        "bookings",
        sa.Column("uid", sa.String(length=24), nullable=False),
        sa.Column("service_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("clinician_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("name_sealed", sa.Text(), nullable=False),
        sa.Column("phone_sealed", sa.Text(), nullable=False),
        sa.Column("phone_hash", sa.String(length=64), nullable=False),
        sa.Column("locale", sa.String(length=5), nullable=False),
        sa.Column("branch_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("price_cents", sa.BigInteger(), nullable=False),
        sa.Column("shown", sa.String(length=16), nullable=False),
        sa.Column("wish_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("code_hash", sa.String(length=64), nullable=False),
        sa.Column("wrong_codes", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("appointment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["appointment_id"], ["appointments.id"], name=op.f("fk_bookings_appointment_id")),
        sa.ForeignKeyConstraint(["branch_id"], ["branches.id"], name=op.f("fk_bookings_branch_id")),
        sa.ForeignKeyConstraint(["clinician_id"], ["clinicians.id"], name=op.f("fk_bookings_clinician_id")),
        sa.ForeignKeyConstraint(["service_id"], ["services.id"], name=op.f("fk_bookings_service_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_bookings_tenant_id")),
        sa.ForeignKeyConstraint(["wish_id"], ["waiting_wishes.id"], name=op.f("fk_bookings_wish_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bookings")),
        sa.UniqueConstraint("appointment_id", name=op.f("uq_bookings_appointment_id")),
        sa.UniqueConstraint("uid", name=op.f("uq_bookings_uid")),
        sa.UniqueConstraint("wish_id", name=op.f("uq_bookings_wish_id")),
    )
    op.create_index("ix_bookings_phone", "bookings", ["tenant_id", "phone_hash", "created_at"], unique=False)
    op.create_index("ix_bookings_recent", "bookings", ["tenant_id", "created_at"], unique=False)

    op.create_table(
        "occupied_times",
        sa.Column("clinician_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("appointment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["appointment_id"], ["appointments.id"], name=op.f("fk_occupied_times_appointment_id")),
        sa.ForeignKeyConstraint(["clinician_id"], ["clinicians.id"], name=op.f("fk_occupied_times_clinician_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_occupied_times_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_occupied_times")),
        sa.UniqueConstraint("clinician_id", "starts_at", name=op.f("uq_occupied_times_clinician_id_starts_at")),
    )
    op.create_index(op.f("ix_occupied_times_appointment_id"), "occupied_times", ["appointment_id"], unique=False)

    op.create_table(
        "inbox",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("dedupe", sa.String(length=64), nullable=False),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("gateway_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("push_token", sa.String(length=40), nullable=True),
        sa.Column("request_token", sa.String(length=40), nullable=True),
        sa.Column("push_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("body_sealed", sa.Text(), nullable=False),
        sa.Column("remote_address", sa.String(length=45), nullable=False),
        sa.Column("is_foreign", sa.Boolean(), nullable=False),
        sa.Column("receipt", sa.String(length=20), nullable=True),
        sa.Column("ask_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("outcome", sa.String(length=300), nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("overdue_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("push_token IS NULL OR kind = 'stk'", name=op.f("ck_inbox_push_token")),
        sa.CheckConstraint(
            "request_token IS NULL OR kind IN ('result', 'timeout')", name=op.f("ck_inbox_request_token")
        ),
        sa.ForeignKeyConstraint(["gateway_id"], ["gateways.id"], name=op.f("fk_inbox_gateway_id")),
        sa.ForeignKeyConstraint(["push_id"], ["stk_pushes.id"], name=op.f("fk_inbox_push_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_inbox_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inbox")),
        sa.UniqueConstraint("dedupe", name=op.f("uq_inbox_dedupe")),
    )
    with op.batch_alter_table("inbox", schema=None) as batch_op:
        batch_op.create_index(
            "ix_inbox_emptied",
            ["id"],
            unique=False,
            sqlite_where=sa.text("body_sealed = ''"),
            postgresql_where=sa.text("body_sealed = ''"),
        )
        batch_op.create_index(
            "ix_inbox_overdue",
            ["id"],
            unique=False,
            sqlite_where=sa.text("overdue_at IS NOT NULL"),
            postgresql_where=sa.text("overdue_at IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_inbox_dead",
            ["tenant_id", "id"],
            unique=False,
            sqlite_where=sa.text("state = 'dead'"),
            postgresql_where=sa.text("state = 'dead'"),
        )
        batch_op.create_index(
            "ix_inbox_push",
            ["push_id"],
            unique=False,
            sqlite_where=sa.text("push_id IS NOT NULL"),
            postgresql_where=sa.text("push_id IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_inbox_receipt",
            ["tenant_id", "receipt"],
            unique=False,
            sqlite_where=sa.text("receipt IS NOT NULL"),
            postgresql_where=sa.text("receipt IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_inbox_to_ask",
            ["ask_at"],
            unique=False,
            sqlite_where=sa.text("ask_at IS NOT NULL"),
            postgresql_where=sa.text("ask_at IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_inbox_claims",
            ["gateway_id", "remote_address"],
            unique=False,
            sqlite_where=sa.text("kind = 'claim' AND done_at IS NULL"),
            postgresql_where=sa.text("kind = 'claim' AND done_at IS NULL"),
        )
        batch_op.create_index("ix_inbox_tenant", ["tenant_id", "received_at"], unique=False)
        batch_op.create_index(
            "ix_inbox_new",
            ["id"],
            unique=False,
            sqlite_where=sa.text("state = 'new'"),
            postgresql_where=sa.text("state = 'new'"),
        )
        batch_op.create_index(
            "ix_inbox_waiting",
            ["tenant_id", "push_id"],
            unique=False,
            sqlite_where=sa.text("state = 'waiting'"),
            postgresql_where=sa.text("state = 'waiting'"),
        )

    op.create_table(
        "invoice_lines",
        sa.Column("invoice_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("description", sa.String(length=200), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("amount_cents", sa.BigInteger(), nullable=False),
        sa.Column("price_item_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("amount_cents > 0", name=op.f("ck_invoice_lines_amount_positive")),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_invoice_lines_quantity_positive")),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoices.id"], name=op.f("fk_invoice_lines_invoice_id")),
        sa.ForeignKeyConstraint(["price_item_id"], ["price_items.id"], name=op.f("fk_invoice_lines_price_item_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_invoice_lines_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invoice_lines")),
    )
    op.create_index(op.f("ix_invoice_lines_invoice_id"), "invoice_lines", ["invoice_id"], unique=False)

    op.create_table(
        "transactions",
        sa.Column("uid", sa.String(length=24), nullable=False),
        sa.Column("provider", sa.String(length=10), nullable=False),
        sa.Column("environment", sa.String(length=10), nullable=False),
        sa.Column("receipt", sa.String(length=20), nullable=True),
        sa.Column("channel", sa.String(length=10), nullable=False),
        sa.Column("gateway_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("push_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("inbox_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("amount_cents", sa.BigInteger(), nullable=False),
        sa.Column("unallocated_cents", sa.BigInteger(), nullable=False),
        sa.Column("unplaced_why", sa.String(length=40), nullable=False),
        sa.Column("account", sa.String(length=40), nullable=False),
        sa.Column("phone_sealed", sa.Text(), nullable=True),
        sa.Column("phone_hash", sa.String(length=64), nullable=True),
        sa.Column("payer_shown", sa.String(length=80), nullable=False),
        sa.Column("payer_name_sealed", sa.Text(), nullable=True),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("merged_into_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("credited_cents", sa.BigInteger(), nullable=False),
        sa.Column("refunded_cents", sa.BigInteger(), nullable=False),
        sa.Column("reversed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("voided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("void_why", sa.String(length=300), nullable=False),
        sa.Column("ask_next_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("contradicted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("contradiction", sa.String(length=300), nullable=False),
        sa.Column("note", sa.String(length=300), nullable=False),
        sa.Column("recorded_by_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("amount_cents > 0", name=op.f("ck_transactions_amount_positive")),
        sa.CheckConstraint(
            "unallocated_cents >= 0 AND unallocated_cents <= amount_cents",
            name=op.f("ck_transactions_never_overspent"),
        ),
        sa.ForeignKeyConstraint(["gateway_id"], ["gateways.id"], name=op.f("fk_transactions_gateway_id")),
        sa.ForeignKeyConstraint(["inbox_id"], ["inbox.id"], name=op.f("fk_transactions_inbox_id")),
        sa.ForeignKeyConstraint(["merged_into_id"], ["transactions.id"], name=op.f("fk_transactions_merged_into_id")),
        sa.ForeignKeyConstraint(["push_id"], ["stk_pushes.id"], name=op.f("fk_transactions_push_id")),
        sa.ForeignKeyConstraint(["recorded_by_id"], ["users.id"], name=op.f("fk_transactions_recorded_by_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_transactions_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transactions")),
        sa.UniqueConstraint(
            "tenant_id", "environment", "receipt", name=op.f("uq_transactions_tenant_id_environment_receipt")
        ),
        sa.UniqueConstraint("uid", name=op.f("uq_transactions_uid")),
    )
    with op.batch_alter_table("transactions", schema=None) as batch_op:
        batch_op.create_index(
            "ix_transactions_manual",
            ["tenant_id", "id"],
            unique=False,
            sqlite_where=sa.text("provider = 'manual'"),
            postgresql_where=sa.text("provider = 'manual'"),
        )
        batch_op.create_index(
            "uq_transactions_push",
            ["push_id"],
            unique=True,
            sqlite_where=sa.text("push_id IS NOT NULL"),
            postgresql_where=sa.text("push_id IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_transactions_account",
            ["tenant_id", "account"],
            unique=False,
            sqlite_where=sa.text("push_id IS NULL"),
            postgresql_where=sa.text("push_id IS NULL"),
        )
        batch_op.create_index(
            "ix_transactions_provisional",
            ["tenant_id", "id"],
            unique=False,
            sqlite_where=sa.text("receipt IS NULL AND merged_into_id IS NULL AND reversed_at IS NULL"),
            postgresql_where=sa.text("receipt IS NULL AND merged_into_id IS NULL AND reversed_at IS NULL"),
        )
        batch_op.create_index(
            "ix_transactions_to_ask",
            ["ask_next_at"],
            unique=False,
            sqlite_where=sa.text("ask_next_at IS NOT NULL"),
            postgresql_where=sa.text("ask_next_at IS NOT NULL"),
        )
        batch_op.create_index("ix_transactions_occurred", ["tenant_id", "occurred_at", "id"], unique=False)
        batch_op.create_index("ix_transactions_payer", ["tenant_id", "phone_hash"], unique=False)
        batch_op.create_index(batch_op.f("ix_transactions_tenant_id"), ["tenant_id", "id"], unique=False)
        batch_op.create_index(
            "ix_transactions_to_place",
            ["tenant_id", "id", "environment", "unallocated_cents"],
            unique=False,
            sqlite_where=sa.text("unallocated_cents > 0"),
            postgresql_where=sa.text("unallocated_cents > 0"),
        )
    op.create_table(
        "shift_money",
        sa.Column("shift_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("transaction_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("tendered_cents", sa.BigInteger(), nullable=False),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["shift_id"], ["shifts.id"], name=op.f("fk_shift_money_shift_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_shift_money_tenant_id")),
        sa.ForeignKeyConstraint(["transaction_id"], ["transactions.id"], name=op.f("fk_shift_money_transaction_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shift_money")),
        sa.UniqueConstraint("transaction_id", name=op.f("uq_shift_money_transaction_id")),
    )
    op.create_index(op.f("ix_shift_money_shift_id"), "shift_money", ["shift_id"], unique=False)

    op.create_table(
        "allocations",
        sa.Column("transaction_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("customer_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("payment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("amount_cents", sa.BigInteger(), nullable=False),
        sa.Column("taken_back_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("amount_cents > 0", name=op.f("ck_allocations_amount_positive")),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], name=op.f("fk_allocations_customer_id")),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name=op.f("fk_allocations_payment_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_allocations_tenant_id")),
        sa.ForeignKeyConstraint(["transaction_id"], ["transactions.id"], name=op.f("fk_allocations_transaction_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_allocations")),
    )
    op.create_index(
        "ix_allocations_of_wallets",
        "allocations",
        ["tenant_id", "created_at"],
        unique=False,
        sqlite_where=sa.text("customer_id IS NOT NULL"),
        postgresql_where=sa.text("customer_id IS NOT NULL"),
    )
    op.create_index(op.f("ix_allocations_payment_id"), "allocations", ["payment_id"], unique=False)
    op.create_index(
        "ix_allocations_taken_back",
        "allocations",
        ["tenant_id", "id"],
        unique=False,
        sqlite_where=sa.text("taken_back_at IS NOT NULL"),
        postgresql_where=sa.text("taken_back_at IS NOT NULL"),
    )
    op.create_index("ix_allocations_transaction", "allocations", ["transaction_id"], unique=False)
    op.create_index(
        "uq_allocations_once",
        "allocations",
        ["transaction_id", "payment_id"],
        unique=True,
        sqlite_where=sa.text("taken_back_at IS NULL"),
        postgresql_where=sa.text("taken_back_at IS NULL"),
    )

    op.create_table(
        "sms_submissions",
        sa.Column("uid", sa.String(length=24), nullable=False),
        sa.Column("gateway_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("environment", sa.String(length=10), nullable=False),
        sa.Column("receipt", sa.String(length=20), nullable=False),
        sa.Column("payment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("stated_cents", sa.BigInteger(), nullable=False),
        sa.Column("text_sealed", sa.Text(), nullable=False),
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("network_hash", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("transaction_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["decided_by_id"], ["users.id"], name=op.f("fk_sms_submissions_decided_by_id")),
        sa.ForeignKeyConstraint(["gateway_id"], ["gateways.id"], name=op.f("fk_sms_submissions_gateway_id")),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name=op.f("fk_sms_submissions_payment_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_sms_submissions_tenant_id")),
        sa.ForeignKeyConstraint(
            ["transaction_id"], ["transactions.id"], name=op.f("fk_sms_submissions_transaction_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sms_submissions")),
        sa.UniqueConstraint(
            "tenant_id", "environment", "receipt", name=op.f("uq_sms_submissions_tenant_id_environment_receipt")
        ),
        sa.UniqueConstraint("uid", name=op.f("uq_sms_submissions_uid")),
    )
    with op.batch_alter_table("sms_submissions", schema=None) as batch_op:
        batch_op.create_index(
            "ix_sms_submissions_queued",
            ["tenant_id", "id"],
            unique=False,
            sqlite_where=sa.text("state = 'queued'"),
            postgresql_where=sa.text("state = 'queued'"),
        )
        batch_op.create_index("ix_sms_submissions_device", ["tenant_id", "device", "created_at"], unique=False)
        batch_op.create_index("ix_sms_submissions_opened", ["tenant_id", "opened_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_sms_submissions_payment_id"), ["payment_id"], unique=False)

    op.create_table(
        "unverified_reports",
        sa.Column("uid", sa.String(length=24), nullable=False),
        sa.Column("gateway_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("environment", sa.String(length=10), nullable=False),
        sa.Column("receipt", sa.String(length=20), nullable=False),
        sa.Column("amount_cents", sa.BigInteger(), nullable=False),
        sa.Column("phone_sealed", sa.Text(), nullable=True),
        sa.Column("phone_hash", sa.String(length=64), nullable=True),
        sa.Column("payer_shown", sa.String(length=80), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("decided_by_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("transaction_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["decided_by_id"], ["users.id"], name=op.f("fk_unverified_reports_decided_by_id")),
        sa.ForeignKeyConstraint(["gateway_id"], ["gateways.id"], name=op.f("fk_unverified_reports_gateway_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_unverified_reports_tenant_id")),
        sa.ForeignKeyConstraint(
            ["transaction_id"], ["transactions.id"], name=op.f("fk_unverified_reports_transaction_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_unverified_reports")),
        sa.UniqueConstraint(
            "tenant_id", "environment", "receipt", name=op.f("uq_unverified_reports_tenant_id_environment_receipt")
        ),
        sa.UniqueConstraint("uid", name=op.f("uq_unverified_reports_uid")),
    )
    with op.batch_alter_table("unverified_reports", schema=None) as batch_op:
        batch_op.create_index(
            "ix_unverified_reports_held",
            ["tenant_id", "id"],
            unique=False,
            sqlite_where=sa.text("state = 'held'"),
            postgresql_where=sa.text("state = 'held'"),
        )

    op.create_table(
        "refunds",
        sa.Column("uid", sa.String(length=24), nullable=False),
        sa.Column("transaction_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("payment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("gateway_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("method", sa.String(length=10), nullable=False),
        sa.Column("amount_cents", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("why", sa.String(length=300), nullable=False),
        sa.Column("environment", sa.String(length=10), nullable=False),
        sa.Column("phone_sealed", sa.Text(), nullable=True),
        sa.Column("requested_by_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("approved_by_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("idempotency_key", sa.String(length=60), nullable=True),
        sa.Column("asked_as", sa.String(length=32), nullable=False),
        sa.Column("receipt", sa.String(length=20), nullable=True),
        sa.Column("stated_cents", sa.BigInteger(), nullable=True),
        sa.Column("failure", sa.String(length=300), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("method IN ('b2c', 'reversal')", name=op.f("ck_refunds_method")),
        sa.CheckConstraint("amount_cents > 0", name=op.f("ck_refunds_amount_positive")),
        sa.ForeignKeyConstraint(["approved_by_id"], ["users.id"], name=op.f("fk_refunds_approved_by_id")),
        sa.ForeignKeyConstraint(["gateway_id"], ["gateways.id"], name=op.f("fk_refunds_gateway_id")),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name=op.f("fk_refunds_payment_id")),
        sa.ForeignKeyConstraint(["requested_by_id"], ["users.id"], name=op.f("fk_refunds_requested_by_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_refunds_tenant_id")),
        sa.ForeignKeyConstraint(["transaction_id"], ["transactions.id"], name=op.f("fk_refunds_transaction_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refunds")),
        sa.UniqueConstraint("tenant_id", "idempotency_key", name=op.f("uq_refunds_tenant_id_idempotency_key")),
        sa.UniqueConstraint("uid", name=op.f("uq_refunds_uid")),
    )
    op.create_index(
        "ix_refunds_done",
        "refunds",
        ["tenant_id", "ended_at"],
        unique=False,
        sqlite_where=sa.text("state = 'done'"),
        postgresql_where=sa.text("state = 'done'"),
    )
    op.create_index(
        "ix_refunds_due",
        "refunds",
        ["next_at"],
        unique=False,
        sqlite_where=sa.text("next_at IS NOT NULL"),
        postgresql_where=sa.text("next_at IS NOT NULL"),
    )
    op.create_index(op.f("ix_refunds_payment_id"), "refunds", ["payment_id"], unique=False)
    op.create_index(
        "ix_refunds_receipt",
        "refunds",
        ["tenant_id", "receipt"],
        unique=False,
        sqlite_where=sa.text("receipt IS NOT NULL"),
        postgresql_where=sa.text("receipt IS NOT NULL"),
    )
    op.create_index(
        "ix_refunds_requested",
        "refunds",
        ["tenant_id", "id"],
        unique=False,
        sqlite_where=sa.text("state = 'requested'"),
        postgresql_where=sa.text("state = 'requested'"),
    )
    op.create_index("ix_refunds_tenant_id", "refunds", ["tenant_id", "id"], unique=False)
    op.create_index(op.f("ix_refunds_transaction_id"), "refunds", ["transaction_id"], unique=False)
    op.create_index(
        "ix_refunds_unknown",
        "refunds",
        ["tenant_id", "id"],
        unique=False,
        sqlite_where=sa.text("state = 'unknown'"),
        postgresql_where=sa.text("state = 'unknown'"),
    )

    op.create_table(
        "mpesa_requests",
        sa.Column("gateway_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("refund_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("push_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("receipt", sa.String(length=20), nullable=True),
        sa.Column("token", sa.String(length=40), nullable=False),
        sa.Column("originator_conversation_id", sa.String(length=60), nullable=True),
        sa.Column("conversation_id", sa.String(length=60), nullable=True),
        sa.Column("network_hash", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("result_code", sa.String(length=20), nullable=True),
        sa.Column("answer", sa.String(length=300), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sends", sa.Integer(), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("kind IN ('b2c', 'reversal', 'status', 'balance')", name=op.f("ck_mpesa_requests_kind")),
        sa.CheckConstraint(
            "CASE WHEN refund_id IS NULL THEN 0 ELSE 1 END + CASE WHEN push_id IS NULL THEN 0 ELSE 1 END"
            " + CASE WHEN receipt IS NULL THEN 0 ELSE 1 END = CASE WHEN kind = 'balance' THEN 0 ELSE 1 END"
            " AND (kind IN ('status', 'balance') OR refund_id IS NOT NULL)",
            name=op.f("ck_mpesa_requests_of_its_kind"),
        ),
        sa.ForeignKeyConstraint(["gateway_id"], ["gateways.id"], name=op.f("fk_mpesa_requests_gateway_id")),
        sa.ForeignKeyConstraint(["push_id"], ["stk_pushes.id"], name=op.f("fk_mpesa_requests_push_id")),
        sa.ForeignKeyConstraint(["refund_id"], ["refunds.id"], name=op.f("fk_mpesa_requests_refund_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_mpesa_requests_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mpesa_requests")),
        sa.UniqueConstraint("token", name=op.f("uq_mpesa_requests_token")),
    )
    with op.batch_alter_table("mpesa_requests", schema=None) as batch_op:
        batch_op.create_index(
            "ix_mpesa_requests_open",
            ["gateway_id", "kind"],
            unique=False,
            sqlite_where=sa.text("state IN ('created', 'sent')"),
            postgresql_where=sa.text("state IN ('created', 'sent')"),
        )
        batch_op.create_index(batch_op.f("ix_mpesa_requests_conversation_id"), ["conversation_id"], unique=False)
        batch_op.create_index(
            "ix_mpesa_requests_due",
            ["next_at"],
            unique=False,
            sqlite_where=sa.text("next_at IS NOT NULL"),
            postgresql_where=sa.text("next_at IS NOT NULL"),
        )
        batch_op.create_index(
            batch_op.f("ix_mpesa_requests_originator_conversation_id"),
            ["originator_conversation_id"],
            unique=False,
        )
        batch_op.create_index(
            "uq_mpesa_requests_moves_refund",
            ["refund_id"],
            unique=True,
            sqlite_where=sa.text("kind IN ('b2c', 'reversal')"),
            postgresql_where=sa.text("kind IN ('b2c', 'reversal')"),
        )
        batch_op.create_index(
            "ix_mpesa_requests_refund",
            ["refund_id"],
            unique=False,
            sqlite_where=sa.text("refund_id IS NOT NULL"),
            postgresql_where=sa.text("refund_id IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_mpesa_requests_push",
            ["push_id"],
            unique=False,
            sqlite_where=sa.text("push_id IS NOT NULL"),
            postgresql_where=sa.text("push_id IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_mpesa_requests_receipt",
            ["receipt", "gateway_id"],
            unique=False,
            sqlite_where=sa.text("receipt IS NOT NULL"),
            postgresql_where=sa.text("receipt IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_mpesa_requests_moved",
            ["gateway_id", "sent_at"],
            unique=False,
            sqlite_where=sa.text("kind IN ('b2c', 'reversal')"),
            postgresql_where=sa.text("kind IN ('b2c', 'reversal')"),
        )

    op.create_table(
        "statement_rows",
        sa.Column("is_draft", sa.Boolean(), nullable=False),
        sa.Column("reconciliation_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("row_number", sa.Integer(), nullable=False),
        sa.Column("receipt", sa.String(length=20), nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("kind", sa.String(length=60), nullable=False),
        sa.Column("details_sealed", sa.Text(), nullable=True),
        sa.Column("account", sa.String(length=40), nullable=False),
        sa.Column("paid_in_cents", sa.BigInteger(), nullable=False),
        sa.Column("withdrawn_cents", sa.BigInteger(), nullable=False),
        sa.Column("balance_cents", sa.BigInteger(), nullable=True),
        sa.Column("bucket", sa.String(length=15), nullable=False),
        sa.Column("why", sa.String(length=300), nullable=False),
        sa.Column("transaction_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("owner_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("resolution", sa.String(length=300), nullable=False),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name=op.f("fk_statement_rows_owner_id")),
        sa.ForeignKeyConstraint(
            ["reconciliation_id"], ["reconciliations.id"], name=op.f("fk_statement_rows_reconciliation_id")
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_statement_rows_tenant_id")),
        sa.ForeignKeyConstraint(["transaction_id"], ["transactions.id"], name=op.f("fk_statement_rows_transaction_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_statement_rows")),
    )
    with op.batch_alter_table("statement_rows", schema=None) as batch_op:
        batch_op.create_index(
            "ix_statement_rows_missing",
            ["transaction_id"],
            unique=False,
            sqlite_where=sa.text("bucket = 'missing_there'"),
            postgresql_where=sa.text("bucket = 'missing_there'"),
        )
        batch_op.create_index("ix_statement_rows_bucket", ["reconciliation_id", "bucket"], unique=False)
        batch_op.create_index("ix_statement_rows_receipt", ["tenant_id", "receipt"], unique=False)

    op.create_table(
        "transaction_sources",
        sa.Column("transaction_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("channel", sa.String(length=10), nullable=False),
        sa.Column("inbox_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("tenant_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["inbox_id"], ["inbox.id"], name=op.f("fk_transaction_sources_inbox_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_transaction_sources_tenant_id")),
        sa.ForeignKeyConstraint(
            ["transaction_id"], ["transactions.id"], name=op.f("fk_transaction_sources_transaction_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transaction_sources")),
        sa.UniqueConstraint("transaction_id", "channel", name=op.f("uq_transaction_sources_transaction_id_channel")),
    )
    op.create_table(
        "sms_reports",
        sa.Column("provider_id", sa.String(length=100), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("why", sa.String(length=100), nullable=False),
        sa.Column("look_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sms_reports")),
        sa.UniqueConstraint("provider_id", name=op.f("uq_sms_reports_provider_id")),
    )
    op.create_index(
        "ix_sms_reports_due",
        "sms_reports",
        ["look_at"],
        unique=False,
        sqlite_where=sa.text("look_at IS NOT NULL"),
        postgresql_where=sa.text("look_at IS NOT NULL"),
    )

    protect()
    make_views()
    open_vouchers_at_routers()
    hold_places_at_routers()


def downgrade() -> None:
    for view in reversed(VIEWS):
        op.execute(f"DROP VIEW {view}")
    unprotect()
    for table in reversed(TABLES):  # their indexes go with them
        op.drop_table(table)
