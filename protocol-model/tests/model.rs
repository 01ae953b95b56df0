//! The protocol holds in every state of the small setups, and without any one of its rules it does not.

use protocol_model::checker::explore;
use protocol_model::rule::Rule;
use protocol_model::setups::{SMALL, left_out};
use protocol_model::story::tell;

/// The page with the tables.
const PAGE: &str = include_str!("../../docs/replication.md");

#[test]
fn the_protocol_holds_in_every_state_of_the_small_setups() {
    for setup in &SMALL {
        let report = explore(setup);
        if let Some(violation) = report.violation {
            panic!("{}:\n{}", setup.name, tell(setup, &violation));
        }
        let row = format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            setup.name,
            setup.replicas,
            setup.probes,
            setup.successes,
            setup.failures,
            setup.acts,
            setup.faults,
            report.states
        );
        assert!(PAGE.contains(&row), "docs/replication.md has other numbers than this row: {row}");
    }
}

#[test]
fn without_any_one_rule_a_property_falls() {
    for rule in Rule::ALL {
        let (setup, property) = left_out(rule);
        let report = explore(&setup);
        let violation = report.violation.unwrap_or_else(|| panic!("nothing falls without {rule}"));
        assert_eq!(violation.property, property, "without {rule}:\n{}", tell(&setup, &violation));
        let row = format!("| {rule} | {property} |");
        assert!(PAGE.contains(&row), "docs/replication.md lacks a row that begins so: {row}");
    }
}

#[test]
fn a_story_names_the_replicas_alike_from_its_beginning_to_its_end() {
    let (setup, _) = left_out(Rule::ForcedOpenUnguarded);
    let violation = explore(&setup).violation.expect("a violation");
    assert_eq!(
        tell(&setup, &violation),
        "  1. an operator sets FORCED_OPEN through A
  2. the store gets A's FORCED_OPEN: WON; FORCED_OPEN in epoch 1
  3. B reads the row: FORCED_OPEN in epoch 1
  4. an operator resets the breaker through B
  5. an operator sets FORCED_OPEN through A
  6. A has no answer to A's FORCED_OPEN: it takes FORCED_OPEN alone, and journals it
  7. the store gets B's RESET: WON; CLOSED in epoch 2
  8. the store gets A's FORCED_OPEN: LOST; CLOSED in epoch 2
  9. A gets the answer to A's FORCED_OPEN: LOST; CLOSED in epoch 2
     violated: an emergency stop stands until a later RESET
"
    );
}
