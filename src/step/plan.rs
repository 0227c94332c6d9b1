//! What a recorded step does, for people and programs.

use std::fmt;

use super::record::Program;
use crate::ops::{Cost, operands};

/// The instructions of a recorded step, with their origins and costs.
pub struct Plan {
    lines: Vec<Line>,
    /// Bytes of all values, were each kept to the end.
    pub bytes: usize,
    /// Bytes of the values that live at one time, at most.
    pub peak: usize,
    /// What one run costs.
    pub cost: Cost,
}

struct Line {
    operation: String,
    origin: String,
    cost: Cost,
}

impl Plan {
    pub(crate) fn new(p: &Program) -> Self {
        let mut last = vec![0; p.slots.len()];
        for (at, x) in p.instructions.iter().enumerate() {
            x.inputs.iter().for_each(|i| last[*i] = at);
        }
        p.outputs.iter().chain(p.writes.iter().map(|(_, i)| i)).for_each(|i| last[*i] = usize::MAX);
        let (mut live, mut peak, mut bytes, mut total) = (0, 0, 0, Cost::default());
        let mut lines = Vec::new();
        for (at, x) in p.instructions.iter().enumerate() {
            let specs = |slots: &[usize]| -> Vec<_> { slots.iter().map(|i| p.slots[*i].clone()).collect() };
            let (ins, outs) = (specs(&x.inputs), specs(&x.outputs));
            let cost = x.op.cost(&ins, &outs);
            let made: usize = outs.iter().map(|s| s.bytes()).sum();
            (live, bytes, total) = (live + made, bytes + made, total + cost);
            peak = peak.max(live);
            let made_here = |i: &&usize| p.instructions.iter().any(|y| y.outputs.contains(i));
            let dead = x.inputs.iter().filter(|i| last[**i] == at).filter(made_here);
            live -= dead.map(|i| p.slots[*i].bytes()).sum::<usize>().min(live);
            let operation = format!("{} {}", x.op.name(), operands(&*x.op, &ins));
            lines.push(Line { operation, origin: x.origin.to_string(), cost });
        }
        Plan { lines, bytes, peak, cost: total }
    }

    /// The number of instructions.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.lines.len()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, line) in self.lines.iter().enumerate() {
            writeln!(f, "{i:4}  {}  {} flop  · {}", line.operation, line.cost.flops(), line.origin)?;
        }
        writeln!(
            f,
            "{} instructions, {} flop, {} bytes moved; values {} bytes, at most {} at a time",
            self.lines.len(),
            self.cost.flops(),
            self.cost.bytes,
            self.bytes,
            self.peak
        )
    }
}
