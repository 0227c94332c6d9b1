//! The programs in `examples/` do what they say. Their slow parts run on less data here.

use cotangent::{Device, data::*, device::Event};

macro_rules! examples {
    ($($name:ident $path:literal;)*) => {$(
        #[allow(dead_code)]
        #[path = $path]
        mod $name;
    )*};
}
examples! {
    lenet5 "../examples/lenet5.rs";
    own_operation "../examples/own_operation.rs";
    power_iteration "../examples/power_iteration.rs";
    samplers "../examples/samplers.rs";
    two_modes "../examples/two_modes.rs";
}

#[test]
fn b10_power_iteration() {
    let (a, v) = power_iteration::matrix();
    let gpu = Device::virtual_gpu();
    for device in [Device::cpu(), gpu.clone()] {
        let x = power_iteration::eigenvector(&a, &device);
        assert!(power_iteration::distance(&x, &v) < 1e-6);
        assert!((x.matmul(&a.matmul(&x)).item() - 10.0).abs() < 1e-5);
    }
    let gpu = gpu.as_virtual_gpu().unwrap();
    let products = gpu.log().iter().filter(|e| matches!(e, Event::Launch { kernel: "matmul", .. })).count();
    assert_eq!((gpu.transfers(), products), ((2, 1), 100));

    let (step, message) = power_iteration::overflow(&a).unwrap();
    assert_eq!(step, 39);
    assert!(message.starts_with("matmul at ") && message.contains("power_iteration.rs"), "{message}");
}

#[test]
fn c8_c10_c12_both_modes_and_the_slip() {
    let close = |found: [f64; 2], x: f64, y: f64, by: f64| {
        assert!((found[0] - x).abs() < by && (found[1] - y).abs() < by, "{found:?}")
    };
    let sqrt = cotangent::Tensor::sqrt;
    for found in [two_modes::forward(sqrt), two_modes::reverse(sqrt)] {
        close(found, 0.891541845, 1.469188241, 1e-9);
    }
    close(two_modes::differences(), 0.8915418, 1.4691882, 1e-7);
    for found in [two_modes::forward(two_modes::slide_sqrt), two_modes::reverse(two_modes::slide_sqrt)] {
        close(found, 1.116417024, 1.839764192, 1e-9);
    }
    let verdict = two_modes::verdict().expect("the laws find the slip");
    assert!(verdict.contains("push = finite difference"), "{verdict}");
}

#[test]
fn a8_a11_a17_a19_every_sampler() {
    let (error, seen, unbiased) = samplers::epochs(Cyclic::new(1000)).unwrap();
    assert!(error < 1e-12 && seen == 1.0 && !unbiased);
    let (error, seen, unbiased) = samplers::epochs(Shuffled::new(1000, 0)).unwrap();
    assert!(error < 1e-12 && seen == 1.0 && !unbiased);
    let (error, seen, unbiased) = samplers::epochs(Iid::new(1000, 0)).unwrap();
    assert!(error > 1e-6 && (0.6..0.66).contains(&seen) && unbiased);
    assert!((samplers::endless().unwrap() - 3.0).abs() < 0.1);
    assert!(Endless.epoch(0).is_err());
}

#[test]
fn e23_own_operation_and_module() {
    assert!(own_operation::check().unwrap().batched > 0);
    let [before, after] = own_operation::fit(100);
    assert!(after < before / 4.0, "{before} {after}");
}

#[test]
fn h12_lenet5_on_a_few_images() {
    let data = lenet5::images(cotangent_mnist::train()).unwrap();
    let few = Subset::new(data, (0..3000).collect::<Vec<_>>()).unwrap();
    let net = lenet5::train(few, 2, |_, _| {}).unwrap();
    let accuracy = lenet5::accuracy(&net, lenet5::images(cotangent_mnist::test()).unwrap()).unwrap();
    assert!(accuracy > 0.85, "{accuracy}");
}
