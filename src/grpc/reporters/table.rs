//! The last batch of each reporter, bounded in bytes.
//!
//! An entry is charged its answer and [`ENTRY_BYTES`] to the client that sent it. When all of them exceed the bound, the client with the
//! most bytes loses its least recently used entry, until they fit. So a client that takes less than others loses nothing to them,
//! and one alone may have all there is. An entry is used by the requests of its reporter that are being answered; as long as
//! there is one it stays, however full the table is: there are never more of those than calls in flight.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use breaker::Time;
use bytes::Bytes;
use tokio::sync::Semaphore;

/// How long a reporter is remembered that sends nothing. Clients send a batch again within seconds.
pub(super) const REMEMBERED: Duration = Duration::from_mins(10);
/// Bytes of an entry beside its answer, about: the entry, its key, its turn, its places in the orders, and its client's account, which
/// may have no other entry.
pub(super) const ENTRY_BYTES: usize = 512;
/// Entries that one request removes because nobody has used them for [`REMEMBERED`]. It adds one at the most, so that they become
/// fewer.
const EXPIRED_AT_ONCE: usize = 4;

/// Whose reporter it is. A reporter of 16 random bytes is found from everywhere by clients without a name, since the
/// address of one may change with each connection; one with a name has its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) client: Option<Arc<str>>,
    pub(super) reporter: [u8; 16],
}

/// The items of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchSize {
    pub(crate) requests: usize,
    pub(crate) totals: usize,
}

/// The last batch of a reporter: all of its answer, or as much as there was when its RPC was cancelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LastBatch {
    pub(super) sequence: u64,
    pub(super) size: BatchSize,
    /// How many of its totals were added. (Its answer has a result for each request that was processed.)
    pub(super) totals_done: usize,
    pub(super) is_whole: bool,
    /// The answer as it is sent.
    pub(super) answer: Bytes,
}

#[derive(Debug)]
pub(super) struct Table {
    bytes_max: usize,
    bytes: usize,
    entries: HashMap<Key, Entry>,
    /// Entries that are not used now, by when they were.
    by_age: BTreeMap<u64, Key>,
    clients: HashMap<Arc<str>, Account>,
    /// Clients that have an entry in `by_age`, by their bytes.
    by_bytes: BTreeSet<(usize, Arc<str>)>,
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    /// One request of the reporter is processed at one time; the others wait in the order in which they came.
    turn: Arc<Semaphore>,
    /// Requests that use it now.
    users: usize,
    /// Whom it is charged to.
    client: Arc<str>,
    /// Its number in `by_age`; of one that is used now, the number that it had.
    used: u64,
    used_at: Time,
    last: Option<LastBatch>,
}

impl Entry {
    fn bytes(&self) -> usize {
        ENTRY_BYTES + self.last.as_ref().map_or(0, |last| last.answer.len())
    }
}

/// What one client has.
#[derive(Debug, Default)]
struct Account {
    entries: usize,
    bytes: usize,
    by_age: BTreeSet<u64>,
}

impl Table {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            entries: HashMap::new(),
            by_age: BTreeMap::new(),
            clients: HashMap::new(),
            by_bytes: BTreeSet::new(),
            uses: 0,
        }
    }

    /// Begins the use of an entry, which is made if there is none; it is charged to `client` from here on. Each use ends with
    /// [`Table::end_use`].
    pub(super) fn begin_use(&mut self, key: &Key, client: &Arc<str>, now: Time) -> Arc<Semaphore> {
        self.remove_expired(now);
        if let Some(mut entry) = self.take_out(key) {
            // One that has just expired may still be here.
            if entry.users == 0 && now.since(entry.used_at) >= REMEMBERED {
                entry.last = None;
            }
            entry.users += 1;
            entry.client = Arc::clone(client);
            let turn = Arc::clone(&entry.turn);
            self.put(key, entry);
            return turn;
        }
        let turn = Arc::new(Semaphore::new(1));
        let entry = Entry {
            turn: Arc::clone(&turn),
            users: 1,
            client: Arc::clone(client),
            used: 0,
            used_at: now,
            last: None,
        };
        self.put(key, entry);
        turn
    }

    /// The last batch of an entry that is used.
    pub(super) fn last(&self, key: &Key) -> Option<&LastBatch> {
        self.entries.get(key)?.last.as_ref()
    }

    /// Replaces the last batch of an entry that is used.
    pub(super) fn set_last(&mut self, key: &Key, last: LastBatch) {
        if let Some(mut entry) = self.take_out(key) {
            entry.last = Some(last);
            self.put(key, entry);
        }
    }

    /// Ends a use. Nothing is kept of a reporter of which no batch was processed.
    pub(super) fn end_use(&mut self, key: &Key, now: Time) {
        let Some(mut entry) = self.take_out(key) else { return };
        entry.users -= 1;
        entry.used_at = now;
        self.uses += 1;
        entry.used = self.uses;
        if entry.users > 0 || entry.last.is_some() {
            self.put(key, entry);
        }
        self.make_room();
    }

    /// Removes the least recently used entries of the clients that have the most, until the bytes fit.
    fn make_room(&mut self) {
        while self.bytes > self.bytes_max {
            // None: all that are left are used.
            let Some((_, client)) = self.by_bytes.last() else { return };
            let oldest = self.clients.get(client).and_then(|account| account.by_age.first());
            let Some(key) = oldest.and_then(|used| self.by_age.get(used)).cloned() else { return };
            self.take_out(&key);
        }
    }

    fn remove_expired(&mut self, now: Time) {
        for _ in 0..EXPIRED_AT_ONCE {
            let Some((_, key)) = self.by_age.first_key_value() else { return };
            let key = key.clone();
            if self.entries.get(&key).is_some_and(|entry| now.since(entry.used_at) < REMEMBERED) {
                return;
            }
            self.take_out(&key);
        }
    }

    /// Removes an entry, from all orders and from the account of its client.
    fn take_out(&mut self, key: &Key) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.bytes -= entry.bytes();
        if entry.users == 0 {
            self.by_age.remove(&entry.used);
        }
        self.change_account(&entry.client, |account| {
            account.entries -= 1;
            account.bytes -= entry.bytes();
            account.by_age.remove(&entry.used);
        });
        Some(entry)
    }

    /// The other way.
    fn put(&mut self, key: &Key, entry: Entry) {
        self.bytes += entry.bytes();
        let is_used = entry.users > 0;
        if !is_used {
            self.by_age.insert(entry.used, key.clone());
        }
        self.change_account(&entry.client, |account| {
            account.entries += 1;
            account.bytes += entry.bytes();
            if !is_used {
                account.by_age.insert(entry.used);
            }
        });
        self.entries.insert(key.clone(), entry);
    }

    fn change_account(&mut self, client: &Arc<str>, change: impl FnOnce(&mut Account)) {
        let account = self.clients.entry(Arc::clone(client)).or_default();
        let before = (account.bytes, Arc::clone(client));
        change(account);
        let (after, has_idle, is_empty) = (account.bytes, !account.by_age.is_empty(), account.entries == 0);
        self.by_bytes.remove(&before);
        if has_idle {
            self.by_bytes.insert((after, Arc::clone(client)));
        }
        if is_empty {
            self.clients.remove(client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time::from_micros(1_700_000_000_000_000);

    fn key(number: u32) -> Key {
        let mut reporter = [0; 16];
        reporter[..4].copy_from_slice(&number.to_be_bytes());
        Key { client: None, reporter }
    }

    fn batch(sequence: u64, answer_bytes: usize) -> LastBatch {
        LastBatch {
            sequence,
            size: BatchSize { requests: 1, totals: 0 },
            totals_done: 0,
            is_whole: true,
            answer: vec![0; answer_bytes].into(),
        }
    }

    /// Room for so many entries with answers of half a kilobyte.
    fn table(entries: usize) -> Table {
        Table::new(entries * 2 * ENTRY_BYTES)
    }

    fn keep(table: &mut Table, number: u32, client: &str, now: Time) {
        table.begin_use(&key(number), &client.into(), now);
        table.set_last(&key(number), batch(1, ENTRY_BYTES));
        table.end_use(&key(number), now);
    }

    fn kept(table: &Table, numbers: impl IntoIterator<Item = u32>) -> Vec<u32> {
        numbers.into_iter().filter(|number| table.last(&key(*number)).is_some()).collect()
    }

    /// That the accounts say what the entries come to.
    fn check(table: &Table) {
        let bytes: usize = table.entries.values().map(Entry::bytes).sum();
        let idle = table.entries.values().filter(|entry| entry.users == 0).count();
        assert_eq!((table.bytes, table.by_age.len()), (bytes, idle));
        for (client, account) in &table.clients {
            let own = || table.entries.values().filter(|entry| entry.client == *client);
            assert_eq!((account.entries, account.bytes), (own().count(), own().map(Entry::bytes).sum()));
            let has_idle = own().any(|entry| entry.users == 0);
            assert_eq!(table.by_bytes.contains(&(account.bytes, Arc::clone(client))), has_idle);
        }
        assert_eq!(table.by_bytes.len(), table.clients.values().filter(|it| !it.by_age.is_empty()).count());
        assert!(table.clients.values().all(|account| account.entries > 0));
    }

    #[test]
    fn the_least_recently_used_entry_of_a_client_goes_first() {
        let mut table = table(3);
        for number in [1, 2, 3, 1, 4, 5] {
            keep(&mut table, number, "a", START);
            check(&table);
        }
        assert_eq!(kept(&table, 1..=5), [1, 4, 5]);
        assert!(table.bytes <= table.bytes_max);
    }

    #[test]
    fn a_client_that_takes_more_loses_its_own_and_no_others() {
        let mut table = table(10);
        for number in 0..3 {
            keep(&mut table, number, "small", START);
        }
        for number in 100..1_000 {
            keep(&mut table, number, "large", START);
        }
        check(&table);
        assert_eq!(kept(&table, 0..1_000), [0, 1, 2, 993, 994, 995, 996, 997, 998, 999]);
        // A third pays with what the largest has, until each has a share.
        for number in 2_000..2_100 {
            keep(&mut table, number, "third", START);
        }
        check(&table);
        let counts: Vec<_> =
            ["small", "large", "third"].iter().map(|client| table.clients[*client].entries).collect();
        assert!(counts[0] == 3 && counts[1] >= 3 && counts.iter().sum::<usize>() == 10, "{counts:?}");
    }

    #[test]
    fn an_entry_that_is_used_stays_however_full_the_table_is() {
        let mut table = table(1);
        let client: Arc<str> = "a".into();
        table.begin_use(&key(1), &client, START);
        table.set_last(&key(1), batch(7, 100 * ENTRY_BYTES));
        for number in 2..10 {
            keep(&mut table, number, "a", START);
        }
        check(&table);
        assert_eq!(kept(&table, 1..10), [1], "and nothing fits beside it");
        table.end_use(&key(1), START);
        check(&table);
        assert_eq!((kept(&table, 1..10), table.bytes), (vec![], 0), "it is larger than all there is");
        assert!(table.entries.is_empty() && table.clients.is_empty());
    }

    #[test]
    fn a_reporter_that_is_silent_is_forgotten_and_its_room_is_free() {
        let mut table = table(100);
        for number in 0..10 {
            keep(&mut table, number, "a", START);
        }
        let almost = START + REMEMBERED - Duration::from_micros(1);
        keep(&mut table, 0, "a", almost);
        assert_eq!(kept(&table, 0..10).len(), 10);
        for number in 20..23 {
            keep(&mut table, number, "a", START + REMEMBERED);
        }
        check(&table);
        assert_eq!(kept(&table, 0..30), [0, 20, 21, 22], "four go at a time");
        // Nothing else has come since: it is still here, and forgotten all the same.
        let later = almost + REMEMBERED;
        table.begin_use(&key(0), &"a".into(), later);
        assert_eq!(table.last(&key(0)), None);
        table.end_use(&key(0), later);
        check(&table);
        assert_eq!(kept(&table, 0..30), [20, 21, 22], "nothing is kept of a use without a batch");
    }

    #[test]
    fn an_entry_follows_its_client_to_another_address() {
        let mut table = table(10);
        keep(&mut table, 1, "anonymous@::1", START);
        keep(&mut table, 1, "anonymous@127.0.0.1", START);
        check(&table);
        assert_eq!(table.clients.keys().map(|client| &**client).collect::<Vec<_>>(), ["anonymous@127.0.0.1"]);
    }
}
