//! Where breakers stand in the registry, and what makes two of them differ.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

fn registry(issuer: u64) -> Registry {
    let limits = Limits {
        breakers_max: 2_000,
        breakers_per_service_max: 2_000,
        breakers_per_caller_max: 2_000,
        own_series_max: 10,
        idle_ttl: Duration::from_hours(1),
    };
    let identity =
        StoreIdentity { seals: Seals::new(&[7; 16]), timeline: 0, issuer, numbering: Numbering::Own };
    Registry::new(limits, &identity, Arc::default())
}

#[test]
fn breakers_are_spread_over_the_shards() {
    let registry = registry(1);
    for number in 0..1_000 {
        let name = number.to_string();
        let id = registry.seals.key_id("web", &name);
        let owner = || Owner::of(&registry.seals, "web", None);
        registry.with_breaker(id, "web", &name, owner, Time::ZERO, |_, _| ()).unwrap();
    }
    let sizes: Vec<_> = registry.shards.iter().map(|shard| shard.read().live.len()).collect();
    assert_eq!(sizes.iter().sum::<usize>(), 1_000);
    let most = 1_000 / SHARDS * 3;
    assert!(sizes.iter().all(|size| (1..=most).contains(size)), "{sizes:?}");
}

#[test]
fn a_breaker_draws_other_numbers_in_each_process_and_no_two_of_a_process_draw_the_same() {
    // Processes that differ in one bit, whichever it is.
    let issuers = (0..64).map(|bit| 1 << bit).chain([0]);
    let mut salts: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    for issuer in issuers {
        let registry = registry(issuer);
        for name in ["a", "b", "c"] {
            let id = registry.seals.key_id("web", name);
            salts.entry(id.hash()).or_default().insert(registry.identity(id, Time::ZERO).salt);
        }
    }
    assert_eq!(salts.values().map(BTreeSet::len).collect::<Vec<_>>(), [65; 3]);
}
