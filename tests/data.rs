//! Orders, loaders, splits, augmentation, and files that are not what they should be.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use cotangent::{
    Error, Param, Result, Tensor,
    data::{
        Cyclic, Dataset, Draw, Elements, Endless, Epochs, Flip, Generator, Idx, Iid, Images, Loader, Sampler,
        Shift, Shuffled, Subset, TensorDataset, Transform, check_labels, coverage, permutation, split,
        split_stratified,
    },
    optim::{Sgd, Stepsize},
};

fn epoch(s: &dyn Sampler, e: u64) -> Vec<usize> {
    s.epoch(e).unwrap().collect()
}

/// `Σ (n − m)²/m`
fn chi_squared(counts: impl IntoIterator<Item = usize>, expected: f64) -> f64 {
    counts.into_iter().map(|n| (n as f64 - expected).powi(2) / expected).sum()
}

/// A8: with replacement, uniform; an epoch holds 1 − (1 − 1/N)^N of the points.
#[test]
fn a8_iid_is_uniform_with_replacement() {
    let (n, epochs) = (100, 1000);
    let iid = Iid::new(n, 5);
    let mut counts = vec![0; n];
    iid.stream(0).take(n * epochs).for_each(|i| counts[i] += 1);
    // 99 degrees of freedom: 0.1 % lie above 148.2, 0.1 % below 61.1.
    let x2 = chi_squared(counts, epochs as f64);
    assert!((61.1..148.2).contains(&x2), "χ² = {x2}");
    // Independent: pairs of successive draws are uniform too, here over 10 × 10 tens (same bounds).
    let mut pairs = HashMap::new();
    let all: Vec<usize> = iid.stream(0).take(n * epochs).collect();
    all.chunks_exact(2).for_each(|p| *pairs.entry((p[0] / 10, p[1] / 10)).or_insert(0) += 1);
    let x2 = chi_squared((0..100).map(|k| pairs.get(&(k / 10, k % 10)).copied().unwrap_or(0)), 500.0);
    assert!((61.1..148.2).contains(&x2), "χ² of pairs = {x2}");
    let mean = (0..epochs as u64).map(|e| coverage(epoch(&iid, e), n)).sum::<f64>() / epochs as f64;
    let expected = 1.0 - (1.0 - 1.0 / n as f64).powi(n as i32);
    assert!((mean - expected).abs() < 0.005, "{mean} of {expected}");
    assert_ne!(epoch(&iid, 0), epoch(&iid, 1));
    assert_ne!(epoch(&iid, 0), epoch(&Iid::new(n, 6), 0));
}

/// A11: ω ~ N(3, 1), f_ω = ½(θ − ω)², α_k = 1/(k+1): θ^1000 is near 3, and there are no epochs to count.
#[test]
fn a11_a_source_without_length_has_steps_and_no_epochs() {
    let omega = Generator::new(11, |rng| vec![Tensor::randn((), rng) + 3.0]);
    let loader = Loader::new(omega.clone(), 1);
    assert_eq!((loader.batches(), loader.examples(), loader.is_unbiased()), (None, None, true));
    let refused = loader.epoch(0).err().unwrap().to_string();
    assert!(refused.contains("no N"), "{refused}");
    assert!(Endless.epoch(3).is_err());
    let theta = Param::new(Tensor::from(0.0f32));
    let (sgd, mut alpha) = (Sgd::new(0.0), Stepsize::from(|k: u64, _: u64| 1.0 / (k as f64 + 1.0)));
    let (mut sum, mut squares) = (0.0, 0.0);
    for (k, batch) in loader.stream(0).take(1000).enumerate() {
        let [w] = batch.unwrap().into_array();
        (sum, squares) = (sum + w.item(), squares + (w.item() - 3.0).powi(2));
        sgd.set_rate(alpha.at(k as u64, 0).unwrap());
        sgd.step(&theta, &((theta.get() - w).square().sum() * 0.5).backward());
    }
    assert!((theta.value().item() - 3.0).abs() < 0.1);
    assert!((theta.value().item() - sum / 1000.0).abs() < 1e-4, "θ is the running mean (A4)");
    assert!((squares / 1000.0 - 1.0).abs() < 0.2, "the draws vary");
    // Draw k alone, without those before it; in any batch.
    let [late] = loader.stream(700).next().unwrap().unwrap().into_array();
    assert_eq!(late.item(), omega.draw(700)[0].item());
    let [pair] = Loader::new(omega.clone(), 2).stream(350).next().unwrap().unwrap().into_array();
    assert_eq!(pair.to_vec::<f64>(), [omega.draw(700)[0].item(), omega.draw(701)[0].item()]);
    let ragged =
        Generator::new(0, |rng| vec![Tensor::zeros([1 + (rng.state().to_vec::<i64>()[1] & 1) as usize])]);
    assert!(ragged.get(&[0, 1]).err().unwrap().to_string().contains("draw 1 differs"));
}

/// A12: the N^B batches of N = 4, B = 2 average to the whole gradient, and `Iid` draws each of them equally often.
#[test]
fn a12_iid_batches_are_unbiased() {
    let g = [1.0, -2.0, 5.0, 0.25];
    let all: f64 = (0..16).map(|k| (g[k / 4] + g[k % 4]) / 2.0).sum::<f64>() / 16.0;
    assert!((all - g.iter().sum::<f64>() / 4.0).abs() < 1e-12);
    let indices: Vec<usize> = Iid::new(4, 12).stream(0).take(2 * 16_000).collect();
    let mut counts = vec![0; 16];
    indices.chunks_exact(2).for_each(|p| counts[4 * p[0] + p[1]] += 1);
    // 15 degrees of freedom: 0.1 % lie above 37.7.
    let x2 = chi_squared(counts, 1000.0);
    assert!(x2 < 37.7, "χ² = {x2}");
}

/// A16: 0..N−1, 0..N−1, …; batches with a last short one, or without it.
#[test]
fn a16_cyclic_repeats_its_order_also_in_batches() {
    let cyclic = Cyclic::new(5);
    assert_eq!(cyclic.stream(0).take(12).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]);
    assert_eq!(cyclic.stream(13).take(4).collect::<Vec<_>>(), [3, 4, 0, 1]);
    assert_eq!(epoch(&cyclic, 9), [0, 1, 2, 3, 4]);
    let d = TensorDataset::new([Tensor::arange(10, 15)]).unwrap();
    let batches = |l: &Loader| -> Vec<Vec<i64>> {
        let one = |b: Result<cotangent::data::Batch>| b.unwrap().tensors[0].to_vec::<i64>();
        l.epoch(3).unwrap().map(one).collect()
    };
    let loader = Loader::new(d, 2);
    assert_eq!(batches(&loader), [vec![10, 11], vec![12, 13], vec![14]]);
    assert_eq!(batches(&loader.clone().drop_last(true)), [[10, 11], [12, 13]]);
    // Across epochs no batch is short.
    let first: Vec<Vec<usize>> = loader.stream(1).take(3).map(|b| b.unwrap().indices).collect();
    assert_eq!(first, [[2, 3], [4, 0], [1, 2]]);
    assert!(Cyclic::new(0).stream(0).next().is_none() && Shuffled::new(0, 1).stream(0).next().is_none());
}

/// A17: given the past, cyclic and shuffled orders are biased; at fixed θ each place of a permutation is not.
#[test]
fn a17_only_draws_with_replacement_are_unbiased_given_the_past() {
    assert!(!Cyclic::new(3).is_unbiased() && !Shuffled::new(3, 0).is_unbiased());
    assert!(Iid::new(3, 0).is_unbiased() && Endless.is_unbiased());
    let n = 3;
    let mut at = vec![vec![0; n]; n];
    for e in 0..3000 {
        let p = permutation(n, 17, e);
        (0..n).for_each(|k| at[k][p[k]] += 1);
        // Given the first two the last is certain.
        assert_eq!(p[2], 3 - p[0] - p[1]);
    }
    // 2 degrees of freedom: 0.1 % lie above 13.8.
    assert!(at.into_iter().all(|counts| chi_squared(counts, 1000.0) < 13.8));
}

/// A18: epochs are gradients of single examples over N.
#[test]
fn a18_epochs_are_counted_by_work() {
    let n = 60_000;
    let (mut gd, mut sgd, mut batches) = (Epochs::new(n), Epochs::new(n), Epochs::new(n));
    gd.add(n);
    (0..n).for_each(|_| sgd.add(1));
    (0..937).for_each(|_| batches.add(64));
    batches.add(32);
    assert_eq!((gd.count(), sgd.count(), batches.count()), (1.0, 1.0, 1.0));
    assert_eq!(batches.evaluations(), 60_000);
}

/// A19: what an epoch touches.
#[test]
fn a19_coverage_of_an_epoch() {
    let n = 10_000;
    assert_eq!(coverage(epoch(&Cyclic::new(n), 1), n), 1.0);
    assert_eq!(coverage(epoch(&Shuffled::new(n, 1), 1), n), 1.0);
    let iid = coverage(epoch(&Iid::new(n, 1), 1), n);
    assert!((iid - 0.632).abs() < 0.02, "{iid}");
}

/// A21: each epoch a permutation, all 24 of N = 4 equally often; any epoch without the earlier ones.
#[test]
fn a21_shuffled_permutations_are_uniform_and_computable_alone() {
    let mut counts: HashMap<Vec<usize>, usize> = HashMap::new();
    for e in 0..24_000 {
        *counts.entry(permutation(4, 21, e)).or_default() += 1;
    }
    assert_eq!(counts.len(), 24);
    // 23 degrees of freedom: 0.1 % lie above 49.7, 0.1 % below 7.5.
    let x2 = chi_squared(counts.into_values(), 1000.0);
    assert!((7.5..49.7).contains(&x2), "χ² = {x2}");

    // The same on every machine: the order of a seed is part of what is promised.
    assert_eq!(permutation(8, 21, 5), [5, 6, 0, 2, 1, 4, 7, 3]);
    let s = Shuffled::new(1000, 3);
    let through: Vec<usize> = s.stream(0).take(5000).collect();
    assert_eq!(through[3000..4000], epoch(&s, 3));
    assert_eq!(through[3456..3460], s.stream(3456).take(4).collect::<Vec<_>>());
    assert_ne!(epoch(&s, 0), epoch(&s, 1));
    assert_ne!(epoch(&s, 0), epoch(&Shuffled::new(1000, 4), 0));
    let mut sorted = epoch(&s, u64::from(u32::MAX));
    sorted.sort_unstable();
    assert!(sorted.into_iter().eq(0..1000));
    // The same on every machine, and in a second implementation (Python).
    assert_eq!(permutation(8, 42, 0), GOLDEN);
}

/// By the shuffle and Philox4x32-10 written anew in Python from their papers; a change breaks resumed runs.
const GOLDEN: [usize; 8] = [5, 3, 7, 0, 1, 6, 4, 2];

/// A22: the slide's loop (with its slip mended, σ(i) for σ(k)) is the closed form of A21.
#[test]
fn a22_the_loop_and_the_closed_form_agree() {
    let (n, seed) = (7, 22);
    let mut by_loop = Vec::new();
    for e in 0..3 {
        let sigma = permutation(n, seed, e);
        (0..n).for_each(|i| by_loop.push(sigma[i]));
    }
    let closed: Vec<usize> =
        (0..3 * n as u64).map(|k| permutation(n, seed, k / n as u64)[(k % n as u64) as usize]).collect();
    assert_eq!(by_loop, closed);
    assert_eq!(Shuffled::new(n, seed).stream(0).take(3 * n).collect::<Vec<_>>(), closed);
}

/// Counts its calls; slow now and then; fails or panics where it is told to.
struct Probe {
    n: usize,
    calls: Arc<AtomicUsize>,
    fails: Option<usize>,
    panics: Option<usize>,
}

impl Dataset for Probe {
    fn len(&self) -> Option<usize> {
        Some(self.n)
    }
    fn get(&self, indices: &[usize]) -> Result<Vec<Tensor>> {
        let call = self.calls.fetch_add(1, SeqCst);
        std::thread::sleep(Duration::from_millis([0, 3, 1][call % 3]));
        if self.fails.is_some_and(|i| indices.contains(&i)) {
            return Err(Error::other("the disk is gone"));
        }
        assert!(!self.panics.is_some_and(|i| indices.contains(&i)), "cosmic ray");
        Ok(vec![Tensor::from(indices.iter().map(|i| *i as i64).collect::<Vec<_>>())])
    }
}

fn probe(n: usize) -> Probe {
    Probe { n, calls: Arc::default(), fails: None, panics: None }
}

#[test]
fn the_order_does_not_depend_on_the_number_of_threads() {
    let read = |threads: usize, ahead: usize| -> Vec<Vec<i64>> {
        let l = Loader::new(probe(103), 8).shuffle(1).threads(threads).ahead(ahead);
        l.epoch(2).unwrap().map(|b| b.unwrap().tensors[0].to_vec()).collect()
    };
    let here = read(0, 0);
    assert_eq!(here.len(), 13);
    for (threads, ahead) in [(1, 0), (1, 2), (2, 1), (3, 4), (4, 2), (7, 1), (20, 3)] {
        assert_eq!(read(threads, ahead), here, "{threads} threads");
    }
}

/// Where a resumed run goes on: what is done is not loaded again.
#[test]
fn an_epoch_can_be_entered_in_its_middle() {
    let p = probe(50);
    let calls = p.calls.clone();
    let l = Loader::new(p, 8).shuffle(9).threads(2);
    let whole: Vec<Vec<usize>> = l.epoch(4).unwrap().map(|b| b.unwrap().indices).collect();
    calls.store(0, SeqCst);
    let rest: Vec<Vec<usize>> = l.epoch_from(4, 5).unwrap().map(|b| b.unwrap().indices).collect();
    assert_eq!((&rest[..], calls.load(SeqCst)), (&whole[5..], 2));
}

#[test]
fn errors_and_panics_of_a_thread_come_back_in_their_place() {
    for threads in [1, 2, 3] {
        let failing = Loader::new(Probe { fails: Some(21), ..probe(60) }, 4).threads(threads);
        let got: Vec<Result<_>> = failing.epoch(0).unwrap().collect();
        assert_eq!(got.len(), 6, "five batches, the error, and nothing more");
        assert!(got[5].as_ref().err().unwrap().to_string().contains("the disk is gone"));
        let panicking = Loader::new(Probe { panics: Some(9), ..probe(60) }, 4).threads(threads);
        let last = panicking.epoch(0).unwrap().last().unwrap();
        assert!(last.err().unwrap().to_string().contains("cosmic ray"));
    }
    struct Mistaken;
    impl Dataset for Mistaken {
        fn len(&self) -> Option<usize> {
            Some(1)
        }
        fn get(&self, _: &[usize]) -> Result<Vec<Tensor>> {
            Ok(vec![Tensor::zeros([2, 3]).matmul(&Tensor::zeros([2, 3]))])
        }
    }
    let e = Loader::new(Mistaken, 1).epoch(0).unwrap().next().unwrap().err().unwrap();
    assert!(matches!(e, Error::Mistake(_)) && e.to_string().contains("3 and 2 differ"), "{e}");
    // A sampler for more examples than there are.
    let e = Loader::new(TensorDataset::new([Tensor::zeros([3])]).unwrap(), 2).sampler(Cyclic::new(5));
    let e = e.epoch(0).unwrap().last().unwrap().err().unwrap().to_string();
    assert!(e.contains("example 3") && e.contains("there are 3"), "{e}");
}

#[test]
fn dropping_the_batches_stops_the_threads() {
    let p = probe(1_000_000);
    let calls = p.calls.clone();
    let data: Arc<Probe> = Arc::new(p);
    let l = Loader::new(data.clone(), 1).threads(3).ahead(2);
    let start = Instant::now();
    let mut batches = l.epoch(0).unwrap();
    (0..5).for_each(|_| drop(batches.next().unwrap().unwrap()));
    drop(batches);
    // Joined: nothing loads any more, and nobody but us and the loader holds the data.
    let now = calls.load(SeqCst);
    assert!(now <= 5 + 3 * 4, "{now} loaded, only a few ahead");
    drop(l);
    assert_eq!(Arc::strong_count(&data), 1);
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn batches_are_made_ahead() {
    let p = probe(100);
    let calls = p.calls.clone();
    let mut batches = Loader::new(p, 1).ahead(4).epoch(0).unwrap();
    batches.next().unwrap().unwrap();
    let start = Instant::now();
    while calls.load(SeqCst) < 5 && start.elapsed() < Duration::from_secs(30) {
        std::thread::yield_now();
    }
    assert!(calls.load(SeqCst) >= 5, "loaded though nobody asked");
}

#[test]
fn splits_are_disjoint_whole_and_seeded() {
    let (train, validation) = split(1000, 100, 3).unwrap();
    assert_eq!((train.len(), validation.len()), (900, 100));
    let mut both = [train.clone(), validation.clone()].concat();
    both.sort_unstable();
    assert!(both.into_iter().eq(0..1000));
    assert_eq!(split(1000, 100, 3).unwrap().1, validation);
    assert_ne!(split(1000, 100, 4).unwrap().1, validation);
    assert!(split(10, 10, 0).unwrap_err().to_string().contains("none is left"));
    assert!(split(0, 0, 0).is_err());
    assert_eq!(split(10, 0, 0).unwrap().1, []);

    let labels: Vec<i64> = (0..1000).map(|i| if i < 700 { 0 } else { 1 + i % 3 }).collect();
    let (train, validation) = split_stratified(&labels, 101, 3).unwrap();
    assert_eq!((train.len(), validation.len()), (899, 101));
    for c in 0..4 {
        let all = labels.iter().filter(|l| **l == c).count();
        let held = validation.iter().filter(|i| labels[**i] == c).count();
        assert!((held as f64 - all as f64 * 0.101).abs() < 1.0, "class {c}: {held} of {all}");
    }
    let d = TensorDataset::new([Tensor::arange(0, 10)]).unwrap();
    let s = Subset::new(d.clone(), vec![7, 2]).unwrap();
    assert_eq!(s.get(&[1, 0]).unwrap()[0].to_vec::<i64>(), [2, 7]);
    assert!(s.get(&[2]).is_err() && Subset::new(d, vec![10]).is_err());
}

#[test]
fn data_sets_check_what_they_are_made_of() {
    assert!(TensorDataset::new([]).is_err());
    assert!(TensorDataset::new([Tensor::zeros(())]).is_err());
    let e = TensorDataset::new([Tensor::zeros([3, 2]), Tensor::zeros([2])]).err().unwrap().to_string();
    assert!(e.contains("[3, 2]") && e.contains("[2]"), "{e}");
    // A view that is not packed.
    let x = Tensor::arange(0, 6).reshape([2, 3]).t();
    let d = TensorDataset::new([x, Tensor::from([true, false, true])]).unwrap();
    let got = d.get(&[2, 0, 2]).unwrap();
    assert_eq!(got[0].to_vec::<i64>(), [2, 5, 0, 3, 2, 5]);
    assert_eq!((got[1].dtype(), got[1].to_vec::<bool>()), (cotangent::DType::Bool, vec![true, true, true]));
}

/// E5 on loading: position, value, classes, and a guess when labels run from 1 (row D13).
#[test]
fn e5_labels_are_checked_once_on_loading() {
    let make = |labels: [u8; 3], classes| Images::new(vec![0; 12], [1, 2, 2], labels, classes);
    let e = make([0, 1, 9], 2).err().unwrap().to_string();
    assert!(
        e.contains("label 9 at position 2") && e.contains("2 classes") && e.contains("should there be 10"),
        "{e}"
    );
    let e = make([1, 3, 2], 3).err().unwrap().to_string();
    assert!(e.contains("label 3 at position 1") && e.contains("run from 1 to 3"), "{e}");
    assert!(check_labels(&[0, -1], 3).unwrap_err().to_string().contains("count from 0"));
    assert!(check_labels(&[], 3).is_ok() && check_labels(&[0], 0).is_err());
    assert!(
        Images::new(vec![0; 13], [1, 2, 2], [0u8, 0, 0], 1).err().unwrap().to_string().contains("13 pixels")
    );
    assert!(Images::new(vec![], [usize::MAX, 2, 2], [0u8], 1).is_err());
}

/// E34: torchvision's `ToTensor` and `Normalize`, in f32 and in that order, channel by channel.
#[test]
fn e34_images_are_normalised_as_torchvision_does() {
    let pixels: Vec<u8> = (0..24).map(|i| i * 11).collect();
    let d = Images::new(pixels.clone(), [2, 2, 2], [0u8, 1, 2], 3).unwrap();
    assert_eq!(
        d.get(&[1]).unwrap()[0].to_vec::<f32>(),
        pixels[8..16].iter().map(|p| *p as f32 / 255.0).collect::<Vec<_>>()
    );
    let d = d.normalize(&[0.1307, 0.5], &[0.3081, 0.25]).unwrap();
    let got = d.get(&[2, 0]).unwrap();
    assert_eq!(got[0].shape()[..], [2, 2, 2, 2]);
    assert_eq!(got[1].to_vec::<i64>(), [2, 0]);
    let want = |p: u8, c: usize| (p as f32 / 255.0 - [0.1307f32, 0.5][c]) / [0.3081f32, 0.25][c];
    let order: Vec<usize> = (16..24).chain(0..8).collect();
    assert_eq!(got[0].to_vec::<f32>(), order.iter().map(|i| want(pixels[*i], i / 4 % 2)).collect::<Vec<_>>());
    assert_eq!(d.background(), [want(0, 0), want(0, 1)]);
    for (mean, std) in [(&[0.1][..], &[0.3][..]), (&[0.1, f64::NAN], &[1.0, 1.0]), (&[0.1, 0.1], &[1.0, 0.0])]
    {
        assert!(d.clone().normalize(mean, std).is_err());
    }
}

#[test]
fn shifts_and_flips_depend_on_seed_epoch_and_example_alone() {
    let x = Tensor::arange(1, 33).cast(cotangent::DType::F32).reshape([2, 1, 4, 4]);
    let shift = Shift::new(3, 2).fill([-7.0]);
    let draws = [Draw { epoch: 5, index: 40 }, Draw { epoch: 5, index: 41 }];
    let both = shift.apply(&draws, vec![x.clone()]).unwrap().remove(0).to_vec::<f32>();
    let second = shift.apply(&draws[1..], vec![x.narrow(0, 1, 1)]).unwrap().remove(0).to_vec::<f32>();
    assert_eq!(both[16..], second);
    for (d, (image, from)) in draws.iter().zip(both.chunks(16).zip(x.to_vec::<f32>().chunks(16))) {
        let (a, b) = shift.of(*d);
        for i in 0..4isize {
            for j in 0..4isize {
                let inside = (0..4).contains(&(i - a)) && (0..4).contains(&(j - b));
                let want = if inside { from[((i - a) * 4 + j - b) as usize] } else { -7.0 };
                assert_eq!(image[(i * 4 + j) as usize], want);
            }
        }
    }
    let mut counts = vec![0; 25];
    for index in 0..25_000 {
        let (a, b) = shift.of(Draw { epoch: 0, index });
        counts[((a + 2) * 5 + b + 2) as usize] += 1;
    }
    // 24 degrees of freedom: 0.1 % lie above 51.2.
    assert!(chi_squared(counts, 1000.0) < 51.2);
    assert!((0..100).any(|e| shift.of(Draw { epoch: e, index: 0 }) != shift.of(Draw { epoch: 0, index: 0 })));

    let flip = Flip::new(3, 0.5);
    let flipped = (0..10_000).filter(|i| flip.of(Draw { epoch: 1, index: *i })).count();
    assert!((4800..5200).contains(&flipped), "{flipped}");
    let y = Flip::new(0, 1.0).apply(&draws, vec![x.clone()]).unwrap().remove(0).to_vec::<f32>();
    assert_eq!(y[..8], [4.0, 3.0, 2.0, 1.0, 8.0, 7.0, 6.0, 5.0]);
    assert!(Flip::new(0, 1.0).apply(&draws, vec![x.reshape([2, 16])]).is_err());
    assert!(Shift::new(0, 1).fill([1.0, 2.0]).apply(&draws, vec![x]).is_err());
    // A shift larger than the image leaves the fill alone.
    let all = Shift::new(1, usize::MAX).fill([9.0]);
    let one = all.apply(&draws[..1], vec![Tensor::zeros([1, 1, 2, 2])]).unwrap();
    assert_eq!(one[0].to_vec::<f32>(), [9.0; 4]);
}

/// In a loader the epoch reaches the transform, also in a stream across epochs.
#[test]
fn transforms_see_the_epoch() {
    struct Seen(Arc<Mutex<Vec<Draw>>>);
    impl Transform for Seen {
        fn apply(&self, draws: &[Draw], batch: Vec<Tensor>) -> Result<Vec<Tensor>> {
            self.0.lock().unwrap().extend(draws);
            Ok(batch)
        }
    }
    let seen = Arc::new(Mutex::new(Vec::new()));
    let d = TensorDataset::new([Tensor::arange(0, 3)]).unwrap();
    let l = Loader::new(d, 2).threads(0).transform(Seen(seen.clone()));
    assert_eq!(l.epoch(4).unwrap().count(), 2);
    assert!(seen.lock().unwrap().drain(..).all(|d| d.epoch == 4));
    assert_eq!(l.stream(0).take(2).count(), 2);
    let epochs: Vec<(u64, usize)> = seen.lock().unwrap().iter().map(|d| (d.epoch, d.index)).collect();
    assert_eq!(epochs, [(0, 0), (0, 1), (0, 2), (1, 0)]);
}

/// A file of its own, removed at the end.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("cotangent-{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        Temporary(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// An IDX file.
fn idx(kind: u8, dims: &[u32], data: &[u8]) -> Vec<u8> {
    let mut v = vec![0, 0, kind, dims.len() as u8];
    dims.iter().for_each(|d| v.extend(d.to_be_bytes()));
    v.extend(data);
    v
}

#[test]
fn idx_reads_every_type() {
    let read = |name: &str, bytes: Vec<u8>| Idx::read(&Temporary::new(name, &bytes).0).unwrap();
    let a = read("u8", idx(8, &[2, 3], &[1, 2, 3, 4, 5, 255]));
    assert_eq!((a.shape(), a.tensor().to_vec::<u8>()), (&[2, 3][..], vec![1, 2, 3, 4, 5, 255]));
    assert_eq!(read("i8", idx(9, &[2], &[255, 127])).elements(), &Elements::I32(vec![-1, 127]));
    assert_eq!(read("i16", idx(11, &[2], &[255, 254, 1, 0])).elements(), &Elements::I32(vec![-2, 256]));
    assert_eq!(
        read("i32", idx(12, &[1], &(-70_000i32).to_be_bytes())).elements(),
        &Elements::I32(vec![-70_000])
    );
    assert_eq!(read("f32", idx(13, &[1], &1.5f32.to_be_bytes())).elements(), &Elements::F32(vec![1.5]));
    assert_eq!(read("f64", idx(14, &[1, 1], &(-0.1f64).to_be_bytes())).tensor().to_vec::<f64>(), [-0.1]);
    assert_eq!(read("empty", idx(8, &[0, 28, 28], &[])).shape(), [0, 28, 28]);
    assert_eq!(read("single", idx(8, &[], &[7])).tensor().item(), 7.0);
}

/// Each bad file: an error with its path, the byte, what was found, and what to do; never a panic, never more
/// memory than the file could fill.
#[test]
fn idx_bad_files_are_refused_with_place_and_repair() {
    let max = u32::MAX;
    let table: Vec<(&str, Vec<u8>, u64, &str)> = vec![
        ("nothing", vec![], 0, "ends within the first 4 bytes"),
        ("short", vec![0, 0, 8], 3, "ends within the first 4 bytes"),
        ("png", b"\x89PNG\r\n\x1a\n".to_vec(), 0, "begins with 89 50 4e 47"),
        ("text", b"label,pixel\n".to_vec(), 0, "an IDX file begins with 00 00"),
        ("type", idx(7, &[1], &[0]), 2, "element type 07"),
        ("axes", idx(8, &[1; 9], &[0]), 3, "9 axes"),
        ("header", vec![0, 0, 8, 3, 0, 0, 0, 1, 0, 0], 10, "ends within its header"),
        ("truncated", idx(8, &[2, 3], &[0; 5]), 17, "1 too few"),
        ("trailing", idx(8, &[2, 3], &[0; 8]), 18, "2 more bytes follow"),
        ("absurd", idx(8, &[max, max, max], &[0; 5]), 4, "more elements than memory can number"),
        ("wrapping", idx(14, &[1 << 31, 1 << 31, 4], &[]), 4, "more elements than memory can number"),
        ("zeros", idx(8, &[0, max, max, max, max], &[]), 4, "more elements than memory can number"),
        ("huge", idx(8, &[60_000, 1000, 1000], &[0; 64]), 80, "too few"),
        ("wide", idx(14, &[3], &[0; 23]), 31, "1 too few"),
    ];
    for (name, bytes, offset, words) in table {
        let file = Temporary::new(&format!("bad-{name}"), &bytes);
        let e = Idx::read(&file.0).err().unwrap_or_else(|| panic!("{name} was read"));
        let text = e.to_string();
        let Error::Data { path, offset: at, help, .. } = e else { panic!("{name}: {text}") };
        assert_eq!((path, at), (file.0.clone(), Some(offset)), "{name}: {text}");
        assert!(text.contains(words) && !help.is_empty(), "{name}: {text}");
    }
    let e = Idx::read(std::env::temp_dir()).unwrap_err().to_string();
    assert!(e.contains("is a folder"), "{e}");
    let e = Idx::read(std::env::temp_dir().join("cotangent-no-such-file")).unwrap_err();
    assert!(matches!(e, Error::Io { .. }));
    #[cfg(unix)]
    assert!(Idx::read("/dev/zero").unwrap_err().to_string().contains("not a regular file"));
}

#[test]
fn pairs_of_idx_files_must_belong_together() {
    let images = Temporary::new("images", &idx(8, &[2, 1, 2], &[0, 255, 51, 204]));
    let labels = Temporary::new("labels", &idx(8, &[2], &[1, 0]));
    let three = Temporary::new("three", &idx(8, &[3], &[1, 0, 1]));
    let wrong = Temporary::new("wrong", &idx(8, &[2], &[1, 7]));
    let real = Temporary::new("real", &idx(13, &[2], &[0; 8]));
    let wide = Temporary::new("wide-labels", &idx(12, &[2], &[0, 0, 0, 1, 0, 0, 0, 9]));
    let d = Images::from_idx(&images.0, &labels.0, 2).unwrap();
    assert_eq!((d.len(), d.shape(), d.labels(), d.classes()), (Some(2), [1, 1, 2], &[1, 0][..], 2));
    let bad = |i: &Temporary, l: &Temporary| Images::from_idx(&i.0, &l.0, 2).err().unwrap().to_string();
    assert!(bad(&labels, &images).contains("images have shape"));
    assert!(bad(&images, &images).contains("labels have shape"));
    assert!(bad(&images, &three).contains("3 labels") && bad(&images, &real).contains("labels are whole"));
    assert!(
        bad(&images, &wrong).contains("at byte 9") && bad(&images, &wrong).contains("label 7 at position 1")
    );
    assert!(bad(&images, &wide).contains("at byte 12"));
}

/// The bytes in a gzip member whose one block is stored as it is.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let crc = !bytes.iter().fold(!0u32, |c, b| {
        (0..8).fold(c ^ u32::from(*b), |c, _| if c & 1 == 1 { c >> 1 ^ 0xedb8_8320 } else { c >> 1 })
    });
    let n = bytes.len() as u16;
    let mut v = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1];
    v.extend([n.to_le_bytes(), (!n).to_le_bytes()].concat());
    v.extend(bytes);
    v.extend([crc.to_le_bytes(), u32::from(n).to_le_bytes()].concat());
    v
}

#[cfg(feature = "gzip")]
#[test]
fn gzip_is_read_transparently_and_bombs_are_bounded() {
    let read = |name: &str, bytes: &[u8]| Idx::read(&Temporary::new(&format!("gz-{name}"), bytes).0);
    let good = idx(8, &[2, 2], &[1, 2, 3, 4]);
    assert_eq!(read("good", &gzip(&good)).unwrap().tensor().to_vec::<u8>(), [1, 2, 3, 4]);
    // Two members, as `cat a.gz b.gz` makes.
    let parts = [gzip(&good[..7]), gzip(&good[7..])].concat();
    assert_eq!(read("parts", &parts).unwrap().shape(), [2, 2]);
    let words = |name: &str, bytes: &[u8], words: &str| {
        let e = read(name, bytes).unwrap_err();
        assert!(
            matches!(e, Error::Data { offset: Some(_), .. }) && e.to_string().contains(words),
            "{name}: {e}"
        );
    };
    words("truncated", &gzip(&good)[..20], "damaged or ends early");
    let mut flipped = gzip(&good);
    let crc = flipped.len() - 8;
    flipped[crc] ^= 1;
    words("checksum", &flipped, "damaged");
    words("behind", &[gzip(&good), b"PK".to_vec()].concat(), "damaged");
    words("surplus", &gzip(&idx(8, &[2], &[0; 60_000])), "more bytes follow");
    words("missing", &gzip(&idx(8, &[2, 3], &[0; 4])), "2 bytes early");
    // Declares 60 GB, and so little can never inflate to it: refused before anything is taken.
    words("declared", &gzip(&idx(8, &[60_000, 1000, 1000], &[0; 64])), "can hold at most");
    words("short", &[0x1f, 0x8b], "damaged or ends early");
}

#[cfg(not(feature = "gzip"))]
#[test]
fn gzip_is_named_where_it_cannot_be_read() {
    let file = Temporary::new("gz-none", &gzip(&idx(8, &[1], &[1])));
    let e = Idx::read(&file.0).unwrap_err().to_string();
    assert!(e.contains("gunzip") && e.contains("feature `gzip`"), "{e}");
}
