-- Columns that only several replicas on Postgres write: rows are the same in both databases.

ALTER TABLE breaker ADD COLUMN reconciled_epoch INTEGER;
ALTER TABLE "transition" ADD COLUMN timeline INTEGER;
