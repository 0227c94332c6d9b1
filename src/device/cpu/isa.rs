//! Which instructions the kernels use.
#![allow(unsafe_code)]

use std::sync::LazyLock;

/// An instruction set that kernels are built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// What every processor of the target has.
    Plain,
    /// 256-bit vectors with fused multiply-add.
    Avx2,
    /// 512-bit vectors.
    Avx512,
}

impl Isa {
    /// Its name, as `COTANGENT_ISA` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Plain => "plain",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        }
    }
}

/// The best instruction set of this machine, or the one that `COTANGENT_ISA` names if the machine has it.
///
/// ```
/// use cotangent::device::cpu::isa;
/// assert!(["plain", "avx2", "avx512"].contains(&isa().name()));
/// ```
pub fn isa() -> Isa {
    static ISA: LazyLock<Isa> = LazyLock::new(|| {
        let best = detect();
        let asked = std::env::var("COTANGENT_ISA").ok();
        let asked =
            [Isa::Plain, Isa::Avx2, Isa::Avx512].into_iter().find(|i| Some(i.name()) == asked.as_deref());
        asked.map_or(best, |a| a.min(best))
    });
    *ISA
}

/// A loop over elements, for [`wide`].
pub(crate) trait Loop {
    /// Do it. Mark it `#[inline(always)]`.
    fn run(self);
}

/// Run a loop with registers of 256 bits where there are any: the compiler vectorises it for them. Nothing is
/// contracted, so the bits are those of any other registers.
#[inline(always)]
pub(crate) fn wide(body: impl Loop) {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    unsafe fn avx2(body: impl Loop) {
        body.run()
    }
    #[cfg(target_arch = "x86_64")]
    if isa() >= Isa::Avx2 {
        // SAFETY: `isa` has looked for it.
        return unsafe { avx2(body) };
    }
    body.run()
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Isa {
    let wide = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl");
    if wide && is_x86_feature_detected!("popcnt") {
        Isa::Avx512
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        Isa::Avx2
    } else {
        Isa::Plain
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Isa {
    Isa::Plain
}
