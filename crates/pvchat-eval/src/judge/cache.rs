//! Marks that are kept over runs.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{Criterion, Item, Judge, Mark};
use crate::Result;

/// A judge whose marks are kept in a folder, one small JSON file each, with the answer and the prompt that they belong to.
/// What was marked before is not asked for again, as long as judge, prompt and texts are the same.
#[derive(Clone, Debug)]
pub struct Cached<J> {
    judge: J,
    folder: PathBuf,
}

impl<J: Judge> Cached<J> {
    /// Keeps the marks of a judge in a folder.
    pub fn new(judge: J, folder: impl Into<PathBuf>) -> Self {
        Self { judge, folder: folder.into() }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn file(&self, criterion: Criterion, item: &Item) -> PathBuf {
        let prompt = criterion.prompt(item);
        let mut hash = Sha256::new();
        for part in [&self.judge.name(), &prompt.system, &prompt.user] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let name: String = hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(format!("{name}.json"))
    }
}

impl<J: Judge> Judge for Cached<J> {
    fn name(&self) -> String {
        self.judge.name()
    }

    /// As the judge; [`Error::File`](crate::Error::File) when a mark cannot be kept. A damaged file counts as none.
    fn mark(&self, criterion: Criterion, item: &Item) -> Result<Mark> {
        let file = self.file(criterion, item);
        let kept = std::fs::read(&file).ok().and_then(|json| {
            let value: serde_json::Value = serde_json::from_slice(&json).ok()?;
            serde_json::from_value::<Mark>(value.get("mark")?.clone()).ok()
        });
        if let Some(mark) = kept.filter(|mark| mark.criterion == criterion && mark.judge == self.name()) {
            return Ok(mark);
        }
        let mark = self.judge.mark(criterion, item)?;
        std::fs::create_dir_all(&self.folder).map_err(|source| pvchat_data::Error::Io { file: self.folder.clone(), source })?;
        let kept = serde_json::json!({ "mark": mark, "item": item, "prompt": criterion.prompt(item) });
        pvchat_data::file::write_json(&file, &kept)?;
        Ok(mark)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::{
        super::{LanguageJudge, mark_all, tests::item},
        *,
    };

    #[test]
    fn what_was_marked_is_not_asked_for_again() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("marks");
        let asked = Cell::new(0);
        let reply = |_: &str| {
            asked.set(asked.get() + 1);
            let content = format!("{{\"mark\": {}, \"reason\": \"because\"}}", asked.get());
            Ok(serde_json::json!({ "choices": [{ "message": { "content": content } }] }).to_string())
        };
        let judge = Cached::new(LanguageJudge::new(&reply, "m"), folder.as_path());
        let items = [item("red", "red"), item("red", "blue"), item("red", "red")];
        let marks = mark_all(&judge, Criterion::DescriptiveCompleteness, &items).unwrap();
        assert_eq!(marks.marks.iter().map(|mark| mark.mark).collect::<Vec<_>>(), [1, 2, 1]);
        assert_eq!((asked.get(), marks.mean), (2, Some(4.0 / 3.0)));

        // Another criterion, another model: other marks. A damaged file: asked again.
        judge.mark(Criterion::EntitySpecificity, &items[0]).unwrap();
        let other = Cached::new(LanguageJudge::new(&reply, "n"), folder.as_path());
        other.mark(Criterion::DescriptiveCompleteness, &items[0]).unwrap();
        assert_eq!(asked.get(), 4);
        std::fs::write(judge.file(Criterion::EntitySpecificity, &items[0]), "{").unwrap();
        assert_eq!(judge.mark(Criterion::EntitySpecificity, &items[0]).unwrap().mark, 5);
        let text = std::fs::read_to_string(judge.file(Criterion::DescriptiveCompleteness, &items[1])).unwrap();
        assert!(text.contains("because") && text.contains("blue") && text.contains("descriptive completeness"), "{text}");
    }
}
