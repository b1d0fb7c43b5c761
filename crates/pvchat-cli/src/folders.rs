//! Where people and models are kept, and the people opened from there.

use std::{
    fs,
    path::{Path, PathBuf},
};

use directories::ProjectDirs;
use pvchat::{People, SubjectFolder, faces::Gallery, nn::device};

use crate::{
    common::Common,
    failure::{Failure, Outcome},
    words,
};

impl Common {
    /// The folder of people.
    pub fn subjects(&self) -> Outcome<PathBuf> {
        chosen(self.subjects.as_deref(), "subjects", "PVCHAT_SUBJECTS")
    }

    /// The folder of models.
    pub fn models(&self) -> Outcome<PathBuf> {
        chosen(self.models.as_deref(), "models", "PVCHAT_MODELS")
    }

    /// Real people.
    pub fn gallery(&self) -> Outcome<Gallery> {
        Ok(Gallery::new(self.subjects()?))
    }

    /// Drawn people, who are kept in the same folder.
    pub fn drawn_subjects(&self) -> Outcome<SubjectFolder> {
        Ok(SubjectFolder::new(self.subjects()?))
    }

    /// The people with the networks that recognise them.
    pub fn people(&self) -> Outcome<People> {
        let (models, subjects) = (self.models()?, self.subjects()?);
        let device = device::default_device().map_err(pvchat::Error::from)?;
        let opened = People::open(&models, subjects, self.people_options(), &device);
        opened.map_err(|error| self.with_models(error.into()))
    }

    /// Completes the command that installs models where it has to name the folder.
    pub fn with_models(&self, mut failure: Failure) -> Failure {
        let is_set = |folder: &Path| std::env::var_os("PVCHAT_MODELS").is_some_and(|set| Path::new(&set) == folder);
        if let Some(folder) = self.models.as_deref().filter(|folder| !is_set(folder)) {
            let get = format!("pvchat models --models {} get ", words::quoted(folder));
            failure.message = failure.message.replace("pvchat models get ", &get);
        }
        failure
    }
}

/// The folder of records about installed bases.
pub fn records() -> Outcome<PathBuf> {
    let project = ProjectDirs::from("", "", "pvchat").map(|project| project.data_dir().join("bases"));
    project.ok_or_else(|| Failure::failed("this user has no home folder; set HOME"))
}

fn chosen(folder: Option<&Path>, name: &str, variable: &str) -> Outcome<PathBuf> {
    if let Some(folder) = folder {
        return Ok(folder.to_path_buf());
    }
    let project = ProjectDirs::from("", "", "pvchat");
    let data = project.map(|project| project.data_dir().join(name));
    data.ok_or_else(|| Failure::failed(format!("this user has no home folder; name a folder by --{name} or {variable}")))
}

/// Makes a folder that only its owner may read, if it does not exist.
pub fn make_private(folder: &Path) -> Outcome<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|error| Failure::file(folder, &error))
}
