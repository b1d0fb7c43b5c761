//! The macro behind every closed set of values: its list, its numbering and its words.

/// Declares an enum whose variants carry the word that an answer uses for them.
macro_rules! values {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $word:literal),+ $(,)? } $($more:ident { $($unseen:ident = $name_of:literal),+ })?) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $(#[doc = concat!("\"", $word, "\"")] #[serde(rename = $word)] $variant,)+
            $($(#[doc = concat!("\"", $name_of, "\", which is never drawn at random")] #[serde(rename = $name_of)] $unseen,)+)?
        }

        impl $name {
            /// Every value, in the order of [`index`](Self::index).
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$variant),+];

            $(
                /// Values that no base meets in its pretraining, for examinations.
                pub const UNSEEN: [Self; [$($name_of),+].len()] = [$(Self::$unseen),+];
            )?

            /// The position of this value in [`ALL`](Self::ALL), its class number.
            pub fn index(self) -> usize {
                self as usize
            }

            /// The word or words that an answer uses for this value.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                    $($(Self::$unseen => $name_of,)+)?
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
