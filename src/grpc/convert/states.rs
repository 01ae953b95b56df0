//! The states of a filter.

use breaker::State;
use breakerd_api::enums::from_number;
use breakerd_api::v1;

use super::super::violations::{Kind, Violations};

/// Entries of a filter of states: there are six, and a repeat does no harm.
const STATES_MAX: usize = 64;

/// The states of a filter, each once.
pub(super) fn states(numbers: &[i32], violations: &mut Violations) -> Vec<State> {
    let mut states = Vec::new();
    if numbers.len() > STATES_MAX {
        let problem = format!("too many entries: {}, the limit is {STATES_MAX}", numbers.len());
        violations.add("states", Kind::TooMany, problem);
        return states;
    }
    for (index, number) in numbers.iter().enumerate() {
        let Ok(state) = from_number::<State, v1::State>(*number) else {
            let problem = format!("unknown value {number}: must be a State");
            violations.add(format!("states[{index}]"), Kind::UnknownValue, problem);
            continue;
        };
        if !states.contains(&state) {
            states.push(state);
        }
    }
    states
}
