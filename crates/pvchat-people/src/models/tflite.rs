//! As much of a TensorFlow Lite file as the conversion needs: the operators of its only graph in their order, and the
//! constant tensors, f16 widened to f32. A file is a flatbuffer (schema.fbs in the TensorFlow repository has the numbers
//! of the fields).

use super::{
    malformed::{Malformed, array, slice},
    tensor::{Tensor, elements, floats},
};
use half::f16;

/// `BuiltinOperator`s of the schema.
pub(super) mod operator {
    pub(in super::super) const CONV_2D: i32 = 3;
    pub(in super::super) const DEPTHWISE_CONV_2D: i32 = 4;
    pub(in super::super) const DEQUANTIZE: i32 = 6;
    pub(in super::super) const MUL: i32 = 18;
    pub(in super::super) const CUSTOM: i32 = 32;
    pub(in super::super) const PRELU: i32 = 54;
}

/// `TensorType`s of the schema.
const FLOAT32: u8 = 0;
const FLOAT16: u8 = 1;

/// An operator: its code, and the numbers of the tensors that go in.
#[derive(Debug)]
pub(super) struct Operator {
    pub(super) code: i32,
    pub(super) inputs: Vec<u32>,
}

/// The graph of a file.
#[derive(Debug)]
pub(super) struct Graph {
    pub(super) operators: Vec<Operator>,
    /// By their number; none for what is computed, and for other types than f32 and f16.
    constants: Vec<Option<Tensor>>,
}

impl Graph {
    /// The constant that goes into an operator in place `place`, if it is one.
    pub(super) fn constant(&self, operator: &Operator, place: usize) -> Option<&Tensor> {
        self.constants.get(*operator.inputs.get(place)? as usize)?.as_ref()
    }
}

/// Reads a file.
pub(super) fn read(bytes: &[u8]) -> Result<Graph, Malformed> {
    let model = Table::at(bytes, 0)?;
    let codes = model.tables(1)?.map(|code| code.and_then(builtin_code)).collect::<Result<Vec<_>, _>>()?;
    let buffers = model.tables(4)?.collect::<Result<Vec<_>, _>>()?;
    let graph = model.tables(2)?.next().ok_or_else(|| Malformed::missing("graph"))??;
    // In a broken file many tensors can name the same bytes. In a sound one no byte is read twice.
    let mut left = bytes.len();
    let mut spend = |count: usize| {
        left = left
            .checked_sub(count)
            .ok_or_else(|| Malformed::unexpected("a file with more values than bytes, of", bytes.len()))?;
        Ok(())
    };
    let mut constants = Vec::new();
    for tensor in graph.tables(0)? {
        let constant = constant(&tensor?, &buffers)?;
        spend(constant.as_ref().map_or(0, |tensor| tensor.values().len()))?;
        constants.push(constant);
    }
    let mut operators = Vec::new();
    for table in graph.tables(3)? {
        let table = table?;
        let code = table.scalar(0)?.map_or(0, u32::from_le_bytes);
        let code = *codes.get(code as usize).ok_or_else(|| Malformed::unexpected("an operator code", code))?;
        let (inputs, outputs) = (table.numbers(1)?, table.numbers(2)?);
        spend(inputs.len() + outputs.len())?;
        if code == operator::DEQUANTIZE {
            // f16 weights are widened by the graph itself.
            let place = |of: &[u32]| of.first().map(|&tensor| tensor as usize).filter(|&tensor| tensor < constants.len());
            if let (Some(from), Some(to)) = (place(&inputs), place(&outputs)) {
                constants[to] = constants[from].take();
            }
        } else {
            operators.push(Operator { code, inputs });
        }
    }
    Ok(Graph { operators, constants })
}

/// Old files have a byte, newer ones also a number, which is then the larger.
fn builtin_code(table: Table<'_>) -> Result<i32, Malformed> {
    let [old] = table.scalar(0)?.unwrap_or_default();
    Ok(i32::from(old as i8).max(table.scalar(3)?.map_or(0, i32::from_le_bytes)))
}

fn constant(tensor: &Table<'_>, buffers: &[Table<'_>]) -> Result<Option<Tensor>, Malformed> {
    let buffer = tensor.scalar(2)?.map_or(0, u32::from_le_bytes);
    let buffer = buffers.get(buffer as usize).ok_or_else(|| Malformed::unexpected("the number of a buffer", buffer))?;
    let data = buffer.vector(0, 1)?;
    if data.is_empty() {
        return Ok(None);
    }
    let shape: Vec<usize> = tensor.numbers(0)?.into_iter().map(|axis| axis as usize).collect();
    let [kind] = tensor.scalar(1)?.unwrap_or_default();
    let values = match kind {
        FLOAT32 => floats(data)?,
        FLOAT16 => {
            let (values, rest) = data.as_chunks();
            if !rest.is_empty() {
                return Err(Malformed::unexpected("the size of f16 values in bytes", data.len()));
            }
            values.iter().map(|value| f16::from_le_bytes(*value).to_f32()).collect()
        }
        _ => return Ok(None),
    };
    elements(&shape)?;
    Tensor::new(shape, values).map(Some)
}

/// A table: its fields are found through a table of offsets in front of it.
#[derive(Clone, Copy)]
struct Table<'a> {
    bytes: &'a [u8],
    start: usize,
}

impl<'a> Table<'a> {
    /// The table that the offset at `at` points to.
    fn at(bytes: &'a [u8], at: usize) -> Result<Self, Malformed> {
        Ok(Self { bytes, start: follow(bytes, at)? })
    }

    /// Where a field is; none if the file leaves it at its default.
    fn field(&self, number: usize) -> Result<Option<usize>, Malformed> {
        let back = i32::from_le_bytes(array(self.bytes, self.start, "a table")?);
        let offsets = isize::try_from(back).ok().and_then(|back| self.start.checked_add_signed(back.checked_neg()?));
        let offsets = offsets.ok_or_else(|| Malformed::unexpected("the offset of a table's fields", back))?;
        let size = u16::from_le_bytes(array(self.bytes, offsets, "a table's fields")?);
        let place = 4 + 2 * number;
        if place + 2 > usize::from(size) {
            return Ok(None);
        }
        let offset = u16::from_le_bytes(array(self.bytes, offsets.saturating_add(place), "a field's offset")?);
        Ok((offset != 0).then(|| self.start.saturating_add(offset.into())))
    }

    /// The bytes of a number.
    fn scalar<const N: usize>(&self, field: usize) -> Result<Option<[u8; N]>, Malformed> {
        self.field(field)?.map(|at| array(self.bytes, at, "a number")).transpose()
    }

    /// Where the elements of a vector begin, and how many it has of `size` bytes each. All of them are in the file.
    fn extent(&self, field: usize, size: usize) -> Result<(usize, usize), Malformed> {
        let Some(at) = self.field(field)? else { return Ok((0, 0)) };
        let start = follow(self.bytes, at)?;
        let count = u32::from_le_bytes(array(self.bytes, start, "a vector")?) as usize;
        slice(self.bytes, start.saturating_add(4), count.saturating_mul(size), "a vector")?;
        Ok((start.saturating_add(4), count))
    }

    fn vector(&self, field: usize, size: usize) -> Result<&'a [u8], Malformed> {
        let (start, count) = self.extent(field, size)?;
        slice(self.bytes, start, count * size, "a vector")
    }

    fn numbers(&self, field: usize) -> Result<Vec<u32>, Malformed> {
        Ok(self.vector(field, 4)?.as_chunks().0.iter().map(|number| u32::from_le_bytes(*number)).collect())
    }

    fn tables(&self, field: usize) -> Result<impl Iterator<Item = Result<Self, Malformed>> + use<'a>, Malformed> {
        let (start, count) = self.extent(field, 4)?;
        let bytes = self.bytes;
        Ok((0..count).map(move |index| Self::at(bytes, start + 4 * index)))
    }
}

/// Where the offset at `at` points to.
fn follow(bytes: &[u8], at: usize) -> Result<usize, Malformed> {
    let offset = u32::from_le_bytes(array(bytes, at, "an offset")?);
    Ok(at.saturating_add(offset as usize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    enum Item {
        Default,
        Byte(u8),
        Word(u32),
        Bytes(Vec<u8>),
        Words(Vec<u32>),
        Tables(Vec<Vec<Item>>),
    }
    use Item::*;

    /// Writes a table and what hangs on it; returns where it begins.
    fn write(out: &mut Vec<u8>, fields: Vec<Item>) -> usize {
        let offsets = out.len();
        out.extend((4 + 2 * fields.len() as u16).to_le_bytes());
        out.extend((4 + 4 * fields.len() as u16).to_le_bytes());
        for (index, field) in fields.iter().enumerate() {
            out.extend(if matches!(field, Default) { 0 } else { 4 + 4 * index as u16 }.to_le_bytes());
        }
        let start = out.len();
        out.extend(((start - offsets) as i32).to_le_bytes());
        out.resize(start + 4 + 4 * fields.len(), 0);
        for (index, field) in fields.into_iter().enumerate() {
            let at = start + 4 + 4 * index;
            let end = out.len();
            let point =
                |out: &mut Vec<u8>, at: usize, to: usize| out[at..at + 4].copy_from_slice(&((to - at) as u32).to_le_bytes());
            match field {
                Default => {}
                Byte(byte) => out[at] = byte,
                Word(word) => out[at..at + 4].copy_from_slice(&word.to_le_bytes()),
                Bytes(bytes) => {
                    point(out, at, end);
                    out.extend((bytes.len() as u32).to_le_bytes());
                    out.extend(bytes);
                }
                Words(words) => {
                    point(out, at, end);
                    out.extend((words.len() as u32).to_le_bytes());
                    out.extend(words.into_iter().flat_map(u32::to_le_bytes));
                }
                Tables(tables) => {
                    point(out, at, end);
                    out.extend((tables.len() as u32).to_le_bytes());
                    out.resize(end + 4 + 4 * tables.len(), 0);
                    for (index, table) in tables.into_iter().enumerate() {
                        let to = write(out, table);
                        point(out, end + 4 + 4 * index, to);
                    }
                }
            }
        }
        start
    }

    /// A convolution whose weights are f16, widened by the graph, and whose bias is f32.
    fn small() -> Vec<u8> {
        let tensor = |shape: &[u32], kind, buffer| vec![Words(shape.to_vec()), Byte(kind), Word(buffer)];
        let operator = |code, inputs: &[u32], output| vec![Word(code), Words(inputs.to_vec()), Words(vec![output])];
        let f16s = [f16::from_f32(1.5), f16::from_f32(-0.25)].into_iter().flat_map(f16::to_le_bytes).collect();
        let graph = vec![
            Tables(vec![
                tensor(&[1, 1], FLOAT32, 0),
                tensor(&[2, 1], FLOAT16, 1),
                tensor(&[2, 1], FLOAT32, 0),
                tensor(&[1], FLOAT32, 2),
                tensor(&[1, 2], FLOAT32, 0),
            ]),
            Default,
            Default,
            Tables(vec![operator(0, &[1], 2), operator(1, &[0, 2, 3], 4)]),
        ];
        let mut out = vec![0; 4];
        let start = write(
            &mut out,
            vec![
                Word(3),
                Tables(vec![vec![Byte(operator::DEQUANTIZE as u8)], vec![Byte(127), Default, Default, Word(200)]]),
                Tables(vec![graph]),
                Default,
                Tables(vec![vec![], vec![Bytes(f16s)], vec![Bytes(3.0_f32.to_le_bytes().to_vec())]]),
            ],
        );
        out[..4].copy_from_slice(&(start as u32).to_le_bytes());
        out
    }

    #[test]
    fn operators_and_constants_are_read() {
        // A code that does not fit into the old byte: 127 says so.
        let graph = read(&small()).unwrap();
        let [only] = &graph.operators[..] else { panic!("{:?}", graph.operators) };
        assert_eq!((only.code, &only.inputs[..]), (200, &[0, 2, 3][..]));
        assert_eq!(graph.constant(only, 0), None);
        assert_eq!(graph.constant(only, 1).unwrap(), &Tensor::new(vec![2, 1], vec![1.5, -0.25]).unwrap());
        assert_eq!(graph.constant(only, 2).unwrap().values(), [3.0]);
        assert_eq!(graph.constant(only, 3), None);
    }

    #[test]
    fn a_file_that_ends_early_is_refused() {
        let whole = small();
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_err(), "the first {length} bytes");
        }
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
