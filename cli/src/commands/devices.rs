//! `cotangent devices`: where a run can compute.

use clap::Args;
use cotangent::device::cpu::isa;
use serde_json::json;

use super::defaults;
use crate::console::Console;
use crate::diagnostic::{Diagnostic, Exit};
use crate::flags::Global;
use crate::machine;

/// `cotangent devices`
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub(crate) struct Flags {}

const AFTER: &str = "\
Examples:
  cotangent devices
  cotangent devices --json";

/// Lists the devices.
pub(crate) fn run(_: &Flags, global: &Global, console: &mut Console) -> Result<Exit, Diagnostic> {
    let threads = machine::threads(defaults(global)?.threads);
    let cpu = machine::describe(&cotangent::Device::cpu(), threads);
    let cuda = "no: this program was built without CUDA kernels";
    if console.json() {
        let device =
            |name: &str, there: bool, about: &str| json!({ "name": name, "there": there, "about": about });
        console.print_json(&json!({
            "devices": [
                device("cpu", true, &cpu),
                device("virtual", true, "a teaching GPU, computed by the processor"),
                device("cuda:0", false, cuda),
            ],
            "auto": "cpu", "threads": threads, "isa": isa().name(), "features": machine::features(),
        }))?;
    } else {
        console.print(&format!("cpu       {cpu}; `auto` means this one"))?;
        console.print("virtual   a teaching GPU with a queue and memory of its own, on the processor")?;
        console.print(&format!("cuda:0    {cuda}"))?;
    }
    Ok(Exit::Success)
}
