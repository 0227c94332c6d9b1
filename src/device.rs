//! Where tensors live and operations run.

pub mod cpu;
mod virtual_gpu;

use std::{fmt, sync::Arc};

pub(crate) use virtual_gpu::Lease;
pub use virtual_gpu::{Event, VirtualGpu};

use crate::error::{Error, Result};

/// A place that holds tensors and computes with them.
///
/// A tensor lives on one device, an operation runs where its operands live, and only an explicit
/// [`crate::Tensor::to`] moves data (rows B3–B9).
///
/// ```
/// use cotangent::{Device, Tensor};
/// let gpu = Device::virtual_gpu();
/// let x = Tensor::from([1.0, 2.0]).to(&gpu);
/// assert_eq!((&x + &x).to(&Device::cpu()).to_vec::<f64>(), [2.0, 4.0]);
/// assert_ne!(gpu, Device::cpu());
/// ```
#[derive(Clone, Default)]
pub struct Device(Kind);

#[derive(Clone, Default)]
enum Kind {
    #[default]
    Cpu,
    Virtual(Arc<VirtualGpu>),
}

impl Device {
    /// The processor this program runs on.
    pub fn cpu() -> Self {
        Device(Kind::Cpu)
    }

    /// A new virtual GPU: a queue thread with memory of its own, a log of transfers and launches, and a
    /// simulated clock. It teaches, and tests without a GPU, what a real one does.
    pub fn virtual_gpu() -> Self {
        Device(Kind::Virtual(VirtualGpu::start()))
    }

    /// The device called `name`: `cpu`, or `virtual`.
    ///
    /// # Errors
    /// When there is no such device, with the ones there are.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "cpu" | "auto" => Ok(Device::cpu()),
            "virtual" => Ok(Device::virtual_gpu()),
            _ => Err(Error::Device {
                message: format!("no device `{name}` on this machine"),
                help: "use `cpu`, or `virtual` for the teaching GPU".into(),
            }),
        }
    }

    /// Is it the processor?
    pub fn is_cpu(&self) -> bool {
        matches!(self.0, Kind::Cpu)
    }

    /// The virtual GPU behind it, with its log and clock.
    pub fn as_virtual_gpu(&self) -> Option<&Arc<VirtualGpu>> {
        match &self.0 {
            Kind::Cpu => None,
            Kind::Virtual(gpu) => Some(gpu),
        }
    }

    /// Wait until all that was launched is done; the first fault met since the last wait comes back.
    pub fn synchronize(&self) -> Result<()> {
        self.as_virtual_gpu().map_or(Ok(()), |gpu| gpu.synchronize())
    }
}

impl PartialEq for Device {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Kind::Cpu, Kind::Cpu) => true,
            (Kind::Virtual(a), Kind::Virtual(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Cpu => f.write_str("cpu"),
            Kind::Virtual(gpu) => write!(f, "virtual:{}", gpu.id()),
        }
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
