-- What the journal's writer pays for each transition.

-- Room on each page for the next version of its rows: an update then adds no index entry. Rows of before move there as they change.
ALTER TABLE breaker SET (fillfactor = 50);

-- Receipts are only ever added, and deleted by age: a few bytes for a range of pages say as much as an entry for each.
DROP INDEX receipt_recorded_at;
CREATE INDEX receipt_recorded_at ON receipt USING brin (recorded_at);
