//! Packed products against their definition in f64, for every precision and every kind of processor that this one can play.

use burn::prelude::*;
use pvchat_data::random::SeededStream;
use pvchat_nn::{
    Error,
    packed::{
        Finish, Heads, KeyWeights, Layer, Level, Order, PackedMatrix, Precision, attention, attention_at, causal_attention_into,
        forward_both, product, step_attention, together,
    },
};

/// Rows, inputs and outputs: none a multiple of a tile, a group or a panel, then all.
const SIZES: [[usize; 3]; 9] =
    [[1, 1, 1], [2, 7, 33], [3, 70, 31], [5, 64, 64], [13, 100, 70], [30, 129, 17], [47, 33, 45], [70, 200, 95], [1, 576, 96]];

/// Normally distributed.
fn noise(label: &str, count: usize) -> Vec<f32> {
    let mut stream = SeededStream::new(5).derive(label);
    (0..count).map(|_| stream.normal()).collect()
}

/// Whole numbers that every precision keeps as they are: each group of 32 has the largest.
fn whole_numbers(count: usize, inputs: usize) -> Vec<f32> {
    let number = |index: usize| if (index % inputs).is_multiple_of(32) { 127.0 } else { (index * 7919 % 255) as f32 - 127.0 };
    (0..count * inputs).map(number).collect()
}

fn transposed(weight: &[f32], [inputs, outputs]: [usize; 2]) -> Vec<f32> {
    (0..outputs).flat_map(|output| weight.iter().skip(output).step_by(outputs).take(inputs).copied()).collect()
}

/// `rows [count, inputs] weight [inputs, outputs]`, and the sum of the products without their signs.
fn by_definition(rows: &[f32], weight: &[f32], [count, inputs, outputs]: [usize; 3]) -> Vec<[f64; 2]> {
    let of = |place: usize| {
        let (row, output) = (place / outputs, place % outputs);
        let products =
            (0..inputs).map(|input| f64::from(rows[row * inputs + input]) * f64::from(weight[input * outputs + output]));
        products.fold([0.0, 0.0], |[sum, size], product| [sum + product, size + product.abs()])
    };
    (0..count * outputs).map(of).collect()
}

#[test]
fn products_are_those_of_the_weights_that_are_kept() {
    for precision in Precision::ALL {
        for sizes @ [count, inputs, outputs] in SIZES {
            let weight = noise("weight", inputs * outputs);
            let packed = PackedMatrix::pack(&weight, inputs, outputs, precision).unwrap();
            let other = transposed(&weight, [inputs, outputs]);
            let other = PackedMatrix::pack_ordered(&other, Order::OutputsInputs, [inputs, outputs], precision).unwrap();
            let kept = packed.unpacked();
            assert_eq!(kept, other.unpacked(), "{precision:?} {sizes:?}: the order");
            let (rows, bias) = (whole_numbers(count, inputs), noise("bias", outputs));
            let expected = by_definition(&rows, &kept[0], sizes);
            for level in Level::available() {
                let mut out = vec![f32::NAN; count * outputs];
                packed.forward_at(level, &rows, count, Some(&bias), Finish::Nothing, &mut out).unwrap();
                for (place, (found, [sum, size])) in out.iter().zip(&expected).enumerate() {
                    let expected = sum + f64::from(bias[place % outputs]);
                    let difference = (f64::from(*found) - expected).abs();
                    assert!(
                        difference <= 2e-6 * (size + 1.0),
                        "{precision:?} {level:?} {sizes:?} {place}: {found}, not {expected}"
                    );
                }
            }
        }
    }
}

/// Of the largest weight of its group, half a step; bf16 has eight digits. In four bits the largest may be cut by a quarter, which
/// the others gain by.
#[test]
fn weights_are_kept_to_half_a_step() {
    let [inputs, outputs] = [150, 37];
    let mut weight = noise("weight", inputs * outputs);
    weight[3 * outputs + 5] = 40.0;
    for output in 0..outputs {
        (0..64).for_each(|input| weight[input * outputs + output] *= if output == 9 { 0.0 } else { 1e-3 });
    }
    for (precision, group, step) in [
        (Precision::F32, 1, 0.0),
        (Precision::Bf16, 1, 1.0 / 128.0),
        (Precision::Int8, 64, 1.01 / 127.0),
        (Precision::Int4, 32, 0.5),
    ] {
        let kept = PackedMatrix::pack(&weight, inputs, outputs, precision).unwrap().unpacked();
        for (place, (weight_of, kept)) in weight.iter().zip(&kept[0]).enumerate() {
            let (input, output) = (place / outputs, place % outputs);
            let first = input / group * group;
            let of_group = (first..inputs.min(first + group)).map(|input| weight[input * outputs + output].abs());
            let half = of_group.fold(0.0, f32::max) * step / 2.0;
            assert!((weight_of - kept).abs() <= half, "{precision:?} {place}: {weight_of} became {kept}");
        }
    }
}

/// Root of the mean square of the difference, of that of the result.
fn error(precision: Precision, weight: &[f32], rows: &[f32], sizes @ [count, inputs, outputs]: [usize; 3]) -> f64 {
    let packed = PackedMatrix::pack(weight, inputs, outputs, precision).unwrap();
    let mut out = vec![0.0; count * outputs];
    packed.forward(rows, count, None, &mut out).unwrap();
    let expected = by_definition(rows, weight, sizes);
    let square = |numbers: &mut dyn Iterator<Item = f64>| numbers.map(|number| number * number).sum::<f64>();
    let difference = square(&mut out.iter().zip(&expected).map(|(found, [sum, _])| f64::from(*found) - sum));
    (difference / square(&mut expected.iter().map(|[sum, _]| *sum))).sqrt()
}

#[test]
fn what_rounding_costs() {
    let sizes @ [count, inputs, outputs] = [20, 576, 192];
    let (gaussian, rows) = (noise("weight", inputs * outputs), noise("rows", count * inputs));
    // One weight in a hundred is ten times as large, and one number of each row thirty times.
    let (mut outliers, mut peaks) = (gaussian.clone(), rows.clone());
    outliers.iter_mut().step_by(101).for_each(|weight| *weight *= 10.0);
    peaks.iter_mut().skip(40).step_by(inputs).for_each(|number| *number *= 30.0);
    for (precision, most) in [
        (Precision::F32, [1e-6; 3]),
        (Precision::Bf16, [0.0035; 3]),
        (Precision::Int8, [0.0095, 0.018, 0.019]),
        (Precision::Int4, [0.085, 0.15, 0.085]),
    ] {
        let found = [(&gaussian, &rows), (&outliers, &rows), (&gaussian, &peaks)]
            .map(|(weight, rows)| error(precision, weight, rows, sizes));
        println!("{precision:?}: gaussian {:.5}, outliers in the weights {:.5}, in the rows {:.5}", found[0], found[1], found[2]);
        assert!(found.iter().zip(most).all(|(found, most)| *found <= most), "{precision:?}: {found:?}");
        assert!(found[0] * 4.0 >= most[0] || precision == Precision::F32, "{precision:?}: {found:?} is too good to be true");
    }
}

#[test]
fn what_cannot_be_packed_or_multiplied_is_an_error() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut weight = noise("weight", 12);
        weight[7] = bad;
        for precision in Precision::ALL {
            let packed = PackedMatrix::pack(&weight, 3, 4, precision);
            let is_refused = matches!(packed, Err(Error::NotFinite { place: 7, .. }));
            assert_eq!(is_refused, matches!(precision, Precision::Int8 | Precision::Int4), "{precision:?} {bad}");
        }
    }
    for (weight, [inputs, outputs]) in [(&[][..], [0, 4]), (&[], [4, 0]), (&[1.0; 5], [2, 3]), (&[1.0; 6], [usize::MAX, 2])] {
        let packed = PackedMatrix::pack(weight, inputs, outputs, Precision::F32);
        assert!(matches!(packed, Err(Error::Shape { .. })), "{inputs} {outputs}");
    }
    let packed = PackedMatrix::pack(&[1.0; 6], 2, 3, Precision::Int8).unwrap();
    for (rows, count, bias, out) in [(5, 2, 3, 6), (4, 2, 3, 5), (4, 2, 2, 6), (4, usize::MAX, 3, 6)] {
        let found = packed.forward(&vec![1.0; rows], count, Some(&vec![1.0; bias]), &mut vec![0.0; out]);
        assert!(matches!(found, Err(Error::Shape { .. })), "{rows} {count} {bias} {out}");
    }
    packed.forward(&[], 0, None, &mut []).unwrap();
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    // One row, a few, and enough that each thread rearranges its own.
    for [count, inputs, outputs] in [[1, 576, 2000], [40, 300, 700], [900, 1400, 70]] {
        let (weight, rows) = (noise("weight", inputs * outputs), noise("rows", count * inputs));
        for precision in Precision::ALL {
            let packed = PackedMatrix::pack(&weight, inputs, outputs, precision).unwrap();
            let [one, two, three] = [1, 2, 3].map(|threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let mut out = vec![0.0; count * outputs];
                pool.install(|| packed.forward(&rows, count, None, &mut out)).unwrap();
                let mut awake = vec![0.0; count * outputs];
                pool.install(|| together(|| packed.forward(&rows, count, None, &mut awake))).unwrap();
                assert!(out == awake, "{precision:?} {count} {inputs} {outputs}, {threads} threads that stay awake");
                out
            });
            assert!(one == two && one == three, "{precision:?} {count} {inputs} {outputs}");
        }
    }
}

#[test]
fn outputs_are_finished_as_asked() {
    let sizes @ [count, inputs, outputs] = [14, 40, 50];
    let (gate, up) = (noise("gate", inputs * outputs), noise("up", inputs * outputs));
    let (rows, bias, others) = (noise("rows", count * inputs), noise("bias", outputs), noise("others", count * outputs));
    let gelu = |x: f64| 0.5 * x * (1.0 + (std::f64::consts::FRAC_2_PI.sqrt() * (x + 0.044_715 * x * x * x)).tanh());
    let sums = by_definition(&rows, &gate, sizes);
    let packed = PackedMatrix::pack(&gate, inputs, outputs, Precision::F32).unwrap();
    let close = |what: &str, found: &[f32], expected: &dyn Fn(usize) -> f64| {
        for (place, found) in found.iter().enumerate() {
            let expected = expected(place);
            assert!((f64::from(*found) - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{what} {place}: {found} {expected}");
        }
    };
    let biased = |place: usize| sums[place][0] + f64::from(bias[place % outputs]);
    for level in Level::available() {
        let mut out = vec![0.0; count * outputs];
        packed.forward_at(level, &rows, count, Some(&bias), Finish::GeluTanh, &mut out).unwrap();
        close("gelu", &out, &|place| gelu(biased(place)));
        packed.forward_at(level, &rows, count, Some(&bias), Finish::Add(&others), &mut out).unwrap();
        close("sum", &out, &|place| biased(place) + f64::from(others[place]));
        let others = by_definition(&rows, &up, sizes);
        let gated = PackedMatrix::pack_gated(&gate, &up, Order::InputsOutputs, [inputs, outputs], Precision::F32).unwrap();
        assert_eq!(gated.unpacked(), [gate.clone(), up.clone()]);
        gated.forward_at(level, &rows, count, None, Finish::Nothing, &mut out).unwrap();
        close("gated", &out, &|place| sums[place][0] / (1.0 + (-sums[place][0]).exp()) * others[place][0]);
    }
}

/// A row that is damaged must not look sound, nor spoil its neighbours.
#[test]
fn numbers_that_are_not_finite_stay_in_their_row() {
    let [count, inputs, outputs] = [9, 100, 40];
    for bad in [f32::NAN, f32::INFINITY] {
        let (weight, mut rows) = (noise("weight", inputs * outputs), noise("rows", count * inputs));
        rows[4 * inputs + 70] = bad;
        for precision in Precision::ALL {
            let packed = PackedMatrix::pack(&weight, inputs, outputs, precision).unwrap();
            for level in Level::available() {
                let mut out = vec![0.0; count * outputs];
                packed.forward_at(level, &rows, count, None, Finish::Nothing, &mut out).unwrap();
                for (row, out) in out.chunks_exact(outputs).enumerate() {
                    assert!(out.iter().all(|number| number.is_finite() == (row != 4)), "{precision:?} {level:?} {bad} {row}");
                }
            }
        }
    }
}

#[test]
fn tensors_are_multiplied_where_they_lie() {
    let device = Device::flex();
    let [count, inputs, outputs] = [6, 20, 40];
    let (weight, rows, bias) = (noise("weight", inputs * outputs), noise("rows", count * inputs), noise("bias", outputs));
    let packed = PackedMatrix::pack(&weight, inputs, outputs, Precision::F32).unwrap();
    let mut expected = vec![0.0; count * outputs];
    packed.forward(&rows, count, Some(&bias), &mut expected).unwrap();
    let x = Tensor::<2>::from_data(TensorData::new(rows.clone(), [count, inputs]), &device);
    let turned = Tensor::<2>::from_data(TensorData::new(transposed(&rows, [count, inputs]), [inputs, count]), &device);
    let above = Tensor::cat(vec![x.clone() * 2.0, x.clone()], 0).slice(burn::tensor::s![count as i32.., ..]);
    for x in [x.clone(), turned.transpose(), above] {
        let found = product(x, &packed, Some(&bias)).unwrap();
        assert_eq!(found.dims(), [count, outputs]);
        assert_eq!(found.into_data().iter::<f32>().collect::<Vec<f32>>(), expected);
    }
    assert!(matches!(product(x.clone().transpose(), &packed, None), Err(Error::Shape { .. })));
    assert!(matches!(product(x.autodiff(), &packed, None), Err(Error::NotOnCpu { .. })));
}

#[test]
fn two_layers_together_are_two_layers() {
    // Few rows, and enough that some go through both layers before the others.
    for count in [0, 1, 9, 150] {
        let [inputs, between, outputs] = [40, 300, 50];
        let (first, second) = (noise("first", inputs * between), noise("second", between * outputs));
        let (rows, others) = (noise("rows", count * inputs), noise("others", count * outputs));
        let bias = [noise("bias", between), noise("other bias", outputs)];
        for precision in Precision::ALL {
            let first = PackedMatrix::pack(&first, inputs, between, precision).unwrap();
            let second = PackedMatrix::pack(&second, between, outputs, precision).unwrap();
            let layers = [
                Layer { weight: &first, bias: Some(&bias[0]), finish: Finish::GeluTanh },
                Layer { weight: &second, bias: Some(&bias[1]), finish: Finish::Add(&others) },
            ];
            let middle = first.forward_new(&rows, count, Some(&bias[0]), Finish::GeluTanh).unwrap();
            let expected = second.forward_new(&middle, count, Some(&bias[1]), Finish::Add(&others)).unwrap();
            assert_eq!(forward_both(layers, &rows, count).unwrap(), expected, "{precision:?} {count}");
            assert!(matches!(forward_both([layers[1], layers[1]], &middle, count), Err(Error::Shape { .. })));
        }
    }
}

/// What attention is, in f64: `[batch, tokens, heads * width]`.
fn attention_by_definition([q, k, v]: [&[f32]; 3], [batch, heads, tokens, width]: [usize; 4], keys: usize) -> Vec<f64> {
    let mut out = vec![0.0; batch * tokens * heads * width];
    for head in 0..batch * heads {
        let of = |numbers: &[f32], count: usize, token: usize, column: usize| {
            f64::from(numbers[(head * count + token) * width + column])
        };
        for token in 0..tokens {
            let score = |key: usize| -> f64 {
                let products = (0..width).map(|column| of(q, tokens, token, column) * of(k, keys, key, column));
                (products.sum::<f64>() / (width as f64).sqrt()).exp()
            };
            let scores: Vec<f64> = (0..keys).map(score).collect();
            let sum: f64 = scores.iter().sum();
            for column in 0..width {
                let place = ((head / heads * tokens + token) * heads + head % heads) * width + column;
                out[place] = scores.iter().enumerate().map(|(key, score)| score / sum * of(v, keys, key, column)).sum();
            }
        }
    }
    out
}

#[test]
fn attention_is_what_its_definition_says() {
    for (sizes @ [batch, heads, tokens, width], keys) in
        [([1, 1, 1, 1], 1), ([2, 3, 5, 8], 33), ([1, 2, 70, 40], 45), ([2, 1, 13, 72], 64), ([1, 3, 45, 64], 100)]
    {
        let [q, k, v] = [("q", tokens), ("k", keys), ("v", keys)].map(|(name, count)| noise(name, batch * heads * count * width));
        let expected = attention_by_definition([&q, &k, &v], sizes, keys);
        let apart = [(&q, tokens), (&k, keys), (&v, keys)].map(|(numbers, count)| Heads::apart(numbers, [heads, count, width]));
        for level in Level::available() {
            for (precision, most) in [(Precision::F32, 3e-6), (Precision::Bf16, 0.03)] {
                let found = attention_at(level, apart, sizes, keys, precision).unwrap();
                assert_eq!(found.len(), expected.len());
                for (place, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    let difference = (f64::from(*found) - expected).abs();
                    assert!(difference <= most, "{level:?} {precision:?} {sizes:?} {keys}, {place}: {found}, not {expected}");
                }
            }
        }
    }
}

#[test]
fn heads_are_read_where_they_lie() {
    let sizes @ [batch, heads, tokens, width] = [2, 3, 20, 8];
    let row = 3 * heads * width;
    let all = noise("rows", batch * tokens * row);
    let side_by_side = [0, 1, 2].map(|part| Heads::side_by_side(&all, part * heads * width, [tokens, row, width]));
    let copies = [0, 1, 2].map(|part| {
        let number = |place: usize| {
            let (column, token, head) = (place % width, place / width % tokens, place / width / tokens);
            all[(head / heads * tokens + token) * row + (part * heads + head % heads) * width + column]
        };
        (0..batch * heads * tokens * width).map(number).collect::<Vec<f32>>()
    });
    let apart = copies.each_ref().map(|numbers| Heads::apart(numbers, [heads, tokens, width]));
    let expected = attention(apart, sizes, tokens, Precision::F32).unwrap();
    for threads in [1, 2, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let found = pool.install(|| attention(side_by_side, sizes, tokens, Precision::F32)).unwrap();
        assert_eq!(found, expected, "{threads}");
    }
    for (sizes, keys) in [([2, 3, 21, 8], 20), (sizes, 21), ([2, 3, 20, 0], 20), (sizes, 0), ([usize::MAX, 3, 20, 8], 20)] {
        assert!(matches!(attention(apart, sizes, keys, Precision::F32), Err(Error::Shape { .. })), "{sizes:?} {keys}");
    }
    let mut damaged = copies[0].clone();
    damaged[width * 4] = f32::NAN;
    let damaged = [Heads::apart(&damaged, [heads, tokens, width]), apart[1], apart[2]];
    for precision in [Precision::F32, Precision::Bf16] {
        let found = attention(damaged, sizes, tokens, precision).unwrap();
        let is_spoilt = |place: usize| place / (heads * width) == 4 && place % (heads * width) < width;
        assert!(found.iter().enumerate().all(|(place, number)| number.is_nan() == is_spoilt(place)), "{precision:?}");
    }
}

fn causal_attention(
    parts: [Heads<'_>; 3],
    sizes: [usize; 4],
    keys: usize,
    weighed: Option<KeyWeights<'_>>,
    precision: Precision,
) -> Vec<f32> {
    let mut out = vec![5.0; 3];
    causal_attention_into(parts, sizes, keys, weighed, precision, &mut out).unwrap();
    out
}

/// Attention by its definition: row `i` of `tokens` queries sees the first `keys - tokens + i + 1` keys, and what it reads from some
/// is weighed.
fn causal_by_definition(
    [q, k, v]: [&[f32]; 3],
    [heads, kv_heads, tokens, width]: [usize; 4],
    keys: usize,
    weighed: Option<KeyWeights<'_>>,
) -> Vec<f64> {
    let mut out = Vec::new();
    for token in 0..tokens {
        for head in 0..heads {
            let query = &q[(token * heads + head) * width..][..width];
            let place = |key: usize| (key * kv_heads + head / (heads / kv_heads)) * width;
            let scores: Vec<f64> = (0..keys - tokens + token + 1)
                .map(|key| {
                    let products = query.iter().zip(&k[place(key)..]).map(|(x, y)| f64::from(*x) * f64::from(*y));
                    (products.sum::<f64>() / (width as f64).sqrt()).exp()
                })
                .collect();
            let sum: f64 = scores.iter().sum();
            let weight = |key: usize| match weighed {
                Some(weighed) if weighed.keys[key] => f64::from(weighed.weights[token * heads + head]),
                _ => 1.0,
            };
            let read = |key: usize, score: &f64, at: usize| weight(key) * score * f64::from(v[place(key) + at]);
            let mixed = |at: usize| scores.iter().enumerate().map(|(key, score)| read(key, score, at)).sum::<f64>();
            out.extend((0..width).map(|at| mixed(at) / sum));
        }
    }
    out
}

#[test]
fn a_token_sees_the_keys_up_to_its_own() {
    for (sizes @ [heads, kv_heads, tokens, width], keys) in
        [([4, 2, 37, 16], 37), ([6, 2, 45, 20], 170), ([3, 3, 2, 64], 200), ([1, 1, 1, 8], 1), ([9, 3, 130, 64], 130)]
    {
        let q = noise("queries", tokens * heads * width);
        let [k, v] = ["keys", "values"].map(|label| noise(label, keys * kv_heads * width));
        let parts = [
            Heads::side_by_side(&q, 0, [tokens, heads * width, width]),
            Heads::side_by_side(&k, 0, [keys, kv_heads * width, width]),
            Heads::side_by_side(&v, 0, [keys, kv_heads * width, width]),
        ];
        let (weights, some) = (noise("weights", tokens * heads), (0..keys).map(|key| key % 3 != 1).collect::<Vec<bool>>());
        for weighed in [None, Some(KeyWeights { weights: &weights, keys: &some })] {
            let expected = causal_by_definition([&q, &k, &v], sizes, keys, weighed);
            for (precision, most) in [(Precision::F32, 1e-5), (Precision::Bf16, 0.03)] {
                let found = causal_attention(parts, sizes, keys, weighed, precision);
                for (place, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    let is_near = (f64::from(*found) - expected).abs() <= most;
                    assert!(is_near, "{precision:?} {sizes:?} {place}: {found}, not {expected}");
                }
            }
            let last = (tokens - 1) * heads;
            let of_last = weighed.map(|weighed| KeyWeights { weights: &weights[last..], ..weighed });
            let found = step_attention(&q[last * width..], [&k, &v], [heads, kv_heads, width], of_last).unwrap();
            for (place, (found, expected)) in found.iter().zip(&expected[last * width..]).enumerate() {
                assert!((f64::from(*found) - expected).abs() <= 1e-5, "step {sizes:?} {place}: {found}, not {expected}");
            }
        }
        let step = || step_attention(&q[..heads * width], [&k, &v], [heads, kv_heads, width], None).unwrap();
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(step);
        assert_eq!(alone, step(), "threads");
        let three = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        assert_eq!(alone, three.install(|| together(step)), "threads that stay awake");
    }
    let parts = [Heads::side_by_side(&[0.0; 8], 0, [2, 4, 4]); 3];
    assert!(
        causal_attention_into(parts, [1, 1, 2, 4], 1, None, Precision::F32, &mut Vec::new()).is_err(),
        "fewer keys than tokens"
    );
    assert!(step_attention(&[0.0; 8], [&[0.0; 6], &[0.0; 6]], [2, 1, 4], None).is_err(), "half a key");
    let few = Some(KeyWeights { weights: &[1.0; 2], keys: &[true; 3] });
    assert!(step_attention(&[0.0; 8], [&[0.0; 8], &[0.0; 8]], [2, 1, 4], few).is_err(), "more keys than there are");
}
