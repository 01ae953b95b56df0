//! Walks every state that can be reached, breadth first, so that a violation is found by a shortest trace.
//!
//! A state is known by a fingerprint of 64 bits: among ten million states two have the same with a probability of three in a
//! million. The states themselves are forgotten once their successors are known. What is kept of each is its fingerprint, the
//! state that it was first reached from, and the steps out of it that need no fault: over those, backward from the good states,
//! goes the search for a state from which there is no way back.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hash, Hasher};

use crate::property::Property;

/// What is explored.
pub trait Model {
    /// A state. Two that are equal have the same future.
    type State: Clone + Hash;
    /// A step from a state to the next.
    type Action: Clone;

    /// Where everything begins.
    fn initial(&self) -> Self::State;
    /// What can happen in a state.
    fn actions(&self, state: &Self::State) -> Vec<Self::Action>;
    /// The state after a step, and the property that this step violates.
    fn next(&self, state: &Self::State, action: &Self::Action) -> (Self::State, Option<Property>);
    /// Whether a step is a fault, or another thing that happens a limited number of times.
    fn is_limited(&self, action: &Self::Action) -> bool;
    /// Whether a state is one that must stay within reach.
    fn is_good(&self, state: &Self::State) -> bool;
    /// Steps after which a trace is not followed any more. If there are any such, nothing is said about what stays within reach.
    fn depth_max(&self) -> u32 {
        u32::MAX
    }
}

/// What was found.
#[derive(Debug)]
pub struct Report<A> {
    /// Different states.
    pub states: usize,
    /// Steps between them.
    pub steps: usize,
    /// Steps to the state that is farthest away.
    pub depth: u32,
    /// The first violation, if there is one: the exploration ends there.
    pub violation: Option<Violation<A>>,
}

/// A property that does not hold.
#[derive(Debug)]
pub struct Violation<A> {
    /// Which.
    pub property: Property,
    /// The shortest way to it, from the initial state.
    pub trace: Vec<A>,
}

/// Explores a model.
///
/// # Panics
///
/// If it has more than `u32::MAX` states.
pub fn explore<M: Model>(model: &M) -> Report<M::Action> {
    let mut graph = Graph::default();
    let mut waiting = VecDeque::new();
    let initial = model.initial();
    graph.add(&initial, None, model.is_good(&initial));
    waiting.push_back(initial);
    let mut steps = 0;
    let mut is_whole = true;
    for current in 0.. {
        let Some(state) = waiting.pop_front() else { break };
        let is_last = model.depth_max() != u32::MAX && graph.depth(current) >= model.depth_max();
        is_whole &= !is_last;
        let actions = if is_last { Vec::new() } else { model.actions(&state) };
        for action in actions {
            steps += 1;
            let (next, violated) = model.next(&state, &action);
            if let Some(property) = violated {
                let mut trace = graph.trace(model, current);
                trace.push(action);
                let violation = Some(Violation { property, trace });
                return Report { states: graph.states(), steps, depth: graph.depth(current) + 1, violation };
            }
            let (to, new) = graph.add(&next, Some(current), false);
            if new {
                graph.good[index(to)] = model.is_good(&next);
                waiting.push_back(next);
            }
            if !model.is_limited(&action) {
                graph.recoveries.push(to);
            }
        }
        graph.ends.push(graph.recoveries.len());
    }
    let stranded = if is_whole { graph.stranded() } else { None };
    let violation =
        stranded.map(|state| Violation { property: Property::CanRecover, trace: graph.trace(model, state) });
    let depth = graph.parents.last().map_or(0, |_| graph.depth(number(graph.states() - 1)));
    Report { states: graph.states(), steps, depth, violation }
}

/// What is kept of the states, by their number.
#[derive(Default)]
struct Graph {
    numbers: HashMap<u64, u32, BuildHasherDefault<Fingerprint>>,
    fingerprints: Vec<u64>,
    parents: Vec<u32>,
    good: Vec<bool>,
    /// Where the steps of each state that need no fault lead, one state's after the other's.
    recoveries: Vec<u32>,
    /// Where the steps of each state end in `recoveries`.
    ends: Vec<usize>,
}

impl Graph {
    fn states(&self) -> usize {
        self.fingerprints.len()
    }

    /// The number of a state, and whether it is new.
    fn add(&mut self, state: &impl Hash, parent: Option<u32>, good: bool) -> (u32, bool) {
        let number = number(self.states());
        let fingerprint = fingerprint(state);
        match self.numbers.entry(fingerprint) {
            Entry::Occupied(known) => (*known.get(), false),
            Entry::Vacant(vacant) => {
                vacant.insert(number);
                self.fingerprints.push(fingerprint);
                self.parents.push(parent.unwrap_or(number));
                self.good.push(good);
                (number, true)
            }
        }
    }

    /// The states on the way to this one, without the initial one.
    fn way_to(&self, mut state: u32) -> Vec<u32> {
        let mut way = Vec::new();
        while self.parents[index(state)] != state {
            way.push(state);
            state = self.parents[index(state)];
        }
        way.reverse();
        way
    }

    fn depth(&self, state: u32) -> u32 {
        number(self.way_to(state).len())
    }

    /// The steps on the way to a state, found by taking it once more.
    fn trace<M: Model>(&self, model: &M, state: u32) -> Vec<M::Action> {
        let mut current = model.initial();
        let mut trace = Vec::new();
        for passed in self.way_to(state) {
            let step = model.actions(&current).into_iter().find_map(|action| {
                let (next, _) = model.next(&current, &action);
                (fingerprint(&next) == self.fingerprints[index(passed)]).then_some((action, next))
            });
            let (action, next) = step.expect("the model takes the same steps again");
            trace.push(action);
            current = next;
        }
        trace
    }

    /// The first state from which no good one can be reached without a further fault.
    fn stranded(&self) -> Option<u32> {
        let mut recovers = self.good.clone();
        loop {
            let mut changed = false;
            for state in (0..self.states()).rev() {
                let begin = if state == 0 { 0 } else { self.ends[state - 1] };
                let leads_on =
                    || self.recoveries[begin..self.ends[state]].iter().any(|next| recovers[index(*next)]);
                if !recovers[state] && leads_on() {
                    recovers[state] = true;
                    changed = true;
                }
            }
            if !changed {
                return recovers.iter().position(|recovers| !recovers).map(number);
            }
        }
    }
}

fn fingerprint(state: &impl Hash) -> u64 {
    let mut hasher = Mix::default();
    state.hash(&mut hasher);
    hasher.finish()
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("fewer states than u32::MAX")
}

fn index(number: u32) -> usize {
    number as usize
}

/// A fast hash: each word is mixed in by a product of 128 bits, whose halves are put together.
#[derive(Clone, Copy, Debug)]
pub struct Mix(u64);

impl Default for Mix {
    fn default() -> Self {
        Self(0x243f_6a88_85a3_08d3)
    }
}

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        mixed(self.0, 0x9e37_79b9_7f4a_7c15)
    }

    fn write(&mut self, bytes: &[u8]) {
        for word in bytes.chunks(8) {
            let mut buffer = [0; 8];
            buffer[..word.len()].copy_from_slice(word);
            self.write_u64(u64::from_le_bytes(buffer));
        }
    }

    #[inline]
    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    #[inline]
    fn write_u64(&mut self, value: u64) {
        self.0 = mixed(self.0 ^ value, 0xa076_1d64_78bd_642f).wrapping_add(value.rotate_left(32));
    }

    #[inline]
    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }
}

fn mixed(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    let [low, high] =
        [product, product >> 64].map(|half| u64::try_from(half & u128::from(u64::MAX)).unwrap_or(0));
    low ^ high
}

/// A fingerprint is a hash already.
#[derive(Default)]
struct Fingerprint(u64);

impl Hasher for Fingerprint {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0 << 8 | u64::from(*byte);
        }
    }

    fn write_u64(&mut self, fingerprint: u64) {
        self.0 = fingerprint;
    }
}
