//! What callers were told, held against the history.

use std::collections::{BTreeMap, BTreeSet};

use breakerd_api::v1::State;

use crate::support::postgres;

/// Every state that a caller was told of: breaker, epoch, state.
#[derive(Debug, Default)]
pub(super) struct Told(BTreeSet<(String, u64, State)>);

impl Told {
    pub(super) fn note(&mut self, service: &str, epoch: u64, state: State) {
        self.0.insert((service.to_owned(), epoch, state));
    }

    /// Each epoch is in the history once, without a gap, and so is every state that a caller was told of: as what stood, or
    /// as what was decided alone and did not come to stand. How many breakers have a history.
    pub(super) async fn compare(&self, url: &str) -> usize {
        let rows = "SELECT service, to_state, epoch, base_epoch FROM transition WHERE NOT shadow";
        let rows: Vec<(String, String, Option<i64>, i64)> =
            sqlx::query_as(rows).fetch_all(&mut postgres(url).await).await.unwrap();
        let mut epochs = BTreeMap::<String, BTreeSet<u64>>::new();
        let mut known = BTreeSet::new();
        for (service, state, epoch, base) in rows {
            let state = State::from_str_name(&format!("STATE_{state}")).unwrap();
            if let Some(epoch) = epoch {
                let is_new = epochs.entry(service.clone()).or_default().insert(epoch.unsigned_abs());
                assert!(is_new, "{service}: epoch {epoch} is there twice");
            }
            let epoch = epoch.unwrap_or(base + 1).unsigned_abs();
            known.insert((service, epoch, state));
        }
        for (service, epochs) in &epochs {
            assert!(epochs.iter().copied().eq(1..=epochs.len() as u64), "{service}: {epochs:?}");
        }
        let missing: Vec<_> =
            self.0.iter().filter(|told| told.1 > 0 && !known.contains(*told)).take(5).collect();
        assert!(missing.is_empty(), "callers were told of what is not in the history: {missing:?}");
        println!("{} states that callers were told of are in the history", self.0.len());
        epochs.len()
    }
}
