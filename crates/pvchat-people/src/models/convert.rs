//! From the published weights of each network to the names and layouts that our networks read: convolutions as
//! `[out, in, height, width]`, dense layers as `[in, out]`, slopes of PReLU as `[channels]`, pictures as
//! `[n, channels, y, x]`.

use super::{
    malformed::Malformed,
    onnx,
    tensor::{Tensor, Tensors},
    tfjs,
    tflite::{self, operator},
};

/// What a model's members are converted by: the files in the order of the catalogue.
pub(super) type Convert = fn(&[Vec<u8>]) -> Result<Tensors, Malformed>;

fn member(members: &[Vec<u8>], place: usize) -> Result<&[u8], Malformed> {
    members.get(place).map(Vec::as_slice).ok_or_else(|| Malformed::missing(format!("file number {place}")))
}

/// The three networks of MTCNN. They were trained on pictures whose x and y are exchanged; here this is undone: the two
/// axes of every kernel are exchanged, and the rows of the first dense layer are put into the order of (c, y, x).
pub(super) fn mtcnn(members: &[Vec<u8>]) -> Result<Tensors, Malformed> {
    let mut tensors = Tensors::new();
    for (place, network) in ["pnet", "rnet", "onet"].into_iter().enumerate() {
        mtcnn_network(network, member(members, place)?, &mut tensors)?;
    }
    Ok(tensors)
}

fn mtcnn_network(network: &str, bytes: &[u8], tensors: &mut Tensors) -> Result<(), Malformed> {
    let graph = onnx::read(bytes)?;
    let initialiser = |node: &onnx::Node, place: usize| {
        let found = node.inputs.get(place).and_then(|name| graph.initialisers.get(name));
        found.cloned().ok_or_else(|| Malformed::missing(format!("weight in place {place} of {node:?}")))
    };
    let (mut convolutions, mut slopes, mut channels) = (0, 0, 0);
    for node in &graph.nodes {
        match node.operation.as_str() {
            "Conv" => {
                let weight = initialiser(node, 1)?.permuted([0, 1, 3, 2])?;
                let &[out, _, height, _] = weight.shape() else { return Err(Malformed::unexpected("a kernel", weight.shape())) };
                let layer = match (height, out) {
                    (1, 2) => "score".to_string(),
                    (1, 4) => "boxes".to_string(),
                    _ => {
                        convolutions += 1;
                        channels = out;
                        format!("conv{convolutions}")
                    }
                };
                tensors.insert(format!("{network}.{layer}.weight"), weight);
                tensors.insert(format!("{network}.{layer}.bias"), initialiser(node, 2)?);
            }
            "PRelu" => {
                slopes += 1;
                tensors.insert(format!("{network}.prelu{slopes}.weight"), initialiser(node, 1)?.flat());
            }
            "MatMul" => {
                let mut weight = initialiser(node, 1)?;
                let &[rows, out] = weight.shape() else { return Err(Malformed::unexpected("a matrix", weight.shape())) };
                let layer = match out {
                    2 => "score",
                    4 => "boxes",
                    10 => "landmarks",
                    _ => {
                        // Its rows are in the order (x, y, c).
                        let side = rows.checked_div(channels).unwrap_or(0).isqrt();
                        weight = weight.reshaped(&[side, side, channels, out])?.permuted([2, 1, 0, 3])?.reshaped(&[rows, out])?;
                        "dense"
                    }
                };
                let adds =
                    |other: &&onnx::Node| other.operation == "Add" && other.inputs.iter().any(|name| node.outputs.contains(name));
                let add = graph.nodes.iter().find(adds).ok_or_else(|| Malformed::missing(format!("bias after {node:?}")))?;
                let bias = initialiser(add, 1).or_else(|_| initialiser(add, 0))?;
                tensors.insert(format!("{network}.{layer}.weight"), weight);
                tensors.insert(format!("{network}.{layer}.bias"), bias);
            }
            _ => {}
        }
    }
    Ok(())
}

/// BlazeFace: a convolution, 32 pairs of a depthwise and a pointwise convolution, four heads.
pub(super) fn blazeface(members: &[Vec<u8>]) -> Result<Tensors, Malformed> {
    let graph = tflite::read(member(members, 0)?)?;
    let mut tensors = Tensors::new();
    let mut heads = ["score16", "score8", "boxes16", "boxes8"].into_iter();
    let (mut blocks, mut inside) = (0, false);
    for convolution in graph.operators.iter().filter(|operator| is_convolution(operator)) {
        let depthwise = convolution.code == operator::DEPTHWISE_CONV_2D;
        let layer = if tensors.is_empty() {
            "conv00".to_string()
        } else if depthwise {
            inside = true;
            format!("block{blocks:02}.depthwise")
        } else if inside {
            inside = false;
            blocks += 1;
            format!("block{:02}.pointwise", blocks - 1)
        } else {
            heads.next().ok_or_else(|| Malformed::unexpected("a convolution after the heads", convolution))?.to_string()
        };
        insert_convolution(&graph, convolution, &layer, &mut tensors)?;
    }
    Ok(tensors)
}

/// MobileFaceNet: convolutions, numbered in their order, some with a PReLU of the same number behind them. A PReLU is
/// relu(x) + c · (x - |x|) there, so that its slope is 2c; c is the only constant that is multiplied with.
pub(super) fn mobilefacenet(members: &[Vec<u8>]) -> Result<Tensors, Malformed> {
    let graph = tflite::read(member(members, 0)?)?;
    let mut tensors = Tensors::new();
    let mut convolutions = 0;
    for each in &graph.operators {
        if is_convolution(each) {
            convolutions += 1;
            insert_convolution(&graph, each, &format!("conv{convolutions:02}"), &mut tensors)?;
        } else if each.code == operator::MUL
            && let Some(half) = graph.constant(each, 0).or_else(|| graph.constant(each, 1))
        {
            tensors.insert(format!("prelu{convolutions:02}.weight"), half.clone().flat().map(|half| 2.0 * half));
        }
    }
    Ok(tensors)
}

/// Selfie segmentation: convolutions and depthwise ones, numbered apart in their order, and at the end a transposed one of 2 x 2
/// points whose windows do not overlap: a pointwise one with four outputs, row by row.
pub(super) fn selfie(members: &[Vec<u8>]) -> Result<Tensors, Malformed> {
    let graph = tflite::read(member(members, 0)?)?;
    let mut tensors = Tensors::new();
    let (mut convolutions, mut depthwise) = (0, 0);
    for each in &graph.operators {
        match each.code {
            operator::CONV_2D => {
                insert_convolution(&graph, each, &format!("conv{convolutions:02}"), &mut tensors)?;
                convolutions += 1;
            }
            operator::DEPTHWISE_CONV_2D => {
                insert_convolution(&graph, each, &format!("depthwise{depthwise:02}"), &mut tensors)?;
                depthwise += 1;
            }
            operator::CUSTOM => {
                let constant = |place| graph.constant(each, place).ok_or_else(|| Malformed::missing("weights of `segment`"));
                let (weight, bias) = (constant(1)?, constant(2)?);
                let &[1, 2, 2, input] = weight.shape() else { return Err(Malformed::unexpected("a kernel", weight.shape())) };
                let &[bias] = bias.values() else { return Err(Malformed::unexpected("a bias", bias.shape())) };
                tensors.insert("segment.weight".to_string(), weight.clone().reshaped(&[4, input, 1, 1])?);
                tensors.insert("segment.bias".to_string(), Tensor::new(vec![4], vec![bias; 4])?);
            }
            _ => {}
        }
    }
    if convolutions == 0 {
        return Err(Malformed::missing("convolutions"));
    }
    Ok(tensors)
}

/// The outlines of eyes: convolutions, depthwise ones and slopes of PReLU, numbered apart in their order. Behind the trunk there
/// are two branches whose layers alternate; the second one, for the iris, is left away.
pub(super) fn eyes(members: &[Vec<u8>]) -> Result<Tensors, Malformed> {
    /// Blocks of the trunk; each has two convolutions, and there is one before them.
    const TRUNK: usize = 10;
    let graph = tflite::read(member(members, 0)?)?;
    let mut tensors = Tensors::new();
    let kept = |place: usize, trunk: usize| match place.checked_sub(trunk) {
        None => Some(place),
        Some(behind) => behind.is_multiple_of(2).then_some(trunk + behind / 2),
    };
    let (mut convolutions, mut depthwise, mut slopes) = (0, 0, 0);
    for each in &graph.operators {
        let (kind, place, trunk) = match each.code {
            operator::CONV_2D => ("conv", &mut convolutions, 2 * TRUNK + 1),
            operator::DEPTHWISE_CONV_2D => ("depthwise", &mut depthwise, TRUNK),
            operator::PRELU => ("prelu", &mut slopes, 2 * TRUNK + 1),
            _ => continue,
        };
        let number = kept(*place, trunk);
        *place += 1;
        let Some(layer) = number.map(|number| format!("{kind}{number:02}")) else { continue };
        if each.code == operator::PRELU {
            let slope = graph.constant(each, 1).ok_or_else(|| Malformed::missing(format!("slope of {layer}")))?;
            tensors.insert(format!("{layer}.weight"), slope.clone().flat());
        } else {
            insert_convolution(&graph, each, &layer, &mut tensors)?;
        }
    }
    if tensors.is_empty() {
        return Err(Malformed::missing("convolutions"));
    }
    Ok(tensors)
}

fn is_convolution(each: &tflite::Operator) -> bool {
    matches!(each.code, operator::CONV_2D | operator::DEPTHWISE_CONV_2D)
}

fn insert_convolution(
    graph: &tflite::Graph,
    convolution: &tflite::Operator,
    layer: &str,
    tensors: &mut Tensors,
) -> Result<(), Malformed> {
    let constant = |place| graph.constant(convolution, place).ok_or_else(|| Malformed::missing(format!("weight of {layer}")));
    // [out, height, width, in], or [1, height, width, channels] of a depthwise one.
    let axes = if convolution.code == operator::CONV_2D { [0, 3, 1, 2] } else { [3, 0, 1, 2] };
    tensors.insert(format!("{layer}.weight"), constant(1)?.permuted(axes)?);
    tensors.insert(format!("{layer}.bias"), constant(2)?.clone());
    Ok(())
}

/// The residual blocks of dlib's network in their order.
const DLIB_BLOCKS: [&str; 14] = [
    "conv32_1",
    "conv32_2",
    "conv32_3",
    "conv64_down",
    "conv64_1",
    "conv64_2",
    "conv64_3",
    "conv128_down",
    "conv128_1",
    "conv128_2",
    "conv256_down",
    "conv256_1",
    "conv256_2",
    "conv256_down_out",
];

/// dlib's residual network. The scale and shift per channel after each convolution become part of it.
pub(super) fn dlib(members: &[Vec<u8>]) -> Result<Tensors, Malformed> {
    let published = tfjs::read(member(members, 0)?, member(members, 1)?)?;
    let mut tensors = Tensors::new();
    insert_scaled(&published, "conv32_down", "stem", &mut tensors)?;
    for (place, block) in DLIB_BLOCKS.into_iter().enumerate() {
        for conv in ["conv1", "conv2"] {
            insert_scaled(&published, &format!("{block}/{conv}"), &format!("block{place:02}.{conv}"), &mut tensors)?;
        }
    }
    tensors.insert("fc.weight".to_string(), named(&published, "fc".to_string())?.clone());
    Ok(tensors)
}

fn named(tensors: &Tensors, name: String) -> Result<&Tensor, Malformed> {
    tensors.get(&name).ok_or(Malformed::Missing { what: name })
}

fn insert_scaled(published: &Tensors, from: &str, layer: &str, tensors: &mut Tensors) -> Result<(), Malformed> {
    let part = |part: &str| named(published, format!("{from}/{part}"));
    // [height, width, in, out]
    let kernel = part("conv/filters")?.permuted([3, 2, 0, 1])?;
    let (bias, scale, shift) = (part("conv/bias")?, part("scale/weights")?, part("scale/biases")?);
    let out = kernel.shape().first().copied().unwrap_or(0);
    if [bias, scale, shift].iter().any(|tensor| tensor.shape() != [out]) || kernel.values().is_empty() {
        return Err(Malformed::unexpected("the number of channels, of kernel, bias, scale and shift", (out, bias.shape())));
    }
    let of_one = kernel.values().len() / out;
    let weights = kernel.values().chunks_exact(of_one).zip(scale.values());
    let weights = weights.flat_map(|(kernel, scale)| kernel.iter().map(move |weight| weight * scale)).collect();
    let biases = bias.values().iter().zip(scale.values()).zip(shift.values()).map(|((bias, scale), shift)| bias * scale + shift);
    tensors.insert(format!("{layer}.weight"), Tensor::new(kernel.shape().to_vec(), weights)?);
    tensors.insert(format!("{layer}.bias"), Tensor::new(vec![out], biases.collect())?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mtcnn_exchanges_the_axes_of_kernels_and_of_the_dense_rows() {
        // A 2x3 kernel of 3 channels, and a dense layer on 2x2 positions of 3 channels: row (x, y, c) holds its place.
        let kernel: Vec<f32> = (0..18).map(|value| value as f32).collect();
        let rows: Vec<f32> = (0..12).map(|value| value as f32).collect();
        let file = onnx::tests::file(
            &[
                ("Conv", &["input", "kernel", "bias"], "t0"),
                ("PRelu", &["t0", "slope"], "t1"),
                ("MatMul", &["t1", "rows"], "t2"),
                ("Add", &["t2", "dense_bias"], "t3"),
            ],
            &[
                ("kernel", &[3, 1, 2, 3], &kernel),
                ("bias", &[3], &[1.0, 2.0, 3.0]),
                ("slope", &[1, 3, 1, 1], &[0.1, 0.2, 0.3]),
                ("rows", &[12, 1], &rows),
                ("dense_bias", &[1], &[7.0]),
            ],
        );
        let mut tensors = Tensors::new();
        mtcnn_network("rnet", &file, &mut tensors).unwrap();
        assert_eq!(tensors["rnet.conv1.weight"].shape(), [3, 1, 3, 2]);
        assert_eq!(tensors["rnet.conv1.weight"].values()[..6], [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert_eq!(tensors["rnet.prelu1.weight"].shape(), [3]);
        // (c, y, x) = (0, 0, 0), (0, 0, 1), (0, 1, 0), ...: places 0, 6, 3, 9 of channel 0.
        assert_eq!(tensors["rnet.dense.weight"].values(), [0.0, 6.0, 3.0, 9.0, 1.0, 7.0, 4.0, 10.0, 2.0, 8.0, 5.0, 11.0]);
        assert_eq!(tensors["rnet.dense.bias"].values(), [7.0]);
    }

    #[test]
    fn the_scale_after_a_convolution_becomes_part_of_it() {
        let tensor = |shape: &[usize], values: &[f32]| Tensor::new(shape.to_vec(), values.to_vec()).unwrap();
        let mut published = Tensors::from([
            ("a/conv/filters".to_string(), tensor(&[1, 1, 1, 2], &[3.0, 5.0])),
            ("a/conv/bias".to_string(), tensor(&[2], &[1.0, -1.0])),
            ("a/scale/weights".to_string(), tensor(&[2], &[2.0, 4.0])),
            ("a/scale/biases".to_string(), tensor(&[2], &[0.5, 0.25])),
        ]);
        let mut tensors = Tensors::new();
        insert_scaled(&published, "a", "stem", &mut tensors).unwrap();
        assert_eq!(tensors["stem.weight"], tensor(&[2, 1, 1, 1], &[6.0, 20.0]));
        assert_eq!(tensors["stem.bias"].values(), [2.5, -3.75]);
        published.insert("a/scale/biases".to_string(), tensor(&[1], &[0.5]));
        assert!(insert_scaled(&published, "a", "stem", &mut tensors).is_err());
    }

    #[test]
    fn other_files_are_refused_by_every_conversion() {
        for convert in [mtcnn, blazeface, mobilefacenet, dlib, selfie, eyes] {
            assert!(convert(&[]).is_err());
            assert!(convert(&[b"<html>not found</html>".to_vec(), Vec::new(), Vec::new()]).is_err());
        }
    }
}
