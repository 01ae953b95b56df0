//! The protocol holds in every state of the small setups, and without any one of its rules it does not.

use std::cell::RefCell;
use std::collections::HashSet;
use std::mem::{Discriminant, discriminant};

use protocol_model::action::Action;
use protocol_model::checker::{Model, explore};
use protocol_model::message::Verdict;
use protocol_model::property::Property;
use protocol_model::rule::Rule;
use protocol_model::setup::Setup;
use protocol_model::setups::{SMALL, left_out};
use protocol_model::story::tell;
use protocol_model::world::World;

/// Kinds of steps, and of answers: as many as their enums have.
const STEPS: usize = 24;
const VERDICTS: usize = 9;

/// The page with the tables.
const PAGE: &str = include_str!("../../docs/replication.md");

#[test]
fn the_protocol_holds_in_every_state_of_the_small_setups() {
    for setup in &SMALL {
        let report = explore(setup);
        if let Some(violation) = report.violation {
            panic!("{}:\n{}", setup.name, tell(setup, &violation));
        }
        let row = format!("{} {} |", setup.columns(), report.states);
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

/// A setup that notes which steps happened, and which answers were given.
struct Noting<'a> {
    setup: &'a Setup,
    steps: RefCell<HashSet<Discriminant<Action>>>,
    verdicts: RefCell<HashSet<Verdict>>,
}

impl Model for Noting<'_> {
    type State = World;
    type Action = Action;

    fn initial(&self) -> World {
        self.setup.initial()
    }

    fn actions(&self, world: &World) -> Vec<Action> {
        self.verdicts.borrow_mut().extend(world.answers.iter().map(|answer| answer.verdict));
        let actions = self.setup.actions(world);
        self.steps.borrow_mut().extend(actions.iter().map(discriminant));
        actions
    }

    fn next(&self, world: &World, action: &Action) -> (World, Option<Property>) {
        self.setup.next(world, action)
    }

    fn is_limited(&self, action: &Action) -> bool {
        self.setup.is_limited(action)
    }

    fn is_good(&self, world: &World) -> bool {
        self.setup.is_good(world)
    }
}

#[test]
fn everything_that_can_happen_does_in_the_small_setups() {
    let (mut steps, mut verdicts) = (HashSet::new(), HashSet::new());
    for setup in &SMALL {
        let noting = Noting { setup, steps: RefCell::default(), verdicts: RefCell::default() };
        explore(&noting);
        steps.extend(noting.steps.into_inner());
        verdicts.extend(noting.verdicts.into_inner());
    }
    // All but the two that need a rule to be left out.
    assert_eq!(steps.len(), STEPS - 2);
    assert_eq!(verdicts.len(), VERDICTS, "{verdicts:?}");
}
