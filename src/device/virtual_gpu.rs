//! A GPU that is not there: a queue, memory of its own, a log, and a simulated clock.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    thread,
};

use crate::error::{Error, Fault, Result};

/// What a virtual GPU was asked to do, with simulated times in seconds since it started.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A transfer from the host to the device, or back.
    Transfer {
        /// `true` from host to device (`H2D`), `false` back (`D2H`).
        to_device: bool,
        /// How much.
        bytes: usize,
        /// When it began.
        start: f64,
        /// When it was done.
        end: f64,
    },
    /// A kernel, launched by the host and run by the device.
    Launch {
        /// The operation's name.
        kernel: &'static str,
        /// When it began.
        start: f64,
        /// When it was done.
        end: f64,
    },
    /// The host waited for the device.
    Wait {
        /// When the wait was over.
        end: f64,
    },
}

/// The rules of a GPU, without one (rows B3–B9): calls return before they are done, only transfers cross, and
/// all of it is logged.
///
/// The clock is simulated: a launch costs the host 5 µs, a kernel at least 2 µs and its bytes at 1 TB/s and
/// operations at 10 TFLOP/s; a transfer costs 10 µs and its bytes at 16 GB/s.
pub struct VirtualGpu {
    id: usize,
    queue: Mutex<mpsc::Sender<Job>>,
    state: Mutex<State>,
    fault: Arc<Mutex<Option<Fault>>>,
    bytes: Arc<AtomicUsize>,
    peak: Arc<AtomicUsize>,
}

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    /// Simulated time at which the host is, and at which the device will have done its queue.
    host: f64,
    device: f64,
    log: Vec<Event>,
}

const LAUNCH: f64 = 5e-6;
const KERNEL: f64 = 2e-6;
const TRANSFER: f64 = 10e-6;
const MEMORY_BYTES_PER_S: f64 = 1e12;
const FLOPS_PER_S: f64 = 1e13;
const BUS_BYTES_PER_S: f64 = 16e9;

impl VirtualGpu {
    pub(crate) fn start() -> Arc<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let (queue, jobs) = mpsc::channel::<Job>();
        thread::spawn(move || jobs.into_iter().for_each(|job| job()));
        Arc::new(VirtualGpu {
            id: NEXT.fetch_add(1, Relaxed),
            queue: Mutex::new(queue),
            state: Mutex::default(),
            fault: Arc::default(),
            bytes: Arc::default(),
            peak: Arc::default(),
        })
    }

    /// Its number among the virtual GPUs of this process.
    pub fn id(&self) -> usize {
        self.id
    }

    /// What it was asked to do so far.
    pub fn log(&self) -> Vec<Event> {
        self.state().log.clone()
    }

    /// Forget the log.
    pub fn clear_log(&self) {
        self.state().log.clear()
    }

    /// Kernels launched.
    pub fn launches(&self) -> usize {
        self.state().log.iter().filter(|e| matches!(e, Event::Launch { .. })).count()
    }

    /// Transfers (to the device, back).
    pub fn transfers(&self) -> (usize, usize) {
        let state = self.state();
        let is = |e: &&Event, way| matches!(e, Event::Transfer { to_device, .. } if *to_device == way);
        let count = |way| state.log.iter().filter(|e| is(e, way)).count();
        (count(true), count(false))
    }

    /// A warning where the log goes back and forth between kernels and copies to the host, as `item()` in a loop makes
    /// it (row B6).
    ///
    /// ```
    /// use cotangent::{Device, Tensor};
    /// let device = Device::virtual_gpu();
    /// let mut x = Tensor::from([1.0, 2.0]).to(&device);
    /// for _ in 0..5 {
    ///     x = x * 0.5;
    ///     x.sum().item();
    /// }
    /// let warning = device.as_virtual_gpu().unwrap().warning().unwrap();
    /// assert!(warning.starts_with("4 times"), "{warning}");
    /// ```
    pub fn warning(&self) -> Option<String> {
        let (mut back, mut times) = (false, 0);
        for event in &self.state().log {
            match event {
                Event::Transfer { to_device: false, .. } => back = true,
                Event::Launch { .. } => times += usize::from(std::mem::take(&mut back)),
                _ => {}
            }
        }
        (times > 2).then(|| {
            format!(
                "{times} times a value was copied back before the next kernel, and each time the host waited: is there an \
                 `item()` in a loop? Keep values on the device, and read them once at the end"
            )
        })
    }

    /// Bytes in its memory now, and at most so far.
    pub fn memory(&self) -> (usize, usize) {
        (self.bytes.load(Relaxed), self.peak.load(Relaxed))
    }

    /// Simulated seconds: where the host is, and when the device will have done its queue.
    pub fn clock(&self) -> (f64, f64) {
        let state = self.state();
        (state.host, state.device)
    }

    /// Wait for the queue; the first fault since the last wait comes back.
    pub fn synchronize(&self) -> Result<()> {
        let (done, wait) = mpsc::sync_channel(1);
        self.submit(Box::new(move || done.send(()).unwrap_or(())));
        wait.recv().map_err(|_| Error::other("the virtual GPU's queue has ended"))?;
        let mut state = self.state();
        state.host = state.host.max(state.device);
        let end = state.host;
        state.log.push(Event::Wait { end });
        drop(state);
        match self.fault.lock().unwrap_or_else(|e| e.into_inner()).take() {
            Some(fault) => Err(Error::Fault(Box::new(fault))),
            None => Ok(()),
        }
    }

    /// Queue a kernel; returns at once.
    pub(crate) fn launch(&self, kernel: &'static str, bytes: u64, flops: u64, job: Job) {
        let mut state = self.state();
        state.host += LAUNCH;
        let start = state.host.max(state.device);
        let end = start + KERNEL.max(bytes as f64 / MEMORY_BYTES_PER_S).max(flops as f64 / FLOPS_PER_S);
        state.device = end;
        state.log.push(Event::Launch { kernel, start, end });
        drop(state);
        self.submit(job);
    }

    /// Queue a transfer. One to the device is staged and returns at once; one back is waited for by the caller.
    pub(crate) fn transfer(&self, to_device: bool, bytes: usize, job: Job) {
        let mut state = self.state();
        let start = state.host.max(state.device);
        let end = start + TRANSFER + bytes as f64 / BUS_BYTES_PER_S;
        (state.host, state.device) = (end, end);
        state.log.push(Event::Transfer { to_device, bytes, start, end });
        drop(state);
        self.submit(job);
    }

    /// Where kernels report faults, to be met at the next wait.
    pub(crate) fn fault(&self) -> Arc<Mutex<Option<Fault>>> {
        self.fault.clone()
    }

    /// Account for a buffer until the returned lease ends.
    pub(crate) fn lease(&self, bytes: usize) -> Lease {
        let now = self.bytes.fetch_add(bytes, Relaxed) + bytes;
        self.peak.fetch_max(now, Relaxed);
        Lease { bytes, total: self.bytes.clone() }
    }

    fn submit(&self, job: Job) {
        // The queue thread ends only with its last sender, so the send arrives.
        let _ = self.queue.lock().unwrap_or_else(|e| e.into_inner()).send(job);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// Memory of the device in use.
pub(crate) struct Lease {
    bytes: usize,
    total: Arc<AtomicUsize>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Relaxed);
    }
}
