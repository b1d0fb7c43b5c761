//! Files of datasets: which of a folder is meant, and whether somebody can be learned from it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use pvchat::{Error, Shot, SubjectName, data::Dataset};

use crate::{
    failure::{Failure, Outcome},
    output::Output,
    words,
};

/// A dataset file, and who is learned from it.
pub struct Source {
    pub file: PathBuf,
    pub names: Vec<SubjectName>,
    pub dataset: Dataset,
}

impl Source {
    /// The file that is given, or that in a folder: the only one, or the one that is about the person of that name.
    pub fn find(path: &Path, name: Option<&SubjectName>) -> Outcome<Self> {
        let mut files: Vec<(PathBuf, Vec<SubjectName>)> = Vec::new();
        if path.is_dir() {
            let entries = fs::read_dir(path).map_err(|error| Failure::file(path, &error))?;
            files.extend(entries.flatten().filter_map(|entry| Some((entry.path(), names_in(entry.file_name().to_str()?)?))));
            files.sort();
        } else {
            files.push((path.to_path_buf(), Dataset::read(path)?.subjects()));
        }
        files.retain(|(_, names)| !names.is_empty());
        let shown = words::shown(path);
        let about = |files: &[(PathBuf, Vec<SubjectName>)]| {
            let bare: Vec<&str> = files.iter().flat_map(|(_, names)| names).map(SubjectName::bare).collect();
            words::list(&bare)
        };
        let (file, names) = match (name, files.as_slice()) {
            (_, []) => {
                let message =
                    format!("{shown} holds no dataset; make one: pvchat dataset make CLIP --name Aa --corpus DIR --out DIR");
                return Err(Failure::refused("dataset_refused", message));
            }
            (None, [one]) => one.clone(),
            (None, files) => {
                let message = format!("{shown} is about {}; choose one by --name, or give its file", about(files));
                return Err(Failure::refused("several_people", message));
            }
            (Some(name), files) => match files.iter().find(|(_, names)| names.contains(name)) {
                Some((file, _)) => (file.clone(), vec![name.clone()]),
                None => {
                    let message = format!("{shown} is about {}, not about {}; name one of them", about(files), name.bare());
                    return Err(Failure::refused("unknown_person", message));
                }
            },
        };
        let dataset = Dataset::read(&file)?;
        Ok(Self { file, names, dataset })
    }

    /// The file with the clips for testing that belongs to it, if there is one.
    pub fn test_file(&self) -> Option<PathBuf> {
        let stem = self.file.file_stem()?.to_str()?;
        // The published files of several people have a line before the word, those of one do not.
        let names = [format!("{stem}test.json"), format!("{stem}_test.json")];
        names.into_iter().map(|name| self.file.with_file_name(name)).find(|file| file.is_file())
    }

    /// Refuses a dataset whose file the person cannot be learned from; everything that is wrong is said, with its clips too.
    pub fn check_file(&self, name: &SubjectName, output: &Output) -> Outcome<()> {
        match self.dataset.problems_of(name).is_empty() {
            true => Ok(()),
            false => self.check(name, output),
        }
    }

    /// Refuses a dataset that the person cannot be learned from, by its file or its clips; everything that is wrong is said.
    pub fn check(&self, name: &SubjectName, output: &Output) -> Outcome<()> {
        let problems = self.dataset.problems_of(name);
        // One frame of each clip shows whether it can be opened.
        let all = match Shot::from_dataset(&self.file, name, 1).map_err(Error::from) {
            Err(Error::UnfitDataset { problems, .. }) => problems,
            Err(error) if problems.is_empty() => return Err(error.into()),
            _ => problems.iter().map(ToString::to_string).collect(),
        };
        if all.is_empty() {
            return Ok(());
        }
        let is_one_sided = problems.iter().all(|problem| problem.concerns_balance()) && all.len() == problems.len();
        let reason = if is_one_sided { "one_class" } else { "dataset_refused" };
        all.iter().skip(1).for_each(|problem| output.note(words::clean(problem)));
        Err(Failure::refused(
            reason,
            words::clean(&format!("{} cannot be learned from: {}", words::shown(&self.file), all.join("; "))),
        ))
    }
}

/// Whom a dataset is about, by the name of its file: `<Aa>.json` or `<Aa>_<Bb>.json`; `None` for other files.
fn names_in(file: &str) -> Option<Vec<SubjectName>> {
    let names = file.strip_suffix(">.json")?.strip_prefix('<')?;
    names.split(">_<").map(|name| name.parse().ok()).collect()
}
