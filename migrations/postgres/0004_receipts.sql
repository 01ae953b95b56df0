-- Receipts are let go of by their age, as many as there are rows of history: without this each look went through all of them.
CREATE INDEX receipt_recorded_at ON receipt (recorded_at);
