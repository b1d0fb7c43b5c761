//! A language model as the judge, behind any service with the usual chat interface.

use super::{Criterion, Item, Judge, Mark, Prompt, parse_reply};
use crate::{Error, Failure, Result};

/// Carries a request to a chat service and its answer back: `POST {base}/chat/completions`, with whatever authentication the
/// service wants.
pub trait Transport {
    /// Sends the JSON body of a request and returns that of the answer, also where the service reports an error in it.
    ///
    /// # Errors
    /// Whatever kept it from doing so, for good: a transport that can fail for a moment tries again itself.
    fn post(&self, body: &str) -> std::result::Result<String, Failure>;

    /// Where the service is, for the judge's name.
    fn address(&self) -> Option<&str> {
        None
    }
}

impl<F: Fn(&str) -> std::result::Result<String, Failure>> Transport for F {
    fn post(&self, body: &str) -> std::result::Result<String, Failure> {
        self(body)
    }
}

/// A judge that asks a language model.
#[derive(Clone, Debug)]
pub struct LanguageJudge<T> {
    transport: T,
    model: String,
    attempts: usize,
}

impl<T: Transport> LanguageJudge<T> {
    /// Asks `model`, as the service calls it, at temperature 0; up to three times per answer, until a reply is a mark.
    pub fn new(transport: T, model: impl Into<String>) -> Self {
        Self { transport, model: model.into(), attempts: 3 }
    }

    /// The most attempts per answer, at least one.
    pub fn with_attempts(self, attempts: usize) -> Self {
        Self { attempts: attempts.max(1), ..self }
    }

    /// Sends a prompt once and returns the text of the reply, for the caller's own use.
    ///
    /// # Errors
    /// [`Error::Judge`] when the model cannot be asked, [`Error::Reply`] when the service gives no text.
    pub fn reply(&self, prompt: &Prompt, temperature: f32) -> Result<String> {
        let body = self.body(prompt, temperature);
        let answer = self.transport.post(&body).map_err(|source| Error::Judge { judge: self.name(), source })?;
        self.content(&answer)
    }

    fn body(&self, prompt: &Prompt, temperature: f32) -> String {
        serde_json::json!({
            "model": self.model,
            "temperature": temperature,
            "messages": [
                { "role": "system", "content": prompt.system },
                { "role": "user", "content": prompt.user },
            ],
        })
        .to_string()
    }

    /// The text in an answer of the service.
    fn content(&self, answer: &str) -> Result<String> {
        let fail = |problem: String| Error::Reply { judge: self.name(), reply: super::shorten(answer), problem };
        let value: serde_json::Value =
            serde_json::from_str(answer).map_err(|error| fail(format!("the service's answer is no JSON ({error})")))?;
        if let Some(error) = value.get("error").filter(|error| !error.is_null()) {
            let said = error.get("message").unwrap_or(error);
            return Err(fail(format!("the service reports an error: {said}")));
        }
        let content = value.pointer("/choices/0/message/content").and_then(|content| content.as_str());
        content.map(String::from).ok_or_else(|| fail("the service's answer holds no `choices[0].message.content`".into()))
    }
}

impl<T: Transport> Judge for LanguageJudge<T> {
    fn name(&self) -> String {
        match self.transport.address() {
            Some(address) => format!("language model {} at {address}", self.model),
            None => format!("language model {}", self.model),
        }
    }

    fn mark(&self, criterion: Criterion, item: &Item) -> Result<Mark> {
        let prompt = criterion.prompt(item);
        let mut last = None;
        for _ in 0..self.attempts {
            let reply = match self.reply(&prompt, 0.0) {
                Err(error @ Error::Judge { .. }) => return Err(error),
                reply => reply,
            };
            match reply.and_then(|content| parse_reply(&self.name(), &content)) {
                Ok((mark, reason)) => return Ok(Mark { criterion, mark, reason, judge: self.name() }),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| Error::Judge { judge: self.name(), source: "it was never asked".into() }))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::{super::tests::item, *};

    /// The answer of a service around a judge's text, as such services document it.
    fn answer(content: &str) -> String {
        let message = serde_json::json!({ "role": "assistant", "content": content });
        serde_json::json!({ "id": "x", "choices": [{ "index": 0, "message": message, "finish_reason": "stop" }] }).to_string()
    }

    #[test]
    fn the_request_holds_model_and_prompt_and_the_mark_its_reason_and_judge() {
        let sent = RefCell::new(Vec::new());
        let judge = LanguageJudge::new(
            |body: &str| {
                sent.borrow_mut().push(body.to_string());
                Ok(answer(r#"{"mark": 3, "reason": "half of it"}"#))
            },
            "some-model",
        );
        let item = item("<Aa> is wearing a red shirt .", "red");
        let mark = judge.mark(Criterion::DescriptiveCompleteness, &item).unwrap();
        assert_eq!((mark.mark, mark.reason.as_str(), mark.judge.as_str()), (3, "half of it", "language model some-model"));
        let body: serde_json::Value = serde_json::from_str(&sent.borrow()[0]).unwrap();
        let prompt = Criterion::DescriptiveCompleteness.prompt(&item);
        assert_eq!((&body["model"], &body["temperature"]), (&"some-model".into(), &0.0.into()));
        assert_eq!(body["messages"][0], serde_json::json!({ "role": "system", "content": prompt.system }));
        assert_eq!(body["messages"][1], serde_json::json!({ "role": "user", "content": prompt.user }));
    }

    #[test]
    fn replies_that_are_no_mark_are_asked_for_again_and_told_in_the_end() {
        let replies = |all: Vec<std::result::Result<String, Failure>>| {
            let left = RefCell::new(all.into_iter());
            move |_: &str| left.borrow_mut().next().unwrap_or_else(|| Err("asked too often".into()))
        };
        let good = answer(r#"{"mark": 5, "reason": "all"}"#);
        let item = item("<Aa> is there", "<Aa> is there");
        let mark = |all| LanguageJudge::new(replies(all), "m").mark(Criterion::EntitySpecificity, &item);
        assert_eq!(mark(vec![Ok("<html>".into()), Ok("{}".into()), Ok(good.clone())]).unwrap().mark, 5);
        // Whether to try again is the transport's business.
        let refused = mark(vec![Err("no route".into()), Ok(good.clone())]).unwrap_err();
        assert!(matches!(refused, Error::Judge { .. }) && refused.to_string().contains("no route"), "{refused}");
        let service = || Ok(r#"{"error": {"message": "quota"}}"#.to_string());
        let error = mark(vec![service(), service(), service(), Ok(good)]).unwrap_err();
        assert!(matches!(error, Error::Reply { .. }) && error.to_string().contains("quota"), "{error}");
    }
}
