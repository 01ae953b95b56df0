-- Which act of an operator was the last one, so that a replica that did not know of it does not undo it.

ALTER TABLE breaker ADD COLUMN act_epoch bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN breaker.act_epoch IS 'Epoch of the last operator action that was applied to this breaker. 0 if there was none, or none since migration 0016.';
