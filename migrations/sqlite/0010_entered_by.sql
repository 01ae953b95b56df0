-- How each breaker came into its state, beside the state: known at once after a restart, without a search of the history.
-- JSON: out of which state, why, and what was counted in the state that was left. Empty: not known (a gap in the history,
-- or written by a version before 0010).

ALTER TABLE breaker ADD COLUMN entered_by TEXT;
