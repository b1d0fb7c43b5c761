//! The parameters of a whole model.

use burn::{module::Module, prelude::*, tensor::DType};
use pvchat_data::random::SeededStream;
use pvchat_nn::{operations::LayerNorm, trace::Trace};

use crate::{
    Result,
    answer::AnswerModel,
    families::{VilmConfig, VisionTower},
    sight::{Shown, Sight},
    vision::{Encoded, VisionEncoder, vision_layernorm},
};

/// The parameters of a [`Vilm`](crate::vilm::Vilm), made by [`VilmConfig::init`].
#[derive(Module, Debug)]
pub struct VilmParameters {
    /// The vision encoder.
    pub vision_encoder: VisionTower,
    /// Norm of the encoder's tokens; the miniature has none.
    pub vision_layernorm: Option<LayerNorm>,
    /// Everything after it.
    pub answer: AnswerModel,
}

impl VilmParameters {
    /// The names of the states of a pass over pictures and text, in the order of computation.
    pub(crate) fn states(&self) -> Vec<String> {
        let mut states = self.vision_encoder.states();
        states.extend(self.vision_layernorm.is_some().then(|| "vision_layernorm".into()));
        states.extend(self.answer.bridge.states());
        states.push("merged".into());
        states.extend((0..self.answer.lm.layers.len()).map(|layer| format!("text.layer{layer}")));
        states.extend(["text.normalized", "logits"].map(String::from));
        states
    }

    /// What later stages see of clips, of what the encoder made of their images, tile by tile.
    pub(crate) fn sight(&self, config: &VilmConfig, encoded: Encoded, trace: &mut Trace<'_>) -> Sight {
        let Encoded { tokens, identity } = encoded;
        let tiles = config.preprocess.tiles();
        let (tokens, identity) = (tokens.cast(DType::F32), identity.cast(DType::F32));
        let tokens = match &self.vision_layernorm {
            Some(norm) => {
                let tokens = norm.forward(tokens);
                trace.show(format_args!("vision_layernorm"), &tokens);
                tokens
            }
            None => tokens,
        };
        let [images, count, width] = tokens.dims();
        let clips = images / tiles;
        // An encoder that sees every frame by itself gives the tokens of one picture after another.
        let shown = match config.vision.most_frames() {
            Some(_) => vec![Shown::WHOLE; tiles * count / config.vision.tokens().max(1)],
            None => vec![Shown::Tiles(tiles)],
        };
        Sight { tokens: tokens.reshape([clips, tiles * count, width]), identity: identity.narrow(0, 0, clips), shown }
    }
}

impl VilmConfig {
    /// New parameters, a function of the stream's seed. None takes memory before it is used, so that a
    /// weights file can still take its place.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init(&self, stream: &SeededStream, device: &Device) -> Result<VilmParameters> {
        self.validate()?;
        let vision_layernorm = self.vision.has_layernorm().then(|| vision_layernorm(self.vision.width(), device));
        Ok(VilmParameters {
            vision_encoder: self.vision.tower(&mut stream.clone(), device)?,
            vision_layernorm,
            answer: self.answer.init(stream, device)?,
        })
    }
}
