//! Which transitions a target is told of.

use breaker::{Key, State};

use crate::auth::Pattern;

/// Which transitions: those that every part of it takes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Of services like one of these; empty: of all.
    pub services: Vec<Pattern>,
    /// Of breakers with a name like one of these; empty: of all.
    pub names: Vec<Pattern>,
    /// Into one of these states; empty: into any.
    pub states: Vec<State>,
    /// Not of those from `HALF_OPEN` back to `OPEN`: the dependency is as dead as it was.
    pub without_reopened: bool,
}

impl Filter {
    /// Whether it takes a transition.
    pub fn takes(&self, key: &Key, from: State, to: State) -> bool {
        let is_like = |patterns: &[Pattern], text: &str| {
            patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(text))
        };
        let is_reopened = from == State::HalfOpen && to == State::Open;
        (self.states.is_empty() || self.states.contains(&to))
            && !(self.without_reopened && is_reopened)
            && is_like(&self.services, key.service())
            && is_like(&self.names, key.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_to_take_it() {
        let key = Key::new("billing.eu", "eu/west").unwrap();
        let patterns =
            |texts: &[&str]| texts.iter().filter_map(|text| Pattern::of_names(text)).collect::<Vec<_>>();
        let filter = |services: &[&str], names: &[&str], states: &[State]| Filter {
            services: patterns(services),
            names: patterns(names),
            states: states.to_vec(),
            without_reopened: false,
        };
        for (filter, takes) in [
            (Filter::default(), true),
            (filter(&["billing.*"], &["eu/*"], &[State::Open]), true),
            (filter(&["payments", "billing.eu"], &[], &[]), true),
            (filter(&["payments"], &[], &[]), false),
            (filter(&[], &["us/*"], &[]), false),
            (filter(&[], &[], &[State::Closed, State::ForcedOpen]), false),
        ] {
            assert_eq!(filter.takes(&key, State::Closed, State::Open), takes, "{filter:?}");
        }
        let quiet = Filter { without_reopened: true, ..Filter::default() };
        assert!(
            quiet.takes(&key, State::Closed, State::Open)
                && quiet.takes(&key, State::HalfOpen, State::Closed)
        );
        assert!(!quiet.takes(&key, State::HalfOpen, State::Open));
    }
}
