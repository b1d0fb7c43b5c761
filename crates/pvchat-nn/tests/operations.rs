//! Our element-wise operations against burn's: values, gradients, views, rows of odd lengths.

use burn::{prelude::*, tensor::activation};
use pvchat_data::random::SeededStream;
use pvchat_nn::{init, operations};

type Operation = fn(Tensor<3>) -> Tensor<3>;

fn numbers(tensor: Tensor<3>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn assert_close(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= tolerance * expected.abs().max(1.0), "{what}[{index}]: {found}, burn: {expected}");
    }
}

#[test]
fn values_and_gradients_are_burns() {
    let pairs: [(&str, Operation, Operation); 4] = [
        ("gelu", operations::gelu, activation::gelu),
        ("gelu_tanh", operations::gelu_tanh, activation::gelu_approximate),
        ("silu", operations::silu, activation::silu),
        ("softmax", operations::softmax, |x| activation::softmax(x, 2)),
    ];
    for (name, ours, burns) in pairs {
        for (index, shape) in [[1, 1, 1], [2, 3, 5], [3, 7, 16], [2, 33, 129], [1, 200, 700]].into_iter().enumerate() {
            let mut device = Device::flex().autodiff();
            if index % 2 == 1 {
                device = device.gradient_checkpointing();
            }
            let stream = SeededStream::new(index as u64);
            let x = init::normal::<3>(&mut stream.derive("x"), shape, 3.0, &device).require_grad();
            let slope = init::normal::<3>(&mut stream.derive("slope"), shape, 1.0, &device);
            // A view whose memory is not in order.
            let view = || x.clone().swap_dims(0, 1).mul_scalar(1.0).swap_dims(0, 1);
            let run = |operation: Operation| {
                let output = operation(view());
                let gradients = (output.clone() * slope.clone()).sum().backward();
                [numbers(output), numbers(x.grad(&gradients).unwrap())]
            };
            let (found, expected) = (run(ours), run(burns));
            assert_close(&format!("{name} {shape:?}"), &found[0], &expected[0], 1e-6);
            assert_close(&format!("{name} {shape:?}, gradient"), &found[1], &expected[1], 3e-6);
            let plain = numbers(ours(x.clone().inner()));
            assert_eq!(plain, found[0], "{name}: gradients change no number");
        }
    }
}

#[test]
fn the_gradient_of_gelu_is_that_of_the_error_function_on_every_backend() {
    let x = [-3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0];
    // The share of a standard normal below x, plus x times its density at x. With the tangent the second would be 9e-4 lower.
    let expected =
        [-0.011_945_647, -0.085_231_8, -0.083_315_47, 0.132_504_88, 0.5, 0.867_495_1, 1.083_315_5, 1.085_231_8, 1.011_945_6];
    for name in ["flex", "ndarray"] {
        let Ok(device) = pvchat_nn::device::named(name) else { continue };
        let x = Tensor::<1>::from_floats(x, &device.autodiff()).reshape([1, 1, x.len()]).detach().require_grad();
        let slopes = x.grad(&operations::gelu(x.clone()).sum().backward()).unwrap();
        assert_close(&format!("{name}: gradient of gelu"), &numbers(slopes), &expected, 1e-6);
    }
}

#[test]
fn root_mean_square_norms_are_burns() {
    for (index, shape) in [[1, 1, 1], [2, 3, 5], [3, 7, 16], [2, 33, 129], [1, 200, 700]].into_iter().enumerate() {
        let device = Device::flex().autodiff();
        let stream = SeededStream::new(index as u64);
        let mut norm = init::rms_norm(shape[2], 1e-5, &device);
        let gamma = init::normal::<1>(&mut stream.derive("gamma"), [shape[2]], 1.0, &device);
        norm.gamma = burn::module::Param::from_tensor(gamma);
        let x = init::normal::<3>(&mut stream.derive("x"), shape, 3.0, &device).require_grad();
        let slope = init::normal::<3>(&mut stream.derive("slope"), shape, 1.0, &device);
        let run = |output: Tensor<3>| {
            let gradients = (output.clone() * slope.clone()).sum().backward();
            let gamma = norm.gamma.val().grad(&gradients).unwrap().unsqueeze::<3>();
            [output, x.grad(&gradients).unwrap(), gamma].map(numbers)
        };
        let (found, expected) = (run(operations::rms_norm(&norm, x.clone())), run(norm.forward(x.clone())));
        for (what, (found, expected)) in ["values", "x", "gamma"].iter().zip(found.iter().zip(&expected)) {
            assert_close(&format!("{shape:?}, {what}"), found, expected, 2e-5);
        }
        let plain = operations::rms_norm(&norm, x.clone().inner());
        assert_eq!(numbers(plain), found[0], "gradients change no number");
    }
}

#[test]
fn layer_norms_are_burns() {
    for (index, shape) in [[1, 1, 2], [2, 3, 5], [3, 7, 16], [2, 33, 129], [1, 200, 700]].into_iter().enumerate() {
        let mut device = Device::flex().autodiff();
        if index % 2 == 1 {
            device = device.gradient_checkpointing();
        }
        let stream = SeededStream::new(index as u64);
        let mut norm = operations::LayerNorm::new(shape[2], 1e-5, &device);
        let mut burns = burn::nn::LayerNormConfig::new(shape[2]).with_epsilon(1e-5).init(&device);
        let parameter = |label: &str| {
            burn::module::Param::from_tensor(init::normal::<1>(&mut stream.derive(label), [shape[2]], 1.0, &device))
        };
        (norm.gamma, norm.beta) = (parameter("gamma"), parameter("beta"));
        (burns.gamma, burns.beta) = (norm.gamma.clone(), Some(norm.beta.clone()));
        // Away from zero, where a variance as the difference of two large numbers would be lost.
        let x = (init::normal::<3>(&mut stream.derive("x"), shape, 3.0, &device) + 10.0).detach().require_grad();
        let slope = init::normal::<3>(&mut stream.derive("slope"), shape, 1.0, &device);
        let run = |output: Tensor<3>| {
            let gradients = (output.clone() * slope.clone()).sum().backward();
            let of = |parameter: Tensor<1>| parameter.grad(&gradients).unwrap().unsqueeze::<3>();
            [output, x.grad(&gradients).unwrap(), of(norm.gamma.val()), of(norm.beta.val())].map(numbers)
        };
        let (found, expected) = (run(norm.forward(x.clone())), run(burns.forward(x.clone())));
        for (what, (found, expected)) in ["values", "x", "gamma", "beta"].iter().zip(found.iter().zip(&expected)) {
            assert_close(&format!("{shape:?}, {what}"), found, expected, 1e-4);
        }
        let plain = norm.forward(x.clone().inner());
        assert_eq!(numbers(plain), found[0], "gradients change no number");
    }
}

#[test]
fn extreme_numbers_stay_what_they_are() {
    let device = Device::flex();
    let row = |values: &[f32]| Tensor::<1>::from_floats(values, &device).reshape([1, 1, values.len()]);
    let found = numbers(operations::gelu(row(&[-1e30, -50.0, 0.0, 50.0, 1e30])));
    assert_close("gelu", &found, &[0.0, 0.0, 0.0, 50.0, 1e30], 1e-6);
    assert!(numbers(operations::gelu(row(&[f32::NAN])))[0].is_nan());
    let found = numbers(operations::gelu_tanh(row(&[-1e30, -50.0, 0.0, 50.0, 1e30])));
    assert_close("gelu_tanh", &found, &[0.0, 0.0, 0.0, 50.0, 1e30], 1e-6);
    assert!(numbers(operations::gelu_tanh(row(&[f32::NAN])))[0].is_nan());
    let far = Tensor::<1>::from_floats([-1e30, -50.0, 50.0, 1e30], &Device::flex().autodiff()).reshape([1, 1, 4]).require_grad();
    let slopes = far.grad(&operations::gelu_tanh(far.clone()).sum().backward()).unwrap();
    assert_close("gelu_tanh, gradient", &numbers(slopes), &[0.0, 0.0, 1.0, 1.0], 1e-6);
    let found = numbers(operations::silu(row(&[-1e30, -100.0, 0.0, 100.0, 1e30])));
    assert_close("silu", &found, &[0.0, 0.0, 0.0, 100.0, 1e30], 1e-6);
    assert!(numbers(operations::silu(row(&[f32::NAN])))[0].is_nan());
    let found = numbers(operations::softmax(row(&[1e30, f32::NEG_INFINITY, 1e30, -1e30])));
    assert_close("softmax", &found, &[0.5, 0.0, 0.5, 0.0], 1e-6);
    assert!(numbers(operations::softmax(row(&[0.0, f32::NAN]))).iter().all(|value| value.is_nan()));
}
