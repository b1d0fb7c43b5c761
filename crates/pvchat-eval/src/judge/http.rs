//! A [`Transport`] over HTTP, optional: features `judge-http` and `judge-https`.

use std::{fmt, io::Read, thread::sleep, time::Duration};

use super::Transport;
use crate::Failure;

/// More bytes of an answer are not read: a mark with its reason has a few hundred.
const LONGEST_ANSWER: u64 = 1 << 20;
/// The longest pause that a service can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Sends requests to the chat service at an address, and nothing to anywhere else: redirects are not followed, and
/// proxies that the environment names are not used.
///
/// A connection that fails and the statuses 408, 429 and 5xx are tried again after a pause, which doubles every time or is what
/// the service asks for (`Retry-After`, in seconds, at most a minute); any other status is final.
pub struct HttpTransport {
    address: String,
    key: Option<String>,
    attempts: usize,
    pause: Duration,
    timeout_seconds: u64,
}

impl HttpTransport {
    /// The service whose requests go to `{address}/chat/completions`; `http://localhost:8000/v1`, say. Four attempts, with pauses
    /// of 1, 2 and 4 seconds between them, and two minutes for each.
    ///
    /// # Errors
    /// [`HttpError::Address`] for an address that is not one of `http://` or, with the feature `judge-https`, `https://`.
    pub fn new(address: &str) -> Result<Self, HttpError> {
        let wrong = |remedy| HttpError::Address { address: address.into(), remedy };
        let rest = match address.split_once("://") {
            Some(("http", rest)) => rest,
            Some(("https", rest)) if cfg!(feature = "judge-https") => rest,
            Some(("https", _)) => return Err(wrong("build with the feature `judge-https` for https, or name an http address")),
            _ => return Err(wrong("give one like http://localhost:8000/v1")),
        };
        let odd = |letter: char| !letter.is_ascii_graphic() || "?#@".contains(letter);
        if rest.is_empty() || rest.starts_with('/') || rest.contains(odd) {
            return Err(wrong("give host, port and path only, like http://localhost:8000/v1"));
        }
        let address = address.trim_end_matches('/').to_string();
        Ok(Self { address, key: None, attempts: 4, pause: Duration::from_secs(1), timeout_seconds: 120 })
    }

    /// Sends a key along, as a bearer token; anybody in between can read it, unless the address is https.
    ///
    /// # Errors
    /// [`HttpError::Key`] for a key with spaces or other letters that a request's head cannot contain.
    pub fn with_key(self, key: &str) -> Result<Self, HttpError> {
        if key.is_empty() || !key.chars().all(|letter| letter.is_ascii_graphic()) {
            return Err(HttpError::Key);
        }
        Ok(Self { key: Some(key.into()), ..self })
    }

    /// The most attempts, at least one, with this pause after the first attempt.
    pub fn with_attempts(self, attempts: usize, pause: Duration) -> Self {
        Self { attempts: attempts.max(1), pause, ..self }
    }

    /// Gives up an attempt after this many seconds, at least one.
    pub fn with_timeout(self, seconds: u64) -> Self {
        Self { timeout_seconds: seconds.max(1), ..self }
    }

    fn attempt(&self, url: &str, body: &str) -> Result<String, Unanswered> {
        let lost = |problem: String| Unanswered { problem, again: true, pause: None };
        let mut request = minreq::post(url)
            .with_timeout(self.timeout_seconds)
            .with_follow_redirects(false)
            .with_header("Content-Type", "application/json")
            .with_body(body);
        if let Some(key) = &self.key {
            request = request.with_header("Authorization", format!("Bearer {key}"));
        }
        let response = request.send_lazy().map_err(|error| lost(error.to_string()))?;
        let (status, reason) = (response.status_code, response.reason_phrase.clone());
        let asked = response.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("retry-after"));
        let pause = asked.and_then(|(_, value)| value.trim().parse().ok()).map(Duration::from_secs);
        let mut text = Vec::new();
        let read = response.take(LONGEST_ANSWER).read_to_end(&mut text);
        let text = String::from_utf8_lossy(&text);
        if (200..300).contains(&status) {
            return read.map(|_| text.into_owned()).map_err(|error| lost(error.to_string()));
        }
        let said: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect();
        let again = status >= 500 || [408, 429].contains(&status);
        Err(Unanswered { problem: format!("{status} {reason} {said}").trim_end().into(), again, pause })
    }
}

/// Without the key.
impl fmt::Debug for HttpTransport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, key, attempts, pause, timeout_seconds } = self;
        let mut shown = formatter.debug_struct("HttpTransport");
        shown.field("address", address).field("key", &key.as_ref().map(|_| "..")).field("attempts", attempts);
        shown.field("pause", pause).field("timeout_seconds", timeout_seconds).finish()
    }
}

impl Transport for HttpTransport {
    fn post(&self, body: &str) -> Result<String, Failure> {
        let url = format!("{}/chat/completions", self.address);
        let (mut attempts, mut pause) = (1, self.pause);
        loop {
            match self.attempt(&url, body) {
                Ok(answer) => return Ok(answer),
                Err(Unanswered { again: true, pause: asked, .. }) if attempts < self.attempts => {
                    sleep(asked.unwrap_or(pause).min(LONGEST_PAUSE));
                    (attempts, pause) = (attempts + 1, pause.saturating_mul(2));
                }
                Err(Unanswered { problem, .. }) => return Err(HttpError::Unanswered { url, attempts, problem }.into()),
            }
        }
    }

    fn address(&self) -> Option<&str> {
        Some(&self.address)
    }
}

/// An attempt without an answer.
struct Unanswered {
    problem: String,
    /// Whether another attempt may end otherwise.
    again: bool,
    /// How long the service wants to be left alone.
    pause: Option<Duration>,
}

/// Why an [`HttpTransport`] got no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// An address that nothing can be sent to.
    #[error("{address:?} is no address of a chat service; {remedy}")]
    Address {
        /// The address.
        address: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A key that cannot be sent.
    #[error("the key for the judge is empty or holds spaces or letters beyond ASCII; set it as the service gave it")]
    Key,
    /// No answer in all attempts.
    #[error("POST {url}: {problem} (attempt {attempts}, the last); check that the service runs there and knows model and key")]
    Unanswered {
        /// Where the request went.
        url: String,
        /// How often it was sent.
        attempts: usize,
        /// What came of the last attempt.
        problem: String,
    },
}
