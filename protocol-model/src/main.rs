//! Explores the model, and prints what `docs/replication.md` has in its tables.
//!
//! `protocol-model` explores everything. `protocol-model small` and `large` explore those setups, `rules` leaves out each rule. The name
//! of a setup explores that one, the name of a rule prints the story of what happens without it.

use std::process::ExitCode;

use protocol_model::checker::explore;
use protocol_model::rule::Rule;
use protocol_model::setup::{Leases, Setup};
use protocol_model::setups::{LARGE, SMALL, left_out};
use protocol_model::story::tell;

fn main() -> ExitCode {
    let what = std::env::args().nth(1).unwrap_or_default();
    let mut holds = true;
    if let Some(rule) = Rule::ALL.into_iter().find(|rule| rule.to_string() == what) {
        return show(rule);
    }
    if what.is_empty() || what == "rules" {
        holds &= leave_out_each();
    }
    if what != "rules" {
        println!("| setup | replicas | P | S | trips | acts | faults | states | steps | depth | seconds |");
        println!("|---|---|---|---|---|---|---|---|---|---|---|");
    }
    for (size, setups) in [("small", &SMALL[..]), ("large", &LARGE[..])] {
        for setup in setups {
            if what.is_empty() || what == size || what == setup.name {
                holds &= row(setup);
            }
        }
    }
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Explores a setup whole.
fn row(setup: &Setup) -> bool {
    #[expect(clippy::disallowed_methods, reason = "how long the exploration takes, for the table")]
    let begun = std::time::Instant::now();
    let report = explore(setup);
    let (columns, seconds) = (setup.columns(), begun.elapsed().as_secs_f32());
    println!("{columns} {} | {} | {} | {seconds:.1} |", report.states, report.steps, report.depth);
    if let Some(violation) = &report.violation {
        println!("{}", tell(setup, violation));
    }
    report.violation.is_none()
}

fn leave_out_each() -> bool {
    println!("| rule left out | what does not hold then | steps | states until then |");
    println!("|---|---|---|---|");
    let mut all_fall = true;
    for rule in Rule::ALL {
        let (setup, property) = left_out(rule);
        let report = explore(&setup);
        if let Some(violation) = report.violation {
            all_fall &= violation.property == property;
            println!("| {rule} | {} | {} | {} |", violation.property, violation.trace.len(), report.states);
        } else {
            all_fall = false;
            println!("| {rule} | nothing: it is not needed | | {} |", report.states);
        }
    }
    println!();
    all_fall
}

fn show(rule: Rule) -> ExitCode {
    let (setup, _) = left_out(rule);
    let leases = if setup.leases == Leases::Last { ", leases do not end" } else { "" };
    println!(
        "without {rule}: {} replicas, P = {}, S = {}, {} failing calls, {} acts, {} faults{leases}",
        setup.replicas, setup.probes, setup.successes, setup.failures, setup.acts, setup.faults
    );
    match explore(&setup).violation {
        Some(violation) => {
            print!("{}", tell(&setup, &violation));
            ExitCode::SUCCESS
        }
        None => ExitCode::FAILURE,
    }
}
