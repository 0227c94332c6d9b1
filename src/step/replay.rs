//! Replaying a program: values by number, dropped after their last use, cells written at the end.

use super::record::Program;
use crate::{
    apply::{Few, evaluate},
    cell::claim,
    device::Device,
    error::Result,
    tensor::Tensor,
};

pub(crate) fn run(program: &Program, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
    let cells = program.cells();
    let _claim = claim(&cells)?;
    let mut values: Vec<Option<Tensor>> = vec![None; program.slots.len()];
    program.inputs.iter().zip(inputs).for_each(|(i, x)| values[*i] = Some((*x).clone()));
    program.constants.iter().for_each(|(i, x)| values[*i] = Some(x.clone()));
    program.reads.iter().for_each(|(c, i)| values[*i] = Some(c.peek()));

    let mut last = vec![0; program.slots.len()];
    for (at, instruction) in program.instructions.iter().enumerate() {
        instruction.inputs.iter().for_each(|i| last[*i] = at);
    }
    for i in program.outputs.iter().chain(program.writes.iter().map(|(_, i)| i)) {
        last[*i] = usize::MAX;
    }
    for (at, instruction) in program.instructions.iter().enumerate() {
        let y = {
            let x: Few<&Tensor> = instruction
                .inputs
                .iter()
                .map(|i| values[*i].as_ref().expect("lives until its last use"))
                .collect();
            evaluate(&instruction.op, &x, &instruction.origin)?
        };
        instruction.inputs.iter().filter(|i| last[**i] == at).for_each(|i| values[*i] = None);
        for (i, y) in instruction.outputs.iter().zip(y) {
            values[*i] = (last[*i] > at).then_some(y);
        }
    }
    let value = |i: &usize| values[*i].clone().expect("outputs live to the end");
    let outputs: Vec<Tensor> = program.outputs.iter().map(value).collect();
    // A device that works on its own has to be done before the step can be said to have no fault.
    let mut waited: Vec<&Device> = Vec::new();
    for device in program.slots.iter().map(|s| &s.device).filter(|d| !d.is_cpu()) {
        if !waited.contains(&device) {
            device.synchronize()?;
            waited.push(device);
        }
    }
    program.writes.iter().for_each(|(cell, i)| drop(cell.replace(value(i))));
    Ok(outputs)
}
