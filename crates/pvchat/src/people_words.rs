//! The words of questions about people: a question in pieces, and what each piece means.

use std::{collections::HashMap, ops::Range, sync::LazyLock};

/// A part of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The left third, as the viewer sees it.
    Left,
    /// The right third.
    Right,
    /// The upper third.
    Upper,
    /// The lower third.
    Lower,
    /// The middle, from left to right.
    Middle,
}

/// What a word or phrase contributes to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cue {
    HowMany,
    HowOften,
    HowLong,
    When,
    First,
    Last,
    Where,
    Side(Side),
    Who,
    Everyone,
    Anyone,
    Nobody,
    /// A noun for people.
    People,
    Together,
    With,
    Alone,
    Only,
    Else,
    Not,
    Appear,
    Leave,
    /// A participle: seen, recognised.
    Seen,
    /// In it, there, on screen.
    Place,
    Footage,
    /// A verb whose subject is the viewer: see, find.
    View,
    /// A verb whose subject is the footage: show, contain, have.
    Show,
    /// The viewer, and what is said around a question: I, tell me.
    Viewer,
    Pronoun,
    Aux,
    And,
    Or,
    /// Asks for a description unless a longer phrase says something else.
    What,
    Describe,
    /// Order in time that no time follows, dates, and other conditions that are not answered.
    Order,
    Filler,
}

/// A piece of a question.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Piece {
    /// In lower case, contractions resolved.
    Word { text: String, shown: String, capital: bool, first: bool },
    /// Somebody who is enrolled.
    Person(String),
    /// Somebody in angle brackets who is not enrolled.
    Stranger(String),
    /// A comma or dash.
    Comma,
    /// The end of a sentence.
    End,
}

impl Piece {
    /// The word in lower case; empty for everything else.
    pub(crate) fn word(&self) -> &str {
        match self {
            Self::Word { text, .. } => text,
            _ => "",
        }
    }
}

/// What phrases mean; the longest one wins.
const LEXICON: &[(Cue, &str)] = &[
    (
        Cue::HowMany,
        "how many|how many people|how many persons|how many faces|how many humans|how many individuals|how many folks|\
         how many different people|how much people|how many different persons|how many different faces|count|number of|\
         number of people|headcount|head count|more than one|more than one person|two people|three people|four people|\
         five people|several people|many people|multiple people|more than two|more than three|more than two people|\
         more than three people|more than four people|at least two people|at least three people|two or more people|\
         exactly one person|exactly two people",
    ),
    (
        Cue::HowOften,
        "how often|how many times|number of times|how frequently|more than once|once|twice|several times|many times|\
         multiple times",
    ),
    (
        Cue::HowLong,
        "how long|how much time|how much screen time|how many seconds|how many minutes|how many hours|total time|\
         length of time|screen time|the whole time|all the time|the entire time|always|constantly|throughout|\
         amount of time|a lot|a long time|for long|briefly",
    ),
    (
        Cue::When,
        "when|what time|which time|what times|which times|what moment|which moment|what moments|which moments|what part|\
         which part|what parts|which parts|what point|which point|what points|which points|what frame|which frame|\
         what frames|which frames|which scenes|what scenes|which timestamps|what timestamps|which section|which sections|\
         which seconds|which minutes|what second|what minute|which second|which minute|timestamp|timestamps|time stamps|\
         timecode|timecodes|since when|from when|until when|till when|whens",
    ),
    (Cue::First, "first|first time|earliest|initially"),
    (Cue::Last, "last|last time|latest|finally"),
    (
        Cue::Where,
        "where|whereabouts|which side|what side|what position|which position|which corner|what corner|which one|\
         which of them|which of these|position|what part of the picture|which part of the picture|what part of the image|\
         which part of the image|what part of the frame|which part of the frame|what part of the screen|\
         which part of the screen|what part of the photo|which part of the photo",
    ),
    (
        Cue::Side(Side::Left),
        "the left|on the left|at the left|to the left|left side|left hand side|left-hand side|the left side|left half|\
         the left half|left edge|left corner",
    ),
    (
        Cue::Side(Side::Right),
        "the right|on the right|at the right|to the right|right side|right hand side|right-hand side|the right side|\
         right half|the right half|right edge|right corner",
    ),
    (
        Cue::Side(Side::Middle),
        "the middle|in the middle|at the middle|the centre|in the centre|the center|in the center|middle of the picture|\
         centre of the picture|center of the picture",
    ),
    (Cue::Side(Side::Upper), "upper|the top|at the top|upper half|top half|top left corner|top right corner|the upper half"),
    (Cue::Side(Side::Lower), "lower|the bottom|at the bottom|lower half|bottom half|the lower half"),
    (
        Cue::Who,
        "who|whom|which people|which persons|which person|what people|what person|who all|name the people|name everyone|\
         name everybody|list the people|list everyone|list everybody|name the persons|identify everyone|\
         identify the people|identify everybody|people i know|anyone i know|anybody i know|someone i know|\
         somebody i know|which of|who everyone is",
    ),
    (Cue::Everyone, "everyone|everybody|all people|all the people|all persons"),
    (
        Cue::Anyone,
        "anyone|anybody|someone|somebody|any people|any person|any persons|any faces|any face|any humans|any human|\
         some people|any one",
    ),
    (Cue::Nobody, "nobody|no one|noone|no-one|no people|no person|no persons|no faces|no face|no humans|empty|deserted"),
    (Cue::People, "people|persons|person|humans|human|faces|face|individuals|individual|folks"),
    (
        Cue::Together,
        "together|at the same time|simultaneously|at once|each other|with each other|one another|with one another|meet|\
         meets|met|in the same frame|in the same shot|in the same picture|in the same scene|in the same moment|\
         at the same moment|together with",
    ),
    (Cue::With, "with|alongside|accompanied by|in company|in company of|in the company of"),
    (Cue::Alone, "alone|on her own|on his own|on their own|by himself|by herself|by themselves|all alone"),
    (Cue::Only, "only|the only|the only person|the only one|the only face|only person|only one|only face"),
    (Cue::Else, "else|other|others|another|besides|except|except for|apart from|aside from|other than|in addition to|as well as"),
    (Cue::Not, "not|no|never|neither|no longer|absent|missing|gone|not in any"),
    (
        Cue::Appear,
        "appear|appears|appeared|appearing|appearance|appearances|show up|shows up|showed up|showing up|shown up|turn up|\
         turns up|turned up|turning up|pop up|pops up|popped up|come in|comes in|came in|coming in|come into|comes into|\
         came into|come on|comes on|came on|come up|comes up|came up|come along|come|comes|came|enter|enters|entered|\
         entering|arrive|arrives|arrived|arriving|walk in|walks in|walked in|walk into|walks into|join|joins|joined|\
         exist|exists|present|visible|occur|occurs|make an appearance|makes an appearance|made an appearance|get in|\
         gets in|got in|enter the picture|come back|comes back|came back|return|returns|returned|reappear|reappears",
    ),
    (
        Cue::Leave,
        "leave|leaves|left|leaving|exit|exits|exited|disappear|disappears|disappeared|vanish|vanishes|go away|goes away|\
         went away|go out|goes out|went out|walk out|walks out|go off|goes off",
    ),
    (
        Cue::Seen,
        "seen|spotted|found|recognised|recognized|noticed|detected|identified|captured|filmed|recorded|shown|featured|\
         pictured|depicted|displayed|caught on|included|contained|recognisable|recognizable|photographed|taped",
    ),
    (
        Cue::Place,
        "there|here|around|onscreen|on-screen|in it|in this|in that|in there|in here|in frame|in shot|in view|in sight|\
         in focus|on screen|on camera|on film|on tape|on video|on it|on there|on here|at all|anywhere|somewhere|\
         at any point|at any time|at some point|at some time|any time|sometime|sometimes|any moment|at any moment|\
         within it|inside it|on the scene|in these|in those",
    ),
    (
        Cue::Footage,
        "video|videos|clip|clips|footage|film|movie|recording|picture|pictures|photo|photos|photograph|image|images|file|\
         tape|scene|shot|frame|snapshot",
    ),
    (
        Cue::View,
        "see|sees|saw|spot|find|notice|recognise|recognize|detect|identify|make out|look for|search for|locate|seeing|\
         finding|point out|check for",
    ),
    (
        Cue::Show,
        "show|shows|showing|contain|contains|containing|include|includes|including|feature|features|featuring|have|has|\
         had|having|got|depict|depicts",
    ),
    (
        Cue::Viewer,
        "i|you|we|us|me|my|our|your|tell|say|know|think|want|want to know|wonder|wondering|let|show me|like to know|\
         find out|check|ask|answer|answers|help|give|give me|need to know|understand|anyone tell|guess|believe|question|\
         questions|curious",
    ),
    (
        Cue::Pronoun,
        "he|she|him|her|his|hers|they|them|their|theirs|both|both of them|the two|the two of them|these two|those two|\
         the same person|that person|this person|the person|himself|herself|themselves|any of them|all of them|\
         one of them|either of them",
    ),
    (
        Cue::Aux,
        "is|are|was|were|be|been|being|am|do|does|did|can|could|will|would|shall|should|may|might|must|has been|\
         have been|had been|having been",
    ),
    (Cue::And, "and|but|plus|nor|and also|and then"),
    (Cue::Or, "or|either|or else"),
    (Cue::What, "what|which|why|how|whose"),
    (
        Cue::Describe,
        "describe|description|wearing|wear|wears|wore|dressed|clothes|clothing|outfit|doing|happening|happens|happen|\
         happened|look|looks|looking|colour|color|colours|colors|hair|summary|summarise|summarize|caption|explain|\
         transcribe|from the left|from the right|from the top|from the bottom|seen by|found by|spotted by|noticed by|\
         recognised by|recognized by|filmed by|recorded by|photographed by|taped by|detected by|identified by",
    ),
    (
        Cue::Order,
        "longest|the longest|most often|enrolled|known|familiar|before|after|between|until|till|since|while|during|beginning|start|end|half|earlier|later|whenever|as soon as|\
         starting|ending|stranger|strangers|unknown|unrecognised|unrecognized|not know|not you know|not recognise|\
         not recognize|prior to|past|without|yesterday|tomorrow|tonight|today|pm|o'clock|morning|afternoon|evening|night|\
         week|month|year|monday|tuesday|wednesday|thursday|friday|saturday|sunday",
    ),
    (
        Cue::Filler,
        "a|an|the|this|that|these|those|it|its|itself|of|in|on|at|to|from|for|by|within|inside|through|over|as|into|onto|\
         out|off|if|whether|then|also|too|just|really|actually|ever|even|still|yet|already|again|please|now|currently|\
         point|points|moment|moments|time|times|exactly|so|ok|okay|'s|any|some|all|every|one|ones|name|names|named|\
         called|hello|hi|hey|thanks|thank|true|correct|sure|right|well|oh|um|pvchat|about|what about|how about|different|\
         distinct|whole|entire|possibly|possible|maybe|perhaps|definitely|certainly|in total|total|altogether|\
         approximately|roughly|more|long|same|spend|spends|spent|or not|side|corner|part|longer|such|likely|how sure|how certain|how confident|how likely",
    ),
];

/// Cues by phrase.
static CUES: LazyLock<HashMap<&str, Cue>> =
    LazyLock::new(|| LEXICON.iter().flat_map(|(cue, phrases)| phrases.split('|').map(move |phrase| (phrase, *cue))).collect());

/// Words of the longest phrase.
const LONGEST_PHRASE: usize = 5;
/// Nouns for what was watched.
const FOOTAGE: &str = "video videos clip clips footage film movie recording recordings picture pictures photo photos \
     photograph image images shot frame scene file tape screen camera view sight snapshot";
const BEFORE_FOOTAGE: &str = "in on of from within inside during through throughout";
const ARTICLES: &str = "the this that these those my our your a an whole entire same";

/// Whether a list of words holds this one.
pub(crate) fn among(list: &str, word: &str) -> bool {
    list.split_whitespace().any(|known| known == word)
}

/// Whether a word alone means something here.
pub(crate) fn is_known(word: &str) -> bool {
    CUES.contains_key(word)
}

/// What the beginning of these pieces means, and how many of them it takes; `None` for a word that is not known.
pub(crate) fn cue(pieces: &[Piece]) -> Option<(Cue, usize)> {
    if let Some(length) = place(pieces) {
        let throughout = pieces[0].word() == "throughout";
        return Some((if throughout { Cue::HowLong } else { Cue::Place }, length));
    }
    let words: Vec<&str> = pieces.iter().take(LONGEST_PHRASE).map(Piece::word).take_while(|word| !word.is_empty()).collect();
    (1..=words.len()).rev().find_map(|length| Some((*CUES.get(words[..length].join(" ").as_str())?, length)))
}

/// How many words "in the video" takes.
fn place(pieces: &[Piece]) -> Option<usize> {
    let word = |place: usize| pieces.get(place).map_or("", Piece::word);
    if !among(BEFORE_FOOTAGE, word(0)) {
        return None;
    }
    let articles = (1..=3).take_while(|&at| among(ARTICLES, word(at))).count();
    let has_article = articles > 0;
    let same = (1..=articles).any(|at| word(at) == "same");
    (has_article && !same && among(FOOTAGE, word(articles + 1))).then_some(articles + 2)
}

/// Where names that are also words of questions ("Will", "May") count as names. In brackets they always do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Where they are written with a capital inside a sentence.
    Capital,
    /// There, and where nothing but a name makes a sentence: "what is will doing", but not "what will she do".
    Placed,
    /// Everywhere.
    Anywhere,
}

/// A question in pieces.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cut {
    pub(crate) pieces: Vec<Piece>,
    /// For each piece, the characters of the question that it stands for.
    places: Vec<Range<usize>>,
}

impl Cut {
    /// The names in it, in its order.
    pub(crate) fn people(&self) -> Vec<String> {
        let mut people: Vec<String> = Vec::new();
        for piece in &self.pieces {
            if let Piece::Person(name) = piece
                && !people.contains(name)
            {
                people.push(name.clone());
            }
        }
        people
    }

    /// The text that some of the pieces stand for, with every name written as it is enrolled.
    pub(crate) fn text(&self, question: &str, pieces: Range<usize>) -> String {
        let characters: Vec<char> = question.chars().collect();
        let places = self.places.get(pieces.clone()).unwrap_or_default();
        let (Some(first), Some(last)) = (places.first(), places.last()) else { return String::new() };
        let (mut text, mut at) = (String::new(), first.start);
        let mut copy = |text: &mut String, until: usize| {
            text.extend(characters.get(at..until).unwrap_or_default());
            at = at.max(until);
        };
        for (piece, place) in self.pieces[pieces].iter().zip(places) {
            copy(&mut text, place.start);
            if let Piece::Person(name) = piece {
                text.push_str(name);
                copy(&mut String::new(), place.end);
            }
        }
        copy(&mut text, last.end);
        text
    }

    fn push(&mut self, piece: Piece, place: Range<usize>) {
        self.pieces.push(piece);
        self.places.push(place);
    }
}

/// Whether the word before or after shows that a word which is also one of questions is a name: "is will there", "what does
/// may wear", "will is there".
fn is_placed(raw: &[Raw], at: usize, word: &str) -> bool {
    const BE: &str = "is are was were does did do has have had isn't wasn't doesn't didn't";
    let cue = CUES.get(word).copied();
    let text = |place: Option<usize>| {
        let raw = place.and_then(|place| raw.get(place)).filter(|raw| raw.kind == Kind::Word);
        raw.map_or(String::new(), |raw| raw.text.to_lowercase())
    };
    let (before, after) = (text(at.checked_sub(1)), text(Some(at + 1)));
    let after_be = among(BE, &before) || resolved(&before).last().is_some_and(|last| last == "is");
    match cue {
        // A verb cannot follow another one like that, nor stand before one.
        Some(Cue::Aux) => after_be || among("of with besides", &before) || among("is was has does did", &after),
        Some(Cue::Pronoun) | None => false,
        Some(_) => {
            let does = after.is_empty() || after.ends_with("ing");
            after_be
                && (does
                    || matches!(CUES.get(after.as_str()), Some(Cue::Describe | Cue::Appear | Cue::Seen | Cue::Leave | Cue::Aux)))
        }
    }
}

/// "Will she come": a verb whose subject follows is no name.
fn is_verb(raw: &[Raw], at: usize, word: &str, names: &[&str]) -> bool {
    const SUBJECTS: &str = "i you he she it we they there the a this that my your anyone anybody someone somebody everyone \
         everybody nobody people";
    let after = raw.get(at + 1).map_or(String::new(), |raw| raw.text.to_lowercase());
    let is_subject = among(SUBJECTS, &after) || names.iter().any(|name| name.to_lowercase() == after);
    CUES.get(word) == Some(&Cue::Aux) && is_subject
}

/// Cuts a question into pieces.
pub(crate) fn pieces(question: &str, names: &[&str], reading: Reading) -> Cut {
    let raw = raw(question);
    let shouted = !question.chars().any(char::is_lowercase);
    let mut known: Vec<(&str, Vec<String>)> = names
        .iter()
        .map(|name| (*name, self::raw(name).into_iter().map(|raw| raw.text.to_lowercase()).collect::<Vec<_>>()))
        .filter(|(_, words)| !words.is_empty())
        .collect();
    known.sort_by_key(|(_, words)| std::cmp::Reverse(words.len()));
    let mut cut = Cut::default();
    let (mut at, mut first) = (0, true);
    while let Some(here) = raw.get(at) {
        let place = here.place.clone();
        match here.kind {
            Kind::End | Kind::Comma => {
                cut.push(if here.kind == Kind::End { Piece::End } else { Piece::Comma }, place);
                first |= here.kind == Kind::End;
                at += 1;
                continue;
            }
            Kind::Bracketed => {
                let tidy = here.text.split_whitespace().collect::<Vec<_>>().join(" ");
                let name = names.iter().find(|name| name.to_lowercase() == tidy.to_lowercase());
                let within = if name.is_some() { place.start + 1..place.end - 1 } else { place };
                cut.push(name.map_or(Piece::Stranger(tidy), |name| Piece::Person(name.to_string())), within);
                at += 1;
            }
            Kind::Word => {
                let capital = !shouted && here.text.chars().next().is_some_and(char::is_uppercase);
                let matched = known.iter().find_map(|(name, words)| {
                    let ambiguous = words.len() == 1 && is_known(&words[0]);
                    let counts = match reading {
                        Reading::Anywhere => !is_verb(&raw, at, &words[0], names),
                        _ if capital && !first => true,
                        Reading::Capital => false,
                        Reading::Placed => is_placed(&raw, at, &words[0]),
                    };
                    if ambiguous && !counts {
                        return None;
                    }
                    matches(&raw[at..], words).map(|possessive| (*name, words.len(), possessive))
                });
                if let Some((name, length, possessive)) = matched {
                    let end = raw[at + length - 1].place.end;
                    let name_end = if possessive { end - 2 } else { end };
                    cut.push(Piece::Person(name.to_string()), place.start..name_end);
                    if possessive {
                        cut.push(plain("'s"), name_end..end);
                    }
                    at += length;
                } else {
                    let words = resolved(&here.text.to_lowercase());
                    for (place, text) in words.into_iter().enumerate() {
                        let shown = if place == 0 { here.text.trim_end_matches("'s").to_string() } else { text.clone() };
                        let (capital, first) = (capital && place == 0, first && place == 0);
                        cut.push(Piece::Word { text, shown, capital, first }, here.place.clone());
                    }
                    at += 1;
                }
            }
        }
        first = false;
    }
    cut
}

fn plain(text: &str) -> Piece {
    Piece::Word { text: text.into(), shown: text.into(), capital: false, first: false }
}

/// Whether these words are a name; `Some(true)` for one with a possessive ending.
fn matches(raw: &[Raw], name: &[String]) -> Option<bool> {
    let words = raw.get(..name.len())?;
    let (last, before) = name.split_last()?;
    let same = |(raw, word): (&Raw, &String)| raw.kind == Kind::Word && raw.text.to_lowercase() == *word;
    if !words.iter().zip(before).all(same) || words[before.len()].kind != Kind::Word {
        return None;
    }
    let end = words[before.len()].text.to_lowercase();
    match end.strip_prefix(last.as_str())? {
        "" => Some(false),
        "'s" => Some(true),
        _ => None,
    }
}

/// A word with its contraction resolved.
fn resolved(word: &str) -> Vec<String> {
    let two = |one: &str, other: &str| vec![one.to_string(), other.to_string()];
    const BARE: &str = "isnt arent wasnt werent doesnt dont didnt hasnt havent hadnt cant couldnt wont wouldnt";
    match word {
        "cannot" => return two("can", "not"),
        "can't" | "cant" => return two("can", "not"),
        "won't" | "wont" => return two("will", "not"),
        "ain't" => return two("is", "not"),
        "whos" | "wheres" | "whats" | "theres" | "hows" => return two(&word[..word.len() - 1], "is"),
        "&" | "+" | "/" => return vec!["and".into()],
        "@" => return vec!["at".into()],
        _ => {}
    }
    if among(BARE, word) {
        return two(&word[..word.len() - 2], "not");
    }
    if let Some(base) = word.strip_suffix("n't") {
        return two(base, "not");
    }
    for (ending, meaning) in [("'re", "are"), ("'ve", "have"), ("'ll", "will"), ("'m", "am"), ("'d", "would")] {
        if let Some(base) = word.strip_suffix(ending) {
            return two(base, meaning);
        }
    }
    match word.strip_suffix("'s") {
        Some(base) if !base.is_empty() => two(base, if is_known(base) { "is" } else { "'s" }),
        _ => vec![word.to_string()],
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Word,
    Bracketed,
    Comma,
    End,
}

struct Raw {
    kind: Kind,
    text: String,
    /// The characters that it stands for.
    place: Range<usize>,
}

/// Characters between angle brackets at most.
const LONGEST_BRACKET: usize = 80;

fn raw(text: &str) -> Vec<Raw> {
    let characters: Vec<char> =
        text.chars().map(|character| if "’ʼ`´‘".contains(character) { '\'' } else { character }).collect();
    let get = |place: usize| characters.get(place).copied().unwrap_or(' ');
    let (mut found, mut at) = (Vec::new(), 0);
    while at < characters.len() {
        let start = at;
        at += 1;
        let kind = match characters[start] {
            '?' | '!' | '.' | ';' | '\n' | '？' | '！' | '。' => Kind::End,
            ',' | ':' | '–' | '—' | '-' | '、' | '，' => Kind::Comma,
            '<' => {
                let end = (at..characters.len().min(at + LONGEST_BRACKET)).find(|&place| characters[place] == '>');
                let Some(end) = end.filter(|&end| end > at) else { continue };
                at = end + 1;
                let text = characters[start + 1..end].iter().collect();
                found.push(Raw { kind: Kind::Bracketed, text, place: start..at });
                continue;
            }
            '&' | '+' | '/' | '@' => Kind::Word,
            character if character.is_alphanumeric() || character == '_' => {
                let joins = |place: usize| {
                    let (before, after) = (get(place - 1), get(place + 1));
                    match characters[place] {
                        '-' => after.is_alphanumeric() && !(before.is_ascii_digit() && after.is_ascii_digit()),
                        '\'' => after.is_alphanumeric(),
                        '.' | ':' => before.is_ascii_digit() && after.is_ascii_digit(),
                        character => character.is_alphanumeric() || character == '_' || is_mark(character),
                    }
                };
                while at < characters.len() && joins(at) {
                    at += 1;
                }
                Kind::Word
            }
            _ => continue,
        };
        found.push(Raw { kind, text: characters[start..at].iter().collect(), place: start..at });
    }
    found
}

/// Accents that are separate characters, and the signs of Indic scripts: they belong to the word.
fn is_mark(character: char) -> bool {
    matches!(character, '\u{0300}'..='\u{036f}' | '\u{0900}'..='\u{0dff}' | '\u{200c}' | '\u{200d}')
}
