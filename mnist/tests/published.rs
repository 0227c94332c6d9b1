//! The bundled data is the published data.

use cotangent_mnist::{CLASSES, COLS, MEAN, ROWS, STD, Split, TEST, TRAIN};
use sha2::{Digest, Sha256};

/// SHA-256 of the IDX file made of a header of big-endian words and a body.
fn idx_sum(header: &[u32], body: &[u8]) -> String {
    let mut sum = Sha256::new();
    for word in header {
        sum.update(word.to_be_bytes());
    }
    sum.update(body);
    sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn image_sum(n: usize, split: &Split) -> String {
    idx_sum(&[0x0803, n as u32, ROWS as u32, COLS as u32], &split.images)
}

fn label_sum(n: usize, split: &Split) -> String {
    idx_sum(&[0x0801, n as u32], &split.labels)
}

fn histogram(labels: &[u8]) -> [usize; CLASSES] {
    let mut counts = [0; CLASSES];
    for &label in labels {
        counts[usize::from(label)] += 1;
    }
    counts
}

#[test]
fn training_files_have_the_published_sums() {
    let train = cotangent_mnist::train().unwrap();
    assert_eq!(image_sum(TRAIN, &train), "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db");
    assert_eq!(label_sum(TRAIN, &train), "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5");
}

#[test]
fn test_files_have_the_published_sums() {
    let test = cotangent_mnist::test().unwrap();
    assert_eq!(image_sum(TEST, &test), "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7");
    assert_eq!(label_sum(TEST, &test), "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2");
}

#[test]
fn labels_are_distributed_as_published() {
    let train = histogram(&cotangent_mnist::train().unwrap().labels);
    assert_eq!(train, [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]);
    let test = histogram(&cotangent_mnist::test().unwrap().labels);
    assert_eq!(test, [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]);
}

// μ = Σ x / n and σ² = Σ x² / n − μ², over all training pixels scaled to [0, 1].
#[test]
fn mean_and_std_are_those_of_the_training_pixels() {
    let images = cotangent_mnist::train().unwrap().images;
    let (mut sum, mut squares) = (0u64, 0u64);
    for &pixel in &images {
        sum += u64::from(pixel);
        squares += u64::from(pixel).pow(2);
    }
    let n = images.len() as f64;
    let mean = sum as f64 / n / 255.0;
    let std = (squares as f64 / n / (255.0 * 255.0) - mean * mean).sqrt();
    assert!((mean - MEAN).abs() < 5e-5, "{mean}");
    assert!((std - STD).abs() < 5e-5, "{std}");
}

/// Prints, and does not judge, how long inflating takes: `cargo test --release -- --nocapture`.
#[test]
fn both_splits_load_at_any_number_of_threads() {
    let load = || (cotangent_mnist::train().unwrap(), cotangent_mnist::test().unwrap());
    let begin = std::time::Instant::now();
    let everything = load();
    println!("inflated {} images in {:.0?}", TRAIN + TEST, begin.elapsed());
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert!(pool.install(load) == everything, "{threads} threads");
    }
}
