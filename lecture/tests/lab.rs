//! `lab`: equal work, known minima, the same seeds the same numbers.

use cotangent::{DType, Tensor};
use cotangent_lecture::{
    FiniteSum,
    lab::{self, Problem, Sequence, Study},
};

fn small(problem: Problem) -> Study {
    Study { problem, examples: 48, epochs: 4, seeds: 3, batch: 8, ..Study::default() }
}

/// A18, A23: every arm spends the same gradient evaluations, goes down, and is not below the minimum.
#[test]
fn a18_a23_five_arms_at_equal_evaluations() {
    // The logistic loss is smooth where the margin is 0.
    let p = FiniteSum::logistic(40, 3, false, 1);
    let zero = Tensor::zeros([3]).cast(DType::F64);
    let step = Tensor::from([1e-6, 0.0, 0.0]);
    let slope = (p.value(&(&zero + &step)) - p.value(&(&zero - &step))) / 2e-6;
    assert!((p.gradient(&zero).to_vec::<f64>()[0] - slope).abs() < 1e-8);
    for problem in [Problem::Quadratic, Problem::Logistic, Problem::Sorted] {
        let arms = lab::compare(&small(problem));
        let names: Vec<&str> = arms.iter().map(|a| a.name).collect();
        assert_eq!(names, ["gd", "minibatch", "sgd-iid", "cyclic", "shuffled"]);
        for a in &arms {
            assert_eq!((a.evaluations, a.curve.len()), (4 * 48, 5), "{problem:?} {}", a.name);
            assert!(a.mean < a.start && a.curve.iter().all(|c| c[1] > -1e-12), "{problem:?} {a:?}");
            assert!(a.spread >= 0.0 && a.worst >= a.mean - 1e-12);
        }
    }
}

#[test]
fn the_same_study_gives_the_same_numbers() {
    let of = || lab::compare(&small(Problem::Logistic)).iter().map(|a| a.mean.to_bits()).collect::<Vec<_>>();
    assert_eq!(of(), of());
}

/// A4: sequences of step sizes.
#[test]
fn a4_a_sequence_changes_the_end() {
    let with = |sequence| lab::compare(&Study { sequence, ..small(Problem::Quadratic) })[2].mean;
    let (constant, harmonic, root) =
        (with(Sequence::Constant), with(Sequence::Harmonic), with(Sequence::Root));
    assert!(constant != harmonic && harmonic != root);
    let hot = Study { rate: Some(1e3), ..small(Problem::Quadratic) };
    let end = lab::compare(&hot)[2].mean;
    assert!(end.is_nan() || end > 1.0, "a step size far beyond 2/L diverges");
}

#[test]
fn mnist_is_a_finite_sum_of_7850_numbers() {
    let study = Study { examples: 60, epochs: 2, seeds: 2, ..small(Problem::Mnist) };
    let p = study.make().unwrap();
    assert_eq!((p.len(), p.dim()), (60, 7850));
    let theta = Tensor::zeros([7850]).cast(DType::F64);
    assert!((p.value(&theta) - 10f64.ln()).abs() < 1e-12);
    assert!(lab::compare(&study).iter().all(|a| a.mean < a.start));
    assert!(Study { examples: 60_001, ..study }.make().is_err());
}

/// A7: L of a quadratic is known; the cautious step size comes from it.
#[test]
fn a7_the_curvature_of_a_quadratic_is_found() {
    let scales = Tensor::from([3.0, 1.0, 0.5]);
    let p = FiniteSum::new(4, 3, move |t, i| {
        let f = (t.square() * &scales).sum() * 0.5;
        i.cast(DType::F64) * 0.0 + f
    });
    let l = lab::curvature(&p, &Tensor::from([1.0, 1.0, 1.0]), 60);
    assert!((l - 3.0).abs() < 1e-9, "{l}");
    assert_eq!(lab::noise_scale(&p, &Tensor::from([1.0, 1.0, 1.0])), 0.0);
}

/// A7: where F is flat here and steep ahead, L is that of the way; a step of 1/L and one of 2/L go down.
#[test]
fn a7_the_curvature_ahead_is_what_a_step_meets() {
    let p = FiniteSum::logistic(40, 3, false, 1);
    let far = Tensor::full([3], 2.0).cast(DType::F64);
    let (here, ahead) = (lab::curvature(&p, &far, 30), lab::curvature_ahead(&p, &far, 30));
    assert!(ahead > 1.2 * here, "{here} {ahead}");
    let falls = |alpha: f64| p.value(&(&far - p.gradient(&far) * alpha)) < p.value(&far);
    assert!(falls(1.0 / ahead) && falls(1.99 / ahead));
}

/// A20: F along three orders, four times an epoch, with the spread over seeds.
#[test]
fn a20_orders_have_curves() {
    let found = lab::orders(3, 4);
    assert!(found.iter().all(|o| o.curve.len() == 17 && o.curve[16][0] == 4.0 && o.curve[1][2] > 0.0));
    assert!(found[0].mean > found[2].mean && found[0].swing > found[2].swing, "{found:?}");
}

/// A14: tr(Cov)/‖g‖² by hand.
#[test]
fn a14_the_noise_scale_by_hand() {
    let omega = Tensor::from([1.0, 2.0, 6.0]);
    let p = FiniteSum::new(3, 1, move |t, i| (t - omega.index_select(0, i)).square() * 0.5);
    // Gradients at 0: −1, −2, −6; mean −3, variance (4 + 1 + 9)/3.
    let found = lab::noise_scale(&p, &Tensor::from([0.0]));
    assert!((found - 14.0 / 3.0 / 9.0).abs() < 1e-14, "{found}");
}

/// A15: predicted within 10 % of measured, for several limits.
#[test]
fn a15_the_largest_batch_is_predicted() {
    for limit in [2 << 20, 5 << 20, 9 << 20] {
        let p = lab::largest_batch(limit);
        let off = p.measured as f64 / p.predicted as f64;
        assert!((0.9..=1.1).contains(&off), "{p:?}");
        assert!(p.predicted <= limit && p.predicted + p.per_example > limit, "{p:?}");
    }
}

/// A11: two optimisers, and a generator's mean that goes to the data's, for three seeds.
#[test]
fn a11_the_generator_finds_the_data() {
    for seed in 1..4 {
        let g = lab::gan(seed, 400);
        assert!(g.before == 0.0 && (g.after - g.data).abs() < 0.5, "{seed}: {g:?}");
    }
    let all = lab::gans(1, 3, 100);
    assert!(all.spread > 0.0 && all.curve.len() == 51 && all.curve[50][0] == 100.0, "{all:?}");
    assert!((all.curve[50][1] - lab::gans(1, 3, 100).curve[50][1]).abs() == 0.0);
}

/// H1–H6, H12: both networks learn.
#[test]
fn h12_both_lenets_learn() {
    let found = lab::lenets(600, 300, 3, 1);
    assert_eq!(found.iter().map(|f| f.parameters).collect::<Vec<_>>(), [61_706, 60_000]);
    assert!(found.iter().all(|f| f.accuracy > 0.3), "{found:?}");
}
