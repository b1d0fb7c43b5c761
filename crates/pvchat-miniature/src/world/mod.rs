//! A drawn world of little people: who they are, what they wear and do and where, as 8-frame clips.
//!
//! [`Identity`] is what stays the same in every clip of a person (11 attributes), [`Scene`] is
//! everything that varies from clip to clip, and [`Scene::render`] draws it: a pure function of the
//! scene, at any frame side, with the truth that a training signal needs.
//!
//! Lengths are in *units*, 1/64 of the frame side, with y growing downwards.
//!
//! ```
//! use pvchat_data::random::SeededStream;
//! use pvchat_miniature::world::{Identity, Scene, SceneOptions};
//! let mut stream = SeededStream::new(7);
//! let anna = Identity::random(&mut stream);
//! let scene = Scene::random(&[anna], SceneOptions::default(), &mut stream);
//! assert_eq!(scene.render(64).frames.len(), 8);
//! ```

mod body;
mod canvas;
mod clip;
mod hair;
mod head;
mod identity;
mod place;
mod pose;
mod render;
mod sheet;
#[cfg(test)]
mod tests;
mod values;

pub use clip::{Action, Camera, ClothColour, Clothing, Garment, Pattern, Person, Place, Scene, SceneOptions, Trousers};
pub use identity::{
    ATTRIBUTE_SIZES, Build, EyeColour, FaceShape, FacialHair, Glasses, HairColour, HairStyle, Identity, Mark, Mouth, Nose, Skin,
};
pub use render::{FRAMES, PersonTruth, Rendered, Truth};
pub use sheet::{contact_sheet, film_strip};
