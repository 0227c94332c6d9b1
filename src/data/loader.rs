//! Batches, made ahead on threads, in an order that does not depend on how many.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use super::{Cyclic, Dataset, Draw, Endless, Sampler, Shuffled, Transform};
use crate::{
    error::{Error, Result},
    tensor::Tensor,
};

/// Batches of a data set, in the order of a sampler: [`Cyclic`] unless another one is given, [`Endless`] for a
/// source without length.
///
/// ```
/// use cotangent::{Tensor, data::{Iid, Loader, TensorDataset}};
/// let d = TensorDataset::new([Tensor::arange(0, 10)])?;
/// assert_eq!(Loader::new(d.clone(), 4).batches(), Some(3));
/// assert_eq!(Loader::new(d.clone(), 4).drop_last(true).batches(), Some(2));
/// let sgd_proper = Loader::new(d, 1).sampler(Iid::new(10, 0));
/// assert!(sgd_proper.is_unbiased());
/// # Ok::<(), cotangent::Error>(())
/// ```
#[derive(Clone)]
pub struct Loader {
    dataset: Arc<dyn Dataset>,
    sampler: Arc<dyn Sampler>,
    transforms: Vec<Arc<dyn Transform>>,
    size: usize,
    drop_last: bool,
    threads: usize,
    ahead: usize,
}

/// Some examples at once: each tensor has the batch as axis 0.
#[derive(Clone)]
pub struct Batch {
    /// Which examples.
    pub indices: Vec<usize>,
    /// What the data set gave for them, such as images and labels.
    pub tensors: Vec<Tensor>,
}

impl Batch {
    /// The tensors, when their number is known: `let [x, y] = batch.into_array();`
    ///
    /// # Panics
    /// When the data set gives another number of tensors.
    #[track_caller]
    pub fn into_array<const N: usize>(self) -> [Tensor; N] {
        self.tensors.try_into().unwrap_or_else(|t: Vec<Tensor>| {
            Error::mistake(format!("the data set gives {} tensors an example, not {N}", t.len()))
                .verb("into_array")
                .raise()
        })
    }
}

impl Loader {
    /// Batches of `size` examples, made on one thread, two ahead.
    ///
    /// # Panics
    /// When `size` is 0.
    #[track_caller]
    pub fn new(dataset: impl Dataset + 'static, size: usize) -> Self {
        if size == 0 {
            Error::mistake("a batch of 0 examples").verb("Loader::new").help("at least 1").raise()
        }
        let sampler: Arc<dyn Sampler> = match dataset.len() {
            Some(n) => Arc::new(Cyclic::new(n)),
            None => Arc::new(Endless),
        };
        Loader {
            dataset: Arc::new(dataset),
            sampler,
            transforms: Vec::new(),
            size,
            drop_last: false,
            threads: 1,
            ahead: 2,
        }
    }

    /// A new random order every epoch (row A24).
    ///
    /// # Panics
    /// For a source without length: there is nothing to permute.
    #[must_use]
    #[track_caller]
    pub fn shuffle(self, seed: u64) -> Self {
        match self.dataset.len() {
            Some(n) => self.sampler(Shuffled::new(n, seed)),
            None => Error::mistake("a source without length has no order to shuffle").verb("shuffle").raise(),
        }
    }

    /// Another order.
    #[must_use]
    pub fn sampler(mut self, sampler: impl Sampler + 'static) -> Self {
        self.sampler = Arc::new(sampler);
        self
    }

    /// Change every batch, after those given before.
    #[must_use]
    pub fn transform(mut self, transform: impl Transform + 'static) -> Self {
        self.transforms.push(Arc::new(transform));
        self
    }

    /// Leave out the last batch of an epoch when it is smaller than the others.
    #[must_use]
    pub fn drop_last(mut self, drop: bool) -> Self {
        self.drop_last = drop;
        self
    }

    /// How many threads make batches; 0 makes them when they are asked for.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// How many finished batches each thread may have waiting, about; small ones are handed over several at a time.
    #[must_use]
    pub fn ahead(mut self, batches: usize) -> Self {
        self.ahead = batches;
        self
    }

    /// Batches in an epoch; `None` without length.
    pub fn batches(&self) -> Option<usize> {
        let n = self.sampler.len()?;
        Some(if self.drop_last { n / self.size } else { n.div_ceil(self.size) })
    }

    /// Examples in an epoch; `None` without length.
    pub fn examples(&self) -> Option<usize> {
        self.sampler.len()
    }

    /// The size of a batch.
    pub fn batch_size(&self) -> usize {
        self.size
    }

    /// Is each batch, given the past, an unbiased sample (row A17)?
    pub fn is_unbiased(&self) -> bool {
        self.sampler.is_unbiased()
    }

    /// The batches of an epoch, from 0 on; any epoch, without those before it.
    ///
    /// # Errors
    /// For a source without length, which has no epochs (row A11).
    pub fn epoch(&self, epoch: u64) -> Result<Batches> {
        self.epoch_from(epoch, 0)
    }

    /// The batches of an epoch that are left after the first `done`, which are not loaded: where a resumed run goes on.
    ///
    /// # Errors
    /// As [`Loader::epoch`].
    pub fn epoch_from(&self, epoch: u64, done: usize) -> Result<Batches> {
        drop(self.sampler.epoch(epoch)?);
        let skip = done.saturating_mul(self.size);
        Ok(self.start(move |sampler| {
            let indices = sampler.epoch(epoch).into_iter().flatten();
            Box::new(indices.skip(skip).map(move |index| Draw { epoch, index }))
        }))
    }

    /// Batches for ever, from the `k`-th step on: of a source without length, or across epochs, where no batch is
    /// smaller.
    pub fn stream(&self, k: u64) -> Batches {
        let first = k.saturating_mul(self.size as u64);
        self.start(move |sampler| {
            let n = sampler.len().map(|n| (n as u64).max(1));
            let draw = move |(place, index): (u64, usize)| Draw { epoch: n.map_or(0, |n| place / n), index };
            Box::new((first..).zip(sampler.stream(first)).map(draw))
        })
    }

    fn start(&self, draws: impl Fn(&dyn Sampler) -> Draws + Send + Sync + 'static) -> Batches {
        let (loader, draws) = (self.clone(), Arc::new(draws));
        let job = move |first: usize, step: usize| {
            let (mut draws, loader) = (draws(&*loader.sampler), loader.clone());
            let mut number = 0;
            // Every thread counts all batches and makes every `step`-th.
            std::iter::from_fn(move || {
                loop {
                    let part: Vec<Draw> = draws.by_ref().take(loader.size).collect();
                    if part.is_empty() || loader.drop_last && part.len() < loader.size {
                        return None;
                    }
                    number += 1;
                    if (number - 1) % step == first {
                        return Some(loader.make(&part));
                    }
                }
            })
        };
        if self.threads == 0 {
            return Batches { source: Source::Here(Box::new(job(0, 1))), failed: false };
        }
        let mut all = Lanes { lanes: Vec::new(), workers: Vec::new(), next: 0 };
        for t in 0..self.threads {
            // One bunch waits while another is made.
            let (send, receive) = sync_channel(1);
            let (ours, step, most) = (job.clone(), self.threads, self.ahead.div_ceil(2).max(1));
            match std::thread::Builder::new().spawn(move || work(&send, most, || ours(t, step))) {
                Ok(worker) => all.workers.push(worker),
                // Where the system has no thread left, batches are made when they are asked for: the same ones.
                Err(_) => return Batches { source: Source::Here(Box::new(job(0, 1))), failed: false },
            }
            all.lanes.push((receive, Bunch::new().into_iter()));
        }
        Batches { source: Source::Threads(all), failed: false }
    }

    fn make(&self, draws: &[Draw]) -> Result<Batch> {
        let indices: Vec<usize> = draws.iter().map(|d| d.index).collect();
        let mut tensors = self.dataset.get(&indices)?;
        for t in &self.transforms {
            tensors = t.apply(draws, tensors)?;
        }
        Ok(Batch { indices, tensors })
    }
}

type Draws = Box<dyn Iterator<Item = Draw> + Send>;

/// Batches that are handed over together: waking a thread costs as much as making a small one.
type Bunch = Vec<Result<Batch>>;
/// Bytes from which a bunch is large enough.
const BUNCH: usize = 2 << 20;

/// Make batches until there are none, one fails, or nobody wants them any more.
fn work<I: Iterator<Item = Result<Batch>>>(send: &SyncSender<Bunch>, most: usize, job: impl FnOnce() -> I) {
    let (mut bunch, mut bytes) = (Bunch::new(), 0);
    let all = AssertUnwindSafe(|| {
        for batch in job() {
            let failed = batch.is_err();
            let size = |x: &Tensor| x.numel() * x.dtype().size();
            bytes += batch.iter().flat_map(|b| &b.tensors).map(size).sum::<usize>();
            bunch.push(batch);
            if failed || bunch.len() >= most || bytes >= BUNCH {
                bytes = 0;
                if send.send(std::mem::take(&mut bunch)).is_err() || failed {
                    return;
                }
            }
        }
    });
    // A mistake in code comes as the error itself and prints nothing inside `attempt`.
    let outcome = crate::attempt(|| {
        catch_unwind(all).map_err(|payload| match payload.downcast::<Error>() {
            Ok(mistake) => *mistake,
            Err(other) => Error::other(format!("loading a batch panicked: {}", words(&*other))),
        })
    });
    bunch.extend(outcome.flatten().err().map(Err));
    if !bunch.is_empty() {
        let _ = send.send(bunch);
    }
}

fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no words".into())
}

/// Batches one after the other. Dropping it stops the threads. After an error there is nothing more.
pub struct Batches {
    source: Source,
    failed: bool,
}

enum Source {
    Here(Box<dyn Iterator<Item = Result<Batch>> + Send>),
    Threads(Lanes),
}

struct Lanes {
    lanes: Vec<(Receiver<Bunch>, std::vec::IntoIter<Result<Batch>>)>,
    workers: Vec<JoinHandle<()>>,
    next: usize,
}

impl Drop for Lanes {
    fn drop(&mut self) {
        // Without a receiver the next `send` fails, and the thread ends.
        self.lanes.clear();
        self.workers.drain(..).for_each(|w| drop(w.join()));
    }
}

impl Iterator for Batches {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Result<Batch>> {
        if self.failed {
            return None;
        }
        let batch = match &mut self.source {
            Source::Here(batches) => batches.next(),
            Source::Threads(l) => {
                let lane = l.next % l.lanes.len();
                l.next += 1;
                // A lane is closed when its thread has no more: then the batches before this one were the last.
                let (receiver, bunch) = &mut l.lanes[lane];
                bunch.next().or_else(|| {
                    *bunch = receiver.recv().ok()?.into_iter();
                    bunch.next()
                })
            }
        };
        self.failed = !matches!(batch, Some(Ok(_)));
        batch
    }
}
