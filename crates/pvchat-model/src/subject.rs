//! A subject: the personal parameters of one learned person, a small safetensors file.

use std::{collections::BTreeMap, io::Write, path::Path, sync::Arc};

use burn::prelude::*;
use pvchat_data::{SubjectName, random::SeededStream};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    Error, Result,
    adaptation::{Adaptation, Trains, Values},
    personal::PersonalTensors,
};
use pvchat_nn::{
    file::read_regular,
    language::{LoraConfig, RoutedHeadsConfig},
};

/// The version of the file format that is written: tokens and rows, an [`Adaptation`] where there is one, and a checksum.
pub const FORMAT_VERSION: u32 = 3;
/// The oldest version that is read: tokens and rows alone. The second added the [`Adaptation`]; neither has a checksum.
pub const OLDEST_VERSION: u32 = 1;
/// The largest subject file that is read, in bytes.
const LARGEST_FILE: u64 = 64 << 20;

/// How a subject came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// One forward pass of one clip, no training.
    Enrolled,
    /// Trained on clips made from one clip.
    Learned,
    /// An identity embedding that is compared; the tokens are those of enrolment.
    Remembered,
}

/// What a subject file says about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubjectInfo {
    /// Version of the file format.
    pub format_version: u32,
    /// The subject's name.
    pub name: SubjectName,
    /// Fingerprint of the base model that it was made for.
    pub base: String,
    /// How it came about.
    pub origin: Origin,
    /// Figures of the training, by name.
    pub training: BTreeMap<String, f64>,
}

/// Personal query tokens, rows and identity of one person: the form in which several subjects can be asked about
/// together. An [`Adaptation`] may come with it, for questions about this subject alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// What the file says about itself.
    pub info: SubjectInfo,
    /// Its parameters by name; which ones, the base decides: those with a Q-Former have [`TOKENS`], [`IDENTITY`],
    /// [`WORD_ROW`] and [`HEAD_ROW`], those without queries [`WORD_ROWS`] and [`HEAD_ROWS`].
    pub tensors: BTreeMap<String, Values>,
    /// What it changes in the base, for itself alone; shared by clones.
    pub adaptation: Option<Arc<Adaptation>>,
}

/// Personal query tokens, `[tokens, width]`.
pub const TOKENS: &str = "personal_query_tokens";
/// Unit-length identity embedding, `[width]`; empty for bases that have none.
pub const IDENTITY: &str = "identity";
/// Row of the word table, `[hidden]`.
pub const WORD_ROW: &str = "word_row";
/// Row of the head, `[hidden]`.
pub const HEAD_ROW: &str = "head_row";
/// Rows of the word table for the tokens of a subject of a base without queries, `[rows, hidden]`: its name first, then its
/// details.
pub const WORD_ROWS: &str = "word_rows";
/// The same rows of the head, `[rows, hidden]`.
pub const HEAD_ROWS: &str = "head_rows";

const INFO: &str = "subject";
const ADAPTATION: &str = "adaptation";
/// The greatest magnitude of a value: 500 times the largest one in subjects of the miniature, and far beyond any parameter of
/// a language model. With larger ones a base computes nothing that means anything.
const LARGEST_VALUE: f32 = 1e4;
/// The digits of a checksum.
const CHECKSUM_DIGITS: usize = 64;
/// The order in which noise is drawn for them, whatever their names; the others follow in the order of theirs.
const DRAWN_FIRST: [&str; 4] = [TOKENS, IDENTITY, WORD_ROW, HEAD_ROW];

/// The one text entry of the file: with several, their order and so the file's bytes would be left to chance.
#[derive(Serialize, Deserialize)]
struct FileInfo {
    #[serde(flatten)]
    subject: SubjectInfo,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    adaptation: Option<AdaptationInfo>,
    /// SHA-256, in hexadecimal digits, of the whole file with zeros in place of these digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checksum: Option<String>,
}

/// What the file says about its adaptation.
#[derive(Serialize, Deserialize)]
struct AdaptationInfo {
    trains: Trains,
    lora: LoraConfig,
    /// Heads of the decoder with routers of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    routed: Option<RoutedHeadsConfig>,
}

impl Subject {
    /// From the personal tensors of one subject, `[1, 1, ..]`.
    pub fn from_tensors(info: SubjectInfo, personal: &PersonalTensors) -> Self {
        let [_, _, count, width] = personal.tokens.dims();
        if count == 0 {
            let rows = |tensor: &Tensor<3>| {
                let [_, rows, hidden] = tensor.dims();
                Values { shape: vec![rows, hidden], values: tensor.to_data().iter().collect() }
            };
            let tensors = [(WORD_ROWS, rows(&personal.word_row)), (HEAD_ROWS, rows(&personal.head_row))];
            return Self { info, tensors: tensors.map(|(name, values)| (name.into(), values)).into(), adaptation: None };
        }
        let flat = |tensor: &Tensor<3>| {
            let values: Vec<f32> = tensor.to_data().iter().collect();
            Values { shape: vec![values.len()], values }
        };
        let tokens = Values { shape: vec![count, width], values: personal.tokens.to_data().iter().collect() };
        let tensors = [
            (TOKENS, tokens),
            (IDENTITY, flat(&personal.identity)),
            (WORD_ROW, flat(&personal.word_row)),
            (HEAD_ROW, flat(&personal.head_row)),
        ];
        Self { info, tensors: tensors.map(|(name, values)| (name.into(), values)).into(), adaptation: None }
    }

    /// The values of one of its parameters, row by row; none where it has no such parameter.
    pub fn values(&self, name: &str) -> &[f32] {
        self.tensors.get(name).map_or(&[], |tensor| &tensor.values)
    }

    /// The subject with what it changes in the base for itself alone.
    pub fn with_adaptation(mut self, adaptation: Adaptation) -> Self {
        self.adaptation = Some(Arc::new(adaptation));
        self
    }

    /// The same person under another name.
    pub fn renamed(mut self, name: SubjectName) -> Self {
        self.info.name = name;
        self
    }

    /// A subject whose parameters are noise of the same size: what learning starts from in the paper (section 3.2), and a
    /// control that knows nobody.
    pub fn noise(&self, stream: &mut SeededStream) -> Self {
        let mut noise = Self { adaptation: None, ..self.clone() };
        let others: Vec<String> = self.tensors.keys().filter(|name| !DRAWN_FIRST.contains(&name.as_str())).cloned().collect();
        for name in DRAWN_FIRST.into_iter().chain(others.iter().map(String::as_str)) {
            let Some(Values { values, .. }) = noise.tensors.get_mut(name) else { continue };
            let size = (values.iter().map(|value| value * value).sum::<f32>() / values.len().max(1) as f32).sqrt();
            values.iter_mut().for_each(|value| *value = stream.normal() * size);
        }
        noise
    }

    /// Whether it can be asked about together with others.
    pub fn is_composable(&self) -> bool {
        self.adaptation.is_none()
    }

    /// Bytes that its values take in memory.
    pub fn bytes(&self) -> usize {
        let values: usize = self.tensors.values().map(|tensor| tensor.values.len()).sum();
        4 * values + self.adaptation.as_ref().map_or(0, |adaptation| adaptation.bytes())
    }

    /// The parameters of several subjects as one row `[1, subjects, ..]`.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is none or their sizes differ.
    pub fn tensors(subjects: &[Self], device: &Device) -> Result<PersonalTensors> {
        let Some(first) = subjects.first() else {
            return Err(Error::Shape { what: "subjects", found: vec![0], expected: "at least one".into() });
        };
        let names = [TOKENS, IDENTITY, WORD_ROW, HEAD_ROW, WORD_ROWS, HEAD_ROWS];
        let sizes = |subject: &Self| names.map(|name| subject.values(name).len());
        if let Some(other) = subjects.iter().find(|subject| sizes(subject) != sizes(first)) {
            return Err(Error::Shape {
                what: "subject",
                found: sizes(other).to_vec(),
                expected: format!("sizes {:?} as the first one", sizes(first)),
            });
        }
        if let Some(&[rows, hidden]) = first.tensors.get(WORD_ROWS).map(|tensor| tensor.shape.as_slice()) {
            let count = subjects.len();
            let gather = |name: &str| {
                let values: Vec<f32> = subjects.iter().flat_map(|subject| subject.values(name).iter().copied()).collect();
                if values.len() != count * rows * hidden {
                    let expected = format!("`{name}` [{rows}, {hidden}] of each subject");
                    return Err(Error::Shape { what: "subject", found: vec![values.len()], expected });
                }
                Ok(Tensor::<3>::from_data(TensorData::new(values, [1, count * rows, hidden]), device))
            };
            return Ok(PersonalTensors {
                tokens: Tensor::zeros([1, count, 0, 0], device),
                identity: Tensor::zeros([1, count, 0], device),
                word_row: gather(WORD_ROWS)?,
                head_row: gather(HEAD_ROWS)?,
            });
        }
        let Some(&[tokens, width]) = first.tensors.get(TOKENS).map(|tensor| tensor.shape.as_slice()) else {
            return Err(Error::Shape { what: "subject", found: vec![], expected: format!("`{TOKENS}` [tokens, width]") });
        };
        let gather = |name: &str| {
            let values: Vec<f32> = subjects.iter().flat_map(|subject| subject.values(name).iter().copied()).collect();
            Tensor::<3>::from_data(TensorData::new(values, [1, subjects.len(), first.values(name).len()]), device)
        };
        Ok(PersonalTensors {
            tokens: gather(TOKENS).reshape([1, subjects.len(), tokens, width]),
            identity: gather(IDENTITY),
            word_row: gather(WORD_ROW),
            head_row: gather(HEAD_ROW),
        })
    }

    /// Writes the file: to a temporary name next to it first, so that no unfinished file remains.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written; [`Error::File`] for values that [`load`](Self::load) would refuse.
    pub fn save(&self, path: &Path) -> Result<()> {
        let adapted = self.adaptation.iter().flat_map(|adaptation| &adaptation.parameters);
        if let Some(problem) = self.tensors.iter().chain(adapted).find_map(|(name, tensor)| beyond(name, &tensor.values)) {
            let remedy = "it is not saved; learn the person again, at a lower learning rate".into();
            return Err(Error::File { file: path.to_path_buf(), problem, remedy });
        }
        let io = |source: std::io::Error| Error::Io { file: path.to_path_buf(), source };
        let bytes = self.to_bytes().map_err(|problem| io(std::io::Error::other(problem)))?;
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(io)?;
        // Named after the file, so that deleting the subject finds what a killed process left.
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let mut file = tempfile::Builder::new().prefix(&format!(".{name}.")).tempfile_in(folder).map_err(io)?;
        file.write_all(&bytes).map_err(io)?;
        file.as_file().sync_all().map_err(io)?;
        file.persist(path).map_err(|error| io(error.error))?;
        Ok(())
    }

    fn to_bytes(&self) -> std::result::Result<Vec<u8>, String> {
        let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        let own = self.tensors.iter();
        let mut parts: Vec<(String, Vec<usize>, Vec<u8>)> =
            own.map(|(name, tensor)| (name.clone(), tensor.shape.clone(), bytes(&tensor.values))).collect();
        let subject = SubjectInfo { format_version: FORMAT_VERSION, ..self.info.clone() };
        let zeros = "0".repeat(CHECKSUM_DIGITS);
        let mut info = FileInfo { subject, adaptation: None, checksum: Some(zeros.clone()) };
        if let Some(adaptation) = &self.adaptation {
            let Adaptation { trains, lora, ref routed, .. } = **adaptation;
            info.adaptation = Some(AdaptationInfo { trains, lora, routed: routed.clone() });
            let parameters = adaptation.parameters.iter();
            parts.extend(
                parameters.map(|(name, value)| (format!("{ADAPTATION}.{name}"), value.shape.clone(), bytes(&value.values))),
            );
        }
        let views: std::result::Result<Vec<(&str, TensorView)>, _> = parts
            .iter()
            .map(|(name, shape, data)| TensorView::new(Dtype::F32, shape.clone(), data).map(|view| (name.as_str(), view)))
            .collect();
        let info = serde_json::to_string(&info).map_err(|error| error.to_string())?;
        let metadata = Some([(INFO.to_string(), info)].into());
        let mut bytes =
            safetensors::serialize(views.map_err(|error| error.to_string())?, metadata).map_err(|error| error.to_string())?;
        let place = place_of(&zeros, &bytes).ok_or("there is no place for the checksum")?;
        let checksum = checksum(&bytes, place);
        bytes[place..place + CHECKSUM_DIGITS].copy_from_slice(checksum.as_bytes());
        Ok(bytes)
    }

    /// Reads a subject that was made for the base model with that fingerprint.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read; [`Error::File`] when it is no subject file, is cut
    /// short, is not what was written, has another format version, was made for another base model, or holds values that are
    /// not finite or too large for any parameter.
    pub fn load(path: &Path, base: &str) -> Result<Self> {
        Self::parse(&read_regular(path, LARGEST_FILE, "choose a subject file")?, path, Some(base))
    }

    /// Reads a subject of whatever base model, to list, rename or copy it: [`SubjectInfo::base`] says which.
    ///
    /// # Errors
    /// As [`load`](Self::load), but for another base model.
    pub fn load_any(path: &Path) -> Result<Self> {
        Self::parse(&read_regular(path, LARGEST_FILE, "choose a subject file")?, path, None)
    }

    /// What [`load`](Self::load) does with the bytes of the file at `path`; without a base that of any is read.
    fn parse(bytes: &[u8], path: &Path, base: Option<&str>) -> Result<Self> {
        let file = |problem: String, remedy: &str| Error::File { file: path.to_path_buf(), problem, remedy: remedy.into() };
        let broken = |error: String| file(format!("is not a complete subject file ({error})"), "learn the person again");
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| broken(error.to_string()))?;
        let text = header
            .metadata()
            .as_ref()
            .and_then(|metadata| metadata.get(INFO))
            .ok_or_else(|| broken("no subject entry".into()))?;
        let FileInfo { subject: info, adaptation, checksum: stated } =
            serde_json::from_str(text).map_err(|error| broken(error.to_string()))?;
        let damaged =
            || file("is damaged: its checksum does not fit".into(), "restore it from a copy, or learn the person again");
        // Whatever version it says: that may be the damage.
        if let Some(stated) = &stated
            && place_of(stated, bytes).is_none_or(|place| checksum(bytes, place) != *stated)
        {
            return Err(damaged());
        }
        if !(OLDEST_VERSION..=FORMAT_VERSION).contains(&info.format_version) {
            let problem =
                format!("has format version {}, this program reads {OLDEST_VERSION} to {FORMAT_VERSION}", info.format_version);
            return Err(file(problem, "open it with a newer version of this program, or learn the person again with this one"));
        }
        if stated.is_none() && info.format_version == FORMAT_VERSION {
            return Err(damaged());
        }
        if let Some(base) = base.filter(|base| info.base != *base) {
            let problem = format!("was made for the base model {}, not for {base}", info.base);
            return Err(file(problem, "open that base model, or learn the person again with this one"));
        }
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| broken(error.to_string()))?;
        let read = |name: &str| -> Result<Values> {
            let view = tensors.tensor(name).map_err(|error| broken(error.to_string()))?;
            if view.dtype() != Dtype::F32 {
                return Err(broken(format!("`{name}` is {:?} and not F32", view.dtype())));
            }
            let values: Vec<f32> =
                view.data().chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect();
            if let Some(problem) = beyond(name, &values) {
                return Err(file(problem, "restore it from a copy, or learn the person again"));
            }
            Ok(Values { shape: view.shape().to_vec(), values })
        };
        let (mut own, mut parameters) = (BTreeMap::new(), BTreeMap::new());
        let prefix = format!("{ADAPTATION}.");
        for full in tensors.names() {
            let (home, name) = match full.strip_prefix(&prefix) {
                Some(name) => (&mut parameters, name),
                None => (&mut own, full),
            };
            home.insert(name.to_string(), read(full)?);
        }
        let adaptation = match adaptation {
            Some(AdaptationInfo { trains, lora, routed }) => Some(Arc::new(Adaptation { trains, lora, routed, parameters })),
            None if info.format_version == 2 => return Err(broken("no adaptation entry".into())),
            None => None,
        };
        if own.is_empty() {
            return Err(broken("no parameters".into()));
        }
        for name in [TOKENS, WORD_ROWS, HEAD_ROWS] {
            if let Some(wrong) = own.get(name).filter(|tensor| tensor.shape.len() != 2) {
                return Err(broken(format!("`{name}` has shape {:?}", wrong.shape)));
            }
        }
        Ok(Self { info, tensors: own, adaptation })
    }
}

/// What is wrong with the values of a tensor: one that is not finite, or too large for a parameter.
fn beyond(name: &str, values: &[f32]) -> Option<String> {
    let wrong = values.iter().find(|value| !value.is_finite() || value.abs() > LARGEST_VALUE)?;
    Some(format!("`{name}` holds the value {wrong:e}; parameters of people are at most {LARGEST_VALUE:e} in size"))
}

/// Where the digits of the checksum are in the header; `None` for a text that is not a checksum.
fn place_of(digits: &str, bytes: &[u8]) -> Option<usize> {
    let digits = digits.as_bytes();
    if digits.len() != CHECKSUM_DIGITS {
        return None;
    }
    bytes.windows(CHECKSUM_DIGITS).position(|part| part == digits)
}

/// The checksum of a file that stores its digits at `place`.
fn checksum(bytes: &[u8], place: usize) -> String {
    let mut hash = Sha256::new();
    hash.update(&bytes[..place]);
    hash.update([b'0'; CHECKSUM_DIGITS]);
    hash.update(&bytes[place + CHECKSUM_DIGITS..]);
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(adapted: bool) -> Subject {
        let info = SubjectInfo {
            format_version: FORMAT_VERSION,
            name: "Aa".parse().unwrap(),
            base: "base".into(),
            origin: Origin::Enrolled,
            training: [("steps".into(), 3.5)].into(),
        };
        let values = |shape: &[usize], values: &[f32]| Values { shape: shape.to_vec(), values: values.to_vec() };
        let tensors = [
            (TOKENS, values(&[2, 3], &[0.25; 6])),
            (IDENTITY, values(&[2], &[1.0, 0.0])),
            (WORD_ROW, values(&[1], &[-1.5])),
            (HEAD_ROW, values(&[1], &[0.0])),
        ];
        let tensors = tensors.map(|(name, values)| (name.to_string(), values)).into();
        let subject = Subject { info, tensors, adaptation: None };
        let value = Values { shape: vec![2], values: vec![3.0, 4.0] };
        let parameters = [("answer.project_up.bias".into(), value)].into();
        let adaptation = Adaptation { trains: Trains::PersonalAndBridge, lora: LoraConfig::full(), routed: None, parameters };
        if adapted { subject.with_adaptation(adaptation) } else { subject }
    }

    #[test]
    fn a_file_brings_its_subject_back_and_one_flipped_bit_anywhere_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("Aa.subject.safetensors");
        for adapted in [false, true] {
            let subject = subject(adapted);
            subject.save(&file).unwrap();
            assert_eq!(Subject::load(&file, "base").unwrap(), subject);
            let mut bytes = std::fs::read(&file).unwrap();
            for bit in 0..8 * bytes.len() {
                bytes[bit / 8] ^= 1 << (bit % 8);
                let error = Subject::parse(&bytes, &file, Some("base")).expect_err(&format!("bit {bit}")).to_string();
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(error.contains("Aa.subject") && error.contains("learn the person again"), "bit {bit}: {error}");
            }
        }
    }

    #[test]
    fn absurd_values_are_refused_with_the_name_of_their_tensor_and_not_saved() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("Aa.subject.safetensors");
        for (name, value) in [
            (TOKENS, 1e30),
            (TOKENS, f32::NAN),
            (IDENTITY, f32::NEG_INFINITY),
            (WORD_ROW, -1e30),
            (HEAD_ROW, 2e4),
            ("answer.project_up.bias", 1e30),
        ] {
            let mut absurd = subject(true);
            let adaptation = Arc::make_mut(absurd.adaptation.as_mut().unwrap());
            let tensor = absurd.tensors.get_mut(name).or_else(|| adaptation.parameters.get_mut(name)).unwrap();
            *tensor.values.last_mut().unwrap() = value;
            let error = absurd.save(&file).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("not saved") && !file.exists(), "{name}: {error}");
            // A file with a checksum that fits, as another program could write it.
            let error = Subject::parse(&absurd.to_bytes().unwrap(), &file, Some("base")).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("Aa.subject") && error.contains("learn the person again"), "{error}");
        }
    }

    /// Written by commits 2e1ca68 and e64de1b: element `i` of the `k`-th tensor is `((37 i + 11 k) mod 64) / 32 - 1`, where the
    /// tensors of the [`Adaptation`] follow the subject's own, in the order of their names.
    #[test]
    fn files_that_the_versions_before_wrote_are_read() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/subjects");
        for (version, adapted) in [(1, 0), (2, 22)] {
            let file = fixtures.join(format!("version-{version}.safetensors"));
            let read = Subject::load(&file, "base").unwrap();
            assert_eq!(read.info.format_version, version);
            assert_eq!((read.info.name.to_string(), read.info.origin), ("<Aa>".into(), Origin::Learned));
            assert_eq!(read.info.training, [("final_loss".into(), 0.375), ("steps".into(), 12.0)].into());
            let own = [(TOKENS, [3, 4].as_slice()), (IDENTITY, &[5]), (WORD_ROW, &[6]), (HEAD_ROW, &[6])];
            let adaptation = read.adaptation.as_deref();
            assert_eq!((read.tensors.len(), adaptation.map_or(0, |own| own.parameters.len())), (4, adapted));
            assert!(adaptation.is_none_or(|own| own.trains == Trains::Personal && own.lora.rank == 2));
            let own = own.into_iter().map(|(name, shape)| {
                assert_eq!(read.tensors[name].shape, shape, "{name}");
                (name, &read.tensors[name])
            });
            let added = adaptation.into_iter().flat_map(|adaptation| &adaptation.parameters);
            for (k, (name, tensor)) in own.chain(added.map(|(name, tensor)| (name.as_str(), tensor))).enumerate() {
                let expected = (0..tensor.values.len()).map(|i| ((37 * i + 11 * k) % 64) as f32 / 32.0 - 1.0);
                assert!(tensor.values.iter().copied().eq(expected), "{name}");
                assert_eq!(tensor.shape.iter().product::<usize>(), tensor.values.len(), "{name}");
            }
        }
    }
}
