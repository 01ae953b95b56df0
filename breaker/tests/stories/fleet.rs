//! Stories of a breaker in several replicas, which tell each other what they count.
//!
//! | event | answer |
//! |---|---|
//! | `A fail`, `A succeed`, `A slow`, `A slow fail`, `A ignore` (`by X`, `x5`) | `ok` |
//! | `A publish` | what it publishes of its own: `3 of 5 failed, 2 in a row`, with the age of what is in its window |
//! | `A look` | it reads what others published in the last 0.6 s: `ok` |
//! | `look` | all publish, then all look: `ok` |
//! | `A show` | what it has counted altogether |
//! | `A set failure_threshold 3`, `A reset`, `A metrics only` | `ok` |
//!
//! Transitions stand behind the answer, with the name of the replica.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use breaker::{
    Attribution, Breaker, CallerId, CountsInterval, Identity, Numbering, Outcome, Override, OverrideKind,
    PublishedCounts, ReadCounts, Report, Scope, State, Ticket, Time, Transition, WallOffset,
};

use crate::thresholds::thresholds;

/// A whole number of slices of every window.
const START: Time = Time::from_micros(1_000_000_800_000_000);

/// Plays a story to one breaker in each of `replicas`, and compares its answers. `slow_call_duration_threshold` is 1.
#[track_caller]
pub(crate) fn check(replicas: &str, settings: &str, story: &str) {
    let mut fleet = Fleet::new(replicas, settings);
    let (mut expected, mut actual) = (String::new(), String::new());
    for line in story.lines() {
        let line = line.split("//").next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let (event, answer) = line.split_once(':').unwrap_or_else(|| panic!("no answer in {line:?}"));
        let got = fleet.apply(event.trim());
        writeln!(expected, "{}: {}", event.trim(), answer.trim()).unwrap();
        writeln!(actual, "{}: {got}", event.trim()).unwrap();
    }
    assert!(expected == actual, "\n--- expected\n{expected}--- answered\n{actual}");
}

struct Fleet {
    now: Time,
    breakers: BTreeMap<String, Breaker>,
    published: BTreeMap<String, (Time, PublishedCounts)>,
    log: String,
}

impl Fleet {
    fn new(replicas: &str, settings: &str) -> Self {
        let settings = format!("{settings}, slow_call_duration_threshold 1");
        let identity = Identity {
            key_hash: 7,
            salt: 1,
            first_number: 1_000,
            numbering: Numbering::Store,
            stagger: Duration::ZERO,
            wall: WallOffset::ZERO,
        };
        let breaker = || Breaker::new(thresholds(&settings), 1, identity, START);
        let breakers = replicas.split_whitespace().map(|name| (name.to_owned(), breaker())).collect();
        Self { now: START, breakers, published: BTreeMap::new(), log: String::new() }
    }

    fn apply(&mut self, line: &str) -> String {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        if words[0].parse::<f64>().is_ok() {
            self.now = START + Duration::try_from_secs_f64(words.remove(0).parse().unwrap()).unwrap();
        }
        let answer = match words[..] {
            ["look"] => {
                let names: Vec<_> = self.breakers.keys().cloned().collect();
                for name in &names {
                    self.publish(name);
                }
                for name in &names {
                    self.look(name);
                }
                "ok".to_owned()
            }
            [name, "publish"] => self.publish(name),
            [name, "look"] => {
                self.look(name);
                "ok".to_owned()
            }
            [name, "show"] => self.show(name),
            [name, ref rest @ ..] => {
                self.tell(name, rest);
                "ok".to_owned()
            }
            [] => unreachable!("a line has a word"),
        };
        answer + &std::mem::take(&mut self.log)
    }

    fn breaker(&mut self, name: &str) -> &mut Breaker {
        self.breakers.get_mut(name).unwrap_or_else(|| panic!("no replica {name:?}"))
    }

    fn tell(&mut self, name: &str, words: &[&str]) {
        let now = self.now;
        let by = Attribution { actor: "ann".to_owned(), reason: "a drill".to_owned() };
        let transitions = match words {
            ["set", rest @ ..] => {
                let settings = format!("{}, slow_call_duration_threshold 1", rest.join(" "));
                self.breaker(name).set_thresholds(thresholds(&settings), 2, now)
            }
            ["reset"] => self.breaker(name).reset(by, now).1,
            ["metrics", "only"] => {
                let set_by = Override {
                    kind: OverrideKind::MetricsOnly,
                    scope: Scope::Breaker,
                    expires_at: None,
                    ttl: None,
                    actor: by.actor,
                    reason: by.reason,
                };
                self.breaker(name).set_override(set_by, now)
            }
            _ => self.call(name, words),
        };
        self.note(name, &transitions);
    }

    fn call(&mut self, name: &str, words: &[&str]) -> Vec<Transition> {
        let has = |word: &str| words.contains(&word);
        let outcome = match () {
            () if has("fail") => Outcome::Failure,
            () if has("ignore") => Outcome::Ignored,
            () => Outcome::Success,
        };
        let by = words.iter().position(|word| *word == "by").map(|at| words[at + 1]);
        let caller = by.map_or(CallerId::ANONYMOUS, |name| CallerId(name.as_bytes()[0].into()));
        let duration = has("slow").then_some(Duration::from_secs(2));
        let report = Report { caller, duration, ..Report::plain(outcome) };
        let times = words.last().and_then(|word| word.strip_prefix('x')?.parse().ok()).unwrap_or(1);
        let now = self.now;
        let record = |_| self.breaker(name).record(Ticket::Bare { epoch: None }, &report, now).1;
        (0..times).flat_map(record).collect()
    }

    fn publish(&mut self, name: &str) -> String {
        let now = self.now;
        let Some(counts) = self.breaker(name).published_counts(CountsInterval::SHORTEST, now) else {
            return "nothing".to_owned();
        };
        let ages = counts.window.iter().map(|part| {
            let age = part.age.map_or("?".to_owned(), |age| age.as_secs_f64().to_string());
            format!("{} at {age}", part.calls.total())
        });
        let ages: Vec<_> = ages.collect();
        let text = format!(
            "{} of {} failed, {} in a row, {}",
            counts.total.failed(),
            counts.total.total(),
            counts.run.map_or(0, |run| run.failures),
            ages.join(" ")
        );
        let text = text.trim_end().to_owned();
        self.published.insert(name.to_owned(), (now, counts));
        text
    }

    fn look(&mut self, name: &str) {
        let now = self.now;
        let others = self.published.iter().enumerate().filter(|(_, (other, _))| *other != name);
        let rows: Vec<_> = others
            .map(|(boot, (_, (at, counts)))| ReadCounts {
                boot: boot as u64,
                age: now.since(*at),
                counts: counts.clone(),
            })
            .filter(|row| row.age <= CountsInterval::SHORTEST.fresh())
            .collect();
        let has_all = rows.len() + 1 == self.breakers.len();
        let transitions = self.breaker(name).take_counts(&rows, has_all, CountsInterval::SHORTEST, now);
        self.note(name, &transitions);
    }

    fn note(&mut self, name: &str, transitions: &[Transition]) {
        for transition in transitions {
            let shadow = if transition.shadow { "would be " } else { "" };
            let (to, reason) = (transition.to(), transition.reason);
            write!(self.log, " [{name} {} -> {shadow}{to}, {reason}]", transition.from).unwrap();
        }
    }

    fn show(&mut self, name: &str) -> String {
        let now = self.now;
        self.breaker(name).poll(now);
        let view = self.breaker(name).view(now);
        if !matches!(view.snapshot.state, State::Closed | State::MetricsOnly) {
            return view.snapshot.state.to_string();
        }
        let stats = view.stats;
        let slow = if stats.slow_calls > 0 { format!(", {} slow", stats.slow_calls) } else { String::new() };
        format!("{} in a row, {} of {} failed{slow}", stats.consecutive_failures, stats.failures, stats.calls)
    }
}

/// It remembers 150 lives of other replicas.
#[test]
fn a_life_that_fell_silent_makes_room_for_a_new_one() {
    let mut fleet = Fleet::new("A B", "failure_threshold 1000, sliding_window_size 1000");
    fleet.apply("A fail");
    fleet.publish("A");
    let counts = fleet.published["A"].1.clone();
    let mut hear = |boot, after| {
        let rows = [ReadCounts { boot, age: Duration::ZERO, counts: counts.clone() }];
        let (now, breaker) = (START + Duration::from_secs(after), fleet.breakers.get_mut("B").unwrap());
        breaker.take_counts(&rows, false, CountsInterval::SHORTEST, now);
        breaker.view(now).stats.failures
    };
    for boot in 1..=150 {
        hear(boot, 0);
    }
    assert_eq!(hear(151, 1), 150, "all of them may have more to tell");
    assert_eq!(hear(152, 3), 151, "the oldest has told nothing for a while");
    assert_eq!(hear(152, 3), 151, "once");
}
