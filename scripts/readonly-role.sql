-- A role for people and dashboards: it reads every table and view of breakerd, but not the keys of permits, and
-- writes nothing.
--
--   psql "$DATABASE_URL" -v role=breakerd_reader -v password=... -f scripts/readonly-role.sql
--
-- Run it as the role that breakerd connects as, if that may make roles, or as a superuser; again after an upgrade, for
-- what is new then (the role stays, its password is set again). New partitions of the history need nothing: they are
-- read through it. What a later release adds is not given away by itself: it may be a secret.
\set ON_ERROR_STOP on
\if :{?role}
\else
DO $$ BEGIN RAISE EXCEPTION 'which role? -v role=NAME'; END $$;
\endif
\if :{?password}
\else
DO $$ BEGIN RAISE EXCEPTION 'which password? -v password=...'; END $$;
\endif

-- The role that breakerd itself connects as must not become a reader by a slip.
SELECT EXISTS (
    SELECT FROM pg_roles
    WHERE rolname = :'role'
        AND (rolsuper OR rolname = current_user OR oid IN (SELECT relowner FROM pg_class WHERE relname = 'meta'))
) AS unfit \gset
\if :unfit
DO $$ BEGIN RAISE EXCEPTION 'this role owns the tables, or is a superuser: choose another name'; END $$;
\endif

BEGIN;
SELECT format('CREATE ROLE %I', :'role')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \gexec
ALTER ROLE :"role" LOGIN PASSWORD :'password';
ALTER ROLE :"role" SET default_transaction_read_only = on;
ALTER ROLE :"role" SET statement_timeout = '30s';
SELECT format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), :'role') \gexec
GRANT USAGE ON SCHEMA public TO :"role";
GRANT SELECT ON ALL TABLES IN SCHEMA public TO :"role";
REVOKE ALL ON meta, permit_key FROM :"role";
GRANT SELECT (only_row, store_id, timeline, created_at) ON meta TO :"role";
GRANT SELECT (number, created_at, seals_since) ON permit_key TO :"role";
COMMIT;
