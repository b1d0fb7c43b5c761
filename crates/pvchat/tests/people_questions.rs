//! Questions about people: what is understood, what is answered from watched footage, and what is refused. No model is needed.

use pvchat::{
    Error, Footage, PeopleAnswer, Session, SubjectName,
    data::random::SeededStream,
    faces::{Calibration, Verdict},
    questions::{Asked, AskedKind, Context, Refusal, Side, Within, answer, understand},
};
use serde_json::{Value, json};

const NAMES: [&str; 6] = ["Aa", "Bb", "Anna-Maria", "O'Neil", "Li Wei", "Will"];

fn asked(question: &str) -> Vec<Asked> {
    understand(question, &NAMES, &Context::default()).unwrap()
}

/// What was understood in one line: "present Aa+Bb", "describe", "unknown Dave".
fn short(asked: &[Asked]) -> String {
    let one = |asked: &Asked| {
        let kind = match &asked.kind {
            AskedKind::Refused(Refusal::NeedsDescription) => "describe".into(),
            AskedKind::Refused(Refusal::UnknownPerson(name)) => format!("unknown {name}"),
            AskedKind::Refused(Refusal::NobodyNamed) => "whom".into(),
            AskedKind::Refused(_) => "what".into(),
            AskedKind::Lasts { seconds, longer, or_equal } => {
                format!("lasts {}{}{seconds}", if *longer { ">" } else { "<" }, if *or_equal { "=" } else { "" })
            }
            AskedKind::On(sides) => format!("on {}", sides.iter().map(|side| format!("{side:?}")).collect::<Vec<_>>().join("-")),
            kind => format!("{kind:?}").to_lowercase(),
        };
        let not = if asked.negated { "not " } else { "" };
        let is_refused = matches!(asked.kind, AskedKind::Refused(_));
        let people = if is_refused { String::new() } else { asked.people.join(if asked.either { "/" } else { "+" }) };
        let within = asked.within.map_or(String::new(), |Within { from, until, edge, .. }| match edge {
            Some(edge) => format!(" {edge:?}").to_lowercase(),
            None => format!(" {from}..{}", until.map_or(String::new(), |until| until.to_string())),
        });
        format!("{not}{kind} {people}{within}").split_whitespace().collect::<Vec<_>>().join(" ")
    };
    asked.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[test]
fn questions_are_understood() {
    let table = [
        // Whether
        ("Is Aa in it?", "present Aa"),
        ("Is <Aa> there?", "present Aa"),
        ("is aa in there", "present Aa"),
        ("IS AA IN THE VIDEO", "present Aa"),
        ("did Aa show up", "present Aa"),
        ("Does Aa appear in this clip?", "present Aa"),
        ("Can you see Aa anywhere?", "present Aa"),
        ("Could you please tell me whether Aa is visible?", "present Aa"),
        ("Do you recognise Aa?", "present Aa"),
        ("Do you recognize Aa in the footage?", "present Aa"),
        ("Has Aa been filmed?", "present Aa"),
        ("Have you spotted Aa", "present Aa"),
        ("Does the video show Aa?", "present Aa"),
        ("Is this a picture of Aa?", "present Aa"),
        ("Is that Aa?", "present Aa"),
        ("Aa?", "present Aa"),
        ("find Aa", "present Aa"),
        ("Just tell me if Aa is in it", "present Aa"),
        ("Is Aa's face in it?", "present Aa"),
        ("Hi! Is Aa in it? Thanks!", "present Aa"),
        ("Is Anna-Maria in it?", "present Anna-Maria"),
        ("is o’neil on camera?", "present O'Neil"),
        ("Is Li Wei on screen?", "present Li Wei"),
        ("Is <li wei> in shot?", "present Li Wei"),
        ("Is Will in it?", "present Will"),
        ("is will in it", "present Will"),
        ("Will Aa be in it?", "present Aa"),
        ("Are Aa and Bb in it?", "present Aa+Bb"),
        ("Is Aa or Bb in it?", "present Aa/Bb"),
        // Negation
        ("Is Aa not in it?", "not present Aa"),
        ("Isn't Aa there?", "not present Aa"),
        ("isnt aa there", "not present Aa"),
        ("Is Aa missing?", "not present Aa"),
        ("Is neither Aa nor Bb in it?", "not present Aa+Bb"),
        ("Is Aa there or not?", "present Aa"),
        ("How sure are you that Aa is in it?", "present Aa"),
        ("Are there more than two people?", "howmany"),
        ("Who is seen longest?", "what"),
        ("Which people are enrolled?", "what"),
        ("Is everyone in it known?", "what"),
        ("Who is not in it?", "not who"),
        ("Is anyone missing?", "not who"),
        ("Isn't anyone there?", "not anyone"),
        ("Is nobody there?", "not anyone"),
        ("When is Aa not in it?", "not when Aa"),
        // Times
        ("When does Aa appear?", "when Aa"),
        ("what time does Aa come in", "when Aa"),
        ("At what point do we see Aa?", "when Aa"),
        ("When does Aa leave?", "when Aa"),
        ("when's Aa in it", "when Aa"),
        ("When do you first see Aa?", "first Aa"),
        ("When is the last time Aa appears?", "last Aa"),
        ("Who appears first?", "first"),
        ("How long is Aa in it?", "howlong Aa"),
        ("How many seconds is Aa visible for?", "howlong Aa"),
        ("Is Aa in it the whole time?", "howlong Aa"),
        ("How much screen time does Aa have?", "howlong Aa"),
        ("Is Aa in it longer than 5 seconds?", "lasts >5 Aa"),
        ("Is Aa there for at least a minute?", "lasts >=60 Aa"),
        ("Does Aa appear for less than 1:10?", "lasts <70 Aa"),
        ("Is Aa in it longer than Bb?", "describe"),
        ("How often does Aa appear?", "howoften Aa"),
        ("Does Aa appear more than once?", "howoften Aa"),
        ("How many times does Aa show up?", "howoften Aa"),
        ("Does Aa show up before 1:00?", "present Aa 0..60"),
        ("Is Aa there after 90 seconds?", "present Aa 90.."),
        ("Is Aa in it between 0:10 and 0:20?", "present Aa 10..20"),
        ("Is Aa in it from 1:00:00 to 1m30s", "present Aa 90..3600"),
        ("Who is there at 0:05?", "who 5..5"),
        ("Is Aa there in the first 30 seconds?", "present Aa 0..30"),
        ("When does anyone appear?", "when"),
        ("Is Aa in it at the beginning?", "present Aa beginning"),
        ("Is Aa there at the very end of the video?", "present Aa end"),
        ("Who is there at the end?", "who end"),
        ("Is Aa at the end of the table?", "describe"),
        // Places in the picture
        ("Where is Aa?", "where Aa"),
        ("Which one is Aa?", "where Aa"),
        ("Who is Aa?", "which Aa"),
        ("Is Aa on the left?", "on Left Aa"),
        ("Is Aa in the upper right corner?", "on Upper-Right Aa"),
        // Several people
        ("Are Aa and Bb together?", "together Aa+Bb"),
        ("Is Aa with Bb?", "together Aa+Bb"),
        ("When are Aa and Bb in the same shot?", "together Aa+Bb"),
        ("Who is Aa with?", "with Aa"),
        ("Is Aa with anyone?", "with Aa"),
        ("Is Aa alone?", "alone Aa"),
        ("Is Aa the only person in it?", "only Aa"),
        ("Is everyone there?", "who"),
        ("Where is everybody?", "where"),
        ("Which frames show Aa?", "when Aa"),
        ("Is Aa in it 0:10-0:20?", "present Aa 10..20"),
        ("Before 0:30, who is there?", "who 0..30"),
        ("How many people are there?", "howmany"),
        ("how many are in it", "howmany"),
        ("count the people", "howmany"),
        ("How many people are in it at the same time?", "howmany"),
        ("Who is this?", "who"),
        ("Who is in it", "who"),
        ("who's there?", "who"),
        ("Is there anyone I know?", "who"),
        ("Who else is in it besides Aa?", "who Aa"),
        ("Is anyone there?", "anyone"),
        ("anybody?", "anyone"),
        ("Are there any people in the picture?", "anyone"),
        ("Is anyone else but Aa there?", "present Aa, anyone Aa"),
        // Several questions
        ("Is Aa in it and when?", "present Aa, when Aa"),
        ("Is Aa in it, and where is she?", "present Aa, where Aa"),
        ("When and where is Aa in it?", "when Aa, where Aa"),
        ("Is Aa there and is Bb?", "present Aa, present Bb"),
        ("Is Aa in it? And Bb?", "present Aa, present Bb"),
        ("Who is in it and when?", "who, when"),
        ("Who is in it and when do they appear?", "who, when"),
        ("Is Aa in it at 1:15 and where?", "present Aa 75..75, where Aa 75..75"),
        ("Is Aa in it? Is Bb? Are they together?", "present Aa, present Bb, together Bb+Aa"),
        ("How many people are there and who are they?", "howmany, who"),
        ("Are Aa and Bb together, and for how long?", "together Aa+Bb"),
        ("Is Aa in it and what is she wearing?", "present Aa, describe"),
        ("Is Aa in it and dancing?", "present Aa, describe"),
        ("What does Aa do, and when?", "describe, when Aa"),
        ("What is Aa doing and when?", "describe, when Aa"),
        ("Who is in it? What does Aa do, and when?", "who, describe, when Aa"),
        ("What is Aa wearing, and what is she doing?", "describe"),
        ("Is Aa there and is Dave?", "present Aa, unknown Dave"),
        ("Are Aa and Dave in it?", "present Aa, unknown Dave"),
        // Not enrolled
        ("Is Dave in it?", "unknown Dave"),
        ("Is <Dave> in it?", "unknown Dave"),
        ("is dave in it", "unknown dave"),
        ("IS DAVE IN IT?", "unknown DAVE"),
        ("Dave?", "unknown Dave"),
        ("Is Dave or Mike there?", "unknown Dave, unknown Mike"),
        ("When does Dave Smith appear?", "unknown Dave Smith"),
        ("Is Anna in it?", "unknown Anna"),
        ("Is Anna-Maria-Lou in it?", "unknown Anna-Maria-Lou"),
        ("Is Aaron in it?", "unknown Aaron"),
        ("Is Li in it?", "unknown Li"),
        ("Is my daughter in it?", "unknown my daughter"),
        ("Are Aa and Dave together?", "unknown Dave"),
        ("What is Dave wearing?", "unknown Dave"),
        // What faces do not say
        ("What is Aa wearing?", "describe"),
        ("What colour is Aa's shirt?", "describe"),
        ("What color is the car?", "describe"),
        ("Is Aa in the kitchen?", "describe"),
        ("Is Aa in Paris?", "describe"),
        ("Is Aa dancing?", "describe"),
        ("Is Aa happy?", "describe"),
        ("Does Aa have a camera?", "describe"),
        ("Does Aa have a video?", "describe"),
        ("Can Aa see me?", "describe"),
        ("Does Aa look at Bb?", "describe"),
        ("Is Aa next to Bb?", "describe"),
        ("Is Aa on the left of Bb?", "describe"),
        ("What does Aa do?", "describe"),
        ("How does Aa look?", "describe"),
        ("Is there a dog?", "describe"),
        ("How many cars are there?", "describe"),
        ("Is there a woman in it?", "describe"),
        ("Describe the video.", "describe"),
        ("What happens in it?", "describe"),
        ("Is Aa leaving?", "describe"),
        ("Is Aa recording it?", "describe"),
        ("Is this Aa's video?", "describe"),
        ("Is Aa seen by Bb?", "describe"),
        ("Does Aa come from the right?", "describe"),
        ("Where was this filmed?", "describe"),
        // Nothing that is answered
        ("when?", "whom"),
        ("Where is she?", "whom"),
        ("asdf qwer", "what"),
        ("What can I ask?", "what"),
        ("thanks", "what"),
        ("How long is the video?", "what"),
        ("Is Aa in it before Bb?", "what"),
        ("Is Aa in it when Bb comes in?", "what"),
        ("Is Aa in it before 30?", "what"),
        ("Is Aa in it without Bb?", "what"),
        ("Was Aa there yesterday at 5 pm?", "what"),
        ("Who are you?", "what"),
        ("When was this filmed?", "what"),
        ("Ist Aa im Video?", "what"),
        ("¿Está Aa?", "what"),
    ];
    let wrong: Vec<String> = table
        .iter()
        .map(|(question, expected)| (question, short(&asked(question)), expected))
        .filter(|(_, found, expected)| found != *expected)
        .map(|(question, found, expected)| format!("{question:?}: {found:?}, not {expected:?}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn questions_refer_to_those_before() {
    let table: [&[(&str, &str)]; 5] = [
        &[
            ("Is Aa in it?", "present Aa"),
            ("and when?", "when Aa"),
            ("Where is she?", "where Aa"),
            ("And Bb?", "where Bb"),
            ("How long?", "howlong Bb"),
            ("Is he alone?", "alone Bb"),
            ("Is Aa with her?", "together Aa+Bb"),
            ("when?", "together Aa+Bb"),
            ("How many people are there?", "howmany"),
            ("Are they together?", "together Aa+Bb"),
        ],
        &[("Is Aa in it?", "present Aa"), ("What is she wearing?", "describe"), ("When does she appear?", "when Aa")],
        &[("Who is in it?", "who"), ("And when?", "when")],
        &[("Is Aa there?", "present Aa"), ("before 0:30?", "present Aa 0..30"), ("who else?", "who Aa")],
        &[("Is Dave there?", "unknown Dave"), ("when is he there?", "whom")],
    ];
    for conversation in table {
        let mut context = Context::default();
        for (question, expected) in conversation {
            let asked = understand(question, &NAMES, &context).unwrap();
            assert_eq!(short(&asked), *expected, "{question}");
            context.note(&asked);
        }
    }
}

#[test]
fn what_cannot_be_read_is_an_error() {
    let long = format!("Is Aa in it?{}", " ".repeat(2_000));
    for question in ["", "  \n", "?!", "Is Aa\u{0} in it?", "Is Aa \u{1b}[31m there?", long.as_str()] {
        assert!(matches!(understand(question, &NAMES, &Context::default()), Err(Error::Question { .. })), "{question:?}");
    }
    assert_eq!(short(&asked("Is Aa\n in it?\r\n")), "present Aa");
}

#[test]
fn no_text_makes_it_panic() {
    const PIECES: [&str; 40] = [
        "Is",
        "is",
        "Aa",
        "<Aa>",
        "<",
        ">",
        "Aa's",
        "Li",
        "Wei",
        "Will",
        "and",
        ",",
        "or",
        "when",
        "Where",
        "she",
        "not",
        "before",
        "between",
        "first",
        "1:00",
        "1:",
        ":1",
        "30",
        "1e999s",
        "5m5",
        "in",
        "the",
        "video",
        "n't",
        "'s",
        "'",
        "-",
        "left",
        "upper",
        "of",
        "with",
        "?",
        "李伟",
        "é\u{301}",
    ];
    let mut stream = SeededStream::new(7);
    let footage = two_people();
    for _ in 0..20_000 {
        let mut text = String::new();
        while text.chars().count() < 290 && stream.below(40) > 0 {
            match stream.below(8) {
                0 => text.extend(char::from_u32(stream.below(0x3000) as u32)),
                1 => text.extend(char::from_u32(stream.below(128) as u32)),
                _ => {
                    text.push_str(PIECES[stream.below(PIECES.len())]);
                    text.push_str(if stream.below(5) > 0 { " " } else { "" });
                }
            }
        }
        if let Ok(asked) = understand(&text, &NAMES, &Context::default()) {
            assert!(!asked.is_empty(), "{text:?}");
            assert!(!answer(&footage, &calibration(), &names(), &asked).text.is_empty(), "{text:?}");
        }
    }
}

fn names() -> Vec<SubjectName> {
    ["Aa", "Bb", "Cc"].map(|name| name.parse().unwrap()).into()
}

fn calibration() -> Calibration {
    let certain = vec![(1, 0.55)];
    Calibration { embedder: "test".into(), midpoint: 0.5, slope: 30.0, possible: 0.4, certain }
}

/// Moments as start, end, similarity and where the face is in a picture of 300 by 300 pixels.
fn person(subject: Option<&str>, stranger: usize, good: usize, moments: &[(f64, f64, f64, [f64; 2])]) -> Value {
    let moments: Vec<Value> = moments
        .iter()
        .map(|(start, end, similarity, [x, y])| {
            let bounds = json!({"left": x - 20.0, "top": y - 20.0, "right": x + 20.0, "bottom": y + 20.0});
            json!({"start": start, "end": end, "best": start, "bounds": bounds, "similarity": similarity})
        })
        .collect();
    json!({
        "subject": subject.map(|name| format!("<{name}>")),
        "stranger": stranger,
        "verdict": "yes",
        "probability": 0.9,
        "similarity": 0.8,
        "faces": 10,
        "good_faces": good,
        "telling_faces": good,
        "flaw": (good < 5).then(|| json!({"small": 18.0})),
        "moments": moments,
    })
}

fn footage(people: Vec<Value>, frames: usize, together: usize) -> Footage {
    let duration = (frames > 1).then_some(frames as f64 / 2.0);
    let mut people = people;
    for moment in people.iter_mut().flat_map(|person| person["moments"].as_array_mut().unwrap()) {
        // The last face stands for the time until the next look, two of which are a second's.
        let end = moment["end"].as_f64().unwrap() + 0.5;
        moment["end"] = duration.map_or(0.0, |duration: f64| end.min(duration)).into();
    }
    let known: Vec<[&str; 2]> = vec![["<Aa>", "a"], ["<Bb>", "b"], ["<Cc>", "c"]];
    serde_json::from_value(json!({
        "format_version": 1,
        "source": "lunch.mp4",
        "bytes": 0,
        "modified": 0,
        "per_second": 2.0,
        "duration": duration,
        "size": [300, 300],
        "model": "test",
        "known": known,
        "timeline": {"people": people, "frames": frames, "faces": 10 * people.len(), "together": together, "until": 60.0},
        "finished": true,
    }))
    .unwrap()
}

const MIDDLE: [f64; 2] = [150.0, 150.0];

/// Aa twice, Bb perhaps, and a stranger.
fn two_people() -> Footage {
    footage(
        vec![
            person(Some("Aa"), 0, 9, &[(3.2, 41.0, 0.81, [50.0, 50.0]), (72.0, 90.0, 0.7, [250.0, 150.0])]),
            person(Some("Bb"), 0, 9, &[(30.0, 50.0, 0.48, MIDDLE)]),
            person(None, 1, 9, &[(100.0, 110.0, 0.1, MIDDLE)]),
        ],
        240,
        2,
    )
}

fn ask(footage: &Footage, question: &str) -> PeopleAnswer {
    let bare = ["Aa", "Bb", "Cc"];
    answer(footage, &calibration(), &names(), &understand(question, &bare, &Context::default()).unwrap())
}

#[track_caller]
fn check(footage: &Footage, question: &str, text: &str, verdict: Option<Verdict>) {
    let answer = ask(footage, question);
    assert_eq!((answer.text.as_str(), answer.verdict), (text, verdict), "{question}");
}

#[test]
fn answers_say_who_is_there_and_when() {
    use Verdict::*;
    let footage = two_people();
    let table = [
        ("Is Aa in it?", "Yes: 0:03 to 0:41 and 1:12 to 1:30 (similarity 0.81). Two other people are in the clip.", Some(Yes)),
        (
            "Is Aa in it, and when?",
            "Yes: 0:03 to 0:41 and 1:12 to 1:30 (similarity 0.81). Two other people are in the clip.",
            Some(Yes),
        ),
        (
            "Is Aa not in it?",
            "Aa is in it: 0:03 to 0:41 and 1:12 to 1:30 (similarity 0.81). Two other people are in the clip.",
            Some(Yes),
        ),
        ("Is Bb in it?", "Not sure: somebody at 0:30 to 0:50 is similar (0.48).", Some(NotSure)),
        ("Is Cc in it?", "No. Three people are in the clip, none of them is Cc.", Some(No)),
        ("Isn't Cc in it?", "Cc is not in it. Three people are in the clip, none of them is Cc.", Some(No)),
        (
            "Are Aa and Cc in it?",
            "Aa is in it: 0:03 to 0:41 and 1:12 to 1:30 (similarity 0.81). Cc is not in it. Two other people are in the clip.",
            Some(No),
        ),
        (
            "Is Aa or Cc in it?",
            "Aa is in it: 0:03 to 0:41 and 1:12 to 1:30 (similarity 0.81). Cc is not in it. Two other people are in the clip.",
            Some(Yes),
        ),
        ("When does Aa appear?", "Aa is seen at 0:03 to 0:41 and 1:12 to 1:30.", Some(Yes)),
        (
            "When is Aa not in it?",
            "Aa is seen at 0:03 to 0:41 and 1:12 to 1:30, and not at 0:00 to 0:03, 0:41 to 1:12 and 1:30 to 2:00.",
            Some(Yes),
        ),
        ("When does Bb appear?", "Not sure: somebody similar to Bb (0.48) is seen at 0:30 to 0:50.", Some(NotSure)),
        ("When is the last time we see Aa?", "Aa is seen last at 1:30.", Some(Yes)),
        ("How long is Aa in it?", "Aa is seen for about 57 seconds of 2 minutes: 0:03 to 0:41 and 1:12 to 1:30.", Some(Yes)),
        ("How often does Aa appear?", "Aa is seen twice: 0:03 to 0:41 and 1:12 to 1:30.", Some(Yes)),
        (
            "Is Aa there after 1:00?",
            "Yes, after 1:00: 1:12 to 1:30 (similarity 0.70). One other person is in the clip after 1:00.",
            Some(Yes),
        ),
        ("Is Aa there at 0:05?", "Yes, at 0:05 (similarity 0.81). Nobody else is in the clip at 0:05.", Some(Yes)),
        (
            "Is Aa there between 0:45 and 0:55?",
            "No. One person is in the clip between 0:45 and 0:55, and it is not Aa.",
            Some(No),
        ),
        ("Is Aa there between 0:55 and 1:00?", "I found nobody between 0:55 and 1:00.", Some(NotSure)),
        (
            "How many people are there?",
            "Three people: Aa, perhaps Bb and one person who is not recognised; at most two at the same time.",
            None,
        ),
        (
            "How many other people besides Aa are there?",
            "Two other people: perhaps Bb and one person who is not recognised.",
            None,
        ),
        (
            "Who is in it?",
            "Aa (0:03 to 0:41 and 1:12 to 1:30), perhaps Bb (0:30 to 0:50) and one person who is not recognised.",
            None,
        ),
        (
            "Who is not in it?",
            "Not in it: Cc. Seen: Aa (0:03 to 0:41 and 1:12 to 1:30), perhaps Bb (0:30 to 0:50) and one person who is not recognised.",
            None,
        ),
        (
            "Is anyone there?",
            "Yes: somebody is seen at 0:03 to 0:50, 1:12 to 1:30 and 1:40 to 1:50: Aa, perhaps Bb and one person \
             who is not recognised.",
            Some(Yes),
        ),
        ("Is Aa alone?", "No: Aa is seen at the same time as perhaps Bb (0:30 to 0:41).", Some(No)),
        (
            "Is Aa the only person in it?",
            "No: besides Aa, there are: perhaps Bb (0:30 to 0:50) and one person who is not recognised.",
            Some(No),
        ),
        ("Is Aa with Cc?", "No. Cc is not in it. Three people are in the clip, none of them is Cc.", Some(No)),
        (
            "Are Aa and Bb together?",
            "Not sure: Aa and somebody similar to Bb (0.48) are seen together at 0:30 to 0:41 (about 11 seconds in all).",
            Some(NotSure),
        ),
    ];
    for (question, text, verdict) in table {
        check(&footage, question, text, verdict);
    }
}

#[test]
fn places_in_the_picture_come_with_times() {
    let footage = two_people();
    let answer = ask(&footage, "Where is Aa?");
    assert!(answer.text.starts_with("Aa is at the upper left of the picture at 0:03 and on the right of the picture at 1:12."));
    assert!(answer.text.contains("pvchat base get smolvlm2-256m") && answer.refused.is_none(), "{}", answer.text);
    check(&footage, "Is Aa on the left?", "Yes: Aa is at the upper left of the picture at 0:03.", Some(Verdict::Yes));
    assert_eq!(ask(&footage, "Is Aa at the bottom?").verdict, Some(Verdict::NotSure));
    let picture = self::footage(vec![person(Some("Aa"), 0, 1, &[(0.0, 0.0, 0.8, [250.0, 250.0])])], 1, 1);
    check(&picture, "Is Aa on the left?", "No: Aa is at the lower right of the picture.", Some(Verdict::No));
}

#[test]
fn people_are_together_only_where_they_share_frames() {
    let people = |start: f64| {
        vec![person(Some("Aa"), 0, 9, &[(0.0, 20.0, 0.8, MIDDLE)]), person(Some("Bb"), 0, 9, &[(start, 30.0, 0.8, MIDDLE)])]
    };
    let question = "Are Aa and Bb together?";
    check(
        &footage(people(10.0), 60, 2),
        question,
        "Yes: Aa and Bb are seen together at 0:10 to 0:20 (about 10 seconds in all).",
        Some(Verdict::Yes),
    );
    let apart = "No: Aa and Bb are in it, but I never see them at the same time: Aa at 0:00 to 0:20; Bb at 0:10 to 0:30.";
    check(&footage(people(10.0), 60, 1), question, apart, Some(Verdict::No));
    assert_eq!(ask(&footage(people(25.0), 60, 2), question).verdict, Some(Verdict::No));
    assert_eq!(ask(&footage(people(25.0), 60, 2), "Is Aa alone?").text, "Yes: nobody else is seen at the same time as Aa.");
    assert_eq!(ask(&footage(people(10.0), 60, 2), "Who is with Aa?").text, "Aa is seen at the same time as Bb (0:10 to 0:20).");
}

#[test]
fn nobody_is_absent_unless_the_faces_are_clearly_others() {
    use Verdict::*;
    let nobody = footage(Vec::new(), 50, 0);
    check(&nobody, "Is Aa in it?", "I found nobody in it (50 frames looked at, no face).", Some(NotSure));
    check(&nobody, "Is anyone there?", "I found nobody in it (50 frames looked at, no face).", Some(NotSure));
    let poor = |start, end| person(None, 2, 0, &[(start, end, 0.0, MIDDLE)]);
    let clear = || person(None, 1, 9, &[(0.0, 10.0, 0.1, MIDDLE)]);
    check(
        &footage(vec![poor(3.0, 5.0)], 50, 1),
        "Is Aa in it?",
        "No face is good enough to say: too small (18 pixels wide).",
        Some(NotSure),
    );
    let apart = "Not sure: one person is clearly somebody else, but further faces at 0:20 to 0:25 are not good enough to say: \
                 too small (18 pixels wide).";
    check(&footage(vec![clear(), poor(20.0, 25.0)], 60, 1), "Is Aa in it?", apart, Some(NotSure));
    // The same face turned away, as there is never a second one in the picture.
    let turned = footage(vec![clear(), poor(5.0, 6.0)], 60, 1);
    check(&turned, "Is Aa in it?", "No. One person is in the clip, and it is not Aa.", Some(No));
    assert_eq!(ask(&footage(vec![clear(), poor(5.0, 6.0)], 60, 2), "Is Aa in it?").verdict, Some(NotSure));
    check(&footage(vec![clear()], 60, 1), "Is Aa in it?", "No. One person is in the clip, and it is not Aa.", Some(No));
    let similar = footage(vec![person(Some("Aa"), 0, 2, &[(3.0, 5.0, 0.48, MIDDLE)])], 60, 1);
    let text = "Not sure: somebody at 0:03 to 0:05 is similar (0.48); most of the faces are too small (18 pixels wide).";
    check(&similar, "Is Aa in it?", text, Some(NotSure));
    let mut unfinished = serde_json::to_value(footage(vec![clear()], 60, 1)).unwrap();
    unfinished["finished"] = false.into();
    assert_eq!(ask(&serde_json::from_value(unfinished).unwrap(), "Is Aa in it?").verdict, Some(NotSure));
}

#[test]
fn a_picture_has_no_times() {
    let picture =
        footage(vec![person(Some("Aa"), 0, 1, &[(0.0, 0.0, 0.8, MIDDLE)]), person(None, 1, 1, &[(0.0, 0.0, 0.1, MIDDLE)])], 1, 2);
    check(&picture, "Is Aa in it?", "Yes (similarity 0.80). One other person is in the picture.", Some(Verdict::Yes));
    check(&picture, "Is Cc in it?", "No. Two people are in the picture, neither is Cc.", Some(Verdict::No));
    check(&picture, "When is Aa in it?", "Aa is in the picture, which has no times.", Some(Verdict::Yes));
    for question in ["Who is this?", "How many people are there?", "Is anyone there?", "Is Aa alone?", "Where is Aa?"] {
        assert!(!ask(&picture, question).text.contains("0:0"), "{}", ask(&picture, question).text);
    }
}

#[test]
fn strangers_are_counted() {
    let stranger = |number, start| person(None, number, 9, &[(start, start + 9.5, 0.1, MIDDLE)]);
    check(&footage(vec![stranger(1, 0.0)], 20, 1), "How many people are there?", "One person who is not recognised.", None);
    let two = footage(vec![stranger(1, 0.0), stranger(2, 5.0)], 40, 2);
    check(&two, "How many people are there?", "Two people who are not recognised; at most two at the same time.", None);
    let poor = footage(vec![person(None, 1, 0, &[(0.0, 9.0, 0.0, MIDDLE)])], 20, 1);
    let text = "At least one person, but no face is good enough to say who: too small (18 pixels wide).";
    check(&poor, "How many people are there?", text, None);
    let whole = footage(vec![person(Some("Aa"), 0, 9, &[(0.0, 9.5, 0.8, MIDDLE)])], 20, 1);
    check(&whole, "How long is Aa in it?", "Aa is seen for all of its 10 seconds: 0:00 to 0:10.", Some(Verdict::Yes));
    assert!(!ask(&two, "Where is Cc?").text.contains("base"));
}

#[test]
fn many_moments_are_shortened_and_less_certain_ones_stand_apart() {
    let moments: Vec<_> =
        (0..18).map(|place| (3600.0 + 10.0 * f64::from(place), 3602.0 + 10.0 * f64::from(place), 0.8, MIDDLE)).collect();
    let long = footage(vec![person(Some("Aa"), 0, 9, &moments)], 9000, 1);
    let answer = ask(&long, "Is Aa in it?");
    assert!(answer.text.starts_with("Yes: 1:00:00 to 1:00:02, 1:00:10 to 1:00:12, "), "{}", answer.text);
    assert!(answer.text.contains("1:00:50 to 1:00:52 and 12 more (similarity"), "{}", answer.text);
    assert_eq!(answer.presence[0].moments.len(), 18);
    let mixed = footage(vec![person(Some("Aa"), 0, 9, &[(3.0, 9.0, 0.8, MIDDLE), (30.0, 40.0, 0.45, MIDDLE)])], 100, 1);
    let text = "Yes: 0:03 to 0:09 (similarity 0.80). Perhaps also 0:30 to 0:40. Nobody else is in the clip.";
    check(&mixed, "Is Aa in it?", text, Some(Verdict::Yes));
}

#[test]
fn several_questions_are_answered_by_name() {
    let text = "Aa is in it: 0:03 to 0:41 and 1:12 to 1:30 (similarity 0.81). Not sure about Bb: somebody at 0:30 to 0:50 is \
                similar (0.48).";
    check(&two_people(), "Is Aa in it? Is Bb in it?", text, Some(Verdict::NotSure));
    let text = "Not in it: Cc. Seen: Aa (0:03 to 0:41 and 1:12 to 1:30), perhaps Bb (0:30 to 0:50) and one person who is not \
                recognised.";
    check(&two_people(), "Who is not in it?", text, None);
    let short = footage(vec![person(Some("Aa"), 0, 9, &[(0.0, 9.0, 0.8, MIDDLE)])], 20, 1);
    check(&short, "Who besides Bb and Cc is not in it?", "Nobody who is enrolled is missing: Aa (0:00 to 0:09).", None);
    check(&short, "Who is there at 0:30?", "It ends at 0:10.", None);
}

#[test]
fn two_names_of_one_person_are_not_sure() {
    let mut one = person(Some("Aa"), 0, 9, &[(0.0, 9.0, 0.95, MIDDLE)]);
    one["also"] = json!([["<Cc>", 0.9]]);
    let footage = footage(vec![one], 20, 1);
    check(&footage, "Is Aa in it?", "Yes: 0:00 to 0:09 (similarity 0.95). Nobody else is in the clip.", Some(Verdict::Yes));
    let text = "Not sure: whoever is seen at 0:00 to 0:09 looks like Aa and like Cc (0.90). If Aa and Cc are one \
                person: pvchat subjects merge Cc Aa.";
    check(&footage, "Is Cc in it?", text, Some(Verdict::NotSure));
    check(&footage, "Is Bb in it?", "No. One person is in the clip, and it is not Bb.", Some(Verdict::No));
}

/// One face that fits two names is one person, and whoever is certain comes first.
#[test]
fn faces_that_fit_two_names_add_up() {
    let mut one = person(Some("Bb"), 0, 9, &[(0.0, 9.0, 0.95, MIDDLE)]);
    one["also"] = json!([["<Aa>", 0.9]]);
    let footage = footage(vec![one, person(Some("Cc"), 0, 9, &[(0.0, 9.0, 0.9, MIDDLE)])], 20, 2);
    let text = "Two people: Cc and Bb or Aa, who look alike; at most two at the same time. If Bb and Aa are one person: pvchat \
                subjects merge Aa Bb.";
    check(&footage, "How many people are there?", text, None);
    let text = "Cc (0:00 to 0:09) and Bb or Aa, who look alike (0:00 to 0:09). If Bb and Aa are one person: pvchat subjects \
                merge Aa Bb.";
    check(&footage, "Who is in it?", text, None);
}

/// Relatives, and names that are words of questions, count as names in small letters where a name can stand.
#[test]
fn descriptions_are_about_whom_they_name_in_any_capitals() {
    let names = ["Grandma", "Mum", "Li Wei", "Will", "May"];
    let table: [(&str, &[&str]); 14] = [
        ("What is grandma doing?", &["Grandma"]),
        ("what's mum wearing", &["Mum"]),
        ("What colour is li wei's hat?", &["Li Wei"]),
        ("What is will doing?", &["Will"]),
        ("what does will wear", &["Will"]),
        ("what colour is will's hat", &["Will"]),
        ("Is may dancing?", &["May"]),
        ("will is dancing", &["Will"]),
        ("What are grandma and Will doing?", &["Grandma", "Will"]),
        ("What will grandma do?", &["Grandma"]),
        ("What will she do?", &[]),
        ("What may happen?", &[]),
        ("may this be a car", &[]),
        ("Where was this filmed?", &[]),
    ];
    for (question, people) in table {
        let asked = understand(question, &names, &Context::default()).unwrap();
        assert_eq!(
            (asked[0].people.as_slice(), asked.len()),
            (people.iter().map(ToString::to_string).collect::<Vec<_>>().as_slice(), 1),
            "{question}"
        );
    }
    // A verb is no name, whether somebody is called so or not.
    for names in [&names[..], &names[..3]] {
        let asked = understand("will she come?", names, &Context::default()).unwrap();
        assert_eq!(asked[0].kind, AskedKind::Refused(Refusal::NobodyNamed));
    }
    assert_eq!(understand("is may in it", &names, &Context::default()).unwrap()[0].people, ["May"]);
    let mut context = Context::default();
    context.note(&understand("Is Grandma there?", &names, &context).unwrap());
    for (question, person) in [("is will there?", "Will"), ("will she come?", "Grandma"), ("And what is she doing?", "Grandma")] {
        assert_eq!(understand(question, &names, &context).unwrap()[0].people, [person], "{question}");
    }
}

#[test]
fn what_needs_a_base_does_not_hide_the_times() {
    let answer = ask(&two_people(), "What does Aa do, and when?");
    assert_eq!(answer.text.matches("This needs a base").count(), 1, "{}", answer.text);
    assert!(answer.text.ends_with("Aa is seen at 0:03 to 0:41 and 1:12 to 1:30."), "{}", answer.text);
    assert_eq!((answer.refused, answer.verdict), (Some(Refusal::NeedsDescription), Some(Verdict::Yes)));
}

#[test]
fn lengths_and_ends_are_answered_from_the_timeline() {
    use Verdict::*;
    let footage = two_people();
    let seen = "Aa is seen for about 57 seconds of 2 minutes: 0:03 to 0:41 and 1:12 to 1:30.";
    check(&footage, "Is Aa in it longer than 50 seconds?", &format!("Yes: {seen}"), Some(Yes));
    check(&footage, "Is Aa in it for at least a minute?", &format!("No: {seen}"), Some(No));
    check(&footage, "Is Aa there for less than 1:00?", &format!("Yes: {seen}"), Some(Yes));
    let whole = self::footage(vec![person(Some("Aa"), 0, 9, &[(0.0, 9.5, 0.8, MIDDLE)])], 20, 1);
    assert_eq!(ask(&whole, "Is Aa there for longer than 10 seconds?").verdict, Some(No));
    assert_eq!(ask(&whole, "Is Aa there for at least 10 seconds?").verdict, Some(Yes));
    let text = "Yes, at the end: 0:09 to 0:10 (similarity 0.80). Nobody else is in the clip at the end.";
    check(&whole, "Is Aa there at the end?", text, Some(Yes));
    let text = "Yes, at the beginning: 0:03 to 0:12 (similarity 0.81). Nobody else is in the clip at the beginning.";
    check(&footage, "Is Aa there at the beginning?", text, Some(Yes));
    check(&footage, "Is Aa there at the end?", "No. One person is in the clip at the end, and it is not Aa.", Some(No));
    let text = "Aa is at the upper left of the picture at 0:03 and on the right of the picture at 1:12, and seen at 0:03 to 0:41 \
                and 1:12 to 1:30.";
    check(&footage, "Who is Aa?", text, Some(Yes));
}

#[test]
fn blurred_faces_may_say_yes_but_not_no() {
    let faint = |subject, stranger| {
        let mut person = person(subject, stranger, 9, &[(0.0, 9.0, 0.7, MIDDLE)]);
        person["telling_faces"] = 0.into();
        person["flaw"] = json!({"faint": 0.72});
        person
    };
    let known = footage(vec![faint(Some("Aa"), 0)], 20, 1);
    check(&known, "Is Aa in it?", "Yes: 0:00 to 0:09 (similarity 0.70). Nobody else is in the clip.", Some(Verdict::Yes));
    let stranger = footage(vec![faint(None, 1)], 20, 1);
    let text = "No face is good enough to say: too blurred to tell people apart (detail 0.72 of 1).";
    check(&stranger, "Is Aa in it?", text, Some(Verdict::NotSure));
}

#[test]
fn refusals_say_what_is_needed() {
    let footage = two_people();
    let answer = ask(&footage, "Is Aa in it and what is she wearing?");
    assert!(answer.text.starts_with("Yes: 0:03") && answer.text.ends_with("(1.0 GB, Apache-2.0)."), "{}", answer.text);
    assert_eq!((answer.refused, answer.verdict, answer.parts.len()), (Some(Refusal::NeedsDescription), Some(Verdict::Yes), 2));
    let answer = ask(&footage, "Is Dave in it?");
    assert_eq!(answer.text, "Nobody called Dave is enrolled; enrolled: Aa, Bb, Cc.");
    assert_eq!(answer.refused, Some(Refusal::UnknownPerson("Dave".into())));
    assert!(ask(&footage, "asdf qwer").text.contains("Is Aa in it, and when?"));
}

#[test]
fn somebody_who_was_forgotten_is_a_stranger() {
    let asked = understand("Who is in it?", &["Bb"], &Context::default()).unwrap();
    let answer = answer(&two_people(), &calibration(), &names()[1..2], &asked);
    assert_eq!(answer.text, "Perhaps Bb (0:30 to 0:50) and two people who are not recognised.");
}

#[test]
fn who_was_forgotten_in_between_is_not_answered_about() {
    let answer = answer(&two_people(), &calibration(), &names()[1..], &asked("When is Aa in it?"));
    assert_eq!(answer.text, "Nobody called Aa is enrolled; enrolled: Bb, Cc.");
    assert_eq!((answer.refused, answer.presence.len()), (Some(Refusal::UnknownPerson("Aa".into())), 0));
}

#[test]
fn an_answer_can_be_serialised_and_a_session_sent_away() {
    fn is_owned<T: Send + 'static>() {}
    is_owned::<Session>();
    let answer = serde_json::to_value(ask(&two_people(), "Is Aa in it and is she on the left?")).unwrap();
    assert_eq!(answer["presence"][0]["name"], "<Aa>");
    assert_eq!(answer["verdict"], "yes");
    assert_eq!(answer["parts"][1]["asked"]["kind"], json!({"on": ["left"]}));
    assert_eq!(answer["others"], 2);
    assert_eq!(asked("Is Aa on the left?")[0].kind, AskedKind::On(vec![Side::Left]));
}
