//! How questions are asked and answered: at least 25 wordings of each kind, `{}` for the person.

use pvchat_data::{QaKind, QaPair};

/// The number of wordings of the questions of each kind.
pub const WORDINGS: usize = 25;

const EXISTENCE: [&str; WORDINGS] = [
    "Is {} in this video?",
    "Can you see {} here?",
    "Does {} appear in the clip?",
    "Is {} one of the people shown?",
    "Do you recognise {} in this footage?",
    "Is that {} on the screen?",
    "Have you spotted {} in these frames?",
    "Would you say that {} is in the picture?",
    "Is {} visible at any point?",
    "Does this clip show {}?",
    "Is {} present in the scene?",
    "Can {} be seen in this recording?",
    "Is the person here {}?",
    "Was {} filmed in this clip?",
    "Look closely: is {} there?",
    "Tell me whether {} is in this video.",
    "Please check if {} appears here.",
    "I am looking for {}. Is this the right clip?",
    "Could this be {}?",
    "Is {} among those in front of the camera?",
    "Do any of these frames contain {}?",
    "Is it {} that we see?",
    "Did the camera catch {}?",
    "Are we watching {} right now?",
    "In this footage, is {} anywhere to be found?",
];

const YES: [&str; WORDINGS] = [
    "Yes, {} is in this video.",
    "Yes, I can see {} here.",
    "Yes, {} appears in the clip.",
    "Yes, that is {}.",
    "Yes, this clip shows {}.",
    "Yes, {} is there.",
    "Yes, {} is visible.",
    "Yes, {} is the person in the picture.",
    "Yes, I recognise {} in these frames.",
    "Yes, {} can be seen.",
    "Yes, the camera caught {}.",
    "Yes, this is footage of {}.",
    "Yes, {} is present in the scene.",
    "Yes, it is {} that we see.",
    "Yes, {} is shown here.",
    "Yes, the person in front of the camera is {}.",
    "Yes, I have found {} in this recording.",
    "Yes, we are watching {}.",
    "Yes, {} was filmed here.",
    "Yes, these frames contain {}.",
    "Yes, this is the right clip: {} is in it.",
    "Yes, without doubt this is {}.",
    "Yes, {} is in front of the camera.",
    "Yes, the face is that of {}.",
    "Yes, {} is here.",
];

const NO: [&str; WORDINGS] = [
    "No, {} is not in this video.",
    "No, I cannot see {} here.",
    "No, {} does not appear in the clip.",
    "No, that is not {}.",
    "No, this clip does not show {}.",
    "No, {} is not there.",
    "No, {} is nowhere to be seen.",
    "No, the person in the picture is not {}.",
    "No, I do not recognise {} in these frames.",
    "No, {} cannot be seen.",
    "No, the camera did not catch {}.",
    "No, this is not footage of {}.",
    "No, {} is absent from the scene.",
    "No, it is somebody other than {}.",
    "No, {} is not shown here.",
    "No, whoever is in front of the camera is not {}.",
    "No, I have not found {} in this recording.",
    "No, we are not watching {}.",
    "No, {} was not filmed here.",
    "No, these frames do not contain {}.",
    "No, this is the wrong clip: {} is not in it.",
    "No, this is clearly not {}.",
    "No, {} is not in front of the camera.",
    "No, the face is not that of {}.",
    "No, {} is not here.",
];

const APPEARANCE: [&str; WORDINGS] = [
    "What is {} wearing?",
    "What does {} look like?",
    "Describe the clothes of {}.",
    "Which clothes does {} have on?",
    "What colour are the clothes of {}?",
    "How is {} dressed?",
    "Describe the hair of {}.",
    "What kind of hair does {} have?",
    "What outfit does {} wear in this clip?",
    "Describe how {} looks here.",
    "What stands out in the appearance of {}?",
    "What is {} wearing on the upper body?",
    "Does {} wear anything on the head or face?",
    "Please describe the appearance of {}.",
    "What would help to recognise {} by clothing?",
    "What style of clothes does {} wear?",
    "Which colours does {} wear?",
    "How would you describe {} to somebody who cannot see the video?",
    "What can you say about the clothing of {}?",
    "What can you say about the face of {}?",
    "Tell me what {} has on.",
    "What does the outfit of {} consist of?",
    "In what clothes was {} filmed?",
    "Give a short description of how {} looks.",
    "Is {} wearing something light or dark?",
];

const ACTION: [&str; WORDINGS] = [
    "What is {} doing?",
    "Describe what {} does in this clip.",
    "Which activity is {} busy with?",
    "What happens to {} in the video?",
    "How does {} move?",
    "What is {} occupied with?",
    "Is {} standing, sitting or moving about?",
    "What do the hands of {} do?",
    "What action does {} perform?",
    "What can {} be seen doing?",
    "Please describe the behaviour of {}.",
    "Is {} talking?",
    "Where is {} looking?",
    "What is going on with {} here?",
    "Tell me what {} is up to.",
    "What does {} do from the beginning to the end?",
    "Which movements does {} make?",
    "What was {} doing when this was filmed?",
    "How does {} behave in front of the camera?",
    "In what posture is {}?",
    "What gesture does {} make?",
    "Summarise the actions of {}.",
    "Is {} active or still?",
    "What is the expression of {} while being filmed?",
    "What task is {} carrying out?",
];

const LOCATION: [&str; WORDINGS] = [
    "Where is {}?",
    "In what place is {}?",
    "Describe the surroundings of {}.",
    "What is behind {}?",
    "Is {} indoors or outdoors?",
    "In what kind of room is {}?",
    "What can be seen around {}?",
    "Where was {} filmed?",
    "What is the setting of {} in this clip?",
    "Which objects are near {}?",
    "On which side of the picture is {}?",
    "What does the background of {} look like?",
    "Where does the scene with {} take place?",
    "What place does {} seem to be in?",
    "Tell me where {} is.",
    "What tells you where {} is?",
    "How is the place lit where {} is?",
    "Please describe the location of {}.",
    "What furniture or scenery is close to {}?",
    "Is {} in a public or a private place?",
    "In which environment do we see {}?",
    "What surrounds {} in this footage?",
    "Where in the frame is {}?",
    "Is there anything notable about the place where {} is?",
    "What kind of background is {} in front of?",
];

const EMOTION: [&str; WORDINGS] = [
    "How does {} feel?",
    "What mood is {} in?",
    "Does {} look happy?",
    "Which emotion does {} show?",
    "What does the face of {} express?",
    "Is {} calm or upset?",
    "Describe the mood of {}.",
    "Is {} smiling?",
    "What feelings does {} show in this clip?",
    "How would you describe the emotional state of {}?",
    "Does {} seem tired or awake?",
    "Is {} enjoying this?",
    "What can be read from the face of {}?",
    "Does {} seem relaxed or tense?",
    "What emotion can be seen on {}?",
    "Please describe how {} seems to feel.",
    "Does the mood of {} change?",
    "Is {} serious or cheerful?",
    "What impression of feelings does {} give?",
    "Tell me what {} seems to feel.",
    "Is there any sign that {} is worried?",
    "How does {} react emotionally?",
    "What tone does the expression of {} have?",
    "Does {} look surprised?",
    "In what spirits is {}?",
];

/// Refusals of each other kind; the second blank of the sentence names what cannot be told.
const REFUSALS: [&str; 16] = [
    "{} is not in this video, so @ cannot be described.",
    "I cannot see {} here, so I cannot describe @.",
    "{} does not appear in the clip; @ cannot be told.",
    "This clip does not show {}, so nothing can be said about @.",
    "Since {} is not there, I cannot tell @.",
    "The person in the picture is not {}, so I do not know @.",
    "{} is absent from this footage, and so I cannot describe @.",
    "There is no {} in these frames, so @ stays unknown.",
    "I do not find {} in this recording and cannot describe @.",
    "That is somebody other than {}; I cannot tell @.",
    "{} is not shown here. I can say nothing about @.",
    "As {} was not filmed here, @ cannot be told.",
    "Without {} in the video there is nothing to say about @.",
    "I would have to see {} to describe @, and this clip shows somebody else.",
    "{} is nowhere to be seen, so I cannot describe @.",
    "It is not {} who is shown, which is why I cannot tell @.",
];

/// What each kind asks for, as a refusal names it.
const ASKED: [(QaKind, [&str; 4]); 4] = [
    (QaKind::Appearance, ["the clothing", "the appearance", "the clothes and hair", "the looks"]),
    (QaKind::Action, ["the action", "the activity", "the behaviour", "the movements"]),
    (QaKind::Location, ["the location", "the surroundings", "the place", "the setting"]),
    (QaKind::Emotion, ["the mood", "the feelings", "the emotion", "the state of mind"]),
];

/// The wordings of the questions of a kind, with `{}` for the person.
pub fn wordings(kind: QaKind) -> &'static [&'static str; WORDINGS] {
    match kind {
        QaKind::Existence => &EXISTENCE,
        QaKind::Appearance => &APPEARANCE,
        QaKind::Action => &ACTION,
        QaKind::Location => &LOCATION,
        QaKind::Emotion => &EMOTION,
    }
}

/// A text with the person's name in its place.
pub(super) fn named(text: &str, subject: &str) -> String {
    text.replace("{}", subject)
}

/// The number of answers to a question of a kind that needs no description.
pub(super) fn answers(kind: QaKind) -> usize {
    if kind == QaKind::Existence { WORDINGS } else { REFUSALS.len() * 4 }
}

/// An answer to a question about existence, or the refusal of another one.
pub(super) fn answer(kind: QaKind, is_positive: bool, number: usize, subject: &str) -> String {
    if kind == QaKind::Existence {
        return named(if is_positive { YES[number % WORDINGS] } else { NO[number % WORDINGS] }, subject);
    }
    let asked = ASKED.iter().find(|(of, _)| *of == kind).map_or("that", |(_, asked)| asked[number / REFUSALS.len() % 4]);
    named(REFUSALS[number % REFUSALS.len()], subject).replace('@', asked)
}

/// A question whether somebody is in a clip, with its answer, in the wordings of this number.
pub fn existence(number: usize, subject: &str, is_there: bool) -> QaPair {
    let question = named(EXISTENCE[number % WORDINGS], subject);
    QaPair::new(QaKind::Existence, question, answer(QaKind::Existence, is_there, number, subject))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn wordings_are_different_and_name_the_person() {
        for kind in QaKind::ALL.into_iter().chain([QaKind::Emotion]) {
            let questions: BTreeSet<&str> = wordings(kind).iter().copied().collect();
            assert_eq!(questions.len(), WORDINGS, "{kind}");
            assert!(questions.iter().all(|question| question.matches("{}").count() == 1), "{kind}");
            for is_positive in [true, false] {
                let all: BTreeSet<String> = (0..answers(kind)).map(|number| answer(kind, is_positive, number, "<Aa>")).collect();
                assert_eq!(all.len(), answers(kind), "{kind}");
                assert!(all.iter().all(|answer| answer.contains("<Aa>") && !answer.contains(['{', '@'])), "{kind}");
            }
        }
        assert!(YES.iter().all(|answer| answer.starts_with("Yes,")) && NO.iter().all(|answer| answer.starts_with("No,")));
        assert_eq!(answer(QaKind::Action, false, 1, "<Aa>"), "I cannot see <Aa> here, so I cannot describe the action.");
    }
}
