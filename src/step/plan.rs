//! What a recorded step does, for people and programs.

use std::fmt::{self, Write};

use super::{
    blocks::Blocks,
    code::{Code, Kernel},
    compile::{Compiled, Stage},
    record::Program,
};
use crate::{
    device::cpu::isa,
    ops::{Cost, operands},
};

/// What a recorded step does, and why: instructions, what was fused and put into blocks and what not, memory, costs.
///
/// [`fmt::Display`] shows it as text, [`Plan::json`] as JSON.
pub struct Plan {
    stages: Vec<Part>,
    remarks: Vec<String>,
    /// Bytes of all values, were each kept to the end.
    pub bytes: usize,
    /// Bytes of the values that live at one time, at most, when whole values are computed one by one.
    pub peak: usize,
    /// Bytes that the compiled step holds: the arena for whole values, one thread's arena for blocks, the sums of
    /// all groups. All zero when the step is replayed operation by operation.
    pub memory: [usize; 3],
    /// What one run costs.
    pub cost: Cost,
}

/// Codes that run together.
struct Part {
    title: String,
    lines: Vec<Line>,
}

struct Line {
    instruction: Option<usize>,
    operation: String,
    origin: String,
    cost: Cost,
    how: &'static str,
}

impl Plan {
    /// Of a program that is replayed operation by operation, for this reason.
    pub(crate) fn plain(p: &Program, why: &str) -> Self {
        let lines = (0..p.instructions.len()).map(|i| line(p, i, "kernel")).collect();
        let title = format!("operation by operation ({why})");
        Plan { stages: vec![Part { title, lines }], ..Plan::measured(p) }
    }

    /// Of a compiled program.
    pub(crate) fn compiled(c: &Compiled, recorded: &Program) -> Self {
        let p = &c.program;
        let mut stages: Vec<Part> = Vec::new();
        for stage in &c.stages {
            match stage {
                Stage::Code(code) => {
                    let more = lines_of(p, code);
                    match stages.last_mut() {
                        Some(part) if part.title == "whole values" => part.lines.extend(more),
                        _ => stages.push(Part { title: "whole values".into(), lines: more }),
                    }
                }
                Stage::Chains(chains) => {
                    let sizes: Vec<String> = chains.iter().map(|c| c.examples.to_string()).collect();
                    let size = chains.first().map_or(0, |c| c.size);
                    stages.push(Part {
                        title: format!("chains of {} elements, {size} at a time", sizes.join(", ")),
                        lines: chains.iter().flat_map(Blocks::codes).flat_map(|code| lines_of(p, code)).collect(),
                    });
                }
                Stage::Blocks(b) => stages.push(Part {
                    title: format!(
                        "blocks of {} of {} examples in {} groups; {} bytes a thread, {} bytes of sums a group{}",
                        b.size,
                        b.examples,
                        b.groups,
                        b.local,
                        b.sum_bytes,
                        match b.examples % b.size {
                            0 => String::new(),
                            rest => format!("; the last {rest} one after another"),
                        }
                    ),
                    lines: b.before.iter().chain(b.codes()).flat_map(|code| lines_of(p, code)).collect(),
                }),
            }
        }
        let place = |i: usize| p.instructions.get(i).map_or(String::new(), |x| x.origin.to_string());
        let mut remarks: Vec<String> =
            c.notes.iter().map(|n| format!("{}  · {}", n.text, place(n.instruction))).collect();
        remarks.dedup();
        let fewer = recorded.instructions.len() - p.instructions.len().min(recorded.instructions.len());
        if fewer > 0 {
            remarks.push(format!("{fewer} of {} instructions were not needed", recorded.instructions.len()));
        }
        Plan { stages, remarks, memory: [c.arena, c.local, c.sums], ..Plan::measured(recorded) }
    }

    fn measured(p: &Program) -> Self {
        let mut last = vec![0; p.slots.len()];
        let mut made = vec![false; p.slots.len()];
        for (at, x) in p.instructions.iter().enumerate() {
            x.inputs.iter().for_each(|i| last[*i] = at);
            x.outputs.iter().for_each(|i| made[*i] = true);
        }
        p.outputs.iter().chain(p.writes.iter().map(|(_, i)| i)).for_each(|i| last[*i] = usize::MAX);
        let (mut live, mut peak, mut bytes, mut cost) = (0, 0, 0, Cost::default());
        for (at, x) in p.instructions.iter().enumerate() {
            let size: usize = x.outputs.iter().map(|i| p.slots[*i].bytes()).sum();
            (live, bytes, cost) = (live + size, bytes + size, cost + line(p, at, "").cost);
            peak = peak.max(live);
            let dead = x.inputs.iter().filter(|i| last[**i] == at && made[**i]);
            live -= dead.map(|i| p.slots[*i].bytes()).sum::<usize>().min(live);
        }
        Plan { stages: Vec::new(), remarks: Vec::new(), bytes, peak, memory: [0; 3], cost }
    }

    /// The number of codes that one run works through, a block counted once.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.stages.iter().map(|s| s.lines.len()).sum()
    }

    /// As JSON: stages with their codes, remarks, memory and cost.
    ///
    /// ```
    /// use cotangent::{Step, Tensor};
    /// let mut step = Step::record(|[x]: [Tensor; 1]| x.exp() + 1.0);
    /// let json = step.plan([&Tensor::zeros([3])]).json();
    /// assert!(json.starts_with("{\"isa\":") && json.contains("\"exp [3] float32\""));
    /// ```
    pub fn json(&self) -> String {
        let mut out = format!("{{\"isa\":{},\"stages\":[", quoted(isa().name()));
        for (k, part) in self.stages.iter().enumerate() {
            let comma = if k > 0 { "," } else { "" };
            let _ = write!(out, "{comma}{{\"title\":{},\"codes\":[", quoted(&part.title));
            for (j, l) in part.lines.iter().enumerate() {
                let comma = if j > 0 { "," } else { "" };
                let _ = write!(
                    out,
                    "{comma}{{\"instruction\":{},\"how\":{},\"operation\":{},\"origin\":{},\"flops\":{},\"bytes\":{}}}",
                    l.instruction.map_or("null".into(), |i| i.to_string()),
                    quoted(l.how),
                    quoted(&l.operation),
                    quoted(&l.origin),
                    l.cost.flops(),
                    l.cost.bytes
                );
            }
            out.push_str("]}");
        }
        let remarks: Vec<String> = self.remarks.iter().map(|r| quoted(r)).collect();
        let [arena, local, sums] = self.memory;
        let _ = write!(
            out,
            "],\"remarks\":[{}],\"flops\":{},\"bytes_moved\":{},\"bytes_of_values\":{},\"bytes_live\":{},\
             \"arena\":{arena},\"arena_per_thread\":{local},\"sums\":{sums}}}",
            remarks.join(","),
            self.cost.flops(),
            self.cost.bytes,
            self.bytes,
            self.peak
        );
        out
    }
}

fn quoted(s: &str) -> String {
    let mut out = String::from("\"");
    for c in s.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn line(p: &Program, i: usize, how: &'static str) -> Line {
    let x = &p.instructions[i];
    let specs = |slots: &[usize]| -> Vec<_> { slots.iter().map(|i| p.slots[*i].clone()).collect() };
    let (ins, outs) = (specs(&x.inputs), specs(&x.outputs));
    Line {
        instruction: Some(i),
        operation: format!("{} {}", x.op.name(), operands(&*x.op, &ins)),
        origin: x.origin.to_string(),
        cost: x.op.cost(&ins, &outs),
        how,
    }
}

fn lines_of(p: &Program, code: &Code) -> Vec<Line> {
    let moved = |operation: &str| {
        vec![Line {
            instruction: None,
            operation: format!("{operation} {:?}", code.outputs[0].1.shape),
            origin: p.instructions.get(code.instruction).map_or(String::new(), |x| x.origin.to_string()),
            cost: Cost { bytes: 2 * code.outputs[0].1.bytes() as u64, ..Cost::default() },
            how: "move",
        }]
    };
    match &code.kernel {
        Kernel::Op(_) => vec![line(p, code.instruction, "kernel")],
        Kernel::Lanes(_) => vec![line(p, code.instruction, "lanes")],
        Kernel::Fused(fused) => fused.lines.iter().map(|l| line(p, l.instruction, "pass")).collect(),
        Kernel::Copy => moved("copy"),
        Kernel::Transpose { columns, .. } if *columns == crate::ops::LANES => moved("one after another"),
        Kernel::Transpose { .. } => moved("side by side"),
        Kernel::Add => moved("add to the group's sum"),
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.stages {
            writeln!(f, "{}", part.title)?;
            for l in &part.lines {
                let number = l.instruction.map_or(String::new(), |i| i.to_string());
                writeln!(
                    f,
                    "{number:>5}  {:6} {}  {} flop  · {}",
                    l.how,
                    l.operation,
                    l.cost.flops(),
                    l.origin
                )?;
            }
        }
        for remark in &self.remarks {
            writeln!(f, "note: {remark}")?;
        }
        let [arena, local, sums] = self.memory;
        writeln!(
            f,
            "{} codes, {} flop, {} bytes moved; values {} bytes, at most {} at a time; \
             arena {arena} bytes, {local} a thread, sums {sums}",
            self.len(),
            self.cost.flops(),
            self.cost.bytes,
            self.bytes,
            self.peak
        )
    }
}
