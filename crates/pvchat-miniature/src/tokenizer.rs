//! The word-level tokenizer of the miniature language, trained on all sentences of the language.

use pvchat_augment::questions;
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, TokenizerBuilder, TokenizerImpl,
    models::wordlevel::{WordLevel, WordLevelTrainer},
    pre_tokenizers::whitespace::WhitespaceSplit,
};

use crate::words;

/// Tokens that are no words, in the order of their ids.
pub const SPECIAL_TOKENS: [&str; 6] = ["<pad>", "<bos>", "<q>", "<a>", "<eos>", "<unk>"];

/// Trains the tokenizer; the result is the text of a tokenizer.json.
///
/// # Errors
/// What the tokenizers library reports.
pub fn train() -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let special = || SPECIAL_TOKENS.iter().map(|token| AddedToken::from(*token, true)).collect::<Vec<_>>();
    let model = WordLevel::builder().unk_token("<unk>".into()).build()?;
    let mut tokenizer: TokenizerImpl<WordLevel, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper> =
        TokenizerBuilder::new()
            .with_model(model)
            .with_normalizer(None)
            .with_pre_tokenizer(Some(PreTokenizerWrapper::from(WhitespaceSplit)))
            .with_post_processor(None)
            .with_decoder(None)
            .build()?;
    let mut trainer = WordLevelTrainer::builder().show_progress(false).special_tokens(special()).build()?;
    let corpus = questions::every_word().into_iter().map(String::from).chain(words::every_word());
    tokenizer.train(&mut trainer, corpus)?;
    tokenizer.to_string(false)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_stored_tokenizer_is_the_trained_one() {
        let stored = std::str::from_utf8(crate::embedded::FILES.tokenizer).unwrap();
        assert_eq!(super::train().unwrap(), stored.trim_end(), "run `make miniature` after a change of the words");
    }
}
