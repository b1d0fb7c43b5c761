//! As much of an ONNX file as the conversion needs: the nodes in their order, with the names of what goes in and comes
//! out, and the f32 initialisers. A file is a protocol buffer (onnx.proto3 in the ONNX repository has the numbers).

use super::{
    malformed::{Malformed, array, slice},
    tensor::{Tensor, Tensors, floats},
};

/// An operation.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Node {
    pub(super) operation: String,
    pub(super) inputs: Vec<String>,
    pub(super) outputs: Vec<String>,
}

/// The graph of a file.
#[derive(Debug, Default)]
pub(super) struct Graph {
    pub(super) nodes: Vec<Node>,
    pub(super) initialisers: Tensors,
}

/// A field of a message on the wire. No field that is read here has a fixed width.
enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed,
}

/// The only data type that is kept, TensorProto.DataType.FLOAT.
const FLOAT: u64 = 1;

/// Reads a file.
pub(super) fn read(bytes: &[u8]) -> Result<Graph, Malformed> {
    let mut graph = Graph::default();
    for_each_field(bytes, |number, value| match (number, value) {
        (7, Value::Bytes(message)) => for_each_field(message, |number, value| {
            match (number, value) {
                (1, Value::Bytes(message)) => graph.nodes.push(node(message)?),
                (5, Value::Bytes(message)) => graph.initialisers.extend(initialiser(message)?),
                _ => {}
            }
            Ok(())
        }),
        _ => Ok(()),
    })?;
    if graph.nodes.is_empty() {
        return Err(Malformed::missing("node in the graph"));
    }
    Ok(graph)
}

fn node(bytes: &[u8]) -> Result<Node, Malformed> {
    let mut node = Node::default();
    for_each_field(bytes, |number, value| {
        match (number, value) {
            (1, Value::Bytes(name)) => node.inputs.push(text(name)?),
            (2, Value::Bytes(name)) => node.outputs.push(text(name)?),
            (4, Value::Bytes(name)) => node.operation = text(name)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(node)
}

/// A tensor with its name; none for another data type than f32.
fn initialiser(bytes: &[u8]) -> Result<Option<(String, Tensor)>, Malformed> {
    let (mut shape, mut data_type, mut name, mut values) = (Vec::new(), 0, String::new(), Vec::new());
    for_each_field(bytes, |number, value| {
        match (number, value) {
            (1, Value::Varint(axis)) => shape.push(size(axis)?),
            (1, Value::Bytes(packed)) => {
                let mut at = 0;
                while at < packed.len() {
                    shape.push(size(varint(packed, &mut at)?)?);
                }
            }
            (2, Value::Varint(kind)) => data_type = kind,
            (8, Value::Bytes(called)) => name = text(called)?,
            // float_data and raw_data: both are little-endian values, one after the other.
            (4 | 9, Value::Bytes(data)) => values = data.to_vec(),
            _ => {}
        }
        Ok(())
    })?;
    if data_type != FLOAT {
        return Ok(None);
    }
    Ok(Some((name, Tensor::new(shape, floats(&values)?)?)))
}

fn for_each_field<'a>(bytes: &'a [u8], mut take: impl FnMut(u64, Value<'a>) -> Result<(), Malformed>) -> Result<(), Malformed> {
    let mut at = 0;
    while at < bytes.len() {
        let key = varint(bytes, &mut at)?;
        let value = match key & 7 {
            0 => Value::Varint(varint(bytes, &mut at)?),
            1 => {
                array::<8>(bytes, at, "a 64-bit value")?;
                at += 8;
                Value::Fixed
            }
            2 => {
                let length = size(varint(bytes, &mut at)?)?;
                let content = slice(bytes, at, length, "a field")?;
                at += length;
                Value::Bytes(content)
            }
            5 => {
                array::<4>(bytes, at, "a 32-bit value")?;
                at += 4;
                Value::Fixed
            }
            other => return Err(Malformed::unexpected("a wire type", other)),
        };
        take(key >> 3, value)?;
    }
    Ok(())
}

fn varint(bytes: &[u8], at: &mut usize) -> Result<u64, Malformed> {
    let start = *at;
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let [byte] = array(bytes, *at, "a number")?;
        *at += 1;
        value |= u64::from(byte & 127) << shift;
        if byte < 128 {
            return Ok(value);
        }
    }
    Err(Malformed::unexpected("a number of more than ten bytes, at byte", start))
}

fn size(value: u64) -> Result<usize, Malformed> {
    usize::try_from(value).map_err(|_| Malformed::unexpected("a size", value))
}

fn text(bytes: &[u8]) -> Result<String, Malformed> {
    str::from_utf8(bytes).map(str::to_string).map_err(|_| Malformed::unexpected("a name", bytes))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A field with bytes.
    pub(crate) fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2];
        let mut length = content.len();
        while length > 127 {
            bytes.push((length & 127) as u8 | 128);
            length >>= 7;
        }
        bytes.push(length as u8);
        [&bytes, content].concat()
    }

    pub(crate) fn file(nodes: &[(&str, &[&str], &str)], tensors: &[(&str, &[u8], &[f32])]) -> Vec<u8> {
        let nodes = nodes.iter().map(|(operation, inputs, output)| {
            let inputs = inputs.iter().flat_map(|input| field(1, input.as_bytes())).collect();
            field(1, &[inputs, field(2, output.as_bytes()), field(4, operation.as_bytes())].concat())
        });
        let tensors = tensors.iter().map(|(name, shape, values)| {
            let values: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let float = vec![2 << 3, FLOAT as u8];
            field(5, &[field(1, shape), float, field(8, name.as_bytes()), field(9, &values)].concat())
        });
        // An opset version and the name of the producer in front, as real files have them.
        let graph: Vec<u8> = nodes.chain(tensors).flatten().collect();
        [vec![1 << 3, 7], field(2, b"test"), field(7, &graph)].concat()
    }

    fn small() -> Vec<u8> {
        file(
            &[("Conv", &["input", "w"], "t"), ("PRelu", &["t", "s"], "out")],
            &[("w", &[2, 1], &[1.0, -2.0]), ("s", &[1], &[0.5])],
        )
    }

    #[test]
    fn nodes_and_initialisers_are_read() {
        let graph = read(&small()).unwrap();
        let conv = Node { operation: "Conv".into(), inputs: vec!["input".into(), "w".into()], outputs: vec!["t".into()] };
        assert_eq!((graph.nodes.len(), &graph.nodes[0]), (2, &conv));
        assert_eq!(graph.initialisers["w"], Tensor::new(vec![2, 1], vec![1.0, -2.0]).unwrap());
        assert_eq!(graph.initialisers["s"].values(), [0.5]);
    }

    #[test]
    fn a_file_that_ends_early_or_contradicts_itself_is_refused() {
        let whole = small();
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_err(), "the first {length} bytes");
        }
        assert!(read(&file(&[("Conv", &[], "t")], &[("w", &[3], &[1.0])])).is_err());
        assert!(read(&[0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, at: prop::sample::Index, byte: u8) {
            let _ = read(&bytes);
            let mut changed = small();
            let at = at.index(changed.len());
            changed[at] = byte;
            let _ = read(&changed);
        }
    }
}
