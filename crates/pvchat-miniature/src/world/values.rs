//! The macro behind every closed set of values: its list, its numbering and its words.

/// Declares an enum whose variants carry the word that an answer uses for them.
macro_rules! values {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $(#[doc = concat!("\"", $word, "\"")] #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// Every value, in the order of [`index`](Self::index).
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$variant),+];

            /// The position of this value in [`ALL`](Self::ALL), its class number.
            pub fn index(self) -> usize {
                self as usize
            }

            /// The word or words that an answer uses for this value.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// A uniform draw.
            pub fn random(stream: &mut pvchat_data::random::SeededStream) -> Self {
                Self::ALL[stream.below(Self::ALL.len())]
            }
        }
    };
}

pub(super) use values;
