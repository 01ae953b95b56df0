-- Which act of an operator was the last one, as in Postgres: migrations/postgres says what the column holds.

ALTER TABLE breaker ADD COLUMN act_epoch INTEGER NOT NULL DEFAULT 0;
